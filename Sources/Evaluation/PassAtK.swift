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
