/// The plots of the HTML report.
enum ReportPlots {
    struct Titled {
        var title: String
        var svg: String
    }

    static func all(_ findings: Findings) -> [Titled] {
        var plots: [Titled] = []
        let scores = scorePoints(findings)
        if !scores.isEmpty {
            plots.append(Titled(title: "Mean scores with 95 % intervals", svg: dots(scores, mark: nil)))
        }
        let differences = findings.comparisons.map { comparison in
            Point(
                label: "\(comparison.promptSet), \(comparison.reward)", value: comparison.paired.difference,
                interval: comparison.paired.interval)
        }
        if !differences.isEmpty {
            plots.append(Titled(title: "Differences with 95 % intervals", svg: dots(differences, mark: 0)))
        }
        let curves = samplingCurves(findings)
        if !curves.isEmpty { plots.append(Titled(title: "More completions per prompt", svg: lines(curves))) }
        if let lengths = lengths(findings.samples) {
            plots.append(Titled(title: "Lengths of the completions, in tokens", svg: lengths))
        }
        return plots
    }

    private static let width = 900.0

    // MARK: Means and differences

    private struct Point {
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

    /// One row per point: a dot at the value and a bar over the interval.
    private static func dots(_ points: [Point], mark: Double?) -> String {
        var plot = Plot(width: width, height: Double(points.count) * 26 + 40, on: .page)
        let (left, right, bottom) = (320.0, width - 70, plot.height - 30)
        let ends = points.flatMap { [$0.value, $0.interval?.low ?? $0.value, $0.interval?.high ?? $0.value] }
        let axis = PlotAxis(ends + [mark ?? 0], from: left, to: right)
        plot.columns(axis, top: 6, bottom: bottom)
        if let mark {
            plot.segment(
                (axis.position(mark), 6), (axis.position(mark), bottom), colour: "var(--faint)", isDashed: true)
        }
        for (index, point) in points.enumerated() {
            let y = Double(index) * 26 + 20
            let shown = point.label.count <= 44 ? point.label : "…" + point.label.suffix(43)
            plot.text(shown, x: left - 14, y: y + 4, anchor: .end, tip: point.label)
            if let interval = point.interval {
                plot.segment(
                    (axis.position(interval.low), y), (axis.position(interval.high), y), colour: plot.colour(0))
            }
            plot.dot(x: axis.position(point.value), y: y, colour: plot.colour(0))
            let text = mark == nil ? NumberText.short(point.value) : NumberText.signed(point.value)
            plot.text(text, x: width, y: y + 4, anchor: .end)
        }
        return plot.svg
    }

    // MARK: pass@k and maj@k

    private struct Curve {
        var label: String
        var values: [Int: Double]
        var isDashed: Bool
    }

    private static func samplingCurves(_ findings: Findings) -> [Curve] {
        let form = findings.passAtK == .unbiased ? "" : " (\(findings.passAtK.rawValue))"
        return findings.results.flatMap { result in
            result.rewards.flatMap { reward in
                [
                    Curve(
                        label: "pass@k\(form), \(result.promptSet), \(reward.reward)", values: reward.passAtK,
                        isDashed: false),
                    Curve(
                        label: "maj@k, \(result.promptSet), \(reward.reward)", values: reward.majorityAtK,
                        isDashed: true),
                ].filter { $0.values.count > 1 }
            }
        }
    }

    /// Every k asked for at the same distance from the next; shares from 0 to 1.
    private static func lines(_ curves: [Curve]) -> String {
        let (left, right, top, bottom) = (50.0, 560.0, 20.0, 250.0)
        var plot = Plot(width: width, height: max(bottom + 34, Double(curves.count) * 22 + 30), on: .page)
        let ks = Set(curves.flatMap(\.values.keys)).sorted()
        let x = PlotAxis(0...Double(max(ks.count - 1, 1)), from: left, to: right)
        let y = PlotAxis(0...1, from: bottom, to: top)
        func column(_ k: Int) -> Double { x.position(Double(ks.firstIndex(of: k) ?? 0)) }
        plot.rows(y, left: left, right: right)
        for k in ks { plot.text("k = \(k)", x: column(k), y: bottom + 20, anchor: .middle, isFaint: true) }
        for (index, curve) in curves.enumerated() {
            let colour = plot.colour(index / 2)  // pass@k and maj@k of one reward share it
            let points = curve.values.sorted { $0.key < $1.key }.map { (column($0.key), y.position($0.value)) }
            plot.curve(points, colour: colour, isDashed: curve.isDashed)
            plot.key(
                curve.label, x: 590, y: Double(index) * 22 + 28, colour: colour, isDashed: curve.isDashed, longest: 38)
        }
        return plot.svg
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
        let (left, right, top, bottom) = (50.0, width - 20, 30.0, 190.0)
        var plot = Plot(width: width, height: bottom + 26, on: .page)
        let x = PlotAxis(0...Double(bins), from: left, to: right)
        let y = PlotAxis(0...Double(most), from: bottom, to: top)
        let bar = x.position(1) - left
        for index in 0..<bins {
            let start = x.position(Double(index))
            let tip = "\(index * step)–\(index * step + step - 1): \(whole[index] + cut[index])"
            var foot = 0.0
            for (count, colour) in [(whole[index], plot.colour(0)), (cut[index], plot.colour(1))] {
                let head = foot + Double(count)
                plot.bar(
                    x: start + 0.5, y: y.position(head), width: max(bar - 1, 1),
                    height: y.position(foot) - y.position(head), colour: colour, tip: tip)
                foot = head
            }
            if index % max(1, bins / 10) == 0 {
                plot.text("\(index * step)", x: start, y: bottom + 18, isFaint: true)
            }
        }
        plot.text("\(most)", x: left - 8, y: top + 5, anchor: .end, isFaint: true)
        plot.text("0", x: left - 8, y: bottom, anchor: .end, isFaint: true)
        plot.gridLine((left, bottom), (right, bottom))
        for (index, text) in ["ended by itself", "truncated"].enumerated() {
            let start = left + Double(index) * 150
            plot.bar(x: start, y: 4, width: 12, height: 12, colour: plot.colour(index))
            plot.text(text, x: start + 18, y: 15)
        }
        return plot.svg
    }
}
