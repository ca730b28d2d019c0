import JSON
internal import PromptSets
internal import Records
internal import Runs

/// What `plumbline data check` found, for people and for programs.
package struct PromptSetReport: Sendable {
    /// Prompts of another set that stand in this one too.
    struct Overlap: Sendable {
        var file: String
        var rows: Int
        var shared: Int
    }

    /// Something wrong with one row or more.
    struct Problem: Sendable {
        /// The first row's error.
        var first: String
        var rows: Int

        var text: String { rows == 1 ? first : "\(first) (and the same in \(rows - 1) more rows)" }
    }

    /// What a reward is handed for a row, where that is not the columns by name.
    struct Call: Sendable {
        var reward: String
        var arguments: [(name: String, value: JSONValue)]
    }

    /// One row as the model and the rewards see it.
    struct Row: Sendable {
        /// `line 17`
        var place: String
        var prompt: Prompt
        var completion: String?
        /// Of a pair, with their names.
        var sides: [(name: String, text: String)] = []
        var tokenIDs: [Int] = []
        /// The text of the tokens, special ones written out.
        var rendered: String?
        var calls: [Call] = []
    }

    private let identity: String
    private let form: String
    private let columnNames: [String]
    private let rowCount: Int
    /// Rows that cannot be used; the first of them are in `problems`.
    var problemCount = 0
    var problems: [Problem] = []
    var notes: [String] = []
    var unit = "characters"
    var lengths: LengthDistribution?
    var limit: Int?
    var duplicates = 0
    /// Pairs whose sides are the same; `nil` for rows that are no pairs.
    var equalSides: Int?
    var overlaps: [Overlap] = []
    var rewards: [RewardRowCheck] = []
    var rows: [Row] = []

    init(_ set: PromptSet) {
        identity = set.identity
        form = "\(set.detectedForm)"
        columnNames = set.columnNames
        rowCount = set.count
    }

    /// What would stop a run, in a few words; `nil` when nothing would.
    package var verdict: String? {
        var parts = problemCount > 0 ? ["\(problemCount) of \(rowCount) rows cannot be used"] : []
        parts += rewards.filter(\.hasProblem).map { "\($0.name) cannot score every row" }
        if let limit, let over = lengths?.count(over: limit), over > 0 {
            parts.append("\(over) prompts are over the limit of \(limit) \(unit)")
        }
        return parts.isEmpty ? nil : parts.joined(separator: "; ")
    }

    // MARK: - For people

    package var text: String {
        var lines = [identity, "form: \(form)", "columns: \(columnNames.joined(separator: ", "))"]
        lines += problems.map { "problem: \($0.text)" }
        let others = problemCount - problems.reduce(0) { $0 + $1.rows }
        if others > 0 { lines.append("problem: … and \(others) rows more") }
        lines += notes.map { "note: \($0)" }
        if let lengths {
            lines += ["", "prompt length in \(unit): \(lengths.summary)"]
            if lengths.least < lengths.greatest { lines += lengths.histogram(limit: limit).map { "  \($0)" } }
        }
        lines += ["", "prompts that stand more than once: \(duplicates)"]
        if let equalSides { lines.append("pairs whose sides are the same: \(equalSides)") }
        lines += overlaps.map { "prompts of \($0.file) that stand here too: \($0.shared) of \($0.rows)" }
        if !rewards.isEmpty { lines += ["", "rewards, tried on an empty completion"] }
        lines += rewards.flatMap(\.lines).map { "  \($0)" }
        lines += rows.flatMap { [""] + Self.lines($0) }
        return lines.joined(separator: "\n")
    }

    private static func lines(_ row: Row) -> [String] {
        var lines = ["\(row.place), source \(row.prompt.source)"]
        if let rendered = row.rendered {
            lines += ["  as the model reads it, \(row.tokenIDs.count) tokens:"] + quoted(rendered)
            let ids = row.tokenIDs.prefix(24).map(String.init).joined(separator: " ")
            lines.append("  token ids: \(ids)\(row.tokenIDs.count > 24 ? " …" : "")")
        } else {
            switch row.prompt.content {
            case .text(let text): lines += ["  prompt, a text:"] + quoted(text)
            case .messages(let messages):
                lines.append("  prompt, \(messages.count) \(messages.count == 1 ? "message" : "messages"):")
                for message in messages { lines += ["    \(message.role):"] + quoted(message.content) }
            }
        }
        if let completion = row.completion { lines += ["  completion:"] + quoted(completion) }
        for side in row.sides { lines += ["  \(side.name):"] + quoted(side.text) }
        lines.append(row.prompt.columns.isEmpty ? "  rewards see no column" : "  as rewards see it:")
        lines += values(row.prompt.columns.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        for call in row.calls { lines += ["  as \(call.reward) is called:"] + values(call.arguments) }
        return lines
    }

    private static func values(_ values: [(name: String, value: JSONValue)]) -> [String] {
        let width = values.map(\.name.count).max() ?? 0
        return values.map { name, value in
            let padding = String(repeating: " ", count: width - name.count)
            return "    \(name)\(padding) = \(shortened(value.serialized))"
        }
    }

    private static let mostCharacters = 1_500

    /// A text with a bar before each line, so that its own line breaks and spaces can be told.
    private static func quoted(_ text: String) -> [String] {
        shortened(text).split(separator: "\n", omittingEmptySubsequences: false).map { "    │ \($0)" }
    }

    private static func shortened(_ text: String) -> String {
        let rest = text.count - mostCharacters
        return rest > 0 ? "\(text.prefix(mostCharacters))… (\(rest) characters more)" : text
    }

    // MARK: - For programs

    /// One JSON object.
    package var json: String {
        let length = lengths.map { lengths in
            JSONText.object(
                [("unit", JSONText.string(unit)), ("min", String(lengths.least))]
                    + [50, 90, 99].map { ("p\($0)", String(lengths.percentile($0))) }
                    + [("max", String(lengths.greatest))])
        }
        let others = overlaps.map { overlap in
            JSONText.object([
                ("file", JSONText.string(overlap.file)), ("rows", String(overlap.rows)),
                ("shared", String(overlap.shared)),
            ])
        }
        return JSONText.object([
            ("set", JSONText.string(identity)), ("rows", String(rowCount)), ("form", JSONText.string(form)),
            ("columns", JSONText.array(columnNames.map(JSONText.string))), ("unusable", String(problemCount)),
            ("problems", JSONText.array(problems.map { JSONText.string($0.text) })),
            ("notes", JSONText.array(notes.map(JSONText.string))), ("length", length ?? "null"),
            ("duplicates", String(duplicates)), ("equal_sides", equalSides.map(String.init) ?? "null"),
            ("overlap", JSONText.array(others)),
            ("rewards", JSONText.array(rewards.map(\.json))),
        ])
    }
}
