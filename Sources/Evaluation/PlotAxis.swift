internal import Foundation

/// A linear axis over values, with about five round ticks.
package struct PlotAxis: Sendable {
    package let low: Double
    package let high: Double
    private let start: Double
    private let end: Double

    /// - Parameters:
    ///   - values: What must fit. Shares between 0 and 1 get the whole of 0...1, other values a little room on both
    ///     sides.
    ///   - start: Where the low end is in the picture.
    ///   - end: Where the high end is.
    package init(_ values: [Double], from start: Double, to end: Double) {
        let values = values.filter(\.isFinite)
        let (least, most) = (values.min() ?? 0, values.max() ?? 1)
        let isShare = least >= 0 && most <= 1
        let room = isShare ? 0 : max((most - least) * 0.05, 1e-9)
        self.init(isShare ? 0...1 : (least - room)...(most + room), from: start, to: end)
    }

    /// - Parameter range: The whole axis.
    package init(_ range: ClosedRange<Double>, from start: Double, to end: Double) {
        (low, high, self.start, self.end) = (range.lowerBound, range.upperBound, start, end)
    }

    /// Where a value is in the picture.
    package func position(_ value: Double) -> Double { start + (value - low) / (high - low) * (end - start) }

    /// Round values with what is written beside them.
    package var ticks: [(position: Double, label: String)] {
        let rough = (high - low) / 5
        let power = pow(10, floor(log10(rough)))
        let step = [1.0, 2, 2.5, 5, 10].first { $0 * power >= rough * (1 - 1e-9) }.map { $0 * power } ?? rough
        let first = (low / step - 1e-9).rounded(.up)
        return stride(from: first, through: (high / step + 1e-9).rounded(.down), by: 1).map {
            (position($0 * step), NumberText.tick($0 * step))
        }
    }
}
