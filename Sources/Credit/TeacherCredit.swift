internal import Records

/// The advantages of a distillation: those of the rewards where there are any, and the teacher's word on each token
/// where it is asked.
///
///     A_t = w·Σ_k w_k·A_k − (log π(y_t) − log π_T(y_t))
///
/// A_k are the advantages of the rewards' sum, or of each reward apart. The teacher's stream has no baseline: its
/// expectation is the gradient of the reverse KL of the next token at each visited state. Where multipliers scale what
/// they stand beside, the teacher is that as well, as a KL to the reference is.
package struct TeacherCredit: CreditRule {
    package let rewards: RewardCombination
    /// What compares completions by their rewards; `nil` without rewards.
    package let baseline: GroupBaseline?
    /// What the rewards' advantages count.
    package let rewardWeight: Double
    /// The teacher's stream; `nil` where the loss has its divergence.
    package let teacher: KLToGo?
    package let overlong: OverlongHandling
    package var mixer: Mixer { Mixer() }
    /// A teacher speaks to every token.
    package var needsDifferences: Bool { false }

    package init(
        rewards: RewardCombination, baseline: GroupBaseline?, rewardWeight: Double, teacher: KLToGo?,
        overlong: OverlongHandling = .keep
    ) {
        self.rewards = rewards
        self.baseline = baseline
        self.rewardWeight = rewardWeight
        self.teacher = teacher
        self.overlong = overlong
    }

    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        let combined = combinedRewards(of: batch)
        let everything = batch.groups.map { $0.group.rollouts.map { !overlong.masks($0.completion) } }
        var streams: [AdvantageStream] = []
        var isDead: [Bool] = []
        if let baseline {
            let objectives = try objectives(of: batch, combined)
            for objective in objectives {
                var stream = objective.stream(
                    baseline.advantages(of: objective.rewards).repeated(over: batch), batch, overlong)
                stream.weight *= rewardWeight
                streams.append(stream)
            }
            isDead = deadGroups(objectives)
        }
        let penalties = try teacher?.penalties(of: batch, rule: "distillation by sampled tokens")
        if let penalties {
            streams.append(penalties.stream(isCredited: everything.map { $0.map { _ in true } }, isValid: everything))
        }
        if streams.isEmpty {
            let zeros = batch.groups.map { $0.group.rollouts.map { [Double](repeating: 0, count: $0.actionCount) } }
            streams.append(AdvantageStream(name: "reward", weight: 1, values: zeros, isValid: everything))
        }
        // With a teacher that speaks to every token no group is without a difference to learn from.
        return assemble(
            batch, combined, Advantages(streams, isDead: isDead), overlong, penalties: penalties)
    }
}
