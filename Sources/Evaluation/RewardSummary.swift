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
    /// Share of the scored completions in which the reward found no answer; `nil` for a reward that judges no single
    /// answer.
    package var parseFailures: Double?
    /// Mean over prompts of the mean over each prompt's scores; `nil` without a score.
    package var mean: Double?
    /// The confidence interval of `mean`, of two prompts or more: Wilson's over prompts for one right-or-wrong score per
    /// prompt, and where all prompts have the same share of right ones; else Student's, from ten prompts on the
    /// bootstrap over prompts.
    package var interval: Interval?
    /// pass@k for every k asked for, when every score is 0 or 1; a prompt with fewer than k scores leaves a gap.
    package var passAtK: [Int: Double]
    /// maj@k alike, for a reward that judges an answer.
    package var majorityAtK: [Int: Double]
    /// One mean per prompt, `nil` where nothing was scored; in prompt order, for paired comparisons.
    package var promptMeans: [Double?]

    /// - Parameters:
    ///   - scores: `[prompt][completion]`.
    ///   - answers: `[prompt][completion]`, the answers judged; `nil` for a reward that judges no single answer.
    ///   - ks: The k of pass@k and maj@k.
    ///   - estimator: Of pass@k.
    ///   - seed: Of the bootstrap's draws.
    package init(
        reward: String, scores: [[RewardScore]], answers: [[String?]]? = nil, ks: [Int],
        passAtK estimator: PassAtK.Estimator = .unbiased, seed: UInt64 = 0
    ) {
        let numbers = scores.map { $0.compactMap(\.score) }
        self.init(reward: reward, promptMeans: numbers.map { $0.isEmpty ? nil : $0.reduce(0, +) / Double($0.count) })
        scored = numbers.joined().count
        failed = scores.joined().count { $0.state == "failed" || $0.state == "timedOut" }
        abstained = scores.joined().count { $0.state == "abstained" }
        let means = promptMeans.compactMap(\.self)
        let isRightOrWrong = numbers.joined().allSatisfy { $0 == 0 || $0 == 1 }
        let areEqual = means.allSatisfy { $0 == means.first }
        if means.count > 1, isRightOrWrong, areEqual || numbers.allSatisfy({ $0.count <= 1 }) {
            interval = Interval.wilson(share: means.reduce(0, +) / Double(means.count), of: means.count)
        } else {
            let found = Interval.ofMean(means, seed: seed)
            interval = isRightOrWrong ? found?.clamped(to: 0...1) : found
        }
        let judged = answers.map { Self.judged($0, scores) }
        if let judged, scored > 0 { parseFailures = Double(judged.joined().count { $0 == nil }) / Double(scored) }
        guard isRightOrWrong else { return }
        for k in ks {
            passAtK[k] = Self.mean(
                scores.map { PassAtK.estimate(estimator, of: $0.map { $0.score.map { $0 == 1 } }, k: k) })
            guard let judged else { continue }
            majorityAtK[k] = Self.mean(
                zip(judged, numbers).map { MajorityVote.estimate(answers: $0, scores: $1, k: k) })
        }
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
        mean = Self.mean(promptMeans)
        passAtK = [:]
        majorityAtK = [:]
    }

    /// The answers of the completions that have a score.
    private static func judged(_ answers: [[String?]], _ scores: [[RewardScore]]) -> [[String?]] {
        zip(answers, scores).map { zip($0, $1).filter { $0.1.score != nil }.map(\.0) }
    }

    private static func mean(_ values: [Double?]) -> Double? {
        let known = values.compactMap(\.self)
        return known.isEmpty ? nil : known.reduce(0, +) / Double(known.count)
    }
}
