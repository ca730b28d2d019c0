internal import Foundation
import JSON
internal import PromptSets
internal import Records
internal import RewardInterface
internal import Runs
internal import Tokenization

/// `plumbline reward check`: scores a file of completions and says how it went.
package struct RewardCheck {
    private let entry: JobReward
    private let file: String
    private let tokenizer: String?

    /// - Parameters:
    ///   - reward: As ``JobReward/init(argument:)`` reads it.
    ///   - file: JSON Lines, a JSON array, CSV, TSV or Parquet; `-` for JSON Lines on standard input.
    ///   - settings: `key=value` each, dotted for nested keys.
    ///   - tokenizer: A tokenizer.json, the folder it is in, or a GGUF file: encodes the completions that come without
    ///     `completion_ids`.
    package init(reward: String, file: String, settings: [String], tokenizer: String? = nil) throws {
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
        self.tokenizer = tokenizer
    }

    private static func setting(
        _ path: ArraySlice<Substring>, to value: JSONValue, in section: [String: JSONValue]
    ) -> [String: JSONValue] {
        guard let key = path.first.map(String.init) else { return section }
        var section = section
        let inner = section[key]?.dictionary ?? [:]
        section[key] = path.count == 1 ? value : .object(sorting: setting(path.dropFirst(), to: value, in: inner))
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

    /// Completions of a call at most: as many as a step has of a prompt by default.
    private static let callSize = 8

    /// Scores the file as training does: the completions of a prompt in one call. No call has one completion alone, for
    /// no step has: a row without another of its prompt is in its call twice.
    ///
    /// - Parameter progress: Told after each call how many rows are done, and of how many.
    /// - Throws: The errors of a file that cannot be read at all and of a reward that cannot start. A row that cannot
    ///   be read or scored, and a score that fails, are in the report.
    package func run(progress: (_ done: Int, _ of: Int) -> Void = { _, _ in }) async throws -> Report {
        let tokenizer = try tokenizer.map { try Tokenizer(path: $0) }
        var rows = try rows()
        if let tokenizer {
            for index in rows.indices { rows[index].encode(with: tokenizer) }
        }
        let source = try await RewardAssembly(folder: URL(filePath: "."), timeoutSeconds: 60, waitsForServers: false)
            .source(of: entry)
        if source.readsTokenIDs {
            for index in rows.indices { rows[index].requireTokenIDs() }
        }
        do {
            let report = try await report(rows, source, progress)
            await source.close()
            return report
        } catch {
            await source.close()
            throw error
        }
    }

    private func report(
        _ rows: [Row], _ source: any RewardSource, _ progress: (Int, Int) -> Void
    ) async throws -> Report {
        var scores = rows.map { row in
            Array(repeating: RewardScore.failed(message: row.problem ?? ""), count: source.names.count)
        }
        var milliseconds: [Double] = []
        let clock = ContinuousClock()
        var done = rows.count { $0.problem != nil }
        for call in Self.calls(rows) {
            let start = clock.now
            do {
                let group = try await source.score(Self.group(call.map { rows[$0] }), at: TrainingProgress())
                for (index, row) in zip(call, group.scores) { scores[index] = row }
            } catch let error as RewardError {
                for index in call {
                    scores[index] = scores[index].map { _ in .failed(message: "\(error)") }
                }
            }
            milliseconds.append((clock.now - start) / .milliseconds(1))
            done += call.count
            progress(done, rows.count)
        }
        let columns = source.names.enumerated().map { index, name in
            RewardDistribution(
                name: name, file: file,
                samples: zip(rows, scores).map { row, scores in
                    RewardDistribution.Sample(
                        line: row.line, completion: row.completion?.text ?? "", score: scores[index],
                        expected: row.expected)
                }, milliseconds: milliseconds)
        }
        let verdicts = columns.compactMap(\.verdict)
        return Report(
            lines: scores.map { row in row.first.map(Self.line) ?? "null" },
            summary: columns.map(\.text).joined(separator: "\n\n"),
            verdict: verdicts.isEmpty ? nil : verdicts.joined(separator: "; "))
    }

    /// Rows of the same prompt and columns together, in the order of the file.
    private static func calls(_ rows: [Row]) -> [[Int]] {
        struct Address: Hashable {
            let prompt: String
            let columns: [String: JSONValue]
        }
        var calls: [[Int]] = []
        var open: [Address: Int] = [:]
        for (index, row) in rows.enumerated() {
            guard let prompt = row.prompt, row.problem == nil else { continue }
            let address = Address(prompt: "\(prompt.content)", columns: prompt.columns)
            if let call = open[address], calls[call].count < callSize {
                calls[call].append(index)
            } else {
                open[address] = calls.count
                calls.append([index])
            }
        }
        return calls
    }

    private static func group(_ rows: [Row]) -> RolloutGroup {
        let completions = rows.compactMap(\.completion)
        let rollouts = (completions.count == 1 ? completions + completions : completions).enumerated().map {
            Rollout(completion: $1, samplingLogProbabilities: [], policyLogProbabilities: [], sample: $0)
        }
        let prompt = rows[0].prompt ?? Prompt(row: 0, source: "", content: .text(""))
        return RolloutGroup(
            prompt: TokenizedPrompt(prompt: prompt, tokenIDs: []), rollouts: rollouts, policyVersion: PolicyVersion(0))
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
            return (0..<table.count).map { row in
                let line = InputLine(path: file, number: table.line(of: row))
                do {
                    let found = try table.row(row)
                    return try Row(line, .object(found.columns), values: found.values)
                } catch {
                    return Row(line, problem: error)
                }
            }
        }
        var rows: [Row] = []
        try InputLine.each(of: file) { line, json in
            do { rows.append(try Row(line, json)) } catch { rows.append(Row(line, problem: error)) }
        }
        guard !rows.isEmpty else { throw JobError(place: "standard input", message: "it holds no completions") }
        return rows
    }

    /// One completion of the file.
    private struct Row {
        let line: Int
        /// Without the column `expected`.
        var prompt: Prompt?
        var completion: Completion?
        var expected: Double?
        /// Whether the file has its tokens, or a tokenizer gave them.
        var hasTokenIDs = false
        /// Why the row cannot be read or scored.
        var problem: String?

        init(_ line: InputLine, problem: any Error) {
            self.line = line.number
            self.problem = "\(problem)"
        }

        /// - Parameter values: The columns as rewards get them, where that is not as they stand in the file.
        init(_ line: InputLine, _ json: JSONValue, values: [JSONValue.Member]? = nil) throws(JobError) {
            let own: Set = ["prompt", "completion", "completion_ids"]
            var columns: [String: JSONValue] = [:]
            for member in values ?? json.members ?? [] where !own.contains(member.key) {
                columns[member.key] = member.value
            }
            self.line = line.number
            expected = columns.removeValue(forKey: "expected")?.number
            prompt = Prompt(
                row: line.number - 1, source: line.path, content: try Self.prompt(line, json), columns: columns,
                place: line.place)
            hasTokenIDs = json["completion_ids"] != nil && json["completion_ids"] != .null
            completion = Completion(
                text: try Self.completion(line, json),
                tokenIDs: hasTokenIDs ? try line.tokenIDs("completion_ids", of: json) : [])
        }

        /// The tokens of the text alone: what stopped it is not in the file.
        mutating func encode(with tokenizer: Tokenizer) {
            guard let text = completion?.text, !hasTokenIDs else { return }
            completion?.tokenIDs = tokenizer.encode(text)
            hasTokenIDs = true
        }

        /// No tokens in the file are not no tokens of the completion.
        mutating func requireTokenIDs() {
            guard problem == nil, !hasTokenIDs else { return }
            problem =
                "no 'completion_ids', and the reward reads token ids: add the column, or name a tokenizer that encodes "
                + "the text (--tokenizer)"
        }

        /// A text, or the messages of a chat; empty where the line has none.
        private static func prompt(_ line: InputLine, _ json: JSONValue) throws(JobError) -> PromptContent {
            if json["prompt"]?.elements != nil { return .messages(try line.messages("prompt", of: json)) }
            return .text(json["prompt"] == nil ? "" : try line.text("prompt", of: json))
        }

        /// A text, or a chat's one message of the assistant, as TRL writes it.
        private static func completion(_ line: InputLine, _ json: JSONValue) throws(JobError) -> String {
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
