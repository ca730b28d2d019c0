package import Records

/// What a job says of its rewards' weights: fixed ones, schedules, constraints, weights that follow what the run shows.
///
/// One reader for all of them, since they must agree on who owns which weight.
package struct RewardControl: Sendable {
    package let rewards: RewardCombination
    package let constraints: [Constraint]
    package let multipliers: MultiplierSettings
    package let dynamic: DynamicWeightSettings
    /// `nil` where limits stay.
    package let search: ThresholdSearchSettings?
    /// Draws the first points of a search.
    package var seed: UInt64 = 0
    /// `nil` where every weight stays.
    package let schedule: WeightSchedule?
    /// The largest scores of the rewards that RECAP weighs, by name; `nil` where it weighs none.
    private let ceilings: [String: Double]?
    /// What is normalized on the way from kept-apart rewards to their sum, for rules that do not do so themselves.
    package let normalization: Normalization

    /// Steps from one measurement of the rewards' gradients to the next; 0 for none.
    private let gradientShareSteps: Int
    /// Whether the job gives weights itself.
    private let startsGiven: Bool
    /// Whether nothing was wrong: else nothing runs, and no controller is made of it.
    private let isSound: Bool

    /// `stream_normalization:`.
    package enum Normalization: String, SettingsChoice {
        /// Each reward's stream.
        case rewards
        /// The KL's too, as in the paper of the bounded forms: β then cancels.
        case all
        case none
    }

    /// Controllers that may stand side by side (specification §7.3).
    package static let stacks =
        "one of constraints, dynamic_weights gradient or recap and weights by step for a reward, recap beside constraints on other rewards, and beside them dynamic_weights hypervolume, which multiplies all of them, and kl_target"

    /// What is known of a reward before the run.
    package struct Reward: Sendable {
        package var name: String
        /// Every score lies in here; `nil` where nobody says so.
        package var range: ClosedRange<Double>?

        package init(_ name: String, range: ClosedRange<Double>? = nil) {
            self.name = name
            self.range = range
        }
    }

    /// - Parameters:
    ///   - rewards: The job's, in its order.
    ///   - namesAreFinal: Whether the names are those that the rewards give themselves; else a reward that is not found
    ///     may still be one of them.
    package init(reading job: inout SettingsReader, rewards given: [Reward], namesAreFinal: Bool = true) {
        let problemsBefore = job.problems.count
        let names = given.map(\.name)
        let weights: RewardWeights? = job.read(
            "reward_weights", optional: nil,
            "One factor per reward: a list in their order, or a section by name. A factor may be weights by optimizer step, {0: 1.0, 500: 0.2}. Combined reward = Σ weight × score over the rewards that scored. By default 1, of a constrained reward 0. A reward of weight 0 is a shadow: scored, logged and watched, not learned from."
        )
        let interpolation = job.read(
            "reward_weight_interpolation", default: WeightCurve.Interpolation.linear,
            "Between two steps of a weight: linear, on the line between them, or steps, the earlier one's. Before the first and behind the last the weight stays."
        )
        let constraints: [Constraint] = job.read(
            "constraints", default: [],
            "Limits on the mean score of rewards, each {reward, limit, kind: at_least|at_most|equal, scale, name}. Their weights are multipliers (arXiv:2310.04373); scale, which the distance to the limit is divided by, is 1, or |limit| where that is larger. Every method with advantages takes them; the other rewards keep their reward_weights."
        )
        multipliers = MultiplierSettings(reading: &job, isUsed: !constraints.isEmpty)
        normalization = job.read(
            "stream_normalization", default: .rewards,
            "With constraints each reward has its own advantages. rewards: each is brought to mean 0 and deviation 1 over the step before they are added, the KL is left as it is; all: the KL too, so that beta cancels; none. grpo and soft_grpo have scale_rewards for that."
        )
        gradientShareSteps = job.read(
            "gradient_share_steps", default: 0, .from(0, to: 1_000_000),
            "Rollout steps from one measurement of each reward's share of the gradient to the next, rewards/NAME/gradient_share, at a forward and a backward pass for each reward; 0 measures none."
        )
        job.ignore("gradient_share_steps", when: names.count < 2)
        dynamic = DynamicWeightSettings(reading: &job)
        let reading = Reading(given, constraints, multipliers.variant, namesAreFinal: namesAreFinal)
        self.constraints = reading.constraints
        search = ThresholdSearchSettings(
            reading: &job, constraints: reading.constraints, rewards: namesAreFinal ? names : nil)
        if search != nil, multipliers.variant == .saturated {
            job.refuse(
                "multipliers.variant",
                "multipliers.variant is ppo_sat, whose limits are part of the reward; threshold_search moves those of multipliers"
            )
        }
        reading.refuseUnfit(constraints, &job)
        let curves = reading.curves(weights, &job)
        job.resolve("reward_weights", to: RewardWeights(curves: curves))
        let isZero = curves.allSatisfy { curve in curve.points.allSatisfy { $0.weight == 0 } }
        if weights != nil, !curves.isEmpty, isZero, constraints.isEmpty {
            job.refuse(
                "reward_weights", "reward_weights are all 0; expected one of another weight: nothing would be learned")
        }
        var scheduled: [String: WeightCurve] = [:]
        for (name, curve) in zip(names, curves) where !curve.isConstant { scheduled[name] = curve }
        schedule = scheduled.isEmpty ? nil : WeightSchedule(scheduled, interpolation)
        job.ignore("reward_weight_interpolation", when: scheduled.isEmpty)
        job.ignore("stream_normalization", when: constraints.isEmpty && !dynamic.comparesGradients && !dynamic.balances)
        reading.refuseUnfit(
            dynamic, hasConstraints: !constraints.isEmpty, scheduled: scheduled.keys.sorted(), given: weights, &job)
        ceilings = dynamic.balances ? reading.ceilings(dynamic, curves, &job) : nil
        startsGiven = weights != nil
        for constraint in self.constraints where scheduled[constraint.reward] != nil {
            job.refuse(
                "reward_weights",
                "reward_weights has weights by step for \(constraint.reward), whose weight is the multiplier of a constraint; a weight has one owner. Allowed is \(Self.stacks)"
            )
        }
        let isApart =
            !constraints.isEmpty && multipliers.variant != .saturated || dynamic.comparesGradients || dynamic.balances
        rewards = RewardCombination(
            names: names, weights: curves.map(\.last), form: isApart ? .apart : .summed,
            shapes: reading.shapes)
        isSound = job.problems.count == problemsBefore && !names.isEmpty && Set(names).count == names.count
    }

    /// Whether every reward has its own stream of advantages.
    package var keepsApart: Bool { rewards.form == .apart }

    /// What moves weights on the way.
    ///
    /// - Parameter optimizerStepsPerRollout: Those of the policy.
    package func controllers(optimizerStepsPerRollout: Int) -> [any RewardController] {
        guard isSound else { return [] }
        var all: [any RewardController] = []
        if !constraints.isEmpty {
            let steps = multipliers.isPerMinibatch ? optimizerStepsPerRollout : 1
            let held = LagrangianConstraints(constraints, multipliers, stepsPerRollout: steps)
            if let search { all.append(ThresholdSearch(held, search, seed: seed)) } else { all.append(held) }
        }
        if gradientShareSteps > 0, rewards.names.count > 1 {
            all.append(GradientShares(rewards.names, every: gradientShareSteps))
        }
        if let schedule { all.append(schedule) }
        if dynamic.comparesGradients {
            all.append(
                GradientWeighting(
                    rewards.names, initial: startsGiven ? rewards.weights : nil, stepSize: dynamic.stepSize,
                    temperature: dynamic.temperature, floor: dynamic.floor))
        }
        if let ceilings {
            all.append(
                RECAP(
                    ceilings: ceilings, replays: dynamic.replay != nil, window: dynamic.window,
                    temperature: dynamic.temperature ?? 5))
        }
        if dynamic.isGuided {
            let axes = rewards.names.enumerated().map { index, name in
                HypervolumeWeighting.Axis(
                    name, isMinimized: dynamic.minimized.contains(name),
                    span: dynamic.spans.indices.contains(index) ? dynamic.spans[index] : nil)
            }
            all.append(HypervolumeWeighting(axes, target: dynamic.target))
        }
        return all
    }

    /// What is normalized of a rule's streams.
    ///
    /// - Parameter own: What the rule does with one reward.
    package func mixer(_ own: Mixer) -> Mixer {
        guard keepsApart else { return own }
        return switch normalization {
        case .rewards: Mixer(.rewards)
        case .all: Mixer(.eachStream)
        case .none: Mixer()
        }
    }
}

/// Puts constraints and weights beside the rewards they are about.
private struct Reading {
    let rewards: [RewardControl.Reward]
    /// Those whose reward is known, under its own name.
    let constraints: [Constraint]
    let variant: MultiplierSettings.Variant
    let namesAreFinal: Bool
    /// An upper bound that stands for none.
    private static let open = 1e9

    init(
        _ rewards: [RewardControl.Reward], _ given: [Constraint], _ variant: MultiplierSettings.Variant,
        namesAreFinal: Bool
    ) {
        self.rewards = rewards
        self.variant = variant
        self.namesAreFinal = namesAreFinal
        constraints = given.compactMap { constraint in
            guard let reward = Self.reward(constraint.reward, among: rewards) else { return nil }
            var own = constraint
            own.reward = reward.name
            // Several limits of one reward count in one unit: the reward has one stream.
            own.scale = given.filter { $0.reward == constraint.reward }.map(\.scale).max() ?? own.scale
            return own
        }
    }

    /// The reward of a name; an entry of `reward_funcs` such as `scores.py:style` goes by its last part too.
    private static func reward(
        _ name: String, among rewards: [RewardControl.Reward]
    ) -> RewardControl.Reward? {
        func isPart(_ part: String, of whole: String) -> Bool {
            [":", ".", "/", " "].contains { whole.hasSuffix($0 + part) }
        }
        return rewards.first { $0.name == name }
            ?? rewards.first { isPart(name, of: $0.name) || isPart($0.name, of: name) }
    }

    func refuseUnfit(_ given: [Constraint], _ job: inout SettingsReader) {
        let names = rewards.map(\.name)
        for constraint in given {
            guard let reward = Self.reward(constraint.reward, among: rewards) else {
                if namesAreFinal {
                    let near = nearestNames(to: constraint.reward, among: names)
                    job.refuse(
                        "constraints",
                        "constraints: no reward is named '\(constraint.reward)'; "
                            + (near.isEmpty
                                ? "reward_funcs has \(names.joined(separator: ", "))" : "did you mean \(near[0])?"))
                }
                continue
            }
            refuseKind(constraint, &job)
            if let range = reward.range { judge(constraint, range, &job) }
        }
        for (index, constraint) in given.enumerated()
        where given[..<index].contains(where: { $0.name == constraint.name }) {
            job.refuse(
                "constraints",
                "constraints: two are named \(constraint.name); give one of them another name, as {…, name: \(constraint.name)_\(constraint.kind.rawValue)}"
            )
        }
    }

    private func refuseKind(_ constraint: Constraint, _ job: inout SettingsReader) {
        guard !variant.kinds.contains(constraint.kind) else { return }
        job.refuse(
            "multipliers.variant",
            "multipliers.variant is \(variant.rawValue), which holds \(variant.kinds.map(\.rawValue).joined(separator: " and ")), and \(constraint.name) is \(constraint.kind.rawValue); expected textbook, or another kind"
        )
    }

    /// Whether scores can reach the limit at all.
    private func judge(_ constraint: Constraint, _ range: ClosedRange<Double>, _ job: inout SettingsReader) {
        let (limit, kind) = (constraint.limit, constraint.kind)
        let isOut =
            switch kind {
            case .atLeast: limit > range.upperBound
            case .atMost: limit < range.lowerBound
            case .equal: !range.contains(limit)
            }
        let scores = "scores lie from \(range.lowerBound.shown) to \(range.upperBound.shown)"
        if isOut {
            job.refuse(
                "constraints",
                "constraints: \(constraint.reward) can never be \(constraint.demand); its \(scores)")
        } else if kind == .atLeast && limit <= range.lowerBound || kind == .atMost && limit >= range.upperBound {
            job.notice("constraints: \(constraint.reward) is always \(constraint.demand); its \(scores)")
        }
    }

    func refuseUnfit(
        _ dynamic: DynamicWeightSettings, hasConstraints: Bool, scheduled: [String], given: RewardWeights?,
        _ job: inout SettingsReader
    ) {
        let key = "dynamic_weights.method"
        if dynamic.balances, !scheduled.isEmpty || hasConstraints && variant != .textbook {
            let other =
                scheduled.isEmpty
                ? "multipliers.variant \(variant.rawValue), which scales what stands beside the constraints"
                : "reward_weights by step (of \(scheduled.joined(separator: ", ")))"
            job.refuse(
                key,
                "dynamic_weights.method is recap, which sets the weights of the rewards, and so does \(other); a weight has one owner. Allowed is \(RewardControl.stacks)"
            )
        }
        if dynamic.comparesGradients, hasConstraints || !scheduled.isEmpty {
            let other =
                hasConstraints ? "constraints" : "reward_weights by step (of \(scheduled.joined(separator: ", ")))"
            job.refuse(
                key,
                "dynamic_weights.method is gradient, which sets the weights of the rewards, and so do \(other); a weight has one owner. Allowed is \(RewardControl.stacks)"
            )
        }
        if dynamic.comparesGradients, namesAreFinal, rewards.count == 1 {
            job.refuse(key, "dynamic_weights.method is gradient; one reward has nothing to be weighed against")
        }
        if dynamic.comparesGradients, let given, let weight = given.curves.map(\.last).first(where: { $0 <= 0 }) {
            job.refuse(
                "reward_weights",
                "reward_weights has \(weight.shown), and dynamic_weights.method gradient begins with them; expected numbers above 0"
            )
        }
        if dynamic.isGuided, rewards.count > 5 {
            job.refuse(
                key, "dynamic_weights.method is hypervolume, exact for up to 5 rewards; the job has \(rewards.count)")
        }
        let names = rewards.map(\.name)
        if namesAreFinal, let unknown = dynamic.minimized.first(where: { !names.contains($0) }) {
            job.refuse(
                "dynamic_weights.minimize",
                "dynamic_weights.minimize: no reward is named '\(unknown)'; reward_funcs has \(names.joined(separator: ", "))"
            )
        }
        if namesAreFinal, !dynamic.spans.isEmpty, dynamic.spans.count != names.count {
            job.refuse(
                "dynamic_weights.spans",
                "dynamic_weights.spans has \(dynamic.spans.count) numbers for \(names.count) rewards; expected one each"
            )
        }
    }

    /// The largest scores of the rewards that RECAP weighs: those of a weight of their own, which no multiplier owns.
    func ceilings(
        _ dynamic: DynamicWeightSettings, _ curves: [WeightCurve], _ job: inout SettingsReader
    ) -> [String: Double] {
        guard namesAreFinal, curves.count == rewards.count else { return [:] }
        guard dynamic.ceilings.isEmpty || dynamic.ceilings.count == rewards.count else {
            job.refuse(
                "dynamic_weights.ceilings",
                "dynamic_weights.ceilings has \(dynamic.ceilings.count) numbers for \(rewards.count) rewards; expected one each"
            )
            return [:]
        }
        var found: [String: Double] = [:]
        for (index, reward) in rewards.enumerated() {
            guard curves[index].last != 0, !constraints.contains(where: { $0.reward == reward.name }) else { continue }
            if dynamic.ceilings.isEmpty {
                guard let top = reward.range?.upperBound, top < Self.open else {
                    job.refuse(
                        "dynamic_weights.ceilings",
                        "dynamic_weights.method is recap, which measures how far \(reward.name) is from its largest score, and nobody says what that is; set dynamic_weights.ceilings, one number a reward"
                    )
                    continue
                }
                found[reward.name] = top
            } else {
                found[reward.name] = dynamic.ceilings[index]
            }
        }
        if job.problems.isEmpty, found.count + (dynamic.replay == nil ? 0 : 1) < 2 {
            job.refuse(
                "dynamic_weights.method",
                "dynamic_weights.method is recap; one objective has nothing to be weighed against, expected another reward or dynamic_weights.replay"
            )
        }
        if found[RECAP.replayName] != nil, dynamic.replay != nil {
            job.refuse(
                "dynamic_weights.replay",
                "dynamic_weights.replay is an objective named \(RECAP.replayName), and so is a reward; give the reward another name"
            )
        }
        return found
    }

    /// One for each reward.
    func curves(_ given: RewardWeights?, _ job: inout SettingsReader) -> [WeightCurve] {
        let names = rewards.map(\.name)
        let constrained = Set(constraints.map(\.reward))
        let isSum = variant == .saturated || variant == .allPPO
        var curves = names.map { WeightCurve(constrained.contains($0) && !isSum ? 0 : 1) }
        guard let given else { return curves }
        guard let named = given.names else {
            guard given.curves.count == names.count else {
                job.refuse(
                    "reward_weights",
                    "reward_weights has \(given.curves.count) numbers for \(names.count) rewards; expected one each")
                return curves
            }
            return given.curves
        }
        for (name, curve) in zip(named, given.curves) {
            if let reward = Self.reward(name, among: rewards), let index = names.firstIndex(of: reward.name) {
                curves[index] = curve
            } else if namesAreFinal {
                let near = nearestNames(to: name, among: names)
                job.refuse(
                    "reward_weights",
                    "reward_weights: no reward is named '\(name)'; "
                        + (near.isEmpty
                            ? "reward_funcs has \(names.joined(separator: ", "))" : "did you mean \(near[0])?"))
            }
        }
        return curves
    }

    var shapes: [RewardCombination.Shape] {
        rewards.map { reward in
            guard let constraint = constraints.first(where: { $0.reward == reward.name }) else { return .asScored }
            if variant == .saturated { return .near(constraint.limit, scale: constraint.scale) }
            return constraint.scale == 1 ? .asScored : .divided(by: constraint.scale)
        }
    }
}
