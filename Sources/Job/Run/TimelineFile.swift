internal import Foundation
internal import JSON
internal import Placement
internal import Planning
internal import Runs
internal import Synchronization

/// `timeline.json`: what the first steps of a start were at, and what lay in memory; of several processes in the first.
final class TimelineFile: Sendable {
    fileprivate struct State {
        var trace = ChromeTrace()
        /// Steps so far.
        var steps = 0
        /// Rows of the picture, each with its lane and the end of its last span: what runs at once lies in several.
        var rows: [(lane: PhaseSpan.Lane, end: Int)] = []
    }

    private let file: URL
    private let steps: Int
    private let state: Mutex<State>

    /// - Parameters:
    ///   - folder: The run's.
    ///   - steps: As many are shown; `nil` is made for none.
    ///   - ranks: Processes of the run, of which this is the first: the file says that the others are not in it.
    init?(_ folder: URL, steps: Int, ranks: Int) {
        guard steps > 0 else { return nil }
        file = Self.file(in: folder)
        self.steps = steps
        var state = State()
        if ranks > 1 { state.trace.name("rank 0 of \(ranks), the only one that is shown", process: 0) }
        self.state = Mutex(state)
    }

    private static func file(in folder: URL) -> URL { folder.appending(path: "timeline.json") }

    /// Takes away that of a run which stood in the folder before.
    static func removeEarlier(in folder: URL) throws(RunError) { try FileOperations.system.remove(file(in: folder)) }

    /// Adds what was noted up to the end of a step. The file is written at every step, later at every tenth.
    func add(_ noted: (spans: [PhaseSpan], samples: [MemorySample]), step: Int) throws(RunError) {
        try state.withLock { state throws(RunError) in
            guard state.steps < steps else { return }
            state.steps += 1
            state.add(noted, step: step)
            guard state.steps <= 10 || state.steps % 10 == 0 || state.steps == steps else { return }
            try write(state)
        }
    }

    /// Adds what was noted after the last step.
    func end(_ noted: (spans: [PhaseSpan], samples: [MemorySample])) throws(RunError) {
        try state.withLock { state throws(RunError) in
            guard state.steps < steps else { return }
            state.add(noted, step: nil)
            try write(state)
        }
    }

    private func write(_ state: State) throws(RunError) {
        try FileOperations.system.replaceFile(file, with: state.trace.json.serializedBytes + [0x0a])
    }
}

extension TimelineFile.State {
    fileprivate mutating func add(_ noted: (spans: [PhaseSpan], samples: [MemorySample]), step: Int?) {
        for span in noted.spans.sorted(by: { $0.start < $1.start }) {
            let numbers: [(String, Int?)] = [
                ("step", step), ("version", span.version), ("moved_bytes", span.movedBytes),
                ("peak_bytes", span.peakBytes),
            ]
            trace.span(
                span.name, category: span.lane.rawValue, start: span.start, end: span.end, process: 0,
                thread: row(of: span),
                args: .object(numbers.compactMap { name, value in value.map { JSONValue.Member(name, .number($0)) } }))
        }
        for sample in noted.samples {
            let held = MemoryTag.allCases.map { JSONValue.Member($0.rawValue, .number(sample.bytes[$0] ?? 0)) }
            trace.counter("memory", time: sample.time, process: 0, values: .object(held))
            if let resident = sample.residentBytes {
                trace.counter(
                    "resident", time: sample.time, process: 0, values: .object(["bytes": .number(resident)]))
            }
        }
    }

    /// The first row of the span's lane that is free by then.
    private mutating func row(of span: PhaseSpan) -> Int {
        if let free = rows.firstIndex(where: { $0.lane == span.lane && $0.end <= span.start }) {
            rows[free].end = span.end
            return free
        }
        rows.append((span.lane, span.end))
        trace.name(span.lane.rawValue, process: 0, thread: rows.count - 1)
        return rows.count - 1
    }
}
