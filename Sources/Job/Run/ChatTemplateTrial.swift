internal import Records
internal import Tokenization

/// Tries a chat template on a short chat and says what a run should know about it.
struct ChatTemplateTrial {
    let template: ChatTemplateRenderer
    let tokenizer: Tokenizer
    /// Tokens that end a completion.
    let stopTokenIDs: Set<Int>

    private static let chat = [
        ChatMessage(role: "user", content: "First question"),
        ChatMessage(role: "assistant", content: "First answer"),
        ChatMessage(role: "user", content: "Second question"),
        ChatMessage(role: "assistant", content: "Second answer"),
    ]

    /// One line for each finding; empty for a template that keeps every rule, or when there is none.
    func notices() -> [String] {
        guard tokenizer.chatTemplate != nil else { return [] }
        do {
            let first = Array(Self.chat.prefix(1))
            return try differences() + beginnings(of: template.render(first)) + closing(after: first)
        } catch {
            return ["the chat template could not be tried on a short chat: \(error)"]
        }
    }

    /// The prefix test: what opens an answer must be how the chat with that answer begins.
    private func differences() throws -> [String] {
        for answer in Self.chat.indices where Self.chat[answer].role == "assistant" {
            let opening = try template.render(Array(Self.chat[..<answer]))
            let whole = try template.render(Array(Self.chat[...answer]), addsGenerationPrompt: false)
            if let difference = Self.firstDifference(opening, whole) {
                return [
                    "the chat template fails the prefix test: up to the answer in message \(answer + 1), the prompt "
                        + "and the finished chat differ from character \(difference.offset): prompt "
                        + "\(JSONText.string(difference.first)), chat "
                        + "\(JSONText.string(difference.second)). Demonstrations are the completion and the "
                        + "end-of-text token, without the template's own closing"
                ]
            }
        }
        return []
    }

    /// Where a text stops being the beginning of another, with what each has from there.
    private static func firstDifference(_ opening: String, _ whole: String) -> (
        offset: Int, first: String, second: String
    )? {
        let (first, second) = (Array(opening.unicodeScalars), Array(whole.unicodeScalars))
        guard !second.starts(with: first) else { return nil }
        let same = zip(first, second).prefix { $0 == $1 }.count
        func shown(_ scalars: [Unicode.Scalar]) -> String {
            var text = String.UnicodeScalarView()
            text.append(contentsOf: scalars[same...].prefix(24))
            return String(text)
        }
        return (same, shown(first), shown(second))
    }

    private func beginnings(of opening: String) -> [String] {
        guard let begin = tokenizer.beginningOfTextID else { return [] }
        let count = tokenizer.encode(opening).prefix { $0 == begin }.count
        if count > 1 { return ["the chat template writes the beginning-of-text token \(count) times"] }
        if count == 0, tokenizer.encode("a", addSpecialTokens: true).first == begin {
            return ["the chat template writes no beginning-of-text token; chats begin without the one that texts get"]
        }
        return []
    }

    private func closing(after messages: [ChatMessage]) throws -> [String] {
        guard let rest = try template.continuation(of: messages, with: Self.chat[1].content) else { return [] }
        guard !tokenizer.encode(rest).contains(where: stopTokenIDs.contains) else { return [] }
        let ends = stopTokenIDs.sorted().compactMap { tokenizer.token(of: $0) }.joined(separator: " or ")
        let closing = JSONText.string(String(rest.dropFirst(Self.chat[1].content.count)))
        return [
            "the chat template closes an answer with \(closing), which does not end a completion (\(ends) does); "
                + "demonstrations get the end-of-text token behind it"
        ]
    }
}
