/// Learning curves as one picture: every step as a thin line, a moving mean as a bold one.
package struct LearningCurves {
    package struct Curve {
        package var name: String
        package var points: [(x: Double, y: Double)]

        package init(name: String, points: [(x: Double, y: Double)]) {
            self.name = name
            self.points = points
        }
    }

    private let title: String
    private let curves: [Curve]

    package init(title: String, curves: [Curve]) {
        self.title = title
        self.curves = curves
    }

    /// An SVG file.
    package var svg: String {
        // The picture grows with its longest name, up to a length at which names are cut.
        let longest = min(40, max(14, curves.map(\.name.count).max() ?? 0))
        let legend = 45 + 7.5 * Double(longest)
        var plot = Plot(width: 710 + legend, height: 430, on: .file)
        let (left, right, top, bottom) = (70.0, plot.width - legend, 44.0, plot.height - 52)
        let points = curves.flatMap(\.points)
        let x = PlotAxis(0...max(1, points.map(\.x).max() ?? 1), from: left, to: right)
        let y = PlotAxis(points.map(\.y), from: bottom, to: top)
        plot.text("\(title) by optimizer step", x: left, y: 26, isTitle: true)
        plot.rows(y, left: left, right: right)
        plot.columns(x, bottom: bottom)
        plot.segment((left, bottom), (right, bottom), colour: "black")
        plot.text("optimizer step", x: (left + right) / 2, y: bottom + 42, anchor: .middle)
        for (index, curve) in curves.enumerated() {
            func placed(_ points: [(x: Double, y: Double)]) -> [(x: Double, y: Double)] {
                points.map { (x.position($0.x), y.position($0.y)) }
            }
            let colour = plot.colour(index)
            plot.curve(placed(curve.points), colour: colour, width: 1, opacity: 0.3)
            plot.curve(placed(Self.smoothed(curve.points)), colour: colour, width: 2.5)
            plot.key(curve.name, x: right + 16, y: top + 10 + Double(index) * 22, colour: colour, longest: longest)
        }
        return plot.svg
    }

    /// The mean over a window of a twentieth of the curve on both sides.
    private static func smoothed(_ points: [(x: Double, y: Double)]) -> [(x: Double, y: Double)] {
        let reach = max(1, points.count / 20)
        return points.indices.map { index in
            let window = points[max(0, index - reach)...min(points.count - 1, index + reach)]
            return (points[index].x, window.map(\.y).reduce(0, +) / Double(window.count))
        }
    }
}
