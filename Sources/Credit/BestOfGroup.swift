package import Records

/// Keeps the best completion of each prompt, to be imitated: best-of-K, or rejection sampling, fine-tuning (RAFT, Dong
/// et al. 2023, arXiv:2304.06767).
///
///     learn from i* = argmax_i r_i      where r_i* is at least the threshold; the earliest of equals
///
/// A prompt whose best completion is below the threshold, or that has no reward at all, teaches nothing.
package struct BestOfGroup: CreditRule {
    package let rewards: RewardCombination
    /// The least reward worth imitating; `nil` for any.
    package let threshold: Double?
    package let overlong: OverlongHandling
    package var mixer: Mixer { Mixer() }
    package var needsDifferences: Bool { false }

    package init(rewards: RewardCombination, threshold: Double? = nil, overlong: OverlongHandling = .keep) {
        self.rewards = rewards
        self.threshold = threshold
        self.overlong = overlong
    }

    package init(reading job: inout SettingsReader, rewards: RewardCombination, overlong: OverlongHandling) {
        self.init(
            rewards: rewards,
            threshold: job.read(
                "best_of_k_threshold", optional: nil,
                "The lowest reward to imitate; any unless set (arXiv:2304.06767)."),
            overlong: overlong)
    }

    /// Metrics beside the usual ones: `best_of_k/reward`, the mean of what is imitated, and `best_of_k/kept`, the share
    /// of prompts that have one.
    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        let combined = combinedRewards(of: batch)
        let best: [Int?] = zip(batch.groups, combined).map { choice(of: $0.group.rollouts, $1) }
        let values = combined.indices.map { group in
            combined[group].indices.map { $0 == best[group] ? 1.0 : 0 }
        }
        let isDead = combined.map { Moments($0.compactMap(\.self)).isConstant }
        var credited = assemble(
            batch, combined,
            Advantages(
                [
                    AdvantageStream(
                        name: "reward", weight: 1, values: values.repeated(over: batch),
                        isValid: batch.isLearned(combined, overlong))
                ], isKept: best.map { $0 != nil }, isDead: isDead), overlong, penalties: nil)
        let chosen = best.compactMap(\.self)
        for (group, index) in chosen.enumerated() {
            credited.update.groups[group].completions = [credited.update.groups[group].completions[index]]
        }
        for (group, index) in best.enumerated() {
            for completion in combined[group].indices where completion != index {
                credited.credits[group][completion].advantage = nil
            }
        }
        credited.metrics["best_of_k/reward"] =
            Moments(
                zip(combined, best).compactMap { rewards, index in index.flatMap { rewards[$0] } }
            ).mean
        credited.metrics["best_of_k/kept"] = Double(chosen.count) / Double(max(best.count, 1))
        return credited
    }

    private func choice(of rollouts: [Rollout], _ rewards: [Double?]) -> Int? {
        var best: (index: Int, reward: Double)?
        for (index, reward) in rewards.enumerated() {
            guard let reward, !overlong.masks(rollouts[index].completion), threshold.map({ reward >= $0 }) ?? true,
                !rollouts[index].completion.tokenIDs.isEmpty
            else { continue }
            if best.map({ reward > $0.reward }) ?? true { best = (index, reward) }
        }
        return best?.index
    }
}
