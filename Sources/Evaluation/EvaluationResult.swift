package import Records

/// What one reward said of a policy on one prompt set.
package struct RewardSummary: Sendable, Equatable {
    package var reward: String
    /// Prompts with at least one score.
    package var prompts: Int
    /// Scores behind the mean.
    package var scored: Int
    /// Completions without a score because the reward failed or timed out.
    package var failed: Int
    /// Completions the reward did not apply to.
    package var abstained: Int
    /// Mean over prompts of the mean over each prompt's scores; `nil` without a score.
    package var mean: Double?
    /// Of the mean: Wilson's for one right-or-wrong score per prompt, else the bootstrap over prompts.
    package var interval: Interval?
    /// pass@k for every k asked for, when every score is 0 or 1; a prompt with fewer than k scores leaves a gap.
    package var passAtK: [Int: Double]
    /// One mean per prompt, `nil` where nothing was scored; in prompt order, for paired comparisons.
    package var promptMeans: [Double?]

    /// - Parameters:
    ///   - scores: `[prompt][completion]`.
    ///   - ks: The k of pass@k.
    package init(reward: String, scores: [[RewardScore]], ks: [Int], seed: UInt64 = 0) {
        self.reward = reward
        let numbers = scores.map { $0.compactMap(\.score) }
        promptMeans = numbers.map { $0.isEmpty ? nil : $0.reduce(0, +) / Double($0.count) }
        let means = promptMeans.compactMap(\.self)
        prompts = means.count
        scored = numbers.joined().count
        failed = scores.joined().count { $0.state == "failed" || $0.state == "timedOut" }
        abstained = scores.joined().count { $0.state == "abstained" }
        mean = means.isEmpty ? nil : means.reduce(0, +) / Double(means.count)
        let isRightOrWrong = numbers.joined().allSatisfy { $0 == 0 || $0 == 1 }
        if isRightOrWrong, numbers.allSatisfy({ $0.count <= 1 }) {
            interval = Interval.wilson(successes: Int(means.reduce(0, +)), of: means.count)
        } else {
            interval = Interval.bootstrap(means, seed: seed)
        }
        passAtK = isRightOrWrong ? Self.passAtK(numbers, ks) : [:]
    }

    /// A summary read back from a file, with what a comparison needs.
    package init(reward: String, promptMeans: [Double?]) {
        self.reward = reward
        self.promptMeans = promptMeans
        let means = promptMeans.compactMap(\.self)
        prompts = means.count
        scored = means.count
        failed = 0
        abstained = 0
        mean = means.isEmpty ? nil : means.reduce(0, +) / Double(means.count)
        interval = nil
        passAtK = [:]
    }

    private static func passAtK(_ numbers: [[Double]], _ ks: [Int]) -> [Int: Double] {
        var result: [Int: Double] = [:]
        for k in ks {
            let estimates = numbers.compactMap { scores in
                PassAtK.estimate(samples: scores.count, right: Int(scores.reduce(0, +)), k: k)
            }
            if !estimates.isEmpty { result[k] = estimates.reduce(0, +) / Double(estimates.count) }
        }
        return result
    }
}

/// A policy's evaluation on one prompt set.
package struct EvaluationResult: Sendable, Equatable {
    package var promptSet: String
    package var prompts: Int
    package var samplesPerPrompt: Int
    /// Share of completions that the length limit cut off.
    package var truncated: Double
    package var meanLength: Double
    package var rewards: [RewardSummary]

    package init(
        promptSet: String, groups: [ScoredGroup], rewardNames: [String], ks: [Int], seed: UInt64 = 0
    ) {
        self.promptSet = promptSet
        prompts = groups.count
        let completions = groups.flatMap { $0.group.rollouts.map(\.completion) }
        samplesPerPrompt = groups.map(\.group.rollouts.count).max() ?? 0
        let count = Double(max(completions.count, 1))
        truncated = Double(completions.count(where: \.isTruncated)) / count
        meanLength = Double(completions.reduce(0) { $0 + $1.tokenIDs.count }) / count
        rewards = rewardNames.enumerated().map { place, name in
            RewardSummary(reward: name, scores: groups.map { $0.scores.map { $0[place] } }, ks: ks, seed: seed)
        }
    }

    /// A result read back from a file, with what a comparison needs.
    package init(promptSet: String, rewards: [RewardSummary]) {
        self.promptSet = promptSet
        self.rewards = rewards
        prompts = rewards.map(\.prompts).max() ?? 0
        samplesPerPrompt = 0
        truncated = 0
        meanLength = 0
    }

    /// The numbers under evaluation's names: `eval_reward`-like prefixes are the caller's.
    package var metrics: Metrics {
        var metrics = Metrics()
        for reward in rewards { metrics["rewards/\(reward.reward)/mean"] = reward.mean }
        metrics["completions/mean_length"] = meanLength
        metrics["completions/clipped_ratio"] = truncated
        return metrics
    }
}
