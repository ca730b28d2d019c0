internal import Credit
internal import Evaluation
package import Foundation
import JSON
internal import Runs

/// `plumbline report`: runs and evaluations side by side.
package struct RunReport {
    /// One run's rows of metrics.jsonl.
    struct Run {
        var name: String
        /// `(step, metrics)`, in order.
        var rows: [(step: Double, values: JSONValue)]
        /// Of notes.jsonl.
        let notes: [(step: Double, text: String)]
        let folder: URL

        func series(_ metric: String) -> [(x: Double, y: Double)] {
            rows.compactMap { row in row.values[metric]?.double.map { (row.step, $0) } }
        }
    }

    /// Of what was named, that which holds no metrics and is in no table.
    package let leftOut: [String]
    private let runs: [Run]
    private let metric: String
    private let evaluations: [(name: String, result: JSONValue)]

    /// - Parameters:
    ///   - runs: Run folders. Beside one, files and folders without metrics are left out, as `runs/*` names them too.
    ///   - metric: Of the curves; `nil` for the reward, or the loss where no run has rewards. A run without it has no
    ///     curve where others have one.
    ///   - evaluations: `name=file` each, files of `plumbline eval --output`.
    /// - Throws: ``JobError`` naming the folder or file that cannot be used.
    package init(runs named: [String], metric: String?, evaluations: [String]) throws {
        let others = named.filter { FileManager.default.fileExists(atPath: $0) && !Self.hasMetrics($0) }
        let leftOut = named.contains(where: Self.hasMetrics) ? others : []
        self.leftOut = leftOut
        let paths = named.filter { !leftOut.contains($0) }
        let runs = try paths.map(Self.run)
        self.runs = runs
        func isKnown(_ name: String) -> Bool { runs.contains { !$0.series(name).isEmpty } }
        self.metric = metric ?? (!isKnown("reward") && isKnown("loss") ? "loss" : "reward")
        var folders: [String: String] = [:]
        for (name, run) in zip(paths, runs) {
            let folder = run.folder.standardizedFileURL.resolvingSymlinksInPath().path
            if let first = folders.updateValue(name, forKey: folder) {
                throw JobError(
                    place: name, message: "is the run \(first), which is named too and would count twice; name it once")
            }
        }
        self.evaluations = try evaluations.map(Self.evaluation)
        if let first = runs.first, !isKnown(self.metric) {
            let known = first.rows.first?.values.members?.map(\.key) ?? []
            throw JobError(
                place: first.name,
                message: "no metric '\(self.metric)' in metrics.jsonl; it has \(known.joined(separator: ", "))")
        }
    }

    private static func metricsFile(of path: String) -> URL { URL(filePath: path).appending(path: "metrics.jsonl") }

    private static func hasMetrics(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: metricsFile(of: path).path)
    }

    private static func run(_ path: String) throws -> Run {
        let folder = URL(filePath: path)
        let file = metricsFile(of: path)
        guard hasMetrics(path) else {
            throw JobError(place: path, message: "no metrics.jsonl; this is no run folder")
        }
        var rows: [(Double, JSONValue)] = []
        try InputLine.each(of: file.path) { line, value in
            guard let step = value["step"]?.double else { throw JobError(place: line.place, message: "no 'step'") }
            rows.append((step, value))
        }
        return Run(name: folder.lastPathComponent, rows: rows, notes: try notes(of: folder), folder: folder)
    }

    private static func notes(of folder: URL) throws -> [(step: Double, text: String)] {
        let file = folder.appending(path: "notes.jsonl")
        guard FileManager.default.fileExists(atPath: file.path) else { return [] }
        var notes: [(step: Double, text: String)] = []
        let lines = try LineReader(file)
        while let line = try lines.next() {
            // The torn last line of a killed process is no note.
            guard let row = try? JSONValue(parsing: line.bytes), let step = row["step"]?.double,
                let note = row["note"]?.string
            else { continue }
            notes.append((step, note))
        }
        return notes
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
        parts += courses.filter(\.hasSomething).map(\.text)
        return parts.joined(separator: "\n\n")
    }

    private var evaluationTable: Table {
        let results = evaluations.flatMap { name, result in (result["results"]?.elements ?? []).map { (name, $0) } }
        let hasSets = Set(results.compactMap { $1["prompt_set"]?.string }).count > 1
        var rows: [[String]] = []
        for (name, set) in results {
            let place = hasSets ? [name, set["prompt_set"]?.string ?? ""] : [name]
            for reward in set["rewards"]?.elements ?? [] {
                let interval = reward["interval"]?.elements?.compactMap(\.double) ?? []
                rows.append(
                    place + [
                        Self.number(set["n"]?.double, 0), Self.number(set["samples"]?.double, 0),
                        reward["reward"]?.text ?? "", Self.number(reward["mean"]?.double, 3),
                        interval.count == 2 ? NumberText.bracketed(Interval(low: interval[0], high: interval[1])) : "–",
                        Self.number(set["truncated"]?.double, 3),
                    ])
            }
        }
        let heading = hasSets ? ["policy", "prompt set"] : ["policy"]
        return Table(
            heading + ["prompts", "samples", "reward", "mean", "95 % interval", "truncated"], rows,
            textColumns: heading.count)
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

    // MARK: Rewards

    /// How each run weighed its rewards.
    private var courses: [RewardCourse] {
        runs.map { run in
            let names = Set(run.rows.flatMap { ($0.values.members ?? []).map(\.key) })
            return RewardCourse(
                run.name, series: Dictionary(uniqueKeysWithValues: names.map { ($0, run.series($0)) }),
                notes: run.notes, fixedWeights: Self.fixedWeights(of: run))
        }
    }

    /// What the run's job says each reward weighs.
    private static func fixedWeights(of run: Run) -> [String: Double] {
        // A report needs the metrics alone: of a job that is not there, or that another release wrote, nothing is told.
        guard let job = try? ResolvedJob(JobFile(url: run.folder.appending(path: "config.yaml"))),
            let rewards = job.plan.credit?.rewards
        else { return [:] }
        return Dictionary(zip(rewards.names, rewards.weights)) { first, _ in first }
    }

    /// Up to where more of each trained reward is more of a gold one, by the evaluations of all runs: each reward's own
    /// proxy point and the joint one, with the lines of a job file that hold them.
    ///
    /// - Throws: ``JobError`` where the runs have no such numbers, or too few.
    package func proxyPoints(gold: String) throws -> String {
        func metric(_ name: String) -> String { "eval_rewards/\(name)/mean" }
        let rows = runs.flatMap { $0.rows.map(\.values) }.filter { $0[metric(gold)]?.double != nil }
        let known = Set(runs.flatMap { $0.rows.flatMap { ($0.values.members ?? []).map(\.key) } })
            .filter { $0.hasPrefix("eval_rewards/") && $0.hasSuffix("/mean") }
            .map { String($0.dropFirst("eval_rewards/".count).dropLast("/mean".count)) }.sorted()
        guard known.contains(gold) else {
            throw JobError(
                place: "--gold '\(gold)'",
                message: known.isEmpty
                    ? "the runs have no evaluations; set eval_steps in their jobs"
                    : "no evaluated reward has this name; there are \(known.joined(separator: ", "))")
        }
        let rewards = known.filter { $0 != gold }
        guard !rewards.isEmpty else {
            throw JobError(place: "--gold '\(gold)'", message: "the runs have no other reward to hold at a limit")
        }
        let all = rows.compactMap { row -> ProxySurface.Observation? in
            let means = rewards.compactMap { row[metric($0)]?.double }
            guard means.count == rewards.count, let value = row[metric(gold)]?.double else { return nil }
            return .init(rewards: means, gold: value)
        }
        guard let joint = ProxySurface(all) else {
            throw JobError(place: "--gold '\(gold)'", message: Self.noSurface(over: rewards, all))
        }
        let top = joint.highest
        let best = all.max { $0.gold < $1.gold } ?? all[0]
        let edges = rewards.indices.filter {
            top.rewards[$0] == joint.bounds[$0].lowerBound || top.rewards[$0] == joint.bounds[$0].upperBound
        }
        let table = Table(
            ["reward", "seen from", "to", "where \(gold) was highest", "own proxy point", "joint proxy point"],
            rewards.enumerated().map { slot, name in
                let own = ProxySurface(all.map { .init(rewards: [$0.rewards[slot]], gold: $0.gold) })
                return [
                    name, NumberText.compact(joint.bounds[slot].lowerBound),
                    NumberText.compact(joint.bounds[slot].upperBound), NumberText.compact(best.rewards[slot]),
                    own.map { NumberText.compact($0.highest.rewards[0]) } ?? "",
                    NumberText.compact(top.rewards[slot]),
                ]
            })
        let lines = zip(rewards, top.rewards).map {
            "  - {reward: \($0), limit: \(NumberText.compact($1)), kind: equal}"
        }
        return """
            \(gold) by \(all.count) evaluations of \(runs.count) runs: a quadratic surface \
            explains \(NumberText.percent(max(0, joint.explained))), and gives \
            \(NumberText.compact(top.gold)) at its highest; the highest seen is \(NumberText.compact(best.gold))
            \(table.text)
            \(edges.isEmpty ? "" : Self.edgeNote(edges.map { rewards[$0] }))
            constraints:
            \(lines.joined(separator: "\n"))
            """
    }

    /// Why there is no surface through these observations.
    private static func noSurface(over rewards: [String], _ all: [ProxySurface.Observation]) -> String {
        let least = ProxySurface.terms(of: rewards.count)
        let start = "\(all.count) evaluations do not determine a surface over \(rewards.joined(separator: ", "))"
        let remedy = "expected runs with different reward_weights"
        if rewards.count > ProxySurface.mostRewards {
            return "\(start), which are \(rewards.count) rewards; expected at most \(ProxySurface.mostRewards)"
        }
        if all.count < least { return "\(start): it takes \(least) or more, of runs with different reward_weights" }
        let equal = rewards.indices.filter { slot in Set(all.map { $0.rewards[slot] }).count == 1 }
        guard equal.isEmpty else {
            let names = equal.map { rewards[$0] }.joined(separator: ", ")
            return "\(start): \(names) \(equal.count == 1 ? "has" : "have") the same mean in all of them; \(remedy)"
        }
        return "\(start): their means lie on a line, or too near to one; \(remedy)"
    }

    private static func edgeNote(_ rewards: [String]) -> String {
        "\nThe joint proxy point lies at the edge of the evaluated range of \(rewards.joined(separator: ", ")): either "
            + "\(rewards.count == 1 ? "it is" : "they are") good to the end of these runs, or most evaluations came too late "
            + "to show the turn (a lower learning_rate or eval_steps shows more).\n"
    }

    /// Writes one page: the curves, what the runs that have a timeline were at, how each run weighed its rewards, and
    /// what it noted.
    package func writePage(to path: String) throws {
        let page = RewardCourse.page(of: courses, before: [picture] + (try runs.compactMap(Self.timeline)))
        try FileOperations.system.writeOutput(Array(page.utf8), to: URL(filePath: path))
    }

    /// How one run weighed its rewards, for its end; `nil` of a run with one reward and no limit.
    ///
    /// - Throws: ``JobError`` for a folder that is no run's.
    package static func weighing(of folder: URL) throws -> String? {
        let report = try RunReport(runs: [folder.path], metric: "step", evaluations: [])
        return report.courses.first { $0.hasSomething }?.text
    }

    // MARK: The picture

    /// A run's `timeline.json` as SVG; `nil` where it has none.
    private static func timeline(of run: Run) throws -> String? {
        let file = run.folder.appending(path: "timeline.json")
        guard let data = FileManager.default.contents(atPath: file.path) else { return nil }
        do {
            return TimelinePicture(run.name, trace: try JSONValue(parsing: Array(data)))?.svg
        } catch {
            throw JobError(
                place: file.relativePath, message: "\(error); leave the file out, or run again with timeline")
        }
    }

    /// Writes the runs' learning curves as an SVG file.
    package func writeCurves(to path: String) throws {
        try FileOperations.system.writeOutput(Array(picture.utf8), to: URL(filePath: path))
    }

    private var picture: String {
        let curves = runs.map { LearningCurves.Curve(name: $0.name, points: $0.series(metric)) }
            .filter { !$0.points.isEmpty }
        return LearningCurves(title: metric, curves: curves).svg
    }
}
