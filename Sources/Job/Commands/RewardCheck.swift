internal import Foundation
internal import PromptSets
internal import Records
internal import RewardHosts
internal import RewardInterface
internal import Runs
internal import ShippedRewards

/// What `plumbline reward list` shows.
package enum RewardListing {
    package struct Row: Sendable {
        package var name: String
        package var range: String
        package var settings: [String]
    }

    package static func rows() throws -> [Row] {
        let catalogue = ShippedRewards.catalogue
        return try catalogue.names.map { name in
            let type = try catalogue.type(named: name)
            let range = type.range
            let more = type is any ProgramReward.Type ? ProgramSettings.names : []
            return Row(
                name: name, range: "\(bound(range.lowerBound))…\(bound(range.upperBound))",
                settings: try catalogue.settingNames(of: name) + more)
        }
    }

    private static func bound(_ value: Double) -> String {
        value.magnitude == .greatestFiniteMagnitude || value.isInfinite
            ? (value < 0 ? "-∞" : "∞") : JSON.number(value).serialized
    }
}

/// `plumbline reward check`: scores a file of completions and says how it went.
package struct RewardCheck {
    private let entry: JobReward
    private let file: String

    /// - Parameter settings: `key=value` each.
    package init(reward: String, file: String, settings: [String]) throws {
        var values: [String: JSONValue] = [:]
        for setting in settings {
            guard let sign = setting.firstIndex(of: "=") else {
                throw JobError(place: "--setting '\(setting)'", message: "expected key=value")
            }
            values[String(setting[..<sign])] =
                try JobNode.override(setting, value: String(setting[setting.index(after: sign)...])).json
        }
        entry = JobReward(reference: reward, settings: values)
        self.file = file
    }

    package struct Report: Sendable {
        /// One JSON object per completion.
        package var lines: [String]
        /// For people.
        package var summary: String
    }

    package func run() async throws -> Report {
        let source = try await RewardAssembly(folder: URL(filePath: "."), timeoutSeconds: 60).source(of: entry)
        var rows: [Row] = []
        try InputLine.each(of: file) { line, json in rows.append(try Row(line, json)) }
        do {
            let report = try await report(rows, source)
            await source.close()
            return report
        } catch {
            await source.close()
            throw error
        }
    }

    private func report(_ rows: [Row], _ source: any RewardSource) async throws -> Report {
        var scores: [[RewardScore]] = []
        var milliseconds: [Double] = []
        let clock = ContinuousClock()
        for row in rows {
            let start = clock.now
            let group = try await source.score(row.group, at: TrainingProgress())
            milliseconds.append((clock.now - start) / .milliseconds(1))
            scores.append(group.scores.first ?? [])
        }
        let lines = scores.map { row in row.first.map(Self.line) ?? "null" }
        let columns = source.names.enumerated().map { place, name in
            RewardDistribution(
                name: name, scores: scores.map { $0[place] }, milliseconds: milliseconds, expected: rows.map(\.expected)
            )
        }
        return Report(lines: lines, summary: columns.map(\.text).joined(separator: "\n\n"))
    }

    private static func line(_ score: RewardScore) -> String {
        JSONText.object([
            ("score", JSONText.number(score.score)), ("state", JSONText.string(score.state)),
            ("note", score.note.map(JSONText.string) ?? "null"),
        ])
    }

    /// One completion of the file as a group of one.
    private struct Row {
        var group: RolloutGroup
        var expected: Double?

        init(_ line: InputLine, _ json: JSON) throws(JobError) {
            let own: Set = ["prompt", "completion", "completion_ids"]
            var columns: [String: JSONValue] = [:]
            for member in json.members ?? [] where !own.contains(member.key) {
                columns[member.key] = JSONValue(member.value)
            }
            expected = columns["expected"]?.number
            let prompt = Prompt(
                row: line.number - 1, source: line.path, content: try Self.prompt(line, json), columns: columns,
                place: line.place)
            let rollout = Rollout(
                completion: Completion(
                    text: try Self.completion(line, json),
                    tokenIDs: json["completion_ids"] == nil ? [] : try line.tokenIDs("completion_ids", of: json)),
                samplingLogProbabilities: [], policyLogProbabilities: [], sample: 0)
            group = RolloutGroup(
                prompt: TokenizedPrompt(prompt: prompt, tokenIDs: []), rollouts: [rollout],
                policyVersion: PolicyVersion(0))
        }

        /// A text, or the messages of a chat; empty where the line has none.
        private static func prompt(_ line: InputLine, _ json: JSON) throws(JobError) -> PromptContent {
            if json["prompt"]?.elements != nil { return .messages(try line.messages("prompt", of: json)) }
            return .text(json["prompt"] == nil ? "" : try line.text("prompt", of: json))
        }

        /// A text, or a chat's one message of the assistant, as TRL writes it.
        private static func completion(_ line: InputLine, _ json: JSON) throws(JobError) -> String {
            guard json["completion"]?.elements != nil else { return try line.text("completion", of: json) }
            let messages = try line.messages("completion", of: json)
            guard messages.count == 1 else {
                throw JobError(
                    place: line.place, message: "'completion' has \(messages.count) messages, expected the answer alone"
                )
            }
            return messages[0].content
        }
    }
}

/// How a reward's scores are spread, for people.
struct RewardDistribution {
    var name: String
    var scores: [RewardScore]
    var milliseconds: [Double]
    var expected: [Double?]

    var text: String {
        let numbers = scores.compactMap(\.score).sorted()
        var lines = ["\(name): \(scores.count) completions"]
        for state in ["scored", "abstained", "failed", "timedOut"] {
            let count = scores.count { $0.state == state }
            if count > 0 { lines.append("  \(state): \(count)") }
        }
        if let low = numbers.first, let high = numbers.last {
            let mean = numbers.reduce(0, +) / Double(numbers.count)
            lines.append(
                "  mean \(round(mean)), min \(round(low)), median \(round(numbers[numbers.count / 2])), max \(round(high))"
            )
        }
        let times = milliseconds.sorted()
        if !times.isEmpty {
            lines.append(
                "  time p50 \(round(times[times.count / 2])) ms, p99 \(round(times[min(times.count - 1, times.count * 99 / 100)])) ms"
            )
        }
        lines += comparison + firstFailures
        return lines.joined(separator: "\n")
    }

    private var comparison: [String] {
        let pairs = zip(scores, expected).enumerated().filter { $0.element.1 != nil }
        guard !pairs.isEmpty else { return [] }
        let wrong = pairs.filter { $0.element.0.score != $0.element.1 }
        return ["  equal to 'expected': \(pairs.count - wrong.count) of \(pairs.count)"]
            + wrong.prefix(5).map { place, pair in
                "    line \(place + 1): \(pair.0.score.map(round) ?? pair.0.state), expected \(pair.1.map(round) ?? "nothing")"
            }
    }

    private var firstFailures: [String] {
        scores.enumerated().filter { $0.element.isFailure }.prefix(3).map { place, score in
            "  line \(place + 1) \(score.state): \(score.note ?? "")"
        }
    }

    private func round(_ value: Double) -> String { JSON.number((value * 1e4).rounded() / 1e4).serialized }
}
