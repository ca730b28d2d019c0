package import Records

/// The weighted sum of a job's rewards.
///
///     R(completion) = Σ_k w_k · r_k(completion)   over the rewards k that scored the completion
///
/// A reward that abstained, failed or timed out leaves its term out, as in TRL. A completion that no reward scored has no
/// reward: it is left out of every baseline and its advantage is 0. A reward of weight 0 is a shadow: scored and logged, and no word in
/// this, also where it alone gave a score.
package struct RewardCombination: Sendable, Equatable {
    /// The rewards' names in the job's order, for metrics.
    package let names: [String]
    /// One per reward.
    package let weights: [Double]
    /// Whether advantages are those of the sum, or each reward's own.
    package var form = Form.summed

    package enum Form: Sendable, Equatable {
        /// One objective, R.
        case summed
        /// One objective for each reward, whose weight is that of its stream of advantages: for methods that move weights or constrain a
        /// reward. A completion that a reward did not score is no part of that reward's comparison.
        case apart
    }

    /// - Parameter weights: One per name; `nil` gives every reward the weight 1.
    package init(names: [String], weights: [Double]? = nil) {
        let weights = weights ?? names.map { _ in 1 }
        precondition(weights.count == names.count, "one weight for each of the rewards")
        self.names = names
        self.weights = weights
    }

    /// - Parameter names: Of the job's rewards.
    package init(reading job: inout SettingsReader, names: [String]) {
        let given: [Double]? = job.read(
            "reward_weights", optional: nil,
            "One factor per reward. Combined reward = Σ weight × score over the rewards that scored; by default every weight is 1. A reward of weight 0 is a shadow: scored, logged and watched, not learned from."
        )
        if let given, given.count != names.count {
            job.refuse(
                "reward_weights",
                "reward_weights has \(given.count) numbers for \(names.count) rewards; expected one each")
        }
        if let given, !given.isEmpty, given.allSatisfy({ $0 == 0 }) {
            job.refuse(
                "reward_weights", "reward_weights are all 0; expected one of another weight: nothing would be learned")
        }
        let weights = given.flatMap { $0.count == names.count ? $0 : nil } ?? names.map { _ in 1 }
        job.resolve("reward_weights", to: weights)
        self.init(names: names, weights: weights)
    }

    /// The weighted sum of one completion's scores; `nil` when none of them is a number.
    ///
    /// - Parameter scores: One per reward.
    package func combined(_ scores: [RewardScore]) -> Double? {
        combined(scores.map(\.score))
    }

    func combined(_ scores: [Double?]) -> Double? {
        let terms = zip(scores, weights).compactMap { score, weight in weight == 0 ? nil : score.map { $0 * weight } }
        return terms.isEmpty ? nil : terms.reduce(0, +)
    }
}

/// Whether several rewards are added before or after they are put on one scale: `multi_objective_aggregation:`.
package enum RewardAggregation: String, SettingsChoice {
    /// The weighted sum is one reward; the baseline sees only that.
    case sumThenNormalize = "sum_then_normalize"
    /// Each reward is normalized within its group, the weighted sum of those over the batch (GDPO, arXiv:2601.05242): a
    /// reward with a small spread is not drowned by one with a large spread.
    case normalizeThenSum = "normalize_then_sum"
}
