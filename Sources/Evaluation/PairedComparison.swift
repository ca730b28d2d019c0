/// Whether one policy is better than another on the same prompts.
///
/// The difference is taken prompt by prompt, so what makes a prompt easy or hard cancels; the interval is the
/// percentile bootstrap over prompts, or Student's where they are few.
package struct PairedComparison: Sendable, Equatable {
    /// Prompts that both were scored on.
    package let prompts: Int
    /// Mean of (first − second) over prompts.
    package let difference: Double
    /// `nil` for one prompt alone.
    package let interval: Interval?

    /// Fewer prompts resolve nothing: differences of five prompts have one sign by chance once in sixteen times.
    private static let fewestPrompts = 6

    /// Whether the interval leaves out zero, and stands on enough prompts to be one.
    package var isResolved: Bool {
        guard let interval, prompts >= Self.fewestPrompts else { return false }
        return interval.low > 0 || interval.high < 0
    }

    /// The verdict in words.
    package var verdict: String {
        guard isResolved else { return "not resolved at n=\(prompts)" }
        return difference > 0 ? "better" : "worse"
    }

    /// - Parameters:
    ///   - first: Mean score per prompt of the policy in question.
    ///   - second: The other policy's, same prompts, same order.
    /// - Returns: `nil` when the counts differ or there is no prompt.
    package init?(_ first: [Double], _ second: [Double], resamples: Int = 10_000, seed: UInt64 = 0) {
        guard first.count == second.count, !first.isEmpty else { return nil }
        let differences = zip(first, second).map { $0 - $1 }
        prompts = first.count
        difference = differences.reduce(0, +) / Double(first.count)
        interval = Interval.ofMean(differences, resamples: resamples, seed: seed)
    }
}
