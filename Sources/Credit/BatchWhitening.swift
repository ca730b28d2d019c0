internal import Records

/// The advantages of REINFORCE++ (Hu et al. 2025, arXiv:2501.03262v9): normalized over all tokens of the batch.
///
///     plain          A'_t = r − β·Σ_{s ≥ t} k1_s                    (one completion per prompt is enough)
///     groupMean      A'_t = r − mean of the prompt's rewards        (the KL term is in the loss, as k2)
///     A_t = (A'_t − mean(A')) / std(A')                             over the action tokens of the whole batch
///
/// Tokens of completions that are masked or have no reward stay out of mean and std and get 0. When all A' are equal, all
/// A are 0. A prompt with a single reward has no group mean; in the second form it is treated as in the first.
/// The variance carries a floor of 1e-8 instead of ε on the deviation, as in verl's masked whitening.
package struct BatchWhitening: CreditRule {
    /// Which advantage is normalized.
    package enum Form: Sendable, Equatable {
        /// The reward with its KL penalty to go; `nil` for no penalty.
        case plain(penalty: KLToGo?)
        /// The reward against the mean of its group.
        case groupMean
    }

    package let rewards: RewardCombination
    package let form: Form
    package let overlong: OverlongHandling

    package init(rewards: RewardCombination, form: Form, overlong: OverlongHandling = .keep) {
        self.rewards = rewards
        self.form = form
        self.overlong = overlong
    }

    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        let combined = combinedRewards(of: batch)
        var penalties: KLPenalties?
        if case .plain(let penalty) = form { penalties = try penalty?.penalties(of: batch, rule: "REINFORCE++") }
        let values = whitened(batch, centred(combined), penalties)
        let isDead = combined.map { Moments($0.compactMap(\.self)).isConstant }
        let groupsCompare = batch.groups.allSatisfy { $0.group.rollouts.count > 1 }
        let advantages = Advantages(values, isDead: groupsCompare ? isDead : [])
        return assemble(batch, combined, advantages, overlong, penalties: penalties)
    }

    private func centred(_ rewards: [[Double?]]) -> [[Double?]] {
        guard form == .groupMean else { return rewards }
        return rewards.map { group in
            let moments = Moments(group.compactMap(\.self))
            guard moments.count > 1, let mean = moments.mean else { return group }
            return group.map { $0.map { $0 - mean } }
        }
    }

    /// Whitens the tokens that are learned from and puts zeros on the others.
    private func whitened(_ batch: CreditBatch, _ rewards: [[Double?]], _ penalties: KLPenalties?) -> [[[Double]]] {
        var places: [(group: Int, completion: Int)] = []
        var rows: [[Double]] = []
        var values = rewards.map { $0.map { _ in 0.0 } }.repeated(over: batch)
        for (group, scored) in batch.groups.enumerated() {
            for (completion, rollout) in scored.group.rollouts.enumerated() {
                guard let reward = rewards[group][completion], !overlong.masks(rollout.completion) else { continue }
                places.append((group, completion))
                rows.append(
                    penalties?.tokens[group][completion].map { reward - $0 }
                        ?? values[group][completion].map { _ in reward })
            }
        }
        for (place, row) in zip(places, Whitening.whitened(rows)) { values[place.group][place.completion] = row }
        return values
    }
}
