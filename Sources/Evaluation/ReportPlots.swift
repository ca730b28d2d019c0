internal import Foundation

/// The plots of the HTML report, as SVG that takes its colours from the page.
enum ReportPlots {
    struct Plot {
        var title: String
        var svg: String
    }

    static func all(_ findings: Findings) -> [Plot] {
        var plots: [Plot] = []
        let scores = scorePoints(findings)
        if !scores.isEmpty {
            plots.append(Plot(title: "Mean scores with 95 % intervals", svg: dots(scores, mark: nil)))
        }
        let differences = findings.comparisons.map { comparison in
            Point(
                label: "\(comparison.promptSet), \(comparison.reward)", value: comparison.paired.difference,
                interval: comparison.paired.interval)
        }
        if !differences.isEmpty {
            plots.append(Plot(title: "Differences with 95 % intervals", svg: dots(differences, mark: 0)))
        }
        let curves = samplingCurves(findings)
        if !curves.isEmpty { plots.append(Plot(title: "More completions per prompt", svg: lines(curves))) }
        if let lengths = lengths(findings.samples) {
            plots.append(Plot(title: "Lengths of the completions, in tokens", svg: lengths))
        }
        return plots
    }

    // MARK: Means and differences

    struct Point {
        var label: String
        var value: Double
        var interval: Interval?
    }

    private static func scorePoints(_ findings: Findings) -> [Point] {
        findings.results.flatMap { result in
            ([("", result)] + result.sources.map { ("· ", $0) }).flatMap { mark, part in
                part.rewards.compactMap { reward in
                    reward.mean.map {
                        Point(label: "\(mark)\(part.promptSet), \(reward.reward)", value: $0, interval: reward.interval)
                    }
                }
            }
        }
    }

    private static let width = 900.0
    private static let left = 320.0
    private static let right = 70.0

    /// One line per point: a dot at the value and a bar over the interval.
    private static func dots(_ points: [Point], mark: Double?) -> String {
        let ends = points.flatMap { [$0.value, $0.interval?.low ?? $0.value, $0.interval?.high ?? $0.value] }
        let range = PlotScale(ends + [mark ?? 0], from: left, to: width - right)
        let height = Double(points.count) * 26 + 40
        var parts = range.ticks.map { tick in
            """
            <line class="grid" x1="\(at(tick.place))" x2="\(at(tick.place))" y1="6" y2="\(at(height - 30))"/>\
            <text class="faint" x="\(at(tick.place))" y="\(at(height - 10))" text-anchor="middle">\(tick.label)</text>
            """
        }
        if let mark {
            let place = at(range.place(mark))
            parts.append("<line class=\"zero\" x1=\"\(place)\" x2=\"\(place)\" y1=\"6\" y2=\"\(at(height - 30))\"/>")
        }
        for (index, point) in points.enumerated() {
            let y = Double(index) * 26 + 20
            parts.append(label(point.label, y: y + 4))
            if let interval = point.interval {
                parts.append(
                    "<line x1=\"\(at(range.place(interval.low)))\" x2=\"\(at(range.place(interval.high)))\" y1=\"\(at(y))\" "
                        + "y2=\"\(at(y))\" stroke=\"var(--a)\" stroke-width=\"2\"/>")
            }
            parts.append("<circle cx=\"\(at(range.place(point.value)))\" cy=\"\(at(y))\" r=\"4.5\" fill=\"var(--a)\"/>")
            let text = mark == nil ? ReportNumbers.short(point.value) : ReportNumbers.signed(point.value)
            parts.append("<text x=\"\(at(width))\" y=\"\(at(y + 4))\" text-anchor=\"end\">\(text)</text>")
        }
        return picture(height, parts)
    }

    /// A label that fits left of the plot; the whole of it shows under the pointer.
    private static func label(_ text: String, y: Double) -> String {
        let shown = text.count <= 44 ? text : "…" + text.suffix(43)
        return "<text x=\"\(at(left - 14))\" y=\"\(at(y))\" text-anchor=\"end\">\(HTMLText.escaped(shown))"
            + "<title>\(HTMLText.escaped(text))</title></text>"
    }

    // MARK: pass@k and maj@k

    private struct Curve {
        var label: String
        var values: [Int: Double]
        var isDashed: Bool
    }

    private static func samplingCurves(_ findings: Findings) -> [Curve] {
        findings.results.flatMap { result in
            result.rewards.flatMap { reward in
                [
                    Curve(
                        label: "pass@k, \(result.promptSet), \(reward.reward)", values: reward.passAtK, isDashed: false),
                    Curve(
                        label: "maj@k, \(result.promptSet), \(reward.reward)", values: reward.majorityAtK,
                        isDashed: true),
                ].filter { $0.values.count > 1 }
            }
        }
    }

    /// Every k asked for at the same distance from the next; shares from 0 to 1.
    private static func lines(_ curves: [Curve]) -> String {
        let ks = Set(curves.flatMap(\.values.keys)).sorted()
        let (plotLeft, plotRight, bottom) = (50.0, 560.0, 250.0)
        func x(_ k: Int) -> Double {
            plotLeft + (plotRight - plotLeft) * Double(ks.firstIndex(of: k) ?? 0) / Double(max(ks.count - 1, 1))
        }
        func y(_ value: Double) -> Double { bottom - value * (bottom - 20) }
        var parts = [0, 0.25, 0.5, 0.75, 1].map { value in
            """
            <line class="grid" x1="\(at(plotLeft))" x2="\(at(plotRight))" y1="\(at(y(value)))" y2="\(at(y(value)))"/>\
            <text class="faint" x="\(at(plotLeft - 8))" y="\(at(y(value) + 4))" text-anchor="end">\(value)</text>
            """
        }
        parts += ks.map {
            "<text class=\"faint\" x=\"\(at(x($0)))\" y=\"\(at(bottom + 20))\" text-anchor=\"middle\">k = \($0)</text>"
        }
        let colours = ["--a", "--b", "--c", "--d"]
        for (index, curve) in curves.enumerated() {
            // pass@k and maj@k of one reward share a colour.
            let colour = "var(\(colours[index / 2 % colours.count]))"
            let stroke = "stroke=\"\(colour)\" stroke-width=\"2\"" + (curve.isDashed ? " stroke-dasharray=\"6 4\"" : "")
            let points = curve.values.sorted { $0.key < $1.key }.map { "\(at(x($0.key))),\(at(y($0.value)))" }
            let row = Double(index) * 22 + 28
            parts.append("<polyline points=\"\(points.joined(separator: " "))\" fill=\"none\" \(stroke)/>")
            parts.append("<line x1=\"590\" x2=\"616\" y1=\"\(at(row))\" y2=\"\(at(row))\" \(stroke)/>")
            let shown = curve.label.count <= 38 ? curve.label : curve.label.prefix(37) + "…"
            parts.append(
                "<text x=\"624\" y=\"\(at(row + 4))\">\(HTMLText.escaped(String(shown)))"
                    + "<title>\(HTMLText.escaped(curve.label))</title></text>")
        }
        return picture(max(bottom + 34, Double(curves.count) * 22 + 30), parts)
    }

    // MARK: Lengths

    /// How many completions have which length; what the limit cut off is drawn on top in another colour.
    private static func lengths(_ samples: [Findings.Sample]) -> String? {
        guard let longest = samples.map(\.length).max(), longest > 0 else { return nil }
        let step = max(1, (longest + 30) / 30)
        let bins = longest / step + 1
        var whole = [Int](repeating: 0, count: bins)
        var cut = whole
        for sample in samples {
            if sample.isTruncated { cut[sample.length / step] += 1 } else { whole[sample.length / step] += 1 }
        }
        let most = zip(whole, cut).map(+).max() ?? 1
        let (plotLeft, bottom, tall) = (50.0, 190.0, 160.0)
        let bar = (width - plotLeft - 20) / Double(bins)
        var parts: [String] = []
        for index in 0..<bins {
            let x = plotLeft + Double(index) * bar
            let wholeHeight = Double(whole[index]) / Double(most) * tall
            let cutHeight = Double(cut[index]) / Double(most) * tall
            let title = "<title>\(index * step)–\(index * step + step - 1): \(whole[index] + cut[index])</title>"
            parts.append(rectangle(x, bottom - wholeHeight, bar, wholeHeight, "var(--a)", title))
            parts.append(rectangle(x, bottom - wholeHeight - cutHeight, bar, cutHeight, "var(--b)", title))
            if index % max(1, bins / 10) == 0 {
                parts.append(
                    "<text class=\"faint\" x=\"\(at(x))\" y=\"\(at(bottom + 18))\">\(index * step)</text>")
            }
        }
        parts.append(
            "<text class=\"faint\" x=\"\(at(plotLeft - 8))\" y=\"\(at(bottom - tall + 5))\" text-anchor=\"end\">\(most)</text>"
                + "<text class=\"faint\" x=\"\(at(plotLeft - 8))\" y=\"\(at(bottom))\" text-anchor=\"end\">0</text>"
                + "<line class=\"grid\" x1=\"\(at(plotLeft))\" x2=\"\(at(width - 20))\" y1=\"\(at(bottom))\" y2=\"\(at(bottom))\"/>"
        )
        let legend = [("var(--a)", "ended by itself"), ("var(--b)", "truncated")]
        for (place, (colour, text)) in legend.enumerated() {
            let x = plotLeft + Double(place) * 150
            parts.append(
                rectangle(x, 4, 12, 12, colour, "") + "<text x=\"\(at(x + 18))\" y=\"15\">\(text)</text>")
        }
        return picture(bottom + 26, parts)
    }

    private static func rectangle(
        _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ colour: String, _ title: String
    ) -> String {
        guard height > 0 else { return "" }
        return "<rect x=\"\(at(x + 0.5))\" y=\"\(at(y))\" width=\"\(at(max(width - 1, 1)))\" height=\"\(at(height))\" "
            + "fill=\"\(colour)\">\(title)</rect>"
    }

    // MARK: Drawing

    private static func picture(_ height: Double, _ parts: [String]) -> String {
        "<svg viewBox=\"0 0 \(Int(width)) \(Int(height))\" width=\"\(Int(width))\" height=\"\(Int(height))\" role=\"img\">\n"
            + parts.filter { !$0.isEmpty }.joined(separator: "\n") + "\n</svg>"
    }

    static func at(_ value: Double) -> String { String(format: "%.1f", value) }
}
