import JSON
package import Records
package import Tokenization

/// Renders messages with the chat template that came with a tokenizer.
package struct ChatTemplateRenderer: Sendable {
    private let template: ChatTemplate?
    /// Of chats with tools, where it is another; a fault of it is one of those chats alone.
    private let toolTemplate: Result<ChatTemplate, any Error>?
    private let variables: [String: JSONValue]

    /// - Parameter variables: `chat_template_kwargs` of the job.
    /// - Throws: the template's own error, with its line, for a construct that is not supported; ``JobError`` for a
    ///   variable that is not the user's to give.
    package init(tokenizer: Tokenizer, variables: [NamedValue]) throws {
        template = try tokenizer.chatTemplate.map { try ChatTemplate(source: $0) }
        toolTemplate = tokenizer.toolChatTemplate.map { source in Result { try ChatTemplate(source: source) } }
        var named = tokenizer.specialTokenTexts.mapValues(JSONValue.string)
        for variable in variables { named[variable.name] = variable.value }
        try Self.requireFree(named)
        self.variables = named
    }

    /// What the run itself gives to a template.
    private static func requireFree(_ variables: [String: JSONValue]) throws(JobError) {
        for name in ["messages", "add_generation_prompt"] where variables[name] != nil {
            throw JobError(
                place: "chat_template_kwargs", message: "\(name) is not a variable to give: a row has its messages")
        }
    }

    /// The text of a chat.
    ///
    /// - Parameters:
    ///   - tools: Descriptions of the functions on offer; a variable `tools` wins over them, as in TRL.
    ///   - others: Variables beside the job's own, over which they win.
    /// - Throws: ``JobError`` without a template, else the template's own error.
    func render(
        _ messages: [ChatMessage], addsGenerationPrompt: Bool = true, tools: [JSONValue]? = nil,
        with others: [String: JSONValue] = [:]
    ) throws -> String {
        try Self.requireFree(others)
        var variables = variables.merging(others) { $1 }
        if variables["tools"] == nil, let tools { variables["tools"] = .array(tools) }
        let hasTools = variables["tools"] ?? .null != .null
        guard let template = try (hasTools ? toolTemplate?.get() : nil) ?? template else {
            throw JobError(
                place: "the tokenizer",
                message: "the prompt is to be read as a chat, and the model's folder has no chat template "
                    + "(chat_template.jinja, or chat_template in tokenizer_config.json)")
        }
        return try template.render(
            messages: messages.map(\.json), addGenerationPrompt: addsGenerationPrompt, variables: variables)
    }

    /// What follows the opening of an answer in the finished chat: the answer and what the template closes it with.
    ///
    /// nil when the opening is not how the finished chat begins, as in templates that rewrite earlier turns.
    func continuation(
        of messages: [ChatMessage], with answer: String, tools: [JSONValue]? = nil,
        variables: [String: JSONValue] = [:]
    ) throws -> String? {
        let opening = Array(try render(messages, tools: tools, with: variables).utf8)
        let chat = messages + [ChatMessage(role: "assistant", content: answer)]
        let whole = Array(try render(chat, addsGenerationPrompt: false, tools: tools, with: variables).utf8)
        return whole.starts(with: opening) ? String(decoding: whole[opening.count...], as: UTF8.self) : nil
    }
}
