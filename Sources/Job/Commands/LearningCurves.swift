internal import Evaluation
internal import Foundation

/// Learning curves as one SVG picture: every step as a thin line, a moving mean as a bold one.
struct LearningCurves {
    struct Curve {
        var name: String
        var points: [(x: Double, y: Double)]
    }

    var title: String
    var curves: [Curve]

    private static let size = (width: 860.0, height: 430.0)
    private static let margin = (left: 70.0, right: 150.0, top: 44.0, bottom: 52.0)
    /// Distinguishable also without colour vision (Okabe and Ito's palette).
    private static let colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]

    var svg: String {
        let (width, height) = Self.size
        return """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(Int(width))" height="\(Int(height))" \
            viewBox="0 0 \(Int(width)) \(Int(height))" font-family="sans-serif" font-size="13">
            <rect width="100%" height="100%" fill="white"/>
            <text x="\(Self.margin.left)" y="26" font-size="16" font-weight="bold">\(HTMLText.escaped(title)) by optimizer step</text>
            \(axes)
            \(curves.enumerated().map(drawn).joined(separator: "\n"))
            </svg>

            """
    }

    private var xRange: ClosedRange<Double> { 0...max(1, curves.flatMap(\.points).map(\.x).max() ?? 1) }

    /// With a little air, and from 0 to 1 where a share is drawn.
    private var yRange: ClosedRange<Double> {
        let values = curves.flatMap(\.points).map(\.y).filter(\.isFinite)
        guard let low = values.min(), let high = values.max() else { return 0...1 }
        if low >= 0, high <= 1 { return 0...1 }
        let air = max((high - low) * 0.05, 1e-9)
        return (low - air)...(high + air)
    }

    private func x(_ value: Double) -> Double {
        let inner = Self.size.width - Self.margin.left - Self.margin.right
        return Self.margin.left + (value - xRange.lowerBound) / (xRange.upperBound - xRange.lowerBound) * inner
    }

    private func y(_ value: Double) -> Double {
        let inner = Self.size.height - Self.margin.top - Self.margin.bottom
        return Self.size.height - Self.margin.bottom - (value - yRange.lowerBound)
            / (yRange.upperBound - yRange.lowerBound) * inner
    }

    private var axes: String {
        let right = Self.size.width - Self.margin.right
        let bottom = Self.size.height - Self.margin.bottom
        let horizontal = PlotScale.ticks(in: yRange).map { value in
            """
            <line x1="\(Self.margin.left)" y1="\(Self.text(y(value)))" x2="\(right)" y2="\(Self.text(y(value)))" stroke="#dddddd"/>
            <text x="\(Self.margin.left - 8)" y="\(Self.text(y(value) + 4))" text-anchor="end">\(PlotScale.label(value))</text>
            """
        }
        let vertical = PlotScale.ticks(in: xRange).map { value in
            "<text x=\"\(Self.text(x(value)))\" y=\"\(bottom + 20)\" text-anchor=\"middle\">\(PlotScale.label(value))</text>"
        }
        let frame = """
            <line x1="\(Self.margin.left)" y1="\(bottom)" x2="\(right)" y2="\(bottom)" stroke="black"/>
            <text x="\(Self.text((Self.margin.left + right) / 2))" y="\(bottom + 42)" text-anchor="middle">optimizer step</text>
            """
        return (horizontal + vertical + [frame]).joined(separator: "\n")
    }

    private func drawn(_ place: Int, _ curve: Curve) -> String {
        let colour = Self.colours[place % Self.colours.count]
        let smooth = Self.smoothed(curve.points)
        let legendY = Self.margin.top + 10 + Double(place) * 22
        let legendX = Self.size.width - Self.margin.right + 16
        return """
            <polyline points="\(path(curve.points))" fill="none" stroke="\(colour)" stroke-opacity="0.3" stroke-width="1"/>
            <polyline points="\(path(smooth))" fill="none" stroke="\(colour)" stroke-width="2.5"/>
            <line x1="\(legendX)" y1="\(legendY)" x2="\(legendX + 22)" y2="\(legendY)" stroke="\(colour)" stroke-width="2.5"/>
            <text x="\(legendX + 28)" y="\(legendY + 4)">\(HTMLText.escaped(curve.name))</text>
            """
    }

    private func path(_ points: [(x: Double, y: Double)]) -> String {
        points.filter { $0.y.isFinite }.map { "\(Self.text(x($0.x))),\(Self.text(y($0.y)))" }.joined(separator: " ")
    }

    /// The mean over a window of a twentieth of the curve, centred.
    private static func smoothed(_ points: [(x: Double, y: Double)]) -> [(x: Double, y: Double)] {
        let reach = max(1, points.count / 20)
        return points.indices.map { place in
            let window = points[max(0, place - reach)...min(points.count - 1, place + reach)]
            return (points[place].x, window.map(\.y).reduce(0, +) / Double(window.count))
        }
    }

    private static func text(_ value: Double) -> String { String(format: "%.1f", value) }
}
