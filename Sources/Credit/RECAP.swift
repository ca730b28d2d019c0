package import Records

/// Weighs rewards, and imitation of general rows beside them, by how much they still move: RECAP (arXiv:2510.21978),
/// with ``ObjectiveBalance``.
///
///     loss of a reward         its ceiling − its mean over the step's completions
///     loss of general rows     their cross-entropy
///     weight of objective k    its own · λ_k,  Σ λ = number of objectives
///
/// The paper divides by that number, too; here a job's weights mean what they mean without RECAP, to which λ = 1 is
/// equal. What the paper feeds it, the surrogate losses, will not do for rewards: their mean is near 0. Nor has a reward
/// of negative weight a loss here: its distance from the ceiling grows as the policy gets better.
package struct RECAP: RewardController {
    /// The part that imitates general rows, in metrics and among the objectives.
    package static let replayName = "replay"

    package let name = "recap"
    package var state: ObjectiveBalance
    /// The largest score of each reward it weighs.
    private let ceilings: [String: Double]
    private let replays: Bool
    /// What the running step was weighed by: rewards tell of it before general rows do.
    private var used: [String: Double]?

    /// - Parameters:
    ///   - ceilings: By reward.
    ///   - replays: Whether general rows are imitated beside them.
    package init(ceilings: [String: Double], replays: Bool, window: Int = 10, temperature: Double = 5) {
        self.ceilings = ceilings
        self.replays = replays
        state = ObjectiveBalance(
            ceilings.keys.sorted() + (replays ? [Self.replayName] : []), window: window, temperature: temperature)
    }

    package func weights(at step: Int) -> StreamWeights {
        var weights = StreamWeights()
        let balance = state.weights
        weights.factors = balance.filter { ceilings[$0.key] != nil }
        if replays { weights.imitationFactor = balance[Self.replayName] ?? 1 }
        return weights
    }

    package func check(_ saved: ObjectiveBalance) throws {
        guard saved.losses.keys.sorted() == state.losses.keys.sorted() else {
            throw ControllerStateError(
                "the checkpoint balances \(saved.losses.keys.sorted().joined(separator: ", ")); the job balances "
                    + state.losses.keys.sorted().joined(separator: ", "))
        }
        guard saved.window == state.window, saved.temperature == state.temperature else {
            throw ControllerStateError(
                "the checkpoint has the window \(saved.window) and the temperature \(saved.temperature.shown); the "
                    + "job has \(state.window) and \(state.temperature.shown)")
        }
    }

    /// Metrics: `recap/NAME/weight`, λ in the step, and `recap/NAME/loss`.
    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? {
        let means = ceilings.keys.compactMap { name -> (String, Double)? in
            let tally = step.tally(of: name)
            return tally.count == 0 ? nil : (name, (ceilings[name] ?? 0) - tally.mean)
        }
        used = state.weights
        return note(Dictionary(uniqueKeysWithValues: means), of: ceilings.keys.sorted())
    }

    /// As ``observe(_:)-(ObservedStep)``, of the general rows.
    package mutating func observe(trained: Metrics) -> ControllerUpdate? {
        guard replays else { return ControllerUpdate() }
        let loss = trained["\(Self.replayName)/loss"].map { [Self.replayName: $0] } ?? [:]
        return note(loss, of: [Self.replayName])
    }

    private mutating func note(_ losses: [String: Double], of names: [String]) -> ControllerUpdate? {
        guard losses.values.allSatisfy(\.isFinite) else { return nil }
        var update = ControllerUpdate()
        let used = used ?? state.weights
        for name in names {
            update.metrics["recap/\(name)/weight", .last] = used[name]
            update.metrics["recap/\(name)/loss"] = losses[name]
        }
        let waited = state.isWaiting
        state.note(losses)
        if waited, !state.isWaiting {
            update.note =
                "recap: \(2 * state.window) steps are known of every objective; from here on weights follow them: "
                + state.weights.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value.shown)" }.joined(separator: ", ")
        }
        return update
    }
}
