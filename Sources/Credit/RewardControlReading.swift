internal import Records

/// Puts constraints and weights beside the rewards they are about, and refuses what does not fit them.
struct RewardControlReading {
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
    static func reward(
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
                "dynamic_weights.method is recap, which sets the weights of the rewards, and so does \(other); a weight has one owner. Allowed: \(RewardControl.stacks)"
            )
        }
        if dynamic.comparesGradients, hasConstraints || !scheduled.isEmpty {
            let other =
                hasConstraints ? "constraints" : "reward_weights by step (of \(scheduled.joined(separator: ", ")))"
            job.refuse(
                key,
                "dynamic_weights.method is gradient, which sets the weights of the rewards, and so do \(other); a weight has one owner. Allowed: \(RewardControl.stacks)"
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
            refuseCount("dynamic_weights.spans", dynamic.spans.count, &job)
        }
    }

    /// Refuses a list that has not one number for each reward.
    private func refuseCount(_ key: String, _ found: Int, _ job: inout SettingsReader) {
        let count = rewards.count
        job.refuse(key, "\(key) gives \(found) for \(count) reward\(count == 1 ? "" : "s"); expected \(count)")
    }

    /// The largest scores of the rewards that RECAP weighs: those of a weight of their own, which no multiplier owns.
    func ceilings(
        _ dynamic: DynamicWeightSettings, _ curves: [WeightCurve], _ job: inout SettingsReader
    ) -> [String: Double] {
        guard namesAreFinal, curves.count == rewards.count else { return [:] }
        guard dynamic.ceilings.isEmpty || dynamic.ceilings.count == rewards.count else {
            refuseCount("dynamic_weights.ceilings", dynamic.ceilings.count, &job)
            return [:]
        }
        var found: [String: Double] = [:]
        for (index, reward) in rewards.enumerated() {
            let weight = curves[index].last
            guard weight != 0, !constraints.contains(where: { $0.reward == reward.name }) else { continue }
            guard weight > 0 else {
                job.refuse(
                    "reward_weights",
                    "reward_weights has \(weight.shown) for \(reward.name), and dynamic_weights.method recap measures how far a reward is from its largest score; a cost moves away from that as it improves; expected a number of at least 0, or constraints on \(reward.name)"
                )
                continue
            }
            if dynamic.ceilings.isEmpty {
                guard let top = reward.range?.upperBound, top < Self.open else {
                    job.refuse(
                        "dynamic_weights.ceilings",
                        "dynamic_weights.method is recap, which measures how far \(reward.name) is from its largest score, and that is unknown; set dynamic_weights.ceilings, one number per reward"
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
                refuseCount("reward_weights", given.curves.count, &job)
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
