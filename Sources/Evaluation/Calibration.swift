internal import Foundation

/// How far a reward model's differences can be taken at their word, on pairs that it has not learned from.
///
///     p = σ(s⁺ − s⁻)        what the model says of the preference that was found, by Bradley and Terry
///     accuracy              share of pairs with s⁺ > s⁻
///     calibration error     Σ over ten bins of (share of the pairs) · |accuracy − mean confidence|
///     confidence            max(p, 1 − p)
///     temperature           T that minimizes the mean of −log σ((s⁺ − s⁻)/T); above 1 the model is too sure of itself
///
/// (Guo et al. 2017, arXiv:1706.04599.)
package struct Calibration: Sendable, Equatable {
    /// Pairs whose confidence lies in the same tenth of ½…1.
    package struct Bin: Sendable, Equatable {
        package let lowerBound: Double
        package let count: Int
        /// 0 of no pairs, as the other.
        package let confidence: Double
        package let accuracy: Double
    }

    package let pairs: Int
    package let accuracy: Double
    /// Mean of −log p.
    package let loss: Double
    package let error: Double
    /// `nil` where no T is best: every pair is right, or every one is wrong, or there is no difference anywhere.
    package let temperature: Double?
    /// Mean of −log p at that temperature.
    package let calibratedLoss: Double?
    package let bins: [Bin]

    private static let binCount = 10

    /// - Parameter differences: s⁺ − s⁻ of each pair, finite, at least one.
    package init?(differences: [Double]) {
        guard !differences.isEmpty, differences.allSatisfy(\.isFinite) else { return nil }
        pairs = differences.count
        let count = Double(pairs)
        accuracy = Double(differences.count { $0 > 0 }) / count
        loss = Self.loss(differences, slope: 1)
        let placed = differences.map { difference in
            let confidence = Self.sigmoid(abs(difference))
            return (
                bin: min(Int((confidence - 0.5) * 2 * Double(Self.binCount)), Self.binCount - 1),
                confidence: confidence,
                isRight: difference > 0
            )
        }
        bins = (0..<Self.binCount).map { bin in
            let own = placed.filter { $0.bin == bin }
            let size = Double(max(own.count, 1))
            return Bin(
                lowerBound: 0.5 + Double(bin) / Double(2 * Self.binCount), count: own.count,
                confidence: own.reduce(0) { $0 + $1.confidence } / size,
                accuracy: Double(own.count(where: \.isRight)) / size)
        }
        error = bins.reduce(0) { $0 + Double($1.count) / count * abs($1.accuracy - $1.confidence) }
        let slope = Self.bestSlope(differences)
        temperature = slope.map { 1 / $0 }
        calibratedLoss = slope.map { Self.loss(differences, slope: $0) }
    }

    private static func sigmoid(_ value: Double) -> Double { 1 / (1 + exp(-value)) }

    private static func loss(_ differences: [Double], slope: Double) -> Double {
        differences.reduce(0) { sum, difference in
            let z = slope * difference
            return sum + max(-z, 0) + log1p(exp(-abs(z)))
        } / Double(differences.count)
    }

    /// 1/T: where the derivative of the loss, which is convex in it, is 0. Found by halving the interval of its
    /// logarithm.
    private static func bestSlope(_ differences: [Double]) -> Double? {
        func derivative(_ slope: Double) -> Double { differences.reduce(0) { $0 - $1 * sigmoid(-slope * $1) } }
        var (low, high) = (log(1e-6), log(1e6))
        guard derivative(exp(low)) < 0, derivative(exp(high)) > 0 else { return nil }
        for _ in 0..<100 {
            let middle = (low + high) / 2
            if derivative(exp(middle)) < 0 { low = middle } else { high = middle }
        }
        return exp((low + high) / 2)
    }
}
