/// How likely at least one of k completions is right, from n of which c were right.
///
///     pass@k = 1 − C(n − c, k) / C(n, k)          (Chen et al. 2021, arXiv:2107.03374, Eq. 1)
///
/// The unbiased estimator for draws without replacement. Other forms are in use, and a number is compared with one of
/// its own form: see ``Estimator``.
package enum PassAtK {
    /// How it is estimated from the completions of a prompt.
    package enum Estimator: String, Sendable, Equatable, CaseIterable {
        /// Chen's.
        case unbiased
        /// Whether one of the first k is right, as in Table 1 of SofT-GRPO (arXiv:2511.06411v2). With n = k it is
        /// Chen's; with more the rest is not looked at.
        case first
        /// The share of the blocks of k in which one is right, the completions cut in the order of sampling, as in its
        /// Fig. 7. Unbiased, with more noise. What is left behind the last whole block is not looked at.
        case chunks
    }

    /// Of one prompt.
    ///
    /// - Parameter right: Of each completion, in the order of sampling; `nil` for one without a score.
    /// - Returns: The estimate in 0...1, or `nil` when fewer than `k` completions have a score, or the scores of those that
    ///   are looked at leave it open.
    package static func estimate(_ estimator: Estimator, of right: [Bool?], k: Int) -> Double? {
        guard k >= 1, right.count >= k else { return nil }
        /// Whether one of some completions is right.
        func isAnyRight(_ some: ArraySlice<Bool?>) -> Double? {
            some.contains(true) ? 1 : some.contains(nil) ? nil : 0
        }
        switch estimator {
        case .unbiased:
            let known = right.compactMap(\.self)
            return estimate(samples: known.count, right: known.count { $0 }, k: k)
        case .first: return isAnyRight(right[..<k])
        case .chunks:
            let blocks = (0..<right.count / k).compactMap { isAnyRight(right[($0 * k)..<(($0 + 1) * k)]) }
            return blocks.isEmpty ? nil : blocks.reduce(0, +) / Double(blocks.count)
        }
    }

    /// - Returns: The estimate in 0...1, or `nil` when fewer than `k` completions were drawn.
    package static func estimate(samples n: Int, right c: Int, k: Int) -> Double? {
        guard k >= 1, n >= k, (0...n).contains(c) else { return nil }
        guard n - c >= k else { return 1 }
        // The product form of the two binomials' quotient: no factorial overflows.
        let allWrong = (0..<k).reduce(1.0) { $0 * Double(n - c - $1) / Double(n - $1) }
        return 1 - allWrong
    }
}
