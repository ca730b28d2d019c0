internal import Records

/// The reward itself as advantage: REINFORCE (Williams 1992) without a baseline.
///
///     A_t = r − β·Σ_{s ≥ t} k1_s
///
/// The penalty is a stream of its own: −Σ_{s ≥ t} k1_s with the weight β. Unbiased, and of the largest variance of all
/// rules here: what the others are measured against.
package struct PlainReward: CreditRule {
    package let rewards: RewardCombination
    /// The KL penalty; `nil` for none.
    package let penalty: KLToGo?
    package let overlong: OverlongHandling
    package var mixer: Mixer
    package var needsDifferences: Bool { false }

    package init(
        rewards: RewardCombination, penalty: KLToGo? = nil, overlong: OverlongHandling = .keep,
        mixer: Mixer = Mixer()
    ) {
        self.rewards = rewards
        self.penalty = penalty
        self.overlong = overlong
        self.mixer = mixer
    }

    /// A completion without a reward gets 0 on every token.
    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        let combined = combinedRewards(of: batch)
        let penalties = try penalty?.penalties(of: batch, rule: "REINFORCE")
        var streams = try objectives(of: batch, combined).map { objective in
            objective.stream(objective.rewards.map { $0.map { $0 ?? 0 } }.repeated(over: batch), batch, overlong)
        }
        if let penalties {
            streams.append(
                penalties.stream(
                    isCredited: combined.map { $0.map { $0 != nil } }, isValid: batch.isLearned(combined, overlong)))
        }
        return assemble(batch, combined, Advantages(streams), overlong, penalties: penalties)
    }
}
