package import Records

/// The advantages of PPO: generalized advantage estimation over a critic's values, whitened over the batch.
///
///     r_t = −β·k1_t, and on the last token + score − penalty where the end token is missing
///     A, R from ``GeneralizedAdvantage``;   A ← (A − mean(A)) / std(A)     over the action tokens of the whole batch
///
/// A completion without a reward, or a masked one, stays out of the mean and gets A = 0 and R = V: it moves neither network.
/// Whitening comes after R, as the specification and TRL have it.
package struct ActorCritic: CreditRule {
    package let rewards: RewardCombination
    package let estimator: GeneralizedAdvantage
    /// A KL penalty with the reach `oneStep`: the estimate sums it up itself. `nil` for none.
    package let penalty: KLToGo?
    /// Taken off the score of a completion that was cut off; 0 for none.
    package let missingEndPenalty: Double
    /// Whether a completion that was cut off is worth the critic's value of its last state; 0 otherwise.
    package let bootstrapsTruncated: Bool
    package let overlong: OverlongHandling

    /// - Parameter penalty: With the reach `oneStep`: the advantage estimate sums the rewards that follow.
    package init(
        rewards: RewardCombination, estimator: GeneralizedAdvantage, penalty: KLToGo? = nil,
        missingEndPenalty: Double = 0, bootstrapsTruncated: Bool = false, overlong: OverlongHandling = .keep
    ) {
        self.rewards = rewards
        self.estimator = estimator
        self.penalty = penalty
        self.missingEndPenalty = missingEndPenalty
        self.bootstrapsTruncated = bootstrapsTruncated
        self.overlong = overlong
    }

    package init(
        reading job: inout SettingsReader, rewards: RewardCombination, penalty: KLToGo?, overlong: OverlongHandling
    ) {
        self.init(
            rewards: rewards, estimator: GeneralizedAdvantage(reading: &job), penalty: penalty,
            missingEndPenalty: job.read(
                "missing_eos_penalty", default: 0.0, .atLeast(0), "Taken off the score of a completion that was cut off."),
            bootstrapsTruncated: job.read(
                "bootstrap_truncated", default: false,
                "A completion that was cut off is still worth the critic's value of its last state, γ·V, in place of 0."),
            overlong: overlong)
    }

    /// Metrics beside the usual ones: `values/mean` and `returns/mean` over action tokens, and `values/explained_variance`,
    /// 1 − var(R − V) / var(R): 1 for a critic that foresees every return, 0 for one that knows their mean.
    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        guard let values = batch.values else { throw .missingValues(rule: "ppo") }
        let combined = combinedRewards(of: batch)
        let penalties = try penalty?.penalties(of: batch, rule: "ppo")
        var advantages = values.tokens.map { $0.map { $0.map { _ in 0.0 } } }
        var returns = values.tokens.map { $0.map { $0.map(Double.init) } }
        var rows: [(group: Int, completion: Int, advantages: [Double])] = []
        for (group, scored) in batch.groups.enumerated() {
            for (completion, rollout) in scored.group.rollouts.enumerated() {
                guard let reward = combined[group][completion], !overlong.masks(rollout.completion) else { continue }
                let isCut = rollout.completion.isTruncated
                let score = reward - (isCut ? missingEndPenalty : 0)
                let own = values.tokens[group][completion].map(Double.init)
                let estimate = estimator.estimate(
                    rewards: GeneralizedAdvantage.tokenRewards(
                        score: score, penalties: penalties?.tokens[group][completion] ?? own.map { _ in 0 }),
                    values: own,
                    valueAfterEnd: bootstrapsTruncated && isCut ? Double(values.ends[group][completion]) : 0)
                returns[group][completion] = estimate.returns
                rows.append((group, completion, estimate.advantages))
            }
        }
        for (row, whitened) in zip(rows, Whitening.whitened(rows.map(\.advantages))) {
            advantages[row.group][row.completion] = whitened
        }
        var credited = assemble(batch, combined, Advantages(advantages), overlong, penalties: penalties)
        for group in credited.update.groups.indices {
            for completion in credited.update.groups[group].completions.indices {
                credited.update.groups[group].completions[completion].returns = returns[group][completion]
                credited.update.groups[group].completions[completion].oldValues = values.tokens[group][completion]
            }
        }
        let learned = rows.map {
            (returns[$0.group][$0.completion], values.tokens[$0.group][$0.completion].map(Double.init))
        }
        credited.metrics.merge(Self.describe(returns: learned.flatMap(\.0), values: learned.flatMap(\.1)))
        return credited
    }

    private static func describe(returns: [Double], values: [Double]) -> Metrics {
        var metrics = Metrics()
        metrics["values/mean"] = Moments(values).mean
        metrics["returns/mean"] = Moments(returns).mean
        let missed = Moments(zip(returns, values).map { $0 - $1 })
        if let whole = Moments(returns).standardDeviation, whole > 0, let left = missed.standardDeviation {
            metrics["values/explained_variance"] = 1 - left * left / (whole * whole)
        }
        return metrics
    }
}
