package import Records

/// A policy's evaluation on one prompt set, or on the prompts of one of its sources.
package struct EvaluationResult: Sendable, Equatable {
    /// The prompt set; in ``sources`` the source.
    package var promptSet: String
    package var prompts: Int
    package var samplesPerPrompt: Int
    /// Share of completions that the length limit cut off.
    package var truncated: Double
    package var meanLength: Double
    package var rewards: [RewardSummary]
    /// The prompts by their content, in order: 16 hexadecimal digits each; see ``shared(with:)``.
    package var promptIDs: [String]
    /// The same for the prompts of each source alone, in the order of their first prompts; empty for a set of one
    /// source.
    package var sources: [EvaluationResult] = []

    /// - Parameters:
    ///   - groups: In prompt order.
    ///   - ks: The k of pass@k and maj@k.
    ///   - estimator: Of pass@k.
    ///   - seed: Of the bootstraps' draws.
    package init(
        promptSet: String, groups: [EvaluatedGroup], rewardNames: [String], ks: [Int],
        passAtK estimator: PassAtK.Estimator = .unbiased, seed: UInt64 = 0
    ) {
        self.promptSet = promptSet
        prompts = groups.count
        promptIDs = groups.map { PromptIdentity.of($0.scored.group.prompt.prompt.content) }
        let completions = groups.flatMap(\.completions)
        samplesPerPrompt = groups.map(\.completions.count).max() ?? 0
        let count = Double(max(completions.count, 1))
        truncated = Double(completions.count(where: \.isTruncated)) / count
        meanLength = Double(completions.reduce(0) { $0 + $1.tokenIDs.count }) / count
        rewards = rewardNames.enumerated().map { index, name in
            let answers = groups.compactMap { $0.answers(ofReward: index) }
            return RewardSummary(
                reward: name, scores: groups.map { $0.scores(ofReward: index) },
                answers: answers.count == groups.count && !groups.isEmpty ? answers : nil, ks: ks,
                passAtK: estimator, seed: seed)
        }
        var names: [String] = []
        let bySource = Dictionary(grouping: groups, by: \.scored.group.prompt.prompt.source)
        for group in groups where !names.contains(group.scored.group.prompt.prompt.source) {
            names.append(group.scored.group.prompt.prompt.source)
        }
        guard names.count > 1 else { return }
        sources = names.map { name in
            EvaluationResult(
                promptSet: name, groups: bySource[name] ?? [], rewardNames: rewardNames, ks: ks,
                passAtK: estimator, seed: seed)
        }
    }

    /// A result read back from a file, with what a comparison needs.
    package init(promptSet: String, promptIDs: [String], rewards: [RewardSummary]) {
        self.promptSet = promptSet
        self.promptIDs = promptIDs
        self.rewards = rewards
        prompts = rewards.map(\.prompts).max() ?? 0
        samplesPerPrompt = 0
        truncated = 0
        meanLength = 0
    }

    /// The indices of the prompts that both results have, here and there, in the order of this one.
    ///
    /// A prompt that stands several times is paired once each time, in order.
    package func shared(with other: EvaluationResult) -> [(here: Int, there: Int)] {
        var indices = Dictionary(grouping: other.promptIDs.indices.reversed()) { other.promptIDs[$0] }
        return promptIDs.enumerated().compactMap { here, id in indices[id]?.popLast().map { (here, $0) } }
    }

    /// The numbers under evaluation's names: `eval_reward`-like prefixes are the caller's.
    package var metrics: Metrics {
        var metrics = Metrics()
        for reward in rewards { metrics["rewards/\(reward.reward)/mean"] = reward.mean }
        metrics["completions/mean_length"] = meanLength
        metrics["completions/clipped_ratio"] = truncated
        return metrics
    }

    /// The names of ``metrics`` where every reward scores something.
    package static func metricNames(rewards: [String]) -> [String] {
        rewards.map { "rewards/\($0)/mean" } + ["completions/mean_length", "completions/clipped_ratio"]
    }
}
