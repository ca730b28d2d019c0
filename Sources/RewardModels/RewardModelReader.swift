import JSON
internal import Records
internal import RewardInterface
internal import Tokenization

/// Turns a prompt and its completions into the token ids a reward model reads.
///
/// A chat goes through the model's own chat template, the completion as the assistant's answer, and is encoded as it
/// comes out. A text prompt and its completion are one text, with the special tokens that the tokenizer adds.
struct RewardModelReader: Sendable {
    private let tokenizer: Tokenizer
    private let template: ChatTemplate?
    private let settings: RewardModelSettings
    private let limit: Int
    /// What a finished completion ends with; `nil` for whatever stands there.
    private let endToken: Int?

    /// What it reads of a text depends on this and on the folder.
    var identity: String {
        "at most \(limit) tokens, longer: \(settings.truncation), special tokens: \(settings.addsSpecialTokens), "
            + "end token: \(endToken.map(String.init) ?? "none")"
    }

    /// One text as the model reads it, or why it cannot.
    enum Reading: Equatable {
        /// At least one token; the note says when something was cut off.
        case tokens([Int], note: String?)
        case unreadable(String)
    }

    /// - Parameters:
    ///   - limit: The most tokens of a text.
    ///   - addsEndToken: Whether a finished completion ends with the end-of-text token.
    init(tokenizer: Tokenizer, settings: RewardModelSettings, limit: Int, addsEndToken: Bool = false) throws {
        endToken = addsEndToken ? tokenizer.endOfTextID : nil
        self.tokenizer = tokenizer
        self.settings = settings
        self.limit = limit
        template = try tokenizer.chatTemplate.map { try ChatTemplate(source: $0) }
    }

    /// - Throws: ``RewardError`` for a chat that the template cannot write.
    func read(_ completion: Completion, after prompt: Prompt) throws(RewardError) -> Reading {
        var ids: [Int]
        switch prompt.content {
        case .text(let text):
            ids = tokenizer.encode(text + completion.text, addSpecialTokens: settings.addsSpecialTokens)
        case .messages(let messages):
            ids = tokenizer.encode(try rendered(messages, completion, prompt))
        }
        if let endToken, !completion.isTruncated { ids = ended(ids, with: endToken) }
        guard !ids.isEmpty else { return .unreadable("prompt and completion have no tokens") }
        guard ids.count > limit else { return .tokens(ids, note: nil) }
        let note = "\(ids.count) tokens cut to \(limit)"
        switch settings.truncation {
        case .error:
            return .unreadable(
                "prompt and completion have \(ids.count) tokens, the reward model takes \(limit); "
                    + "set truncation: left or right, or max_length, or lower max_completion_length")
        case .left: return .tokens(Array(ids.suffix(limit)), note: note)
        case .right: return .tokens(Array(ids.prefix(limit)), note: note)
        }
    }

    /// The text up to its last end token where only whitespace follows it, which a template may write; else with one
    /// behind it.
    private func ended(_ ids: [Int], with end: Int) -> [Int] {
        if let last = ids.lastIndex(of: end),
            let rest = try? tokenizer.decode(Array(ids[(last + 1)...])),  // its own ids: they can be decoded
            rest.allSatisfy(\.isWhitespace)
        {
            return Array(ids[...last])
        }
        return ids + [end]
    }

    private func rendered(
        _ messages: [ChatMessage], _ completion: Completion, _ prompt: Prompt
    ) throws(RewardError) -> String {
        guard let template else {
            throw .unusable(
                reward: settings.name,
                problem: "\(prompt.id) is a chat, and the reward model's folder has no chat template "
                    + "(chat_template.jinja, or chat_template in tokenizer_config.json)")
        }
        let chat = messages + [ChatMessage(role: "assistant", content: completion.text)]
        do {
            return try template.render(
                messages: chat.map(\.json), addGenerationPrompt: false,
                variables: tokenizer.specialTokenTexts.mapValues(JSONValue.string))
        } catch {
            throw .unusable(reward: settings.name, problem: "\(prompt.id): \(error)")
        }
    }
}
