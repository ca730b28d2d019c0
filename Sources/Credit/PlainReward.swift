internal import Records

/// The reward itself as advantage: REINFORCE (Williams 1992) without a baseline.
///
///     A_t = r − β·Σ_{s ≥ t} k1_s
///
/// Unbiased, and of the largest variance of all rules here: what the others are measured against.
package struct PlainReward: CreditRule {
    package let rewards: RewardCombination
    /// The KL penalty; `nil` for none.
    package let penalty: KLToGo?
    package let overlong: OverlongHandling

    package init(rewards: RewardCombination, penalty: KLToGo? = nil, overlong: OverlongHandling = .keep) {
        self.rewards = rewards
        self.penalty = penalty
        self.overlong = overlong
    }

    /// A completion without a reward gets 0 on every token.
    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        let combined = combinedRewards(of: batch)
        let penalties = try penalty?.penalties(of: batch, rule: "REINFORCE")
        var values = combined.map { $0.map { $0 ?? 0 } }.repeated(over: batch)
        if let penalties {
            for group in values.indices {
                for completion in values[group].indices where combined[group][completion] != nil {
                    values[group][completion] = zip(values[group][completion], penalties.tokens[group][completion])
                        .map { $0 - $1 }
                }
            }
        }
        return assemble(batch, combined, Advantages(values), overlong, penalties: penalties)
    }
}
