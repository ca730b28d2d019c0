internal import Evaluation
internal import Foundation
import JSON
internal import Runs

/// `plumbline report`: runs and evaluations side by side.
package struct RunReport {
    /// One run's rows of metrics.jsonl.
    struct Run {
        var name: String
        /// `(step, metrics)`, in order.
        var rows: [(step: Double, values: JSONValue)]

        func series(_ metric: String) -> [(x: Double, y: Double)] {
            rows.compactMap { row in row.values[metric]?.double.map { (row.step, $0) } }
        }
    }

    private let runs: [Run]
    private let metric: String
    private let evaluations: [(name: String, result: JSONValue)]

    /// - Parameters:
    ///   - runs: Run folders.
    ///   - evaluations: `name=file` each, files of `plumbline eval --output`.
    /// - Throws: ``JobError`` naming the folder or file that cannot be used.
    package init(runs: [String], metric: String, evaluations: [String]) throws {
        self.metric = metric
        self.runs = try runs.map(Self.run)
        self.evaluations = try evaluations.map(Self.evaluation)
        for run in self.runs where run.series(metric).isEmpty {
            let known = run.rows.first?.values.members?.map(\.key) ?? []
            throw JobError(
                place: run.name,
                message: "no metric '\(metric)' in metrics.jsonl; it has \(known.joined(separator: ", "))")
        }
    }

    private static func run(_ path: String) throws -> Run {
        let folder = URL(filePath: path)
        let file = folder.appending(path: "metrics.jsonl")
        guard FileManager.default.fileExists(atPath: file.path) else {
            throw JobError(place: path, message: "no metrics.jsonl; this is no run folder")
        }
        var rows: [(Double, JSONValue)] = []
        try InputLine.each(of: file.path) { line, value in
            guard let step = value["step"]?.double else { throw JobError(place: line.place, message: "no 'step'") }
            rows.append((step, value))
        }
        return Run(name: folder.lastPathComponent, rows: rows)
    }

    private static func evaluation(_ text: String) throws -> (String, JSONValue) {
        guard let sign = text.firstIndex(of: "=") else {
            throw JobError(place: "--evaluations '\(text)'", message: "expected name=file")
        }
        let path = String(text[text.index(after: sign)...])
        return (String(text[..<sign]), try EvaluationReport.json(of: path))
    }

    // MARK: The table

    /// Evaluations first, then the runs.
    package var table: String {
        var parts: [String] = []
        if !evaluations.isEmpty { parts.append(evaluationTable.text) }
        parts.append(runTable.text)
        return parts.joined(separator: "\n\n")
    }

    private var evaluationTable: Table {
        var rows: [[String]] = []
        for (name, result) in evaluations {
            for set in result["results"]?.elements ?? [] {
                for reward in set["rewards"]?.elements ?? [] {
                    let interval = reward["interval"]?.elements?.compactMap(\.double) ?? []
                    rows.append([
                        name, Self.number(set["n"]?.double, 0), Self.number(set["samples"]?.double, 0),
                        reward["reward"]?.text ?? "", Self.number(reward["mean"]?.double, 3),
                        interval.count == 2 ? NumberText.bracketed(Interval(low: interval[0], high: interval[1])) : "",
                        Self.number(set["truncated"]?.double, 3),
                    ])
                }
            }
        }
        return Table(["policy", "prompts", "samples", "reward", "mean", "95 % interval", "truncated"], rows)
    }

    private var runTable: Table {
        var rows: [[String]] = []
        for run in runs {
            let curve = run.series(metric).map(\.y)
            let share = max(1, curve.count / 10)
            let gap = run.series("sampling/sampling_logp_difference/max").map(\.y).max()
            let rate = run.series("perf/throughput").map(\.y).sorted()
            rows.append([
                run.name, Self.number(run.rows.last?.step, 0), Self.number(Self.mean(curve.prefix(share)), 3),
                Self.number(Self.mean(curve.suffix(share)), 3),
                Self.number(run.series("step_time").map(\.y).reduce(0, +), 1),
                Self.number(rate.isEmpty ? nil : rate[rate.count / 2], 0),
                gap.map(NumberText.compact) ?? "",
            ])
        }
        return Table(
            ["run", "steps", "\(metric), first", "\(metric), last", "seconds", "tokens/s", "gap, max"], rows)
    }

    private static func mean(_ values: ArraySlice<Double>) -> Double? {
        values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }

    private static func number(_ value: Double?, _ digits: Int) -> String {
        value.map { NumberText.fixed($0, digits) } ?? ""
    }

    // MARK: The picture

    /// Writes the runs' learning curves as an SVG file.
    package func writeCurves(to path: String) throws {
        let curves = runs.map { LearningCurves.Curve(name: $0.name, points: $0.series(metric)) }
        let picture = LearningCurves(title: metric, curves: curves).svg
        try FileOperations.system.writeOutput(Array(picture.utf8), to: URL(filePath: path))
    }
}
