package import Records

/// The weighted sum of a job's rewards.
///
///     R(completion) = Σ_k w_k · r_k(completion)   over the rewards k that scored the completion
///
/// A reward that abstained, failed or timed out leaves its term out, as in TRL. A completion that no reward scored has
/// no reward: it is left out of every baseline and its advantage is 0. A reward of weight 0 is a shadow: scored and
/// logged, and no word in this, also where it alone gave a score.
package struct RewardCombination: Sendable, Equatable {
    /// The rewards' names in the job's order, for metrics.
    package let names: [String]
    /// One per reward. Where a job moves them, those it ends with: what is evaluated is one thing from beginning to
    /// end.
    package private(set) var weights: [Double]
    /// Whether advantages are those of the sum, or each reward's own.
    package var form = Form.summed
    /// What a score becomes before anything is done with it, one per reward.
    package var shapes: [Shape]

    package enum Form: Sendable, Equatable {
        /// One objective, R.
        case summed
        /// One objective for each reward, whose weight is that of its stream of advantages: for methods that move
        /// weights or constrain a reward. A completion that a reward did not score is no part of that reward's
        /// comparison.
        case apart
    }

    package enum Shape: Sendable, Equatable {
        case asScored
        /// r/s: a constrained reward counts in units of its constraint's scale.
        case divided(by: Double)
        /// −((r − θ)/s)²: best at θ.
        case near(Double, scale: Double)

        func callAsFunction(_ score: Double) -> Double {
            switch self {
            case .asScored: score
            case .divided(let scale): score / scale
            case .near(let limit, let scale): -(score - limit) / scale * ((score - limit) / scale)
            }
        }
    }

    /// - Parameter weights: One per name; `nil` gives every reward the weight 1.
    package init(names: [String], weights: [Double]? = nil, form: Form = .summed, shapes: [Shape]? = nil) {
        let weights = weights ?? names.map { _ in 1 }
        precondition(weights.count == names.count, "one weight for each of the rewards")
        self.names = names
        self.weights = weights
        self.form = form
        self.shapes = shapes ?? names.map { _ in .asScored }
    }

    /// The same with the weights that controllers give it, and their factor on rewards.
    func weighed(by controllers: StreamWeights) -> RewardCombination {
        guard controllers != StreamWeights() else { return self }
        var moved = self
        moved.weights = zip(names, weights).map { (controllers[$0] ?? $1) * controllers.rewardFactor }
        return moved
    }

    /// The weighted sum of one completion's scores; `nil` when none of them is a number.
    ///
    /// - Parameter scores: One per reward.
    package func combined(_ scores: [RewardScore]) -> Double? {
        combined(scores.indices.map { value(scores[$0], at: $0) })
    }

    /// What a reward's score counts as.
    func value(_ score: RewardScore, at index: Int) -> Double? { score.score.map { shapes[index]($0) } }

    func combined(_ values: [Double?]) -> Double? {
        // Kept apart, a reward of weight 0 may be one that a multiplier weighs: a completion that it scored has a
        // reward.
        let terms = zip(values, weights).compactMap { value, weight in
            weight == 0 && form == .summed ? nil : value.map { $0 * weight }
        }
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
