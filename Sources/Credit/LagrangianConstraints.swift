internal import Foundation
internal import Records

/// Holds rewards at limits by learning their weights: constrained RLHF (Moskovitz et al. 2023, arXiv:2310.04373), and
/// the textbook Lagrangian. What the variants are is said at ``MultiplierSettings``.
///
/// The weights of the streams of constrained rewards are multipliers λ, moved once a rollout by the raw scores of what
/// the policy wrote: sums and counts over completions, so that long completions weigh no more than short ones unless
/// the settings say so. A completion that a reward did not score counts for none of its constraints.
///
/// Departs from the published code: ℓ begins at the same number for all and not at a normal draw; the KL stream keeps
/// the factor of the other own streams in `all_ppo`, where its weight would become negative.
package struct LagrangianConstraints: Sendable, Equatable {
    package private(set) var constraints: [Constraint]
    package let settings: MultiplierSettings
    /// Dual steps of a rollout.
    package let stepsPerRollout: Int
    package var state: State

    /// What it remembers, by the constraints' names.
    package struct State: Sendable, Equatable, Codable {
        /// λ, or ℓ of a bounded form.
        package internal(set) var parameters: [String: Double]
        /// The word of the variant that they are parameters of, and by constraint that of the kind, which says what a
        /// multiplier pulls towards; `nil` in states of before they were kept.
        var variant: String?
        var kinds: [String: String]?
        var velocities: [String: Double] = [:]
        /// σ(θ − J)/s, a mean that forgets a fifth with each rollout; `nil` in states of before there was one.
        var pulls: [String: Double]?
        /// λ and J of the last fifth of the rollouts so far.
        var recent: [String: [Sample]] = [:]
        /// Rollouts since |λ| was last below 0.98.
        var saturated: [String: Int] = [:]
        /// Constraints of which was told that they have been there for long; until they leave.
        var alarmed: [String]?
        /// The last J of each constraint that had one.
        var known: [String: Double]?
        /// λ when a line last told of it.
        var announced: [String: Double] = [:]
        package internal(set) var rollouts = 0
        /// Whether a bounded form went over to the textbook's.
        package internal(set) var isTextbook = false

        struct Sample: Sendable, Equatable, Codable {
            var rollout: Int
            var multiplier: Double
            var mean: Double
        }
    }

    /// - Parameter constraints: At least one, with different names.
    package init(
        _ constraints: [Constraint], _ settings: MultiplierSettings = MultiplierSettings(), stepsPerRollout: Int = 1
    ) {
        precondition(
            !constraints.isEmpty && Set(constraints.map(\.name)).count == constraints.count,
            "constraints have different names")
        self.constraints = constraints
        self.settings = settings
        self.stepsPerRollout = stepsPerRollout
        let names = constraints.map { ($0.name, settings.initial) }
        state = State(parameters: Dictionary(uniqueKeysWithValues: names))
        noteOwner()
    }

    /// Notes in the state whose it is.
    private mutating func noteOwner() {
        state.variant = settings.variant.rawValue
        state.kinds = Dictionary(uniqueKeysWithValues: constraints.map { ($0.name, $0.kind.rawValue) })
    }

    /// Puts other limits in force; scales and multipliers stay.
    ///
    /// - Parameter limits: By the constraints' names; the others keep theirs.
    package mutating func move(limits: [String: Double]) {
        for index in constraints.indices {
            if let limit = limits[constraints[index].name] { constraints[index].limit = limit }
        }
    }

    private var isBounded: Bool { settings.variant.isBounded && !state.isTextbook }

    /// λ of the next step, by the constraints' names.
    package var multipliers: [String: Double] {
        Dictionary(uniqueKeysWithValues: constraints.map { ($0.name, multiplier(of: $0)) })
    }

    private func multiplier(of constraint: Constraint) -> Double {
        let parameter = state.parameters[constraint.name] ?? settings.initial
        guard isBounded else {
            return bounded(parameter + settings.proportional * (state.pulls?[constraint.name] ?? 0), constraint)
        }
        return constraint.kind == .equal ? tanh(parameter) : Self.logistic(parameter)
    }

    /// Within what the textbook's form allows a multiplier.
    private func bounded(_ value: Double, _ constraint: Constraint) -> Double {
        let least = constraint.kind == .equal ? -Double.infinity : 0
        let limit = settings.limit ?? .infinity
        return min(max(value, least, -limit), limit)
    }

    private static func logistic(_ parameter: Double) -> Double {
        // Never exp of a large number: both halves end at 0 and 1.
        parameter >= 0 ? 1 / (1 + exp(-parameter)) : exp(parameter) / (1 + exp(parameter))
    }

    /// dλ/dℓ.
    private func slope(of constraint: Constraint) -> Double {
        guard isBounded else { return 1 }
        let multiplier = multiplier(of: constraint)
        return constraint.kind == .equal ? 1 - multiplier * multiplier : multiplier * (1 - multiplier)
    }
}

extension LagrangianConstraints: RewardController {
    package var name: String { "constraints" }

    package func weights(at step: Int) -> StreamWeights {
        var weights = StreamWeights()
        guard settings.variant != .saturated else { return weights }
        let multipliers = constraints.map { (constraint: $0, value: multiplier(of: $0)) }
        let scale =
            isBounded || !settings.isNormalized
            ? 1 : 1 / (1 + multipliers.reduce(0) { $0 + abs($1.value) })
        weights.factor =
            isBounded ? Double(constraints.count) - multipliers.reduce(0) { $0 + $1.value } : scale
        for (constraint, value) in multipliers {
            weights.addends[constraint.reward, default: 0] += constraint.sign * value * scale
        }
        return weights
    }

    package func check(_ state: State) throws {
        let (mine, saved) = (constraints.map(\.name).sorted(), state.parameters.keys.sorted())
        guard mine == saved else {
            throw ControllerStateError(
                "the checkpoint has multipliers of \(saved.joined(separator: ", ")); the job constrains "
                    + "\(mine.joined(separator: ", "))"
            )
        }
        if let variant = state.variant, variant != settings.variant.rawValue {
            throw ControllerStateError(
                "the checkpoint has multipliers of the variant \(variant); the job has \(settings.variant.rawValue)")
        }
        for constraint in constraints {
            guard let kind = state.kinds?[constraint.name], kind != constraint.kind.rawValue else { continue }
            throw ControllerStateError(
                "the checkpoint's multiplier of \(constraint.name) is that of the kind \(kind); the job's is of "
                    + constraint.kind.rawValue)
        }
    }

    /// Metrics, with `constraints/NAME/` before them: `value` (J), `limit`, `violation` (how far J is on the wrong
    /// side, in the reward's units, negative where there is room; for `equal` the distance), `lambda` in force in the
    /// step, and `lambda_mean` and `value_mean` over the last fifth of the rollouts: multipliers circle around what
    /// they tend to, their mean does not.
    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? {
        var update = ControllerUpdate()
        var means: [String: Double] = [:]
        for constraint in constraints {
            let tally = step.tally(of: constraint.reward, countsTokens: settings.weighsLengths)
            guard tally.count > 0 else { continue }
            guard tally.mean.isFinite else { return nil }
            means[constraint.name] = tally.mean
        }
        var moved = self
        moved.state.rollouts += 1
        moved.noteOwner()
        for constraint in constraints {
            moved.note(constraint, means[constraint.name], into: &update.metrics)
        }
        guard settings.variant != .saturated else {
            self = moved
            return update
        }
        for _ in 0..<stepsPerRollout { moved.takeDualStep(means) }
        var pulls = moved.state.pulls ?? [:]
        for constraint in constraints {
            guard let pull = means[constraint.name].map(constraint.pull) else { continue }
            pulls[constraint.name] = 0.8 * (pulls[constraint.name] ?? pull) + 0.2 * pull
        }
        moved.state.pulls = pulls
        guard moved.state.parameters.values.allSatisfy(\.isFinite) else { return nil }
        let notes = [moved.saturation(), moved.announcement(means)].compactMap(\.self)
        update.note = notes.isEmpty ? nil : notes.joined(separator: "; ")
        self = moved
        return update
    }

    private mutating func note(_ constraint: Constraint, _ mean: Double?, into metrics: inout Metrics) {
        let prefix = "constraints/\(constraint.name)"
        metrics["\(prefix)/value"] = mean
        metrics["\(prefix)/limit", .last] = constraint.limit
        metrics["\(prefix)/violation"] = mean.map(constraint.violation)
        let multiplier = multiplier(of: constraint)
        if settings.variant != .saturated { metrics["\(prefix)/lambda", .last] = multiplier }
        if let mean {
            state.recent[constraint.name, default: []].append(
                .init(rollout: state.rollouts, multiplier: multiplier, mean: mean))
            state.known = (state.known ?? [:]).merging([constraint.name: mean]) { $1 }
        }
        let first = state.rollouts - state.rollouts / 5
        state.recent[constraint.name]?.removeAll { $0.rollout < first }
        guard let recent = state.recent[constraint.name], !recent.isEmpty else { return }
        let count = Double(recent.count)
        if settings.variant != .saturated {
            metrics["\(prefix)/lambda_mean", .last] = recent.reduce(0) { $0 + $1.multiplier } / count
        }
        metrics["\(prefix)/value_mean", .last] = recent.reduce(0) { $0 + $1.mean } / count
    }

    /// One step of gradient descent with momentum on the dual loss Σ σλ(J − θ)/s.
    private mutating func takeDualStep(_ means: [String: Double]) {
        let measured = constraints.filter { means[$0.name] != nil }
        var gradients = measured.map { -slope(of: $0) * $0.pull(means[$0.name] ?? 0) }
        if let limit = settings.maxGradientNorm {
            let norm = gradients.reduce(0) { $0 + $1 * $1 }.squareRoot()
            if norm > limit { gradients = gradients.map { $0 * limit / norm } }
        }
        for (constraint, gradient) in zip(measured, gradients) {
            let velocity = settings.momentum * (state.velocities[constraint.name] ?? 0) + gradient
            state.velocities[constraint.name] = velocity
            let parameter = (state.parameters[constraint.name] ?? 0) - settings.learningRate * velocity
            state.parameters[constraint.name] = isBounded ? parameter : bounded(parameter, constraint)
        }
    }

    // MARK: Saying why

    private mutating func saturation() -> String? {
        guard isBounded else { return nil }
        var reached: [String] = []
        for constraint in constraints {
            let multiplier = multiplier(of: constraint)
            let count = abs(multiplier) > 0.98 ? (state.saturated[constraint.name] ?? 0) + 1 : 0
            state.saturated[constraint.name] = count
            var alarmed = state.alarmed ?? []
            if count == 0 { alarmed.removeAll { $0 == constraint.name } }
            // The rollout may have no score of it: what is known of J is then from before.
            if count >= 20, !alarmed.contains(constraint.name), let mean = state.known?[constraint.name] {
                alarmed.append(constraint.name)
                reached.append(
                    "the multiplier of \(constraint.name) has been at \(multiplier.shown) for \(count) rollouts, "
                        + "\(constraint.name) is \(mean.shown) and must be \(constraint.demand)")
            }
            state.alarmed = alarmed
        }
        guard !reached.isEmpty else { return nil }
        let text =
            reached.joined(separator: ", ") + ": a bounded multiplier can do no more. The other rewards "
            + "weigh N − Σλ against it, so with tanh the ratio Σλ/(N − Σλ) stays above −1/2, and a policy far above "
            + "its limits may never come down"
        guard settings.onSaturation == .textbook else {
            return text
                + ". multipliers.variant: textbook has no such bound; multipliers.on_saturation: textbook switches "
                + "to it"
        }
        let base = Double(constraints.count) - constraints.reduce(0) { $0 + self.multiplier(of: $1) }
        let effective = constraints.map { ($0.name, self.multiplier(of: $0) / max(base, 1e-6)) }
        state.parameters = Dictionary(uniqueKeysWithValues: effective)
        state.velocities = [:]
        state.isTextbook = true
        return text + "; from here on multipliers are those of textbook, which have no bound"
    }

    /// A line when a multiplier has moved by a half, and by a tenth at least, since a line last told of it.
    private mutating func announcement(_ means: [String: Double]) -> String? {
        var lines: [String] = []
        for constraint in constraints {
            guard let mean = means[constraint.name] else { continue }
            let now = multiplier(of: constraint)
            let before = state.announced[constraint.name] ?? (isBounded && constraint.kind != .equal ? 0.5 : 0)
            guard abs(now - before) >= max(0.1, abs(before) / 2) else { continue }
            state.announced[constraint.name] = now
            lines.append(
                "the multiplier of \(constraint.name) went from \(before.shown) to \(now.shown): "
                    + "\(constraint.reward) is "
                    + "\(mean.shown), its limit \(constraint.demand)")
        }
        return lines.isEmpty ? nil : lines.joined(separator: "; ")
    }
}
