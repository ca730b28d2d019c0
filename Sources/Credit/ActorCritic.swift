package import Records

/// The advantages of PPO: generalized advantage estimation over a critic's values, whitened over the batch.
///
///     r_t = −β·k1_t, and on the last token + score − penalty where the end token is missing
///     A, R from ``GeneralizedAdvantage``;   A ← (A − mean(A)) / std(A)     over the action tokens of the whole batch
///
/// A is linear in r and V, so each objective is a stream: its own rewards and, where the critic has a head for each,
/// its own V and R. A critic of one head values the sum: V belongs to the reward's stream, the penalty's has none, and
/// R is that of the sum. A completion without a reward is masked: its tokens leave both losses and their denominators.
/// (R = V would pull V back to what it was as soon as another optimizer step has moved it.) A shadow, a reward of weight
/// 0, masks nothing: where it gave no score its own stream alone has no advantage, and R = V. Whitening comes after R,
/// as in TRL.
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
    /// The sum is what is whitened.
    package var mixer = Mixer(.mix)
    package var needsDifferences: Bool { false }

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
                "missing_eos_penalty", default: 0.0, .atLeast(0),
                "Subtracted from a truncated completion's score."),
            bootstrapsTruncated: job.read(
                "bootstrap_truncated", default: false,
                "A truncated completion ends with the critic's value of its last state, γ·V, instead of 0 (arXiv:1712.00378)."
            ),
            overlong: overlong)
        if rewards.form == .apart, missingEndPenalty > 0 {
            job.refuse(
                "missing_eos_penalty",
                "missing_eos_penalty is \(missingEndPenalty), subtracted from one reward; constraints and gradient weights keep several apart, expected 0"
            )
        }
    }

    /// Metrics beside the usual ones: `values/mean` and `returns/mean` over action tokens, and
    /// `values/explained_variance`, 1 − var(R − V) / var(R): 1 for a critic that foresees every return, 0 for one that
    /// knows their mean. With a head for each stream they have the stream's name: `values/kl/mean`.
    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        guard let values = batch.values else { throw .missingValues(rule: "ppo") }
        let combined = combinedRewards(of: batch)
        let penalties = try penalty?.penalties(of: batch, rule: "ppo")
        let objectives = try objectives(of: batch, combined)
        let isLearned = learned(batch, objectives)
        let rewarded = tokenRewards(batch, objectives, values, penalties, isLearned)
        // Where dynamic sampling has left nothing, nobody says how many there are.
        let heads = values.tokens.first?.first?.count ?? rewarded.count
        // One head values the sum, of which the reward then is the first term with the weight 1.
        guard heads == rewarded.count || heads == 1 && objectives.count == 1 && rewarded[0].weight == 1 else {
            throw .valueStreams(expected: rewarded.count, found: heads)
        }
        let streams = rewarded.enumerated().map { index, stream in
            advantages(of: stream, head: index < heads ? index : nil, values, batch)
        }
        var credited = assemble(batch, combined, Advantages(streams), overlong, penalties: penalties)
        // Of each head, over the completions that its stream has a score of.
        var learned = [(returns: [Double], values: [Double])](repeating: ([], []), count: heads)
        for group in values.tokens.indices {
            for completion in values.tokens[group].indices {
                let own = values.tokens[group][completion]
                let advantages = streams.map { $0.values[group][completion] }
                let sums =
                    heads == streams.count
                    ? advantages : [UpdateCompletion.mixed(advantages, streams.map(\.weight))]
                let returns = zip(sums, own).map { zip($0, $1).map { $0 + Double($1) } }
                credited.update.parts[0].groups[group].completions[completion].returns = returns
                credited.update.parts[0].groups[group].completions[completion].oldValues = own
                if !isLearned[group][completion] {
                    credited.update.parts[0].groups[group].completions[completion].isMasked = true
                }
                for head in 0..<heads where streams[head].isValid[group][completion] {
                    learned[head].returns += returns[head]
                    learned[head].values += own[head].map { Double($0) }
                }
            }
        }
        for (head, own) in learned.enumerated() {
            credited.metrics.merge(
                Self.describe(
                    heads == 1 ? "" : "/\(streams[head].name)", returns: own.returns, values: own.values))
        }
        return credited
    }

    /// Which completions every objective but the shadows scored and nothing masks, `[group][completion]`.
    private func learned(_ batch: CreditBatch, _ objectives: [RewardObjective]) -> [[Bool]] {
        let counted = objectives.filter { $0.weight != 0 || batch.weights.moves($0.name) }
        return batch.groups.enumerated().map { group, scored in
            scored.group.rollouts.enumerated().map { completion, rollout in
                !overlong.masks(rollout.completion) && counted.allSatisfy { $0.rewards[group][completion] != nil }
            }
        }
    }

    /// r of each objective at each token, as streams: scores on the last token, the penalty on each; 0 where nothing is
    /// learned or a shadow gave no score.
    private func tokenRewards(
        _ batch: CreditBatch, _ objectives: [RewardObjective], _ critic: CriticValues, _ penalties: KLPenalties?,
        _ isLearned: [[Bool]]
    ) -> [AdvantageStream] {
        var streams = objectives.map { objective in
            let isValid = zip(isLearned, objective.rewards).map { zip($0, $1).map { $0 && $1 != nil } }
            let values = batch.groups.enumerated().map { group, scored in
                scored.group.rollouts.enumerated().map { completion, rollout in
                    let reward = isValid[group][completion] ? objective.rewards[group][completion] : nil
                    let score = reward.map { $0 - (rollout.completion.isTruncated ? missingEndPenalty : 0) }
                    return GeneralizedAdvantage.tokenRewards(
                        score: score ?? 0, penalties: critic.tokens[group][completion][0].map { _ in 0 })
                }
            }
            return AdvantageStream(
                name: objective.name, weight: objective.weight, values: values, isValid: isValid)
        }
        if let penalties { streams.append(penalties.stream(isCredited: isLearned, isValid: isLearned)) }
        return streams
    }

    /// The advantages of a stream of rewards; without a head of its own its values are 0, and no advantage where it is
    /// not valid.
    private func advantages(
        of rewards: AdvantageStream, head: Int?, _ values: CriticValues, _ batch: CreditBatch
    ) -> AdvantageStream {
        var stream = rewards
        for (group, scored) in batch.groups.enumerated() {
            for (completion, rollout) in scored.group.rollouts.enumerated() where rewards.isValid[group][completion] {
                let isCut = bootstrapsTruncated && rollout.completion.isTruncated
                let own = rewards.values[group][completion]
                stream.values[group][completion] =
                    estimator.estimate(
                        rewards: own,
                        values: head.map { values.tokens[group][completion][$0].map(Double.init) }
                            ?? own.map { _ in 0 },
                        valueAfterEnd: head.map { isCut ? Double(values.ends[group][completion][$0]) : 0 } ?? 0
                    ).advantages
            }
        }
        return stream
    }

    private static func describe(_ stream: String, returns: [Double], values: [Double]) -> Metrics {
        var metrics = Metrics()
        metrics["values\(stream)/mean"] = Moments(values).mean
        metrics["returns\(stream)/mean"] = Moments(returns).mean
        let missed = Moments(zip(returns, values).map { $0 - $1 })
        if let whole = Moments(returns).standardDeviation, whole > 0, let left = missed.standardDeviation {
            metrics["values\(stream)/explained_variance"] = 1 - left * left / (whole * whole)
        }
        return metrics
    }
}
