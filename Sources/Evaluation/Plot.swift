internal import Foundation

/// A picture that is drawn mark by mark, as SVG.
struct Plot {
    /// Where the picture will be seen, which decides its colours.
    enum Surface {
        /// In a page of ``HTMLPage``, whose colours follow light and dark.
        case page
        /// In a file of its own, on white.
        case file
    }

    let width: Double
    let height: Double
    private let surface: Surface
    private var parts: [String] = []

    init(width: Double, height: Double, on surface: Surface) {
        (self.width, self.height, self.surface) = (width, height, surface)
    }

    var svg: String {
        let size = "viewBox=\"0 0 \(Int(width)) \(Int(height))\" width=\"\(Int(width))\" height=\"\(Int(height))\""
        let marks = parts.joined(separator: "\n")
        switch surface {
        case .page: return "<svg \(size) role=\"img\">\n\(marks)\n</svg>"
        case .file:
            return """
                <svg xmlns="http://www.w3.org/2000/svg" \(size) font-family="sans-serif" font-size="13">
                <rect width="100%" height="100%" fill="white"/>
                \(marks)
                </svg>

                """
        }
    }

    // MARK: Colours

    /// Distinguishable also without colour vision (Okabe and Ito's palette).
    private static let palette = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    private static let pagePalette = ["var(--a)", "var(--b)", "var(--c)", "var(--d)"]

    /// The colour of the `index`th thing that is compared.
    func colour(_ index: Int) -> String {
        let palette = surface == .page ? Self.pagePalette : Self.palette
        return palette[index % palette.count]
    }

    private var gridPaint: String { surface == .page ? "class=\"grid\"" : "stroke=\"#dddddd\"" }
    private var faintPaint: String { surface == .page ? "class=\"faint\" " : "fill=\"#555555\" " }

    // MARK: Marks

    enum Anchor: String { case start, middle, end }

    /// - Parameter tip: The whole of a text that is shown shortened.
    mutating func text(
        _ text: String, x: Double, y: Double, anchor: Anchor = .start, isFaint: Bool = false, isTitle: Bool = false,
        tip: String? = nil
    ) {
        let kind = (isFaint ? faintPaint : "") + (isTitle ? "font-size=\"16\" font-weight=\"bold\" " : "")
        let title = tip.map { "<title>\(HTMLText.escaped($0))</title>" } ?? ""
        parts.append(
            "<text \(kind)x=\"\(at(x))\" y=\"\(at(y))\" "
                + "text-anchor=\"\(anchor.rawValue)\">\(HTMLText.escaped(text))\(title)</text>"
        )
    }

    mutating func segment(
        _ from: (x: Double, y: Double), _ to: (x: Double, y: Double), colour: String, isDashed: Bool = false
    ) {
        parts.append("<line \(ends(from, to)) \(stroke(colour, isDashed: isDashed))/>")
    }

    mutating func dot(x: Double, y: Double, colour: String) {
        parts.append("<circle cx=\"\(at(x))\" cy=\"\(at(y))\" r=\"4.5\" fill=\"\(colour)\"/>")
    }

    /// A line through points; those that are not finite are left out.
    mutating func curve(
        _ points: [(x: Double, y: Double)], colour: String, width: Double = 2, opacity: Double = 1,
        isDashed: Bool = false
    ) {
        let path = points.filter { $0.y.isFinite }.map { "\(at($0.x)),\(at($0.y))" }.joined(separator: " ")
        let faded = opacity < 1 ? " stroke-opacity=\"\(opacity)\"" : ""
        parts.append(
            "<polyline points=\"\(path)\" fill=\"none\" \(stroke(colour, width: width, isDashed: isDashed))\(faded)/>")
    }

    /// Nothing for a bar without height.
    mutating func bar(x: Double, y: Double, width: Double, height: Double, colour: String, tip: String? = nil) {
        guard height > 0 else { return }
        let title = tip.map { "<title>\(HTMLText.escaped($0))</title>" } ?? ""
        parts.append(
            "<rect x=\"\(at(x))\" y=\"\(at(y))\" width=\"\(at(width))\" height=\"\(at(height))\" "
                + "fill=\"\(colour)\">\(title)</rect>"
        )
    }

    /// What lies within a closed line.
    mutating func area(_ outline: [(x: Double, y: Double)], colour: String) {
        let path = outline.map { "\(at($0.x)),\(at($0.y))" }.joined(separator: " ")
        parts.append("<polygon points=\"\(path)\" fill=\"\(colour)\"/>")
    }

    /// A line across the picture that the ticks of an axis stand on.
    mutating func gridLine(_ from: (x: Double, y: Double), _ to: (x: Double, y: Double)) {
        parts.append("<line \(gridPaint) \(ends(from, to))/>")
    }

    /// The horizontal lines of a vertical axis, with their values to the left.
    mutating func rows(_ axis: PlotAxis, left: Double, right: Double) {
        for tick in axis.ticks {
            gridLine((left, tick.position), (right, tick.position))
            text(tick.label, x: left - 8, y: tick.position + 4, anchor: .end, isFaint: true)
        }
    }

    /// The values of a horizontal axis under its line, with vertical lines up to `top` where that is given.
    mutating func columns(_ axis: PlotAxis, top: Double? = nil, bottom: Double) {
        for tick in axis.ticks {
            if let top { gridLine((tick.position, top), (tick.position, bottom)) }
            text(tick.label, x: tick.position, y: bottom + 20, anchor: .middle, isFaint: true)
        }
    }

    /// A name with a line of its curve's kind before it.
    mutating func key(_ name: String, x: Double, y: Double, colour: String, isDashed: Bool = false, longest: Int) {
        segment((x, y), (x + 26, y), colour: colour, isDashed: isDashed)
        text(name.count <= longest ? name : name.prefix(longest - 1) + "…", x: x + 34, y: y + 4, tip: name)
    }

    private func ends(_ from: (x: Double, y: Double), _ to: (x: Double, y: Double)) -> String {
        "x1=\"\(at(from.x))\" x2=\"\(at(to.x))\" y1=\"\(at(from.y))\" y2=\"\(at(to.y))\""
    }

    private func stroke(_ colour: String, width: Double = 2, isDashed: Bool) -> String {
        "stroke=\"\(colour)\" stroke-width=\"\(width)\"" + (isDashed ? " stroke-dasharray=\"6 4\"" : "")
    }

    private func at(_ value: Double) -> String { NumberText.fixed(value, 1) }
}
