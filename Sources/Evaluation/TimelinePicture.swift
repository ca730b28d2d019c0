package import JSON

/// What a run was at and what lay in its memory meanwhile, as one picture: lanes of phases above a stack of bytes.
package struct TimelinePicture {
    private struct Span {
        var lane: String
        var name: String
        var start: Double
        var end: Double
        var peak: Double?
    }

    private struct Sample {
        var time: Double
        /// Bytes by what they are held for, in the order of ``kinds``.
        var bytes: [Double]
        var resident: Double?
    }

    /// What is stacked, from below, with its names in a trace and its colour.
    private static let kinds: [(label: String, names: [String], colour: String)] = [
        ("weights", ["weights"], "#0072B2"), ("value head", ["value_head"], "#F0E442"),
        ("optimizer", ["optimizer"], "#56B4E9"), ("reference", ["reference"], "#009E73"),
        ("view", ["copies", "adapter_sums", "packed", "int8"], "#E69F00"),
        ("keys and values", ["kv_cache"], "#CC79A7"), ("kept products", ["forward_cache"], "#882255"),
        ("gradients", ["gradients"], "#D55E00"),
    ]
    private static let restColour = "#C8C8C8"
    /// Unlike every colour of the stack below.
    private static let phaseColour = "#4A5A6A"

    private let title: String
    private var spans: [Span] = []
    private var samples: [Sample] = []

    /// - Parameter trace: As a run writes it into `timeline.json`.
    /// - Returns: `nil` for a trace without phases, such as a simulated one's.
    package init?(_ title: String, trace: JSONValue) {
        self.title = title
        var resident: [Double: Double] = [:]
        for event in trace["traceEvents"]?.elements ?? [] {
            guard let time = event["ts"]?.double.map({ $0 / 1e6 }), time.isFinite else { continue }
            let args = event["args"]
            switch (event["ph"]?.text, event["name"]?.text) {
            case ("X", let name?):
                guard let lane = event["cat"]?.text, let length = event["dur"]?.double, length >= 0 else { continue }
                spans.append(
                    Span(
                        lane: lane, name: name, start: time, end: time + length / 1e6,
                        peak: args?["peak_bytes"]?.double))
            case ("C", "memory"):
                samples.append(
                    Sample(
                        time: time,
                        bytes: Self.kinds.map { kind in
                            kind.names.reduce(0) { $0 + max(0, args?[$1]?.double ?? 0) }
                        }))
            case ("C", "resident"): resident[time] = args?["bytes"]?.double
            default: continue
            }
        }
        guard !spans.isEmpty, !samples.isEmpty else { return nil }
        samples.sort { $0.time < $1.time }
        for index in samples.indices { samples[index].resident = resident[samples[index].time] }
    }

    /// The lanes in the order in which their first spans begin.
    private var lanes: [String] {
        var lanes: [String] = []
        for span in spans.sorted(by: { $0.start < $1.start }) where !lanes.contains(span.lane) {
            lanes.append(span.lane)
        }
        return lanes
    }

    /// An SVG file.
    package var svg: String {
        let lanes = lanes
        let (left, right, laneTop, laneHeight) = (150.0, 900.0, 50.0, 26.0)
        let top = laneTop + Double(lanes.count) * laneHeight + 28
        var plot = Plot(width: 1090, height: top + 330, on: .file)
        let bottom = plot.height - 56
        let end = max(spans.map(\.end).max() ?? 0, samples.last?.time ?? 0, 1e-6)
        let x = PlotAxis(0...end, from: left, to: right)
        let most = samples.map { max($0.bytes.reduce(0, +), $0.resident ?? 0) } + spans.compactMap(\.peak)
        let y = PlotAxis(0...max(1e-9, (most.max() ?? 0) / 1e9 * 1.05), from: bottom, to: top)
        plot.text("\(title): phases and memory", x: left, y: 26, isTitle: true)
        for (index, lane) in lanes.enumerated() {
            let row = laneTop + Double(index) * laneHeight
            plot.text(lane, x: left - 10, y: row + 17, anchor: .end)
            plot.gridLine((left, row + laneHeight), (right, row + laneHeight))
            for span in spans where span.lane == lane { draw(span, row: row, x, &plot) }
        }
        plot.rows(y, left: left, right: right)
        plot.columns(x, top: laneTop, bottom: bottom)
        stack(x, y, until: end, &plot)
        for span in spans {
            guard let peak = span.peak else { continue }
            let height = y.position(peak / 1e9)
            plot.segment((x.position(span.start), height), (x.position(span.end), height), colour: "black")
        }
        plot.segment((left, bottom), (right, bottom), colour: "black")
        plot.text("seconds", x: (left + right) / 2, y: bottom + 44, anchor: .middle)
        plot.text("GB", x: left - 8, y: top - 12, anchor: .end, isFaint: true)
        keys(x: right + 16, y: top + 10, &plot)
        return plot.svg
    }

    private func draw(_ span: Span, row: Double, _ x: PlotAxis, _ plot: inout Plot) {
        let start = x.position(span.start)
        let peak = span.peak.map { ", peak \(NumberText.compact($0 / 1e9)) GB" } ?? ""
        plot.bar(
            x: start, y: row + 4, width: max(1, x.position(span.end) - start), height: 18,
            colour: Self.phaseColour,
            tip: "\(span.name): \(NumberText.duration(span.end - span.start))\(peak)")
    }

    /// From each sample to the next what it found: between two nothing is known but the phases' peaks.
    private func stack(_ x: PlotAxis, _ y: PlotAxis, until end: Double, _ plot: inout Plot) {
        let edges = samples.map(\.time) + [end]
        func steps(_ heights: [Double]) -> [(x: Double, y: Double)] {
            heights.indices.flatMap { index in
                [edges[index], edges[index + 1]].map { (x.position($0), y.position(heights[index] / 1e9)) }
            }
        }
        var foot = samples.map { _ in 0.0 }
        func layer(_ heights: [Double], _ colour: String) {
            let head = zip(foot, heights).map(+)
            if heights.contains(where: { $0 > 0 }) { plot.area(steps(head) + steps(foot).reversed(), colour: colour) }
            foot = head
        }
        for (index, kind) in Self.kinds.enumerated() { layer(samples.map { $0.bytes[index] }, kind.colour) }
        layer(samples.map { max(0, ($0.resident ?? 0) - $0.bytes.reduce(0, +)) }, Self.restColour)
    }

    private func keys(x: Double, y: Double, _ plot: inout Plot) {
        let shown = Self.kinds.indices.filter { index in samples.contains { $0.bytes[index] > 0 } }
            .map { Self.kinds[$0] }
        var row = y
        for (label, colour) in [("other, resident", Self.restColour)] + shown.reversed().map({ ($0.label, $0.colour) })
        {
            plot.bar(x: x, y: row - 10, width: 14, height: 14, colour: colour)
            plot.text(label, x: x + 22, y: row + 2)
            row += 22
        }
        plot.segment((x, row - 3), (x + 14, row - 3), colour: "black")
        plot.text("peak of a phase", x: x + 22, y: row + 2)
    }
}
