internal import Records

/// Turns the scores of a step into advantages: a stream of one per token for each objective, which a ``Mixer`` adds.
///
/// A rule is pure: the same batch gives the same advantages to the bit, and the order of groups and of completions
/// within a group changes none of them.
package protocol CreditRule: Sendable {
    /// How the job's rewards become one number.
    var rewards: RewardCombination { get }
    /// How the streams become what is learned from.
    var mixer: Mixer { get }
    /// Whether demonstrations stand in the groups of their prompts, scored as completions are.
    var takesDemonstrations: Bool { get }
    /// Whether a group whose completions have equal rewards teaches nothing.
    var needsDifferences: Bool { get }

    /// The advantages of every completion, and the numbers of the step.
    ///
    /// - Throws: ``CreditError`` when scores or log-probs do not fit the groups, or the reference is missing.
    func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch
}

extension CreditRule {
    package var takesDemonstrations: Bool { false }
    package var needsDifferences: Bool { true }
}

/// What a rule has worked out, before it becomes an ``CreditedBatch``.
struct Advantages {
    /// One for each objective, as the rule has them.
    var streams: [AdvantageStream]
    /// Whether the group is learned from, `[group]`.
    var isKept: [Bool]
    /// Groups whose completions show no difference to learn from, `[group]`; empty where the question has no meaning.
    var isDead: [Bool]

    init(_ streams: [AdvantageStream], isKept: [Bool]? = nil, isDead: [Bool] = []) {
        self.streams = streams
        self.isKept = isKept ?? streams[0].values.map { _ in true }
        self.isDead = isDead
    }
}

extension CreditRule {
    /// The weighted reward of every completion, `[group][completion]`; `nil` where no reward gave a score.
    func combinedRewards(of batch: CreditBatch) -> [[Double?]] {
        let rewards = rewards.weighed(by: batch.weights)
        return batch.groups.map { scored in scored.scores.map { rewards.combined($0) } }
    }

    /// Whether the completions of each group are alike in every objective, `[group]`.
    func deadGroups(_ objectives: [RewardObjective]) -> [Bool] {
        objectives[0].rewards.indices.map { group in
            objectives.allSatisfy { Moments($0.rewards[group].compactMap(\.self)).isConstant }
        }
    }

    /// What the rule compares completions by: the combined reward, or each reward apart where the job keeps them so.
    func objectives(of batch: CreditBatch, _ combined: [[Double?]]) throws(CreditError) -> [RewardObjective] {
        switch rewards.form {
        case .summed:
            let moved = rewards.weighed(by: batch.weights)
            return [
                RewardObjective(
                    name: "reward", weight: 1, rewards: combined,
                    greedy: batch.groups.map { $0.greedyScores.flatMap { moved.combined($0) } })
            ]
        case .apart:
            if let name = rewards.names.first(where: { $0 == AdvantageStream.penaltyName }) { throw .streamName(name) }
            return rewards.names.enumerated().map { slot, name in
                func value(_ scores: [RewardScore]) -> Double? {
                    rewards.value(scores[slot], at: slot).map { $0 * batch.weights.rewardFactor }
                }
                return RewardObjective(
                    name: name, weight: batch.weights.weight(of: name, own: rewards.weights[slot]),
                    rewards: batch.groups.map { $0.scores.map(value) },
                    greedy: batch.groups.map { $0.greedyScores.flatMap(value) })
            }
        }
    }

    /// The batch with a stream of advantages for each reward where their sum is one: for comparing their gradients, not
    /// for learning. As exact as ``RewardShares``; a batch that lacks some completions of a group stays as it is.
    package func apart(_ credited: CreditedBatch, of batch: CreditBatch) -> CreditedBatch {
        guard rewards.form == .summed, rewards.names.count > 1,
            let part = credited.update.parts.firstIndex(where: { $0.kind == .rollouts })
        else { return credited }
        let own = RewardShares.parts(of: batch, rewards.weighed(by: batch.weights), credited.credits)
        let kept = credited.credits.indices.filter { credited.credits[$0].contains { $0.advantage != nil } }
        var result = credited
        var groups = credited.update.parts[part].groups
        guard groups.map(\.completions.count) == kept.map({ credited.credits[$0].count }) else { return credited }
        for (index, group) in kept.enumerated() {
            for completion in groups[index].completions.indices {
                let count = groups[index].completions[completion].actionCount
                groups[index].completions[completion].advantages = own.map {
                    [Double](repeating: $0[group][completion], count: count)
                }
            }
        }
        result.update.parts[part].groups = groups
        result.update.parts[part].streamWeights = rewards.names.map { _ in 1 }
        result.streams = rewards.names
        return result
    }

    /// Puts advantages beside the tokens they belong to.
    func assemble(
        _ batch: CreditBatch, _ combined: [[Double?]], _ advantages: Advantages, _ overlong: OverlongHandling,
        penalties: KLPenalties?, deadGroupsTakeKL: Bool = true
    ) -> CreditedBatch {
        var streams = mixer.prepared(advantages.streams)
        // Only now: a factor on what is normalized afterwards would be lost.
        for slot in streams.indices where streams[slot].name != AdvantageStream.penaltyName {
            streams[slot].weight *= batch.weights.advantageFactor
        }
        let weights = streams.map(\.weight)
        func own(_ group: Int, _ completion: Int) -> [[Double]] { streams.map { $0.values[group][completion] } }
        var kept: [UpdateGroup] = []
        var credits: [[CompletionCredit]] = []
        for (index, scored) in batch.groups.enumerated() {
            let isKept = advantages.isKept[index]
            credits.append(
                combined[index].enumerated().map { completion, reward in
                    let mixed = UpdateCompletion.mixed(own(index, completion), weights)
                    return CompletionCredit(reward: reward, advantage: isKept ? Moments(mixed).mean ?? 0 : nil)
                })
            guard isKept else { continue }
            let takesKL = deadGroupsTakeKL || !advantages.isDead[index]
            let completions = scored.group.rollouts.indices.map { completion in
                updateCompletion(batch, index, completion, own(index, completion), overlong, takesKL)
            }
            kept.append(UpdateGroup(promptTokenIDs: scored.group.prompt.tokenIDs, completions: completions))
        }
        var metrics = RewardStatistics(batch, combined, rewards, isDead: advantages.isDead).metrics
        if rewards.names.count > 1 {
            let apart = mixer.normalization == .mix ? advantages.streams : streams
            let shares = RewardShares(batch, rewards.weighed(by: batch.weights), credits, apart)
            for (name, share) in zip(rewards.names, shares.shares ?? []) {
                metrics["rewards/\(name)/advantage_share"] = share
            }
        }
        metrics["advantages/abs_mean"] = Moments(credits.joined().compactMap { $0.advantage.map(abs) }).mean
        if let penalties {
            metrics["kl"] = penalties.meanEstimate
            metrics.merge(TargetDistribution.metrics(of: batch, combined, coefficient: penalties.penalty.coefficient))
        }
        return CreditedBatch(
            update: UpdateBatch(
                parts: [UpdatePart(.rollouts, kept, streamWeights: weights, klWeight: batch.weights.factor)]),
            streams: streams.map(\.name), credits: credits, metrics: metrics)
    }

    private func updateCompletion(
        _ batch: CreditBatch, _ group: Int, _ completion: Int, _ advantages: [[Double]], _ overlong: OverlongHandling,
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

/// What a rule compares completions by, and what comes of it.
struct RewardObjective {
    let name: String
    let weight: Double
    /// `[group][completion]`; `nil` where there is no score.
    let rewards: [[Double?]]
    /// Of each group's greedy completion.
    let greedy: [Double?]

    /// Without the rewards of groups whose greedy completion has none.
    var besideGreedy: RewardObjective {
        let compared = zip(rewards, greedy).map { sampled, greedy in sampled.map { greedy == nil ? nil : $0 } }
        return RewardObjective(name: name, weight: weight, rewards: compared, greedy: greedy)
    }

    /// The objective's stream.
    ///
    /// - Parameter values: `[group][completion][token]`
    func stream(_ values: [[[Double]]], _ batch: CreditBatch, _ overlong: OverlongHandling) -> AdvantageStream {
        AdvantageStream(name: name, weight: weight, values: values, isValid: batch.isLearned(rewards, overlong))
    }
}

extension CreditBatch {
    /// Which completions have a reward and are not masked, `[group][completion]`.
    func isLearned(_ rewards: [[Double?]], _ overlong: OverlongHandling) -> [[Bool]] {
        zip(groups, rewards).map { scored, rewards in
            zip(scored.group.rollouts, rewards).map { $1 != nil && !overlong.masks($0.completion) }
        }
    }
}
