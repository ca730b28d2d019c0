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
        return wilson(share: Double(successes) / Double(n), of: n)
    }

    /// The same of prompts whose means are not all 0 or 1.
    ///
    /// - Parameter p: In 0…1.
    static func wilson(share p: Double, of n: Int) -> Interval? {
        guard n > 0 else { return nil }
        let (n, z) = (Double(n), normalQuantile95)
        let centre = p + z * z / (2 * n)
        let spread = z * (p * (1 - p) / n + z * z / (4 * n * n)).squareRoot()
        let scale = 1 + z * z / n
        return Interval(low: max(0, (centre - spread) / scale), high: min(1, (centre + spread) / scale))
    }

    /// The interval of a mean over prompts: Student's for few, else the bootstrap.
    ///
    /// - Parameters: As of ``bootstrap(_:resamples:seed:)``.
    /// - Returns: `nil` for fewer than two prompts: one does not say how far apart others lie.
    package static func ofMean(_ values: [Double], resamples: Int = 2_000, seed: UInt64 = 0) -> Interval? {
        values.count < fewestResampled ? student(values) : bootstrap(values, resamples: resamples, seed: seed)
    }

    /// From so many prompts on, drawing them again shows how their mean varies. Two of them have no mean beyond their
    /// own two, which hold the true one between them half of the time.
    private static let fewestResampled = studentQuantiles95.count + 2

    /// Student's interval of a mean over few prompts.
    ///
    ///     mean ± t(0.975, n − 1) · s / √n
    private static func student(_ values: [Double]) -> Interval? {
        guard values.count > 1 else { return nil }
        let n = Double(values.count)
        let mean = values.reduce(0, +) / n
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (n - 1)
        let spread = studentQuantiles95[values.count - 2] * (variance / n).squareRoot()
        return Interval(low: mean - spread, high: mean + spread)
    }

    /// The part that lies within the bounds of what is measured.
    func clamped(to bounds: ClosedRange<Double>) -> Interval {
        Interval(
            low: min(max(low, bounds.lowerBound), bounds.upperBound),
            high: min(max(high, bounds.lowerBound), bounds.upperBound), confidence: confidence)
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

    /// The 0.975 quantiles of Student's distribution with 1, 2 … degrees of freedom.
    private static let studentQuantiles95 = [
        12.7062047361747, 4.302652729749464, 3.18244630528371, 2.776445105197794, 2.570581835636316,
        2.44691185114497, 2.364624251592785, 2.306004135204167,
    ]
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
