internal import Records

/// Turns the scores of a step into one advantage per token.
///
/// A rule is pure: the same batch gives the same advantages to the bit, and the order of groups and of completions within
/// a group changes none of them.
package protocol CreditRule: Sendable {
    /// How the job's rewards become one number.
    var rewards: RewardCombination { get }

    /// The advantages of every completion, and the numbers of the step.
    ///
    /// - Throws: ``CreditError`` when scores or log-probs do not fit the groups, or the reference is missing.
    func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch
}

/// What a rule has worked out, before it becomes an ``CreditedBatch``.
struct Advantages {
    /// `[group][completion][token]`
    var values: [[[Double]]]
    /// Whether the group is learned from, `[group]`.
    var isKept: [Bool]
    /// Groups whose completions show no difference to learn from, `[group]`; empty where the question has no meaning.
    var isDead: [Bool]

    init(_ values: [[[Double]]], isKept: [Bool]? = nil, isDead: [Bool] = []) {
        self.values = values
        self.isKept = isKept ?? values.map { _ in true }
        self.isDead = isDead
    }
}

extension CreditRule {
    /// The weighted reward of every completion, `[group][completion]`; `nil` where no reward gave a score.
    func combinedRewards(of batch: CreditBatch) -> [[Double?]] {
        batch.groups.map { scored in scored.scores.map(rewards.combined) }
    }

    /// Puts advantages beside the tokens they belong to.
    func assemble(
        _ batch: CreditBatch, _ combined: [[Double?]], _ advantages: Advantages, _ overlong: OverlongHandling,
        penalties: KLPenalties?, deadGroupsTakeKL: Bool = true
    ) -> CreditedBatch {
        var kept: [UpdateGroup] = []
        var credits: [[CompletionCredit]] = []
        for (index, scored) in batch.groups.enumerated() {
            let isKept = advantages.isKept[index]
            credits.append(
                zip(combined[index], advantages.values[index]).map { reward, values in
                    CompletionCredit(reward: reward, advantage: isKept ? Moments(values).mean ?? 0 : nil)
                })
            guard isKept else { continue }
            let takesKL = deadGroupsTakeKL || !advantages.isDead[index]
            let completions = scored.group.rollouts.indices.map { completion in
                updateCompletion(batch, index, completion, advantages.values[index][completion], overlong, takesKL)
            }
            kept.append(UpdateGroup(promptTokenIDs: scored.group.prompt.tokenIDs, completions: completions))
        }
        var metrics = RewardStatistics(batch, combined, rewards, isDead: advantages.isDead).metrics
        metrics["advantages/abs_mean"] = Moments(credits.joined().compactMap { $0.advantage.map(abs) }).mean
        if let penalties { metrics["kl"] = penalties.meanEstimate }
        return CreditedBatch(update: UpdateBatch(groups: kept), credits: credits, metrics: metrics)
    }

    private func updateCompletion(
        _ batch: CreditBatch, _ group: Int, _ completion: Int, _ advantages: [Double], _ overlong: OverlongHandling,
        _ takesKL: Bool
    ) -> UpdateCompletion {
        let rollout = batch.groups[group].group.rollouts[completion]
        return UpdateCompletion(
            tokenIDs: rollout.completion.tokenIDs, isAction: rollout.isAction, advantages: advantages,
            rolloutLogProbabilities: rollout.policyLogProbabilities,
            samplingLogProbabilities: rollout.samplingLogProbabilities == rollout.policyLogProbabilities
                ? nil : rollout.samplingLogProbabilities,
            oldLogProbabilities: batch.oldLogProbabilities?[group][completion] ?? [],
            referenceLogProbabilities: batch.referenceLogProbabilities?[group][completion] ?? [],
            isMasked: overlong.masks(rollout.completion), takesKL: takesKL, payload: rollout.payload)
    }
}
