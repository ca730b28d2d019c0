import Credit
import Records

/// Builds scored groups from bare numbers.
enum ScoredGroups {
    /// A group with one reward; `nil` is a completion that the reward abstained from.
    static func group(
        _ rewards: [Double?], greedy: Double? = nil, lengths: [Int]? = nil, truncated: Set<Int> = [], row: Int = 0
    ) -> ScoredGroup {
        group(
            scores: rewards.map { [score($0)] }, greedyScores: greedy.map { [score($0)] }, lengths: lengths,
            truncated: truncated, row: row)
    }

    static func group(
        scores: [[RewardScore]], greedyScores: [RewardScore]? = nil, lengths: [Int]? = nil, truncated: Set<Int> = [],
        row: Int = 0
    ) -> ScoredGroup {
        let rollouts = scores.indices.map { index in
            rollout(
                tokens: [Int](repeating: 7, count: lengths?[index] ?? 2), sample: index,
                isTruncated: truncated.contains(index))
        }
        return ScoredGroup(
            group: RolloutGroup(prompt: prompt(row), rollouts: rollouts, policyVersion: PolicyVersion(0)),
            scores: scores, greedyScores: greedyScores)
    }

    /// A completion of the given tokens with the old policy's log-probs.
    static func rollout(
        tokens: [Int], logProbabilities: [Double]? = nil, sample: Int = 0, isTruncated: Bool = false
    ) -> Rollout {
        let values = logProbabilities?.map(Float.init) ?? tokens.map { _ in -0.7 }
        return Rollout(
            completion: Completion(text: "", tokenIDs: tokens, finishReason: isTruncated ? .length : .stopToken),
            samplingLogProbabilities: values, policyLogProbabilities: values, sample: sample)
    }

    static func prompt(_ row: Int) -> TokenizedPrompt {
        TokenizedPrompt(prompt: Prompt(row: row, source: "test", content: .text("?")), tokenIDs: [1, 2])
    }

    static func score(_ reward: Double?) -> RewardScore {
        reward.map { RewardScore.value($0) } ?? .abstained(reason: "not for this prompt")
    }
}

extension RewardCombination {
    /// One reward of weight 1.
    static var single: RewardCombination {
        get throws { RewardCombination(names: ["accuracy"]) }
    }
}

extension UpdateBatch {
    /// The advantages of its only part, streams added up: `[group][completion][token]`.
    var advantages: [[[Double]]] {
        parts[0].groups.map { $0.completions.map { $0.mixedAdvantages(parts[0].streamWeights) } }
    }
}

extension CriticValues {
    /// Of a critic with one head, `[group][completion][token]`.
    init(oneHead tokens: [[[Float]]], ends: [[Float]]? = nil) {
        self.init(tokens.map { $0.map { [$0] } }, ends: ends.map { $0.map { $0.map { [$0] } } })
    }
}
