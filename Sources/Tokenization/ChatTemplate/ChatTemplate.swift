package import Foundation
package import JSON

/// A chat template in the part of Jinja that checkpoints use, rendered as `transformers` renders it.
///
/// White space follows `trim_blocks` and `lstrip_blocks`; `break`, `continue`, `generation` blocks, `raise_exception`,
/// `strftime_now`, `namespace`, macros and the filters, tests and methods of those templates are there. Anything else
/// is an error with its line, when the template is read where that is possible.
package struct ChatTemplate: Sendable {
    private let body: [JinjaStatement]
    private let clock: @Sendable () -> Date

    /// - Parameters:
    ///   - source: the template's text.
    ///   - clock: what `strftime_now` reads, in the local time zone.
    /// - Throws: ``ChatTemplateError`` for a construct that is not Jinja or not built, with its line.
    package init(source: String, clock: @escaping @Sendable () -> Date = { Date() }) throws {
        var parser = JinjaParser(try JinjaLexer.tokens(of: source))
        body = try parser.template()
        self.clock = clock
    }

    /// The text of a chat. It already holds the special tokens: encode it without adding them again.
    ///
    /// - Parameters:
    ///   - messages: in order; objects with `role`, `content` and whatever else the template reads, such as
    ///     `tool_calls`.
    ///   - tools: JSON schemas of the functions on offer; nil gives the template the variable `tools`, or `none`.
    ///   - addGenerationPrompt: ends with what opens the assistant's turn.
    ///   - variables: what else the template reads, such as `bos_token`; see ``Tokenizer/specialTokenTexts``.
    /// - Throws: ``ChatTemplateError``; what the template gives to `raise_exception` is its message.
    package func render(
        messages: [JSONValue], tools: [JSONValue]? = nil, addGenerationPrompt: Bool,
        variables: [String: JSONValue] = [:]
    ) throws -> String {
        let root = JinjaScope(parent: nil)
        for name in ["namespace", "range", "dict", "raise_exception", "strftime_now"] {
            root.values[name] = .function(.builtin(name))
        }
        root.values["documents"] = .null
        root.values["tools"] = .null
        for (name, value) in variables { root.values[name] = JinjaValue(value) }
        root.values["messages"] = .list(messages.map(JinjaValue.init))
        if let tools { root.values["tools"] = .list(tools.map(JinjaValue.init)) }
        root.values["add_generation_prompt"] = .bool(addGenerationPrompt)
        let renderer = JinjaRenderer(clock: clock)
        return try renderer.render(body, in: JinjaScope(parent: root))
    }
}
