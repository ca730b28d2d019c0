internal import Foundation
internal import Records

/// A two-sided interval that holds the true value with the stated confidence.
package struct Interval: Sendable, Equatable {
    package var low: Double
    package var high: Double
    /// Such as 0.95.
    package var confidence: Double

    package init(low: Double, high: Double, confidence: Double = 0.95) {
        self.low = low
        self.high = high
        self.confidence = confidence
    }
}

extension Interval {
    /// Wilson's score interval of a proportion (Wilson 1927): right also near 0 and 1 and for few draws.
    ///
    ///     (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
    ///
    /// - Returns: `nil` for no draws.
    package static func wilson(successes: Int, of n: Int) -> Interval? {
        guard n > 0, (0...n).contains(successes) else { return nil }
        let (n, z) = (Double(n), normalQuantile95)
        let p = Double(successes) / n
        let centre = p + z * z / (2 * n)
        let spread = z * (p * (1 - p) / n + z * z / (4 * n * n)).squareRoot()
        let scale = 1 + z * z / n
        return Interval(low: max(0, (centre - spread) / scale), high: min(1, (centre + spread) / scale))
    }

    /// The percentile bootstrap of a mean over prompts: the prompts are drawn again with replacement, each with all its
    /// completions, because completions of one prompt are not independent.
    ///
    /// - Parameters:
    ///   - values: One mean per prompt.
    ///   - resamples: Draws; 2,000 put the ends within about a hundredth of the interval's width.
    ///   - seed: Same seed, same interval.
    /// - Returns: `nil` for no prompts.
    package static func bootstrap(_ values: [Double], resamples: Int = 2_000, seed: UInt64 = 0) -> Interval? {
        guard !values.isEmpty else { return nil }
        var random = SplitMix64(seed: seed)
        let means = (0..<resamples).map { _ in resampledMean(values, &random) }.sorted()
        return Interval(low: percentile(means, 0.025), high: percentile(means, 0.975))
    }

    static func resampledMean(_ values: [Double], _ random: inout SplitMix64) -> Double {
        var sum = 0.0
        for _ in values { sum += values[random.index(below: values.count)] }
        return sum / Double(values.count)
    }

    /// Linear interpolation between order statistics.
    static func percentile(_ sorted: [Double], _ share: Double) -> Double {
        let position = share * Double(sorted.count - 1)
        let (low, high) = (Int(position.rounded(.down)), Int(position.rounded(.up)))
        return sorted[low] + (sorted[high] - sorted[low]) * (position - Double(low))
    }

    /// The normal distribution's 0.975 quantile.
    private static let normalQuantile95 = 1.959963984540054
}

/// A small fast generator for resampling (Steele et al. 2014); training draws come from Philox.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        defer { state &+= 0x9E37_79B9_7F4A_7C15 }
        return mix64(state)
    }

    /// Uniform in `0 ..< bound`, by the high half of a product (bias below 2⁻⁴⁰ for any set that fits in memory).
    mutating func index(below bound: Int) -> Int {
        Int(truncatingIfNeeded: next().multipliedFullWidth(by: UInt64(bound)).high)
    }
}
