import JSON
internal import Records

/// What a row gives to a chat template.
struct ChatInput {
    private(set) var messages: [ChatMessage]
    /// Descriptions of the functions on offer.
    private(set) var tools: [JSONValue]?
    /// What is learned behind the messages; empty where nothing is.
    private(set) var answer: String

    init(_ messages: [ChatMessage], tools: [JSONValue]? = nil, answer: String = "") {
        self.messages = messages
        self.tools = tools
        self.answer = answer
    }

    /// The messages with the tools of their row.
    init(_ messages: [ChatMessage], of prompt: Prompt, answer: String = "") throws(JobError) {
        self.init(messages, tools: try prompt.tools(), answer: answer)
    }

    /// Every text of the user's in it.
    var texts: [String] { messages.flatMap(\.texts) + (tools ?? []).flatMap(\.texts) + [answer] }

    /// The same with other texts.
    func mapTexts(_ change: (String) -> String) -> ChatInput {
        ChatInput(
            messages.map { $0.mapTexts(change) }, tools: tools?.map { $0.mapTexts(change) }, answer: change(answer))
    }

    /// The tools of a row as TRL has them: a list of JSON schemas, or that list as a JSON text. An empty list is none.
    static func tools(_ column: JSONValue?, of place: String) throws(JobError) -> [JSONValue]? {
        var value = column ?? .null
        if case .string(let text) = value {
            value = text.isEmpty ? .null : (try? JSONValue(parsing: text)) ?? value  // a text that is no JSON is named
        }
        if value == .null { return nil }
        guard let tools = value.elements, tools.allSatisfy({ $0.members != nil }) else {
            throw JobError(
                place: "\(place), column tools",
                message: "\(value.kind); a chat's tools are a list of JSON schemas of functions, or its JSON text")
        }
        return tools.isEmpty ? nil : tools
    }
}

extension Prompt {
    /// The functions that the row offers to a chat.
    ///
    /// - Throws: ``JobError`` for a column of another kind.
    func tools() throws(JobError) -> [JSONValue]? { try ChatInput.tools(columns["tools"], of: id) }
}

extension ChatMessage {
    /// Its content and every other text that it brings.
    var texts: [String] { [content] + others.flatMap(\.value.texts) }

    fileprivate func mapTexts(_ change: (String) -> String) -> ChatMessage {
        ChatMessage(
            role: role, content: change(content), others: others.map { .init($0.key, $0.value.mapTexts(change)) })
    }
}

extension JSONValue {
    /// The texts in it, keys aside.
    fileprivate var texts: [String] {
        switch self {
        case .string(let text): [text]
        case .array(let items): items.flatMap(\.texts)
        case .object(let members): members.flatMap(\.value.texts)
        case .null, .bool, .number: []
        }
    }

    fileprivate func mapTexts(_ change: (String) -> String) -> JSONValue {
        switch self {
        case .string(let text): .string(change(text))
        case .array(let items): .array(items.map { $0.mapTexts(change) })
        case .object(let members): .object(members.map { Member($0.key, $0.value.mapTexts(change)) })
        case .null, .bool, .number: self
        }
    }
}
