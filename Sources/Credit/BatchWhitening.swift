internal import Records

/// The advantages of REINFORCE++ (Hu et al. 2025, arXiv:2501.03262v9): normalized over all tokens of the batch.
///
///     plain          A'_t = r − β·Σ_{s ≥ t} k1_s                    (one completion per prompt is enough)
///     groupMean      A'_t = r − mean of the prompt's rewards        (the KL term is in the loss, as k2)
///     A_t = (A'_t − mean(A')) / std(A')                             over the action tokens of the whole batch
///
/// The rule gives A' in streams, the penalty −Σ k1 apart with the weight β; adding and whitening them is the
/// ``Mixer``'s part. Tokens of completions that are masked or have no reward stay out of mean and std and get 0. When
/// all A' are equal, all A are 0. A prompt with a single reward has no group mean; in the second form it is treated as
/// in the first. The variance carries a floor of 1e-8 instead of ε on the deviation, as in verl's masked whitening.
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
    /// The sum is what is whitened.
    package var mixer: Mixer
    package var needsDifferences: Bool { form == .groupMean }

    package init(
        rewards: RewardCombination, form: Form, overlong: OverlongHandling = .keep,
        mixer: Mixer = Mixer(.mix)
    ) {
        self.rewards = rewards
        self.form = form
        self.overlong = overlong
        self.mixer = mixer
    }

    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        let combined = combinedRewards(of: batch)
        var penalties: KLPenalties?
        if case .plain(let penalty) = form { penalties = try penalty?.penalties(of: batch, rule: "REINFORCE++") }
        let objectives = try objectives(of: batch, combined)
        var streams = objectives.map { objective in
            objective.stream(
                centred(objective.rewards).map { $0.map { $0 ?? 0 } }.repeated(over: batch), batch, overlong)
        }
        if let penalties {
            let isLearned = batch.isLearned(combined, overlong)
            streams.append(penalties.stream(isCredited: isLearned, isValid: isLearned))
        }
        let groupsCompare = batch.groups.allSatisfy { $0.group.rollouts.count > 1 }
        let advantages = Advantages(streams, isDead: groupsCompare ? deadGroups(objectives) : [])
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
}
