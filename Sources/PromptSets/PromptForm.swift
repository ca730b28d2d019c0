import JSON
import Records
import Runs

/// Names columns of a file by what they are, where the file's own names do not say it (`column_map:`).
package struct ColumnMap: Sendable, Equatable {
    /// The column with the prompt, a text or messages.
    package var prompt: String?
    /// The column with the completion to imitate.
    package var completion: String?
    /// The columns with the preferred completion and the other one.
    package var chosen: String?
    package var rejected: String?
    /// The column with the text that is learned as a whole.
    package var text: String?
    /// The column that names where the row came from.
    package var source: String?
    /// Further names for columns, as rewards ask for them: `["answer": "final_result"]`.
    package var others: [String: String]
    /// The columns of the file that are read, `nil` for all of them: the others are as if they were not there.
    package var kept: [String]?

    package init(
        prompt: String? = nil, completion: String? = nil, source: String? = nil, others: [String: String] = [:]
    ) {
        self.prompt = prompt
        self.completion = completion
        self.source = source
        self.others = others
    }

    /// From the job file's `column_map:`, which gives for each name (`prompt`, `completion`, `chosen`, `rejected`,
    /// `text`, `source`, or any a reward asks for) the file's column.
    package init(_ entries: [String: String]) {
        let own = ["prompt", "completion", "chosen", "rejected", "text", "source"]
        self.init(
            prompt: entries["prompt"], completion: entries["completion"], source: entries["source"],
            others: entries.filter { !own.contains($0.key) })
        (chosen, rejected, text) = (entries["chosen"], entries["rejected"], entries["text"])
    }

    var columns: [String] {
        [prompt, completion, chosen, rejected, text, source].compactMap { $0 } + others.values.sorted()
    }
}

/// How the rows of a file are read: found from the first row's columns, or given by a ``ColumnMap``.
package struct PromptForm: Sendable, Equatable, CustomStringConvertible {
    /// Whose habit the columns follow.
    package enum Convention: String, Sendable {
        /// `prompt`, any other column goes to the rewards by name; `completion` makes it a demonstration.
        case trl = "TRL"
        /// `data_source`, `prompt`, `ability`, `reward_model.ground_truth`, `extra_info`.
        case verl = "verl"
        /// `prompt` or `input` with `label`.
        case openRLHF = "OpenRLHF"
        /// `question` (or `problem`) with `answer` (or `solution`), as in GSM8K.
        case questionAnswer = "question and answer"
        /// `messages`; a last message of the assistant is the completion.
        case conversation = "messages"
        /// `chosen` and `rejected` that begin with their prompt.
        case implicitPrompt = "TRL, implicit prompt"
        /// `conversations` of messages with `from` and `value`; a last message of the assistant is the completion.
        case shareGPT = "ShareGPT"
        /// `instruction`, with `input` where the row has one, and `output` as the completion.
        case alpaca = "Alpaca"
        /// `text`: a whole that is learned from its first token on.
        case text = "plain text"
        /// As the column map says.
        case mapped = "column map"
    }

    package let convention: Convention
    package let promptColumn: String
    /// What follows the prompt's column in the prompt, behind an empty line; `nil` when nothing does.
    package let inputColumn: String?
    /// `nil` when rows bring no completion of their own, or it is the last of the messages.
    package let completionColumn: String?
    /// `nil` when rows are no preferences.
    package let chosenColumn: String?
    package let rejectedColumn: String?
    package let sourceColumn: String?
    /// Names under which rewards find a column besides its own, with the path of keys to it.
    package let aliases: [String: [String]]

    /// Whether the prompt's messages bring the completion as their last one.
    var endsInCompletion: Bool { convention == .conversation || convention == .shareGPT }

    /// Whether rows are pairs of completions.
    package var hasPreferences: Bool { chosenColumn != nil && rejectedColumn != nil }
    /// Whether the prompt is what the sides of a preference begin with.
    var hasImplicitPrompt: Bool { convention == .implicitPrompt }

    package var description: String {
        let input = inputColumn.map { " and `\($0)`" } ?? ""
        let what = convention == .text ? "all of it learned, text" : "prompt"
        var parts = ["\(convention.rawValue) form"]
        if !hasImplicitPrompt { parts.append("\(what) from `\(promptColumn)`\(input)") }
        if let completionColumn { parts.append("completion from `\(completionColumn)`") }
        if let chosenColumn, let rejectedColumn {
            parts.append("preferences from `\(chosenColumn)` and `\(rejectedColumn)`")
        }
        if let sourceColumn { parts.append("source from `\(sourceColumn)`") }
        for (name, path) in aliases.sorted(by: { $0.key < $1.key }) {
            parts.append("`\(name)` from `\(path.joined(separator: "."))`")
        }
        return parts.joined(separator: ", ")
    }

    /// Finds the form from the first row.
    ///
    /// - Throws: ``PromptSetError/row(path:line:column:message:)`` naming the columns found and near matches.
    static func detect(
        _ row: [JSONValue.Member], map: ColumnMap, path: String, line: Int
    ) throws(PromptSetError) -> PromptForm {
        let names = row.map(\.key)
        for column in map.columns where !names.contains(column) {
            throw .row(path: path, line: line, column: nil, message: missing(column, among: names))
        }
        func found(_ mapped: String?, _ name: String) -> String? { mapped ?? (names.contains(name) ? name : nil) }
        let (chosen, rejected) = (found(map.chosen, "chosen"), found(map.rejected, "rejected"))
        let isPair = chosen != nil && rejected != nil
        guard let (own, prompt) = convention(names, map) ?? (isPair ? (.implicitPrompt, "") : nil) else {
            throw .row(path: path, line: line, column: nil, message: noPrompt(among: names))
        }
        var convention = own
        if isPair, let chosen {
            // A prompt in words beside chats that begin with it: the chats have its messages.
            let isInWords = JSONValue.object(row)[prompt]?.string != nil
            if convention == .conversation { convention = .implicitPrompt }
            if isInWords, case .array(let messages) = JSONValue.object(row)[chosen], messages.count > 1 {
                convention = .implicitPrompt
            }
        }
        let completion = found(map.completion, convention == .alpaca ? "output" : "completion")
        var aliases = map.others.mapValues { [$0] }
        for (name, columnPath) in answerAliases(convention, names, row) where aliases[name] == nil {
            aliases[name] = columnPath
        }
        return PromptForm(
            convention: convention, promptColumn: prompt,
            inputColumn: convention == .alpaca && names.contains("input") ? "input" : nil,
            completionColumn: convention == .text ? nil : completion,
            chosenColumn: isPair ? chosen : nil, rejectedColumn: isPair ? rejected : nil,
            sourceColumn: map.source ?? source(convention, names), aliases: aliases)
    }

    private static func convention(_ names: [String], _ map: ColumnMap) -> (Convention, String)? {
        if let prompt = map.prompt { return (.mapped, prompt) }
        if let text = map.text { return (.text, text) }
        if names.contains("prompt") {
            if names.contains("data_source") || names.contains("reward_model") { return (.verl, "prompt") }
            return (hasLabelOnly(names) ? .openRLHF : .trl, "prompt")
        }
        if names.contains("messages") { return (.conversation, "messages") }
        if names.contains("conversations") { return (.shareGPT, "conversations") }
        let hasAnswer = names.contains("answer") || names.contains("solution")
        for question in ["question", "problem"] where names.contains(question) && hasAnswer {
            return (.questionAnswer, question)
        }
        if names.contains("instruction") { return (.alpaca, "instruction") }
        if names.contains("text") && !names.contains("label") { return (.text, "text") }
        if names.contains("input") && (hasLabelOnly(names) || hasAnswer) { return (.openRLHF, "input") }
        return nil
    }

    private static func hasLabelOnly(_ names: [String]) -> Bool {
        names.contains("label") && !names.contains("answer") && !names.contains("solution")
    }

    private static func source(_ convention: Convention, _ names: [String]) -> String? {
        switch convention {
        case .verl: names.contains("data_source") ? "data_source" : nil
        case .conversation: names.contains("dataset") ? "dataset" : nil
        default: nil
        }
    }

    /// The reference answer under the names that rewards ask for, where the file calls it something else.
    private static func answerAliases(
        _ convention: Convention, _ names: [String], _ row: [JSONValue.Member]
    ) -> [String: [String]] {
        var keys: [String]?
        if names.contains("reward_model"), JSONValue.object(row)["reward_model"]?["ground_truth"] != nil {
            keys = ["reward_model", "ground_truth"]
        } else if names.contains("ground_truth") {
            keys = ["ground_truth"]
        } else if convention == .openRLHF, names.contains("label") {
            keys = ["label"]
        }
        guard let keys else { return [:] }
        var aliases: [String: [String]] = [:]
        if !names.contains("ground_truth"), keys.first == "reward_model" { aliases["ground_truth"] = keys }
        if !names.contains("answer"), !names.contains("solution") { aliases["answer"] = keys }
        return aliases
    }

    static func missing(_ column: String, among names: [String]) -> String {
        let near = nearestNames(to: column, among: names)
        let hint = near.isEmpty ? "" : "; did you mean \(near.map { "`\($0)`" }.joined(separator: " or "))?"
        return "no column `\(column)`; the row has \(listed(names))\(hint)"
    }

    private static func noPrompt(among names: [String]) -> String {
        if names.contains("chosen") != names.contains("rejected") {
            return "a preference has both: "
                + missing(names.contains("chosen") ? "rejected" : "chosen", among: names)
        }
        return missing("prompt", among: names) + (nearestNames(to: "prompt", among: names).isEmpty ? "; " : " ")
            + "name the column with column_map: {prompt: NAME}"
    }

    static func listed(_ names: [String]) -> String {
        if names.isEmpty { return "no columns" }
        let shown = names.prefix(12).map { "`\($0)`" }.joined(separator: ", ")
        return names.count > 12 ? "\(shown) and \(names.count - 12) more" : shown
    }
}
