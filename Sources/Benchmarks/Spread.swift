/// The middle and the edges of repeated measurements.
package struct Spread: Sendable, Equatable {
    package let median: Double
    /// A tenth of the measurements lie below.
    package let p10: Double
    /// A tenth of the measurements lie above.
    package let p90: Double

    /// - Parameter values: At least one.
    package init(_ values: [Double]) {
        precondition(!values.isEmpty, "a spread needs a measurement")
        let sorted = values.sorted()
        median = Self.quantile(0.5, of: sorted)
        p10 = Self.quantile(0.1, of: sorted)
        p90 = Self.quantile(0.9, of: sorted)
    }

    /// Linear between the two nearest order statistics: position q·(n − 1).
    private static func quantile(_ share: Double, of sorted: [Double]) -> Double {
        let position = share * Double(sorted.count - 1)
        let below = Int(position)
        let above = min(below + 1, sorted.count - 1)
        return sorted[below] + (position - Double(below)) * (sorted[above] - sorted[below])
    }
}
