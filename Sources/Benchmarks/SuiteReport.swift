internal import Evaluation
package import Foundation
package import JSON
internal import Job

/// What a suite has measured so far, as tables and as one JSON object.
package struct SuiteReport: Sendable {
    /// What was asked of whom.
    package struct Subject: Sendable, Equatable {
        package let part: BenchmarkSuite.Part
        package let model: String
        package let name: String
        package let trainer: String

        package init(_ part: BenchmarkSuite.Part, _ model: String, _ name: String, _ trainer: String) {
            (self.part, self.model, self.name, self.trainer) = (part, model, name, trainer)
        }

        /// On one line.
        package var words: String { "\(model): \(name), \(trainer)" }
    }

    /// A row of the table of steps.
    package struct StepRow: Sendable {
        let subject: Subject
        /// Of the completions of a step.
        let tokens: Int
        var outcome: Result<StepMeasurement, SuiteFailure>
        /// Plumbline's, in the row of a peer.
        let own: StepMeasurement?

        package init(
            subject: Subject, tokens: Int, outcome: Result<StepMeasurement, SuiteFailure>, own: StepMeasurement? = nil
        ) {
            (self.subject, self.tokens, self.outcome, self.own) = (subject, tokens, outcome, own)
        }

        fileprivate var cells: [String] {
            let names = [subject.model, subject.name, subject.trainer]
            return switch outcome {
            case .success(let step): step.row(names, tokens: tokens, beside: own)
            case .failure(let failure): names + [failure.short]
            }
        }
    }

    /// What ended a suite.
    package enum End: Sendable {
        /// Nothing yet.
        case running
        case finished
        /// It was asked to.
        case stopped
        /// Something without which nothing can be measured, such as a full disk.
        case failed(any Error)

        fileprivate var word: String {
            switch self {
            case .running: "running"
            case .finished: "finished"
            case .stopped: "stopped"
            case .failed: "failed"
            }
        }
    }

    /// Who Plumbline is among the trainers.
    package static let plumbline = "Plumbline"

    /// Machine and versions, as `plumbline env` prints them.
    package var facts: [(name: String, value: String)]
    package var end = End.running
    package var steps: [StepRow] = []
    package var rollouts: [[String]] = []
    package var growth: StepGrowth?
    package var promptGrowth: PromptGrowth?
    package var prefills: [Prefill] = []
    package var startUps: [(model: String, outcome: Result<StartUp, SuiteFailure>)] = []
    package var remarks: [String] = []
    private let commit: String?
    private let peers: [String: String]
    private let leftOut: [String]
    private var measurements: [(subject: Subject, outcome: Result<JSONValue, SuiteFailure>)] = []

    /// - Parameters:
    ///   - commit: What Plumbline was built from; `nil` where that is not known.
    ///   - peers: The versions of the peers' packages.
    ///   - leftOut: A line for each peer that is not measured.
    package init(
        facts: [(name: String, value: String)], commit: String?, peers: [String: String], leftOut: [String]
    ) {
        (self.facts, self.commit, self.peers, self.leftOut) = (facts, commit, peers, leftOut)
    }

    /// Keeps what a measurement gave.
    package mutating func record(_ outcome: Result<JSONValue, SuiteFailure>, of subject: Subject) {
        measurements.append((subject, outcome))
    }

    /// Gives the last step the difference of the weights that was measured after it.
    mutating func compareLastStep(with object: JSONValue) {
        guard let last = steps.indices.last else { return }
        steps[last].outcome = steps[last].outcome.map { step in
            var step = step
            step.compare(with: object)
            return step
        }
    }

    private var failures: [(subject: Subject, failure: SuiteFailure)] {
        measurements.compactMap { subject, outcome in
            if case .failure(let failure) = outcome { (subject, failure) } else { nil }
        }
    }

    /// Why the command fails, though it printed what it has: what ended it, or a measurement of Plumbline's own that
    /// failed. A peer's failure is none.
    package var error: (any Error)? {
        if case .failed(let error) = end { return error }
        let own = failures.filter { $0.subject.trainer == Self.plumbline }
        return own.isEmpty ? nil : OwnFailure(count: own.count)
    }

    /// Measurements of Plumbline itself failed.
    package struct OwnFailure: Error, Equatable, CustomStringConvertible {
        package let count: Int

        package var description: String {
            "\(count) of Plumbline's own measurements failed; the lines that begin with 'failed' say how"
        }
    }

    // MARK: As tables

    /// The tables that have rows, and below them what else is to be said.
    package var text: String {
        var parts: [String] = []
        func add(_ title: String, _ heading: [String], _ rows: [[String]], textColumns: Int) {
            guard !rows.isEmpty else { return }
            parts.append(title + "\n" + Table(heading, rows, textColumns: textColumns).text)
        }
        add("Steps", StepMeasurement.heading, steps.map(\.cells), textColumns: 3)
        add("Sampling completions of one prompt", PeerRollout.heading, rollouts, textColumns: 2)
        if let table = growth?.table {
            add("Completions of one prompt in a step", table[0], Array(table.dropFirst()), textColumns: 2)
        }
        if let table = promptGrowth?.table {
            add("Sampling behind a longer prompt", table[0], Array(table.dropFirst()), textColumns: 1)
        }
        add("Reading a prompt", Prefill.heading, prefills.map(\.row), textColumns: 1)
        add(
            "Start of generate, as a process", StartUp.heading, startUps.map { StartUp.row($0.model, $0.outcome) },
            textColumns: 1)
        parts += remarks
        if let machine = machineText { parts.append(machine) }
        if !failures.isEmpty {
            parts.append(failures.map { "failed: \($0.subject.words): \($0.failure.words)" }.joined(separator: "\n"))
        }
        if !leftOut.isEmpty { parts.append(leftOut.joined(separator: "\n")) }
        if case .stopped = end { parts.append("stopped on request: this is what was measured until then") }
        return parts.joined(separator: "\n\n")
    }

    private var machineText: String? {
        guard let rate = spread(of: "ceiling_gflops"), let bandwidth = spread(of: "ceiling_gbps") else { return nil }
        func words(_ spread: Spread, _ unit: String) -> String {
            "\(NumberText.compact(spread.median)) \(unit) "
                + "(\(NumberText.compact(spread.p10))–\(NumberText.compact(spread.p90)))"
        }
        let wanted = ["processor", "kernels", "cores"]
        let names = facts.filter { wanted.contains($0.name) }.map { "\($0.name) \($0.value)" }
        return "machine: " + (names + [words(rate, "GFLOP/s"), words(bandwidth, "GB/s")]).joined(separator: ", ")
    }

    /// Of a number that measuring processes give.
    private func spread(of key: String) -> Spread? {
        let values = measurements.compactMap { try? $0.outcome.get()[key]?.double }
        return values.isEmpty ? nil : Spread(values)
    }

    // MARK: As JSON

    /// Everything, in the order in which it was measured.
    package var json: JSONValue {
        .object([
            "state": .string(end.word),
            "plumbline": .object([
                "version": .string(PlumblineVersion.text), "commit": commit.map { .string($0) } ?? .null,
            ]),
            "machine": .object(facts.map { JSONValue.Member($0.name, .string($0.value)) }),
            "peers": .object(sorting: peers.mapValues { .string($0) }),
            "left_out": .array(leftOut.map { .string($0) }),
            "ceilings": .object([
                "gflops": Self.object(spread(of: "ceiling_gflops")), "gbps": Self.object(spread(of: "ceiling_gbps")),
            ]),
            "measurements": .array(
                measurements.compactMap { subject, outcome in
                    (try? outcome.get()).map { object in
                        // The machine stands once, above.
                        let measured = (object.members ?? []).filter { $0.key != "machine" }
                        return .object(Self.members(subject) + [.init("measured", .object(measured))])
                    }
                }),
            "growth": growth?.json ?? [],
            "prefill": .array(prefills.map(\.json)),
            "failures": .array(
                failures.map { subject, failure in
                    var (status, signal) = (JSONValue.null, JSONValue.null)
                    switch failure.ending {
                    case .status(let number): status = .number(number)
                    case .signal(let number): signal = .number(number)
                    case nil: break
                    }
                    return .object(
                        Self.members(subject) + [
                            .init("status", status), .init("signal", signal), .init("message", .string(failure.words)),
                        ])
                }),
        ])
    }

    private static func members(_ subject: Subject) -> [JSONValue.Member] {
        [
            .init("part", .string(subject.part.rawValue)), .init("model", .string(subject.model)),
            .init("name", .string(subject.name)), .init("trainer", .string(subject.trainer)),
        ]
    }

    private static func object(_ spread: Spread?) -> JSONValue {
        guard let spread else { return .null }
        return .object([
            "median": .number(spread.median), "p10": .number(spread.p10), "p90": .number(spread.p90),
        ])
    }

    /// Puts ``json`` in the place of what a file held; a reader finds the one or the other, whole.
    ///
    /// - Throws: `JobError` where it cannot be written.
    package func write(to file: URL) throws {
        do {
            try Data(json.indented.utf8).write(to: file, options: .atomic)
        } catch {
            throw JobError(place: file.path, message: "cannot be written: \(error.localizedDescription)")
        }
    }
}
