import JSON
package import Records
import Runs

/// A prompt with the completion to imitate: what supervised fine-tuning learns from.
package struct Demonstration: Sendable, Equatable {
    package let prompt: Prompt
    package let completion: String

    package init(prompt: Prompt, completion: String) {
        self.prompt = prompt
        self.completion = completion
    }
}

/// Turns the columns of one row into a ``Prompt`` or ``Demonstration``.
struct RowDecoder {
    let form: PromptForm
    let setName: String
    let path: String
    let line: Int
    let row: Int
    /// The columns as they stand in the file: prompts and completions are texts.
    let members: [JSONValue.Member]
    /// The same as rewards get them.
    let values: [JSONValue.Member]

    func prompt() throws(PromptSetError) -> Prompt {
        if form.hasImplicitPrompt { return try preference().prompt }
        return try prompt(try promptContent())
    }

    /// The row with this for its prompt.
    func prompt(_ content: PromptContent) throws(PromptSetError) -> Prompt {
        Prompt(row: row, source: try source(), content: content, columns: columns(), place: "\(path), line \(line)")
    }

    /// What the prompt's own column holds.
    func promptContent() throws(PromptSetError) -> PromptContent {
        var content = try content(of: form.promptColumn)
        if form.endsInCompletion, case .messages(let messages) = content,
            messages.last?.role == "assistant"
        {
            guard messages.count > 1 else {
                throw failure(form.promptColumn, "only an answer of the assistant, nothing it answers to")
            }
            content = .messages(messages.dropLast())
        }
        return content
    }

    /// The row as a pair of completions.
    func preference() throws(PromptSetError) -> Preference {
        guard let chosen = form.chosenColumn, let rejected = form.rejectedColumn else {
            let names = members.map(\.key)
            let missing = names.contains("chosen") ? "rejected" : "chosen"
            throw failure(nil, PromptForm.missing(missing, among: names) + "; preferences need chosen and rejected")
        }
        return try PreferenceDecoder(row: self, chosenColumn: chosen, rejectedColumn: rejected).preference()
    }

    /// One side of a preference: a text, which may be empty behind its prompt, or a chat.
    func side(_ column: String) throws(PromptSetError) -> PromptContent {
        if case .string(let text) = try value(of: column) { return .text(text) }
        return try content(of: column)
    }

    func demonstration() throws(PromptSetError) -> Demonstration {
        if form.convention == .text {
            let text = try prompt()
            var nothing = text
            nothing.content = .text("")
            return Demonstration(prompt: nothing, completion: text.text)
        }
        return Demonstration(prompt: try prompt(), completion: try completion())
    }

    private func completion() throws(PromptSetError) -> String {
        guard let column = form.completionColumn else {
            guard form.endsInCompletion else {
                let names = members.map(\.key)
                throw failure(nil, PromptForm.missing("completion", among: names) + "; demonstrations need one")
            }
            guard case .messages(let messages) = try content(of: form.promptColumn),
                let last = messages.last, last.role == "assistant"
            else {
                throw failure(form.promptColumn, "the last message is not the assistant's; demonstrations need one")
            }
            return try filled(answer(last, form.promptColumn), form.promptColumn)
        }
        let value = try value(of: column)
        if case .string(let text) = value { return try filled(text, column) }
        guard case .array(let elements) = value else {
            throw failure(column, "\(value.kind); a text or one message of the assistant is expected")
        }
        let messages = try self.messages(elements, column)
        guard messages.count == 1, messages[0].role == "assistant" else {
            throw failure(column, "\(messages.count) messages; exactly one, of the assistant, is expected")
        }
        return try filled(answer(messages[0], column), column)
    }

    /// The text of an answer that is learned. What a template writes of its reasoning is no part of it, and would be
    /// left out without a word.
    func answer(_ message: ChatMessage, _ column: String) throws(PromptSetError) -> String {
        let keys = ["reasoning_content", "reasoning", "thinking"]
        if let reasoning = message.others.first(where: { keys.contains($0.key) && $0.value != "" }) {
            throw failure(
                column,
                "the answer has \(reasoning.key), which would not be learned; put it into content as the model is to "
                    + "write it")
        }
        return message.content
    }

    /// Every column but the prompt and the completions, then the aliases.
    private func columns() -> [String: JSONValue] {
        var columns: [String: JSONValue] = [:]
        let own = [
            form.promptColumn, form.inputColumn, form.completionColumn, form.chosenColumn, form.rejectedColumn,
        ]
        for member in values where !own.contains(member.key) {
            columns[member.key] = member.value
        }
        for (name, path) in form.aliases where columns[name] == nil || form.convention == .mapped {
            let value = path.reduce(Optional(JSONValue.object(values))) { $0?[$1] }
            if let value { columns[name] = value }
        }
        return columns
    }

    private func source() throws(PromptSetError) -> String {
        guard let column = form.sourceColumn else { return setName }
        let value = try value(of: column)
        guard case .string(let text) = value, !text.isEmpty else {
            throw failure(column, "\(value == "" ? "empty" : value.kind); the name of the source is expected")
        }
        return text
    }

    private func content(of column: String) throws(PromptSetError) -> PromptContent {
        switch try value(of: column) {
        case .string(let text): return .text(try filled(text, column) + input())
        case .array(let elements): return .messages(try messages(elements, column))
        case let other: throw failure(column, "\(other.kind); a text or a list of messages is expected")
        }
    }

    /// What a row of Alpaca's adds to its instruction; a row without an input adds nothing.
    private func input() throws(PromptSetError) -> String {
        guard let column = form.inputColumn else { return "" }
        switch members.first(where: { $0.key == column })?.value {
        case nil, .null, "": return ""
        case .string(let text): return text.allSatisfy(\.isWhitespace) ? "" : "\n\n" + text
        case .some(let other): throw failure(column, "\(other.kind); a text is expected")
        }
    }

    private func value(of column: String) throws(PromptSetError) -> JSONValue {
        guard let member = members.first(where: { $0.key == column }) else {
            throw failure(nil, PromptForm.missing(column, among: members.map(\.key)))
        }
        return member.value
    }

    private func filled(_ text: String, _ column: String) throws(PromptSetError) -> String {
        guard !text.allSatisfy(\.isWhitespace) else { throw failure(column, "the text is empty") }
        return text
    }

    // MARK: - Messages

    private func messages(_ elements: [JSONValue], _ column: String) throws(PromptSetError) -> [ChatMessage] {
        guard !elements.isEmpty else { throw failure(column, "an empty list of messages") }
        var messages: [ChatMessage] = []
        for (index, element) in elements.enumerated() { messages.append(try message(element, "\(column)[\(index)]")) }
        guard !messages.allSatisfy({ $0.content.allSatisfy(\.isWhitespace) }) else {
            throw failure(column, "every message is empty")
        }
        return messages
    }

    private func message(_ json: JSONValue, _ column: String) throws(PromptSetError) -> ChatMessage {
        guard let members = json.members else {
            throw failure(
                column, "\(json.kind); a message such as {\"role\": \"user\", \"content\": \"...\"} is expected")
        }
        if json["role"] == nil, json["from"] != nil { return try shareGPTMessage(json, members, column) }
        guard let role = json["role"]?.string, !role.isEmpty else {
            throw failure(column, try wrong("role", json, members))
        }
        if let calls = json["tool_calls"], calls != .null, calls != .array([]) {
            throw failure(column, "tool calls are not supported")
        }
        // Some sets have an empty list in every message, which templates take for a call of no tool.
        let others = Self.others(members, than: ["role", "content", "tool_calls"])
        switch json["content"] {
        case .string(let text): return ChatMessage(role: role, content: text, others: others)
        case .array(let parts): return ChatMessage(role: role, content: try joined(parts, column), others: others)
        default: throw failure(column, try wrong("content", json, members))
        }
    }

    /// What else a message says; as in transformers null says nothing.
    private static func others(_ members: [JSONValue.Member], than keys: [String]) -> [JSONValue.Member] {
        members.filter { !keys.contains($0.key) && $0.value != .null }
    }

    /// Who speaks in ShareGPT's messages.
    private static let shareGPTRoles = [
        "system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
        "chatgpt": "assistant", "model": "assistant",
    ]

    private func shareGPTMessage(
        _ json: JSONValue, _ members: [JSONValue.Member], _ column: String
    ) throws(PromptSetError) -> ChatMessage {
        guard let from = json["from"]?.string, !from.isEmpty else {
            throw failure(column, try wrong("from", json, members))
        }
        guard let role = Self.shareGPTRoles[from] else {
            throw failure(column, "from is \"\(from)\"; system, human or gpt is expected (tools are not supported)")
        }
        guard let text = json["value"]?.string else { throw failure(column, try wrong("value", json, members)) }
        return ChatMessage(role: role, content: text, others: Self.others(members, than: ["from", "value"]))
    }

    private func wrong(_ key: String, _ json: JSONValue, _ members: [JSONValue.Member]) throws(PromptSetError) -> String
    {
        if let value = json[key] { return "\(key) is \(value == "" ? "empty" : value.kind); a text is expected" }
        return "no key \(key); the message has \(PromptForm.listed(members.map(\.key)))"
    }

    /// The content of a message written in parts, when all of them are texts.
    private func joined(_ parts: [JSONValue], _ column: String) throws(PromptSetError) -> String {
        var text = ""
        for part in parts {
            guard part["type"] == "text", let piece = part["text"]?.string else {
                throw failure(
                    column, "a part of type \(part["type"]?.serialized ?? "unknown"); only texts are supported")
            }
            text += piece
        }
        return text
    }

    func failure(_ column: String?, _ message: String) -> PromptSetError {
        .row(path: path, line: line, column: column, message: message)
    }
}
