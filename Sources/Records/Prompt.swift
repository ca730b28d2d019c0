public import JSON

/// One message of a chat prompt.
public struct ChatMessage: Sendable, Equatable, Hashable {
    /// Who speaks: `system`, `user`, `assistant` or `tool`.
    public var role: String
    public var content: String
    /// What else the row says of the message, such as `name` or the `reasoning_content` of an earlier answer: a chat
    /// template may read it.
    public var others: [JSONValue.Member]

    public init(role: String, content: String, others: [JSONValue.Member] = []) {
        self.role = role
        self.content = content
        self.others = others
    }

    /// As prompt rows, chat templates and Python have it: `{"role": "user", "content": "…"}`.
    public var json: JSONValue {
        .object([.init("role", .string(role)), .init("content", .string(content))] + others)
    }
}

extension ChatMessage: Codable {
    public init(from decoder: any Decoder) throws {
        let value = try JSONValue(from: decoder)
        guard let role = value["role"]?.string, let content = value["content"]?.string else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "a message has a role and a content"))
        }
        let others = (value.members ?? []).filter { $0.key != "role" && $0.key != "content" }
        self.init(role: role, content: content, others: others)
    }

    public func encode(to encoder: any Encoder) throws { try json.encode(to: encoder) }
}

/// What the user's file gives as the prompt: plain text, or the messages of a chat.
public enum PromptContent: Sendable, Equatable, Hashable {
    case text(String)
    case messages([ChatMessage])
}

/// One row of a prompt set.
public struct Prompt: Sendable, Equatable {
    /// Where the row stands in its prompt set, from 0. It addresses the random draws of the row's completions.
    public var row: Int
    /// The prompt set (or `data_source`) the row came from.
    public var source: String
    public var content: PromptContent
    /// Every other column of the row, by name. Rewards read their reference answers here.
    public var columns: [String: JSONValue]
    /// Where a person finds the row, such as `prompts/train.jsonl, line 18`; `nil` for a prompt that no file holds.
    public var place: String?

    public init(
        row: Int, source: String, content: PromptContent, columns: [String: JSONValue] = [:], place: String? = nil
    ) {
        self.row = row
        self.source = source
        self.content = content
        self.columns = columns
        self.place = place
    }

    /// How messages name the row: its ``place``, else `arithmetic row 17`.
    public var id: String { place ?? "\(source) row \(row)" }

    /// The prompt as one text; the contents of a chat joined by line breaks, without a template.
    public var text: String {
        switch content {
        case .text(let text): text
        case .messages(let messages): messages.map(\.content).joined(separator: "\n")
        }
    }
}

/// A prompt as the model reads it.
package struct TokenizedPrompt: Sendable, Equatable {
    package var prompt: Prompt
    /// Token ids of the rendered prompt, at least one.
    package var tokenIDs: [Int]
    /// What the chat template made of the prompt, special tokens written out; `nil` for one that is read as it is.
    package var rendered: String?

    package init(prompt: Prompt, tokenIDs: [Int], rendered: String? = nil) {
        self.prompt = prompt
        self.tokenIDs = tokenIDs
        self.rendered = rendered
    }

    /// The prompt as one text, as the model reads it.
    package var text: String { rendered ?? prompt.text }
}
