package import Records

/// How many scores of one reward may fail or time out before the run stops.
///
///     failures in the last `window` scores  >  rate · max(scores in the window, minimum)
///
/// When no more come, ``overspent`` takes the share of the scores there were, however few.
///
/// A value: whoever scores keeps one per reward and feeds it every score.
package struct ErrorBudget: Sendable, Equatable {
    /// The share that may fail.
    package let rate: Double
    /// Scores looked back on.
    package let window: Int
    /// Scores the share is taken of at least, so that one early failure stops nothing.
    package let minimum: Int
    private let reward: String
    private var recent: [Bool] = []
    private var next = 0
    private var failures = 0
    private var first: (message: String, sample: String)?

    package init(reward: String, rate: Double = 0.05, window: Int = 1000, minimum: Int = 200) {
        precondition((0...1).contains(rate) && window >= 1 && minimum >= 1, "an error budget of \(rate) over \(window)")
        self.reward = reward
        self.rate = rate
        self.window = window
        self.minimum = minimum
    }

    /// Takes note of one score.
    ///
    /// - Parameter completion: `nil` for the demonstration of the prompt's row.
    /// - Throws: ``RewardError/budgetExceeded(reward:failures:of:allowed:first:sample:)`` with the first failure since
    ///   the window last held none, and its sample.
    package mutating func record(
        _ score: RewardScore, of completion: Completion?, for prompt: Prompt
    ) throws(RewardError) {
        remember(isFailure: score.isFailure)
        guard score.isFailure else {
            if failures == 0 { first = nil }
            return
        }
        let words = completion.map { "completion: \($0.text.shortened(to: 400))" } ?? "its demonstration"
        let sample = first ?? (score.note ?? score.state, "\(prompt.id), \(words)")
        first = sample
        guard Double(failures) > rate * Double(max(recent.count, minimum)) else { return }
        throw exceeded(sample)
    }

    /// What the scores amount to when no more come: the error of a budget that does not allow their failures. One failure
    /// beside scores is an accident, whatever share it is.
    package var overspent: RewardError? {
        guard let first, Double(failures) > rate * Double(recent.count), failures > 1 || recent.count == 1 else {
            return nil
        }
        return exceeded(first)
    }

    private func exceeded(_ first: (message: String, sample: String)) -> RewardError {
        .budgetExceeded(
            reward: reward, failures: failures, of: recent.count, allowed: rate, first: first.message,
            sample: first.sample)
    }

    /// Keeps the last `window` outcomes in a ring.
    private mutating func remember(isFailure: Bool) {
        if recent.count < window {
            recent.append(isFailure)
        } else {
            if recent[next] { failures -= 1 }
            recent[next] = isFailure
            next = (next + 1) % window
        }
        if isFailure { failures += 1 }
    }

    package static func == (left: Self, right: Self) -> Bool {
        left.reward == right.reward && left.rate == right.rate && left.window == right.window
            && left.minimum == right.minimum && left.recent == right.recent && left.next == right.next
    }
}

extension RewardScore {
    /// Whether the reward broke or did not answer in time.
    package var isFailure: Bool {
        switch self {
        case .scored, .abstained: false
        case .failed, .timedOut: true
        }
    }
}
