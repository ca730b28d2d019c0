import JSON
internal import Evaluation
internal import Records
internal import RewardInterface
internal import Runs

/// How one reward's scores of a file are spread, what failed and how long it took, for people.
struct RewardDistribution {
    struct Sample {
        /// In the file.
        var line: Int
        var completion: String
        var score: RewardScore
        /// The score that the file says is right.
        var expected: Double?

        var isUnexpected: Bool { expected.map { $0 != score.score } ?? false }
    }

    var name: String
    /// As the places of its rows name it.
    var file: String
    var samples: [Sample]
    /// Of each call.
    var milliseconds: [Double]

    /// What is not as it should be; `nil` when every score is there and as expected.
    var verdict: String? {
        let failed = samples.count { $0.score.isFailure }
        let unexpected = samples.count(where: \.isUnexpected)
        let parts = [
            failed > 0 ? "\(failed) of \(samples.count) scores failed or timed out" : nil,
            unexpected > 0 ? "\(unexpected) scores are not as expected" : nil,
        ].compactMap(\.self)
        return parts.isEmpty ? nil : "\(name): " + parts.joined(separator: ", ")
    }

    var text: String {
        ([heading] + (spread + timing + comparison + failures).map { "  \($0)" }).joined(separator: "\n")
    }

    private var heading: String {
        let states = [
            ("scored", "scored"), ("abstained", "abstained"), ("failed", "failed"), ("timedOut", "timed out"),
        ]
        let counts = states.compactMap { state, words -> String? in
            let count = samples.count { $0.score.state == state }
            return count > 0 ? "\(count) \(words)" : nil
        }
        return "\(name): \(samples.count) completions, \(counts.joined(separator: ", "))"
    }

    // MARK: - Numbers

    private var spread: [String] {
        let numbers = samples.compactMap(\.score.score).sorted()
        guard let low = numbers.first, let high = numbers.last else { return ["no score"] }
        let mean = numbers.reduce(0, +) / Double(numbers.count)
        let median = (numbers[(numbers.count - 1) / 2] + numbers[numbers.count / 2]) / 2
        let middle = "mean \(Self.round(mean)), min \(Self.round(low)), median \(Self.round(median))"
        return ["\(middle), max \(Self.round(high))"] + Self.histogram(numbers).map { "  \($0)" }
    }

    private static let mostBars = 10

    /// A bar for each value when they are few, else for ten ranges of equal width, each up to the next one's beginning.
    private static func histogram(_ sorted: [Double]) -> [String] {
        var bars: [(label: String, count: Int)] = []
        let (low, high) = (sorted[0], sorted[sorted.count - 1])
        let values = sorted.reduce(into: [Double]()) { if $0.last != $1 { $0.append($1) } }
        if values.count <= mostBars {
            bars = values.map { value in (round(value), sorted.count { $0 == value }) }
        } else {
            let width = (high - low) / Double(mostBars)
            var counts = [Int](repeating: 0, count: mostBars)
            for value in sorted { counts[min(mostBars - 1, Int((value - low) / width))] += 1 }
            bars = counts.enumerated().map { index, count in
                ("\(round(low + Double(index) * width)) – \(round(low + Double(index + 1) * width))", count)
            }
        }
        guard bars.count > 1 else { return [] }
        return TextBars.lines(bars.map { ($0.label, $0.count, "") })
    }

    private var timing: [String] {
        let times = milliseconds.sorted()
        let sum = times.reduce(0, +)
        guard let last = times.last, sum > 0 else { return [] }
        let rare = times.count > 100 ? times[times.count * 99 / 100] : last
        let rate = Double(samples.count) / sum * 1000
        return [
            "time of a call: p50 \(Self.round(times[times.count / 2])) ms, p99 \(Self.round(rare)) ms; "
                + "\(rate < 10 ? Self.round(rate) : String(Int(rate))) completions a second in \(times.count) calls"
        ]
    }

    // MARK: - What is wrong

    private static let mostShown = 5

    private var comparison: [String] {
        let expected = samples.filter { $0.expected != nil }
        guard !expected.isEmpty else { return [] }
        let wrong = expected.filter(\.isUnexpected)
        let shown = wrong.prefix(Self.mostShown).map { sample in
            let found = sample.score.score.map(Self.round) ?? sample.score.state
            let wanted = sample.expected.map(Self.round) ?? ""
            return "  line \(sample.line): \(found), expected \(wanted); completion: "
                + Self.shortened(sample.completion)
        }
        return ["equal to 'expected': \(expected.count - wrong.count) of \(expected.count)"] + shown
            + (wrong.count > shown.count ? ["  … and \(wrong.count - shown.count) more"] : [])
    }

    /// Failures of one kind together, the first of each in full.
    private var failures: [String] {
        var kinds: [(kind: String, samples: [Sample])] = []
        for sample in samples where sample.score.isFailure {
            let kind = kind(of: sample.score)
            if let slot = kinds.firstIndex(where: { $0.kind == kind }) {
                kinds[slot].samples.append(sample)
            } else {
                kinds.append((kind, [sample]))
            }
        }
        let shown = kinds.sorted { $0.samples.count > $1.samples.count }.prefix(Self.mostShown)
        return shown.flatMap { kind, samples in
            let lines = samples.prefix(Self.mostShown).map { "\($0.line)" }.joined(separator: ", ")
            let note = (samples[0].score.note ?? "").split(separator: "\n").map { "    \($0)" }
            return [
                "\(samples.count) × \(kind)",
                "  \(samples.count == 1 ? "line" : "lines") \(lines)\(samples.count > Self.mostShown ? " …" : "")"
                    + "; first completion: \(Self.shortened(samples[0].completion))",
            ] + (note.count > 1 ? note : [])
        } + (kinds.count > shown.count ? ["… and \(kinds.count - shown.count) other kinds of failure"] : [])
    }

    /// The line that says what happened: a traceback's last, else the first, without the place of the row, in which
    /// failures of one kind differ.
    private func kind(of score: RewardScore) -> String {
        let lines = (score.note ?? score.state).split(separator: "\n")
        let isTraceback = lines.first?.hasPrefix("Traceback") ?? false
        let text = String((isTraceback ? lines.last : lines.first) ?? "").replacing("; it wrote to stderr:", with: "")
        let place = "\(file) line "
        guard text.hasPrefix(place) else { return text }
        return String(text.dropFirst(place.count).drop(while: \.isNumber).dropFirst(": ".count))
    }

    private static func shortened(_ text: String) -> String { JSONText.string(text.shortened(to: 120)) }

    private static func round(_ value: Double) -> String { JSONValue.number((value * 1e4).rounded() / 1e4).serialized }
}
