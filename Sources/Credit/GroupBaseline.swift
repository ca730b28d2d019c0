package import Records

/// Settings of ``GroupBaseline``.
package struct GroupBaselineSettings: Sendable, Equatable {
    /// What a group's centred rewards are divided by: `scale_rewards:`.
    package enum Scaling: String, SettingsChoice {
        /// The group's own standard deviation (GRPO).
        case group
        /// The standard deviation over all completions of the step (Lite PPO, arXiv:2508.08221).
        case batch
        /// Nothing (Dr. GRPO, arXiv:2503.20783): no weight on how hard a prompt is.
        case none

        /// TRL also takes truth values: true is `group`, false is `none`.
        package static func read(_ node: SettingsNode) -> Self? {
            if let truth = Bool.read(node) { return truth ? .group : Scaling.none }
            return String.read(node).flatMap(Self.init(rawValue:))
        }
    }

    package let scaling: Scaling
    package let aggregation: RewardAggregation
    /// Added to every standard deviation before dividing; TRL has 1e-4, verl 1e-6.
    package let epsilon: Double
    /// A KL penalty inside the reward, subtracted before the baseline; `nil` for none (GRPO has it in the loss).
    package let penalty: KLToGo?
    /// Whether a KL term in the loss acts on groups whose rewards are all equal, as in TRL. Without it they move
    /// nothing.
    package let deadGroupsTakeKL: Bool

    /// - Parameter penalty: With the reach `completion`: a group compares whole completions. None with
    ///   `normalizeThenSum`, where no single reward exists to take it from.
    package init(
        scaling: Scaling = .group, aggregation: RewardAggregation = .sumThenNormalize, epsilon: Double = 1e-4,
        penalty: KLToGo? = nil, deadGroupsTakeKL: Bool = true
    ) {
        self.scaling = scaling
        self.aggregation = aggregation
        self.epsilon = epsilon
        self.penalty = penalty
        self.deadGroupsTakeKL = deadGroupsTakeKL
    }

    /// - Parameters:
    ///   - keepsApart: Whether each reward has its own advantages.
    ///   - hasKLInLoss: Whether the loss has a KL term for groups to take.
    package init(
        reading job: inout SettingsReader, penalty: KLToGo?, keepsApart: Bool = false, hasKLInLoss: Bool = true
    ) {
        scaling = job.read(
            "scale_rewards", default: .group,
            "What r − mean(group) is divided by: the group's standard deviation + 1e-4, the batch's, or nothing (Dr. GRPO, arXiv:2503.20783)."
        )
        aggregation = job.read(
            "multi_objective_aggregation", default: .sumThenNormalize,
            "sum_then_normalize: advantages of the weighted sum. normalize_then_sum: each reward's own advantages, weighted and added (GDPO, arXiv:2601.05242)."
        )
        deadGroupsTakeKL = job.read(
            "kl_on_zero_std_groups", default: true,
            "Whether the loss's KL term acts on groups with all rewards equal, as in TRL. With false, such groups change nothing."
        )
        epsilon = 1e-4
        self.penalty = penalty
        job.ignore("scale_rewards", when: aggregation == .normalizeThenSum)
        job.ignore("kl_on_zero_std_groups", when: !hasKLInLoss)
        if keepsApart, aggregation == .normalizeThenSum {
            job.refuse(
                "multi_objective_aggregation",
                "multi_objective_aggregation is normalize_then_sum, which also normalizes the weighted sum and so undoes multipliers; with constraints or gradient weights expected sum_then_normalize, which normalizes each reward in its group and not the sum"
            )
        } else if keepsApart, penalty != nil {
            job.refuse(
                "kl_placement",
                "kl_placement is reward; constraints and gradient weights keep the rewards apart, and none is there to take the KL from; expected loss"
            )
        } else if penalty != nil, aggregation == .normalizeThenSum {
            job.refuse(
                "kl_placement", "kl_placement reward needs one reward to take the KL from; expected sum_then_normalize")
        }
    }
}

/// The group baseline of Group Relative Policy Optimization (Shao et al. 2024, arXiv:2402.03300v3, §4.1.2), TRL's form.
///
///     A_i = (r_i − mean(r)) / (std(r) + ε)      over the completions i of one prompt; every token of i gets A_i
///
/// std has the divisor G − 1 and runs over the group, or the batch, or is left out (``GroupBaselineSettings/Scaling``).
/// One stream for each objective: each reward has its own mean and deviation where the job keeps them apart. A KL
/// penalty is no stream here: it stands inside R, and the deviation that everything is divided by is that of R. GDPO
/// normalizes the sum as well, so that it too has one stream.
/// Departs from the formula where it would divide noise by noise: in a group whose rewards are all equal every A is
/// exactly 0. A completion without a reward is left out of mean and std and gets 0; a group with fewer than two rewards
/// teaches nothing.
package struct GroupBaseline: CreditRule {
    package let rewards: RewardCombination
    package let settings: GroupBaselineSettings
    package let overlong: OverlongHandling
    package var mixer: Mixer { Mixer() }

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
        let objectives = try objectives(of: batch, combined)
        if objectives.count > 1, penalties != nil || settings.aggregation == .normalizeThenSum {
            throw .oneStream(rule: penalties == nil ? "normalize_then_sum" : "the group baseline with a KL penalty")
        }
        var streams: [AdvantageStream] = []
        let isDead: [Bool]
        switch settings.aggregation {
        case .sumThenNormalize:
            streams = objectives.map { objective in
                objective.stream(
                    advantages(of: objective.rewards.minus(penalties)).repeated(over: batch), batch, overlong)
            }
            isDead = deadGroups(objectives)
        case .normalizeThenSum:
            let weighed = rewards.weighed(by: batch.weights)
            let scores = batch.groups.map {
                $0.scores.map { row in row.indices.map { rewards.value(row[$0], at: $0) } }
            }
            // A shadow tells no completions apart.
            let counted = rewards.names.indices.filter { weighed.weights[$0] != 0 }
            isDead = scores.map { group in
                counted.allSatisfy { reward in Moments(group.compactMap { $0[reward] }).isConstant }
            }
            // The sums' mean is 0, and rounding of it is no advantage of a group without any.
            let own = zip(advantages(ofEachReward: scores, weighed), isDead).map {
                $1 ? [Double](repeating: 0, count: $0.count) : $0
            }
            streams = [objectives[0].stream(own.repeated(over: batch), batch, overlong)]
        }
        return assemble(
            batch, combined, Advantages(streams, isDead: isDead), overlong, penalties: penalties,
            deadGroupsTakeKL: settings.deadGroupsTakeKL)
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
    /// - Parameters:
    ///   - scores: `[group][completion][reward]`
    ///   - weighed: The rewards with the step's weights.
    func advantages(ofEachReward scores: [[[Double?]]], _ weighed: RewardCombination) -> [[Double]] {
        let sums: [[Double?]] = scores.map { group in
            let normalized = rewards.names.indices.map { reward in
                Self.normalized(group.map { $0[reward] }, epsilon: settings.epsilon)
            }
            return group.indices.map { completion in weighed.combined(normalized.map { $0[completion] }) }
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
