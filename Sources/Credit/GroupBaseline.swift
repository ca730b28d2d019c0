package import Records

/// Settings of ``GroupBaseline``. A value that exists is a value that passed its checks.
package struct GroupBaselineSettings: Sendable, Equatable {
    /// What a group's centred rewards are divided by.
    package enum Scaling: String, Sendable, Equatable, CaseIterable {
        /// The group's own standard deviation (GRPO).
        case group
        /// The standard deviation over all completions of the step (Lite PPO, arXiv:2508.08221).
        case batch
        /// Nothing (Dr. GRPO, arXiv:2503.20783): no weight on how hard a prompt is.
        case none
    }

    package let scaling: Scaling
    package let aggregation: RewardAggregation
    /// Added to every standard deviation before dividing; TRL has 1e-4, verl 1e-6.
    package let epsilon: Double
    /// A KL penalty inside the reward, subtracted before the baseline; `nil` for none (GRPO has it in the loss).
    package let penalty: KLToGo?
    /// Whether a KL term in the loss acts on groups whose rewards are all equal, as in TRL. Without it they move nothing.
    package let deadGroupsTakeKL: Bool

    /// - Throws: `SettingsError` for a negative epsilon, a penalty that is not one number per completion, or one together
    ///   with `normalizeThenSum`, where no single reward exists to take it from.
    package init(
        scaling: Scaling = .group, aggregation: RewardAggregation = .sumThenNormalize, epsilon: Double = 1e-4,
        penalty: KLToGo? = nil, deadGroupsTakeKL: Bool = true
    ) throws(SettingsError) {
        var problems = Problems("group_baseline")
        problems.require(
            epsilon >= 0 && epsilon.isFinite, "epsilon", epsilon, "a number from 0 on")
        problems.require(
            penalty.map { $0.reach == .completion } ?? true, "penalty.reach", penalty?.reach.rawValue ?? "none",
            "completion: a group compares whole completions")
        problems.require(
            penalty == nil || aggregation == .sumThenNormalize, "aggregation", aggregation.rawValue,
            "sum_then_normalize with a KL penalty in the reward")
        try problems.throwIfAny()
        self.scaling = scaling
        self.aggregation = aggregation
        self.epsilon = epsilon
        self.penalty = penalty
        self.deadGroupsTakeKL = deadGroupsTakeKL
    }
}

/// The group baseline of Group Relative Policy Optimization (Shao et al. 2024, arXiv:2402.03300v3, §4.1.2), TRL's form.
///
///     A_i = (r_i − mean(r)) / (std(r) + ε)      over the completions i of one prompt; every token of i gets A_i
///
/// std has the divisor G − 1 and runs over the group, or the batch, or is left out (``GroupBaselineSettings/Scaling``).
/// Departs from the formula where it would divide noise by noise: in a group whose rewards are all equal every A is
/// exactly 0. A completion without a reward is left out of mean and std and gets 0; a group with fewer than two rewards
/// teaches nothing.
package struct GroupBaseline: CreditRule {
    package let rewards: RewardCombination
    package let settings: GroupBaselineSettings
    package let overlong: OverlongHandling

    package init(
        rewards: RewardCombination, settings: GroupBaselineSettings, overlong: OverlongHandling = .keep
    ) {
        self.rewards = rewards
        self.settings = settings
        self.overlong = overlong
    }

    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        let combined = combinedRewards(of: batch)
        let penalties = try settings.penalty?.penalties(of: batch, rule: "the group baseline")
        let perCompletion: [[Double]]
        let isDead: [Bool]
        switch settings.aggregation {
        case .sumThenNormalize:
            perCompletion = advantages(of: combined.minus(penalties))
            isDead = combined.map { Moments($0.compactMap(\.self)).isConstant }
        case .normalizeThenSum:
            let scores = batch.groups.map { $0.scores.map { $0.map(\.score) } }
            perCompletion = advantages(ofEachReward: scores)
            isDead = scores.map { group in
                rewards.names.indices.allSatisfy { reward in Moments(group.compactMap { $0[reward] }).isConstant }
            }
        }
        let advantages = Advantages(perCompletion.repeated(over: batch), isDead: isDead)
        return assemble(
            batch, combined, advantages, overlong, penalties: penalties, deadGroupsTakeKL: settings.deadGroupsTakeKL)
    }

    /// One advantage per completion.
    ///
    /// - Parameter rewards: `[group][completion]`; `nil` where there is no reward.
    package func advantages(of rewards: [[Double?]]) -> [[Double]] {
        let batchDeviation = Moments(rewards.joined().compactMap(\.self)).standardDeviation ?? 0
        return rewards.map { group in
            let moments = Moments(group.compactMap(\.self))
            guard let mean = moments.mean, !moments.isConstant else { return group.map { _ in 0 } }
            let divisor =
                switch settings.scaling {
                case .group: (moments.standardDeviation ?? 0) + settings.epsilon
                case .batch: batchDeviation + settings.epsilon
                case .none: 1.0
                }
            return group.map { reward in reward.map { ($0 - mean) / divisor } ?? 0 }
        }
    }

    /// GDPO (Liu et al. 2026, arXiv:2601.05242), as in TRL's `normalize_then_sum`: each reward normalized in its group,
    /// the weighted sum normalized over the batch.
    ///
    /// - Parameter scores: `[group][completion][reward]`
    func advantages(ofEachReward scores: [[[Double?]]]) -> [[Double]] {
        let sums: [[Double?]] = scores.map { group in
            let normalized = rewards.names.indices.map { reward in
                Self.normalized(group.map { $0[reward] }, epsilon: settings.epsilon)
            }
            return group.indices.map { completion in rewards.combined(normalized.map { $0[completion] }) }
        }
        let flat = Self.normalized(Array(sums.joined()), epsilon: settings.epsilon).map { $0 ?? 0 }
        var start = 0
        return sums.map { group in
            defer { start += group.count }
            return Array(flat[start..<start + group.count])
        }
    }

    /// (x − mean) / (std + ε) over the numbers there are; zeros when they are all equal.
    private static func normalized(_ values: [Double?], epsilon: Double) -> [Double?] {
        let moments = Moments(values.compactMap(\.self))
        guard let mean = moments.mean, !moments.isConstant else { return values.map { $0.map { _ in 0 } } }
        return values.map { $0.map { ($0 - mean) / ((moments.standardDeviation ?? 0) + epsilon) } }
    }
}

extension [[Double?]] {
    /// Rewards `[group][completion]` with each completion's whole penalty taken off.
    func minus(_ penalties: KLPenalties?) -> [[Double?]] {
        guard let penalties else { return self }
        return enumerated().map { group, rewards in
            rewards.enumerated().map { completion, reward in
                reward.map { $0 - penalties.total(group: group, completion: completion) }
            }
        }
    }
}

extension [[Double]] {
    /// One number per completion, given to each of its actions.
    func repeated(over batch: CreditBatch) -> [[[Double]]] {
        zip(self, batch.groups).map { advantages, scored in
            zip(advantages, scored.group.rollouts).map { advantage, rollout in
                [Double](repeating: advantage, count: rollout.actionCount)
            }
        }
    }
}
