internal import Foundation

/// Moves and scales numbers to mean 0 and variance 1.
package enum Whitening {
    /// Whitens tokens over all rows together: a long row weighs more.
    ///
    ///     w = (x − mean) / sqrt(variance + 1e-8)       variance with the divisor n − 1
    ///
    /// Numbers that are all equal become 0. Fewer than two are returned as they came: they have no variance.
    ///
    /// - Parameter rows: One row per completion, one number per token.
    package static func whitened(_ rows: [[Double]]) -> [[Double]] {
        let moments = Moments(rows.joined())
        guard let mean = moments.mean, let deviation = moments.standardDeviation else { return rows }
        let scale = 1 / (deviation * deviation + 1e-8).squareRoot()
        return rows.map { $0.map { ($0 - mean) * scale } }
    }
}
