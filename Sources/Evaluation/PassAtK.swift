/// How likely at least one of k completions is right, from n of which c were right.
///
///     pass@k = 1 − C(n − c, k) / C(n, k)          (Chen et al. 2021, arXiv:2107.03374, Eq. 1)
///
/// The unbiased estimator for draws without replacement; the mean of the first k draws is not.
package enum PassAtK {
    /// - Returns: The estimate in 0...1, or `nil` when fewer than `k` completions were drawn.
    package static func estimate(samples n: Int, right c: Int, k: Int) -> Double? {
        guard k >= 1, n >= k, (0...n).contains(c) else { return nil }
        guard n - c >= k else { return 1 }
        // The product form of the two binomials' quotient: no factorial overflows.
        let allWrong = (0..<k).reduce(1.0) { $0 * Double(n - c - $1) / Double(n - $1) }
        return 1 - allWrong
    }
}

/// The answer most completions agree on.
package enum MajorityVote {
    /// - Parameter answers: The extracted answer of each completion, in order; `nil` where none was found.
    /// - Returns: The most frequent answer, ties to the earliest; `nil` when there is none.
    package static func winner(of answers: [String?]) -> String? {
        var counts: [String: (votes: Int, first: Int)] = [:]
        for (place, answer) in answers.enumerated() {
            guard let answer else { continue }
            counts[answer, default: (0, place)].votes += 1
        }
        return counts.max { ($0.value.votes, -$0.value.first) < ($1.value.votes, -$1.value.first) }?.key
    }
}
