internal import Foundation
internal import PromptSets
internal import Records
internal import RewardInterface
internal import Runs

/// `plumbline reward check`: scores a file of completions and says how it went.
package struct RewardCheck {
    private let entry: JobReward
    private let file: String

    /// - Parameters:
    ///   - reward: As ``JobReward/init(argument:)`` reads it.
    ///   - file: JSON Lines, a JSON array, CSV, TSV or Parquet; `-` for JSON Lines on standard input.
    ///   - settings: `key=value` each, dotted for nested keys.
    package init(reward: String, file: String, settings: [String]) throws {
        var entry = try JobReward(argument: reward)
        for setting in settings {
            guard let sign = setting.firstIndex(of: "="), sign != setting.startIndex else {
                throw JobError(place: "--setting '\(setting)'", message: "expected key=value")
            }
            let value = try SettingsNode.value(
                String(setting[setting.index(after: sign)...]), place: "--setting '\(setting)'"
            ).json
            entry.settings = Self.setting(setting[..<sign].split(separator: ".")[...], to: value, in: entry.settings)
        }
        self.entry = entry
        self.file = file
    }

    private static func setting(
        _ path: ArraySlice<Substring>, to value: JSONValue, in section: [String: JSONValue]
    ) -> [String: JSONValue] {
        guard let key = path.first.map(String.init) else { return section }
        var section = section
        let inner = if case .object(let members)? = section[key] { members } else { [String: JSONValue]() }
        section[key] = path.count == 1 ? value : .object(setting(path.dropFirst(), to: value, in: inner))
        return section
    }

    package struct Report: Sendable {
        /// One JSON object per completion.
        package var lines: [String]
        /// For people.
        package var summary: String
        /// What is not as it should be, in a few words; `nil` when every score is there and as expected.
        package var verdict: String?
    }

    /// - Throws: The errors of a file that cannot be read and of a reward that cannot start; a score that fails is in the report.
    package func run() async throws -> Report {
        let rows = try rows()
        let source = try await RewardAssembly(folder: URL(filePath: "."), timeoutSeconds: 60).source(of: entry)
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
        let columns = source.names.enumerated().map { place, name in
            RewardDistribution(
                name: name,
                samples: zip(rows, scores).map { row, scores in
                    RewardDistribution.Sample(
                        line: row.line, completion: row.group.rollouts[0].completion.text, score: scores[place],
                        expected: row.expected)
                }, milliseconds: milliseconds)
        }
        let verdicts = columns.compactMap(\.verdict)
        return Report(
            lines: scores.map { row in row.first.map(Self.line) ?? "null" },
            summary: columns.map(\.text).joined(separator: "\n\n"),
            verdict: verdicts.isEmpty ? nil : verdicts.joined(separator: "; "))
    }

    private static func line(_ score: RewardScore) -> String {
        JSONText.object([
            ("score", JSONText.number(score.score)), ("state", JSONText.string(score.state)),
            ("note", score.note.map(JSONText.string) ?? "null"),
        ])
    }
}

// MARK: - Rows

extension RewardCheck {
    private func rows() throws -> [Row] {
        guard file == "-" else {
            let table = try RowFile(URL(filePath: file))
            return try (0..<table.count).map { row in
                try Row(InputLine(path: file, number: table.line(of: row)), .object(table.columns(of: row)))
            }
        }
        var rows: [Row] = []
        try InputLine.each(of: file) { line, json in rows.append(try Row(line, json)) }
        guard !rows.isEmpty else { throw JobError(place: "standard input", message: "it holds no completions") }
        return rows
    }

    /// One completion of the file as a group of one.
    private struct Row {
        var line: Int
        var group: RolloutGroup
        var expected: Double?

        init(_ line: InputLine, _ json: JSON) throws(JobError) {
            let own: Set = ["prompt", "completion", "completion_ids"]
            var columns: [String: JSONValue] = [:]
            for member in json.members ?? [] where !own.contains(member.key) {
                columns[member.key] = JSONValue(member.value)
            }
            self.line = line.number
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
