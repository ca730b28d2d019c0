import JSON
package import Records
package import Tokenization

/// Renders messages with the chat template that came with a tokenizer.
package struct ChatTemplateRenderer: Sendable {
    private let template: ChatTemplate?
    private let variables: [String: JSONValue]

    /// - Parameter variables: `chat_template_kwargs` of the job.
    /// - Throws: the template's own error, with its line, for a construct that is not supported.
    package init(tokenizer: Tokenizer, variables: [NamedValue]) throws {
        template = try tokenizer.chatTemplate.map { try ChatTemplate(source: $0) }
        var named: [String: JSONValue] = [:]
        for (name, id) in [
            ("bos_token", tokenizer.beginningOfTextID), ("eos_token", tokenizer.endOfTextID),
            ("pad_token", tokenizer.paddingID),
        ] {
            named[name] = id.flatMap(tokenizer.token).map(JSONValue.string)
        }
        for variable in variables { named[variable.name] = variable.value }
        self.variables = named
    }

    /// The text of a chat.
    ///
    /// - Parameter others: Variables beside the job's own, over which they win.
    /// - Throws: ``JobError`` without a template, else the template's own error.
    func render(
        _ messages: [ChatMessage], addsGenerationPrompt: Bool = true, with others: [String: JSONValue] = [:]
    ) throws -> String {
        guard let template else {
            throw JobError(
                place: "the tokenizer",
                message: "the prompt is to be read as a chat, and the model's folder has no chat template "
                    + "(chat_template.jinja, or chat_template in tokenizer_config.json)")
        }
        return try template.render(
            messages: messages.map(\.json),
            addGenerationPrompt: addsGenerationPrompt,
            variables: variables.merging(others) { $1 })
    }

    /// What follows the opening of an answer in the finished chat: the answer and what the template closes it with.
    ///
    /// nil when the opening is not how the finished chat begins, as in templates that rewrite earlier turns.
    func continuation(
        of messages: [ChatMessage], with answer: String, variables: [String: JSONValue] = [:]
    ) throws -> String? {
        let opening = Array(try render(messages, with: variables).utf8)
        let chat = messages + [ChatMessage(role: "assistant", content: answer)]
        let whole = Array(try render(chat, addsGenerationPrompt: false, with: variables).utf8)
        return whole.starts(with: opening) ? String(decoding: whole[opening.count...], as: UTF8.self) : nil
    }
}
