internal import Foundation

/// A linear axis over values, with about five round ticks.
package struct PlotScale: Sendable {
    package let low: Double
    package let high: Double
    private let start: Double
    private let end: Double

    /// - Parameters:
    ///   - values: What must fit; shares between 0 and 1 get the whole of 0...1.
    ///   - start: The place of the low end in the picture.
    ///   - end: The place of the high end.
    package init(_ values: [Double], from start: Double, to end: Double) {
        let values = values.filter(\.isFinite)
        let (least, most) = (values.min() ?? 0, values.max() ?? 1)
        let isShare = least >= 0 && most <= 1
        let air = isShare ? 0 : max((most - least) * 0.05, 1e-9)
        low = isShare ? 0 : least - air
        high = isShare ? 1 : most + air
        self.start = start
        self.end = end
    }

    package func place(_ value: Double) -> Double { start + (value - low) / (high - low) * (end - start) }

    var ticks: [(place: Double, label: String)] { Self.ticks(in: low...high).map { (place($0), Self.label($0)) } }

    /// About five round values in the range.
    package static func ticks(in range: ClosedRange<Double>) -> [Double] {
        let rough = (range.upperBound - range.lowerBound) / 5
        let power = pow(10, floor(log10(rough)))
        let step = [1.0, 2, 2.5, 5, 10].first { $0 * power >= rough * (1 - 1e-9) }.map { $0 * power } ?? rough
        let first = (range.lowerBound / step - 1e-9).rounded(.up)
        return stride(from: first, through: (range.upperBound / step + 1e-9).rounded(.down), by: 1).map { $0 * step }
    }

    /// A tick's value as it is written beside the axis.
    package static func label(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e6 ? String(Int(value)) : String(format: "%.3g", value)
    }
}
