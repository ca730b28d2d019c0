/// What one reward said of one completion. Only `scored` enters baselines, means and deviations.
public enum RewardScore: Sendable, Equatable, Codable {
    /// A finite number, with an optional word on how it came about.
    case scored(Double, note: String?)
    /// The reward does not apply to this completion.
    case abstained(reason: String)
    /// The reward broke. The message names what happened.
    case failed(message: String)
    /// The reward did not answer in time.
    case timedOut(seconds: Double)

    /// A score; one that is no finite number, or so large that means and deviations of it overflow, counts as a failure
    /// of the reward.
    public static func value(_ score: Double, note: String? = nil) -> RewardScore {
        guard score.isFinite else {
            return .failed(message: "the reward returned \(score), not a finite number")
        }
        guard abs(score) <= largestSize else {
            return .failed(message: "the reward returned \(score); a score is at most \(largestSize) in size")
        }
        return .scored(score, note: note)
    }

    /// Squares and sums of such scores neither overflow nor drown all others.
    private static let largestSize = 1e15

    /// The number when there is one.
    public var score: Double? {
        if case .scored(let score, _) = self { score } else { nil }
    }

    /// The state's name as files spell it.
    public var state: String {
        switch self {
        case .scored: "scored"
        case .abstained: "abstained"
        case .failed: "failed"
        case .timedOut: "timedOut"
        }
    }

    /// The word beside the state: note, reason or message.
    public var note: String? {
        switch self {
        case .scored(_, let note): note
        case .abstained(let reason): reason
        case .failed(let message): message
        case .timedOut(let seconds): "no answer within \(seconds) s"
        }
    }
}

/// A group with every reward's word on every completion.
package struct ScoredGroup: Sendable, Equatable {
    package var group: RolloutGroup
    /// `[completion][reward]`, in the order of `group.rollouts` and of the job's rewards.
    package var scores: [[RewardScore]]
    /// One score per reward for the greedy completion, when there is one.
    package var greedyScores: [RewardScore]?
    /// One score per reward for the demonstration that stands beside the completions, when there is one.
    package var demonstrationScores: [RewardScore]?

    package init(
        group: RolloutGroup, scores: [[RewardScore]], greedyScores: [RewardScore]? = nil,
        demonstrationScores: [RewardScore]? = nil
    ) {
        self.group = group
        self.scores = scores
        self.greedyScores = greedyScores
        self.demonstrationScores = demonstrationScores
    }

    /// What its completions are compared by: their own scores, and those of what they are compared with beside each
    /// other.
    package var compared: [[RewardScore]] { scores + [greedyScores, demonstrationScores].compactMap(\.self) }
}
