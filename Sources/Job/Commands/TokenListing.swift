internal import Foundation
import JSON
internal import Records
internal import Runs
internal import Tokenization

/// `plumbline tokenizer encode` and `decode`: JSON Lines in, JSON Lines out.
package struct TokenListing {
    private let tokenizer: Tokenizer
    private let template: ChatTemplateRenderer?
    private let addsGenerationPrompt: Bool

    /// - Parameter tokenizer: A tokenizer.json, beside which the chat template lies where `chat` asks for one, the
    ///   folder they are in, or a GGUF file.
    package init(tokenizer path: String, chat: Bool, addsGenerationPrompt: Bool) throws {
        tokenizer = try Tokenizer(path: path, besideOthers: chat)
        template = chat ? try ChatTemplateRenderer(tokenizer: tokenizer, variables: []) : nil
        self.addsGenerationPrompt = addsGenerationPrompt
    }

    /// Hands one line per line of input to `emit`.
    package func encode(_ input: String, emit: (String) throws -> Void) throws {
        try eachLine(input) { line, row in
            guard let template else {
                let text = try line.text("text", of: row)
                return try emit(JSONText.object([("ids", ids(tokenizer.encode(text)))]))
            }
            let text = try template.render(
                try line.messages(of: row), addsGenerationPrompt: addsGenerationPrompt,
                tools: try ChatInput.tools(row["tools"], of: line.place))
            try emit(JSONText.object([("text", JSONText.string(text)), ("ids", ids(tokenizer.encode(text)))]))
        }
    }

    /// Hands one line per line of input to `emit`.
    package func decode(_ input: String, skipsSpecials: Bool, emit: (String) throws -> Void) throws {
        try eachLine(input) { line, row in
            let text = try tokenizer.decode(try line.tokenIDs("ids", of: row), skipSpecialTokens: skipsSpecials)
            try emit(JSONText.object([("text", JSONText.string(text))]))
        }
    }

    private func ids(_ tokenIDs: [Int]) -> String { JSONText.array(tokenIDs.map(String.init)) }

    private func eachLine(_ input: String, _ body: (InputLine, JSONValue) throws -> Void) throws {
        try InputLine.each(of: input, body)
    }
}

extension Tokenizer {
    /// Reads a tokenizer.json, the folder it is in, or a GGUF file.
    ///
    /// - Parameter besideOthers: Whether what lies beside a tokenizer.json is read too, as its chat template.
    init(path: String, besideOthers: Bool = false) throws(TokenizerError) {
        let url = URL(filePath: path)
        if !url.lastPathComponent.hasSuffix(".json") {
            try self.init(folder: url)
        } else if besideOthers {
            try self.init(besideOthers: url)
        } else {
            try self.init(json: url)
        }
    }
}

/// A line of a JSON Lines input, for messages.
struct InputLine {
    var path: String
    var number: Int

    var place: String { "\(path) line \(number)" }

    /// Calls `body` with every line of a file, or of standard input for `-`.
    static func each(of path: String, _ body: (InputLine, JSONValue) throws -> Void) throws {
        // The shell's <(…) is a file of /dev/fd.
        let isInput = path == "-" || path == "/dev/stdin" || path.hasPrefix("/dev/fd/")
        let reader = try JSONLinesReader(URL(filePath: path == "-" ? "/dev/stdin" : path), takesPipes: isInput)
        while let (line, value) = try reader.next() {
            try body(InputLine(path: path, number: line.number), value)
        }
    }

    /// The text under `key`.
    func text(_ key: String, of row: JSONValue) throws(JobError) -> String {
        guard let value = row[key] else { throw missing(key, of: row) }
        guard let text = value.string else { throw wrong(key, value, expected: "a text") }
        return text
    }

    /// The token ids under `key`.
    func tokenIDs(_ key: String, of row: JSONValue) throws(JobError) -> [Int] {
        guard let value = row[key] else { throw missing(key, of: row) }
        let whole = value.elements?.compactMap(\.int)
        guard let whole, whole.count == value.elements?.count else {
            throw wrong(key, value, expected: "a list of token ids")
        }
        return whole
    }

    /// The messages of a chat under `key`.
    func messages(_ key: String = "messages", of row: JSONValue) throws(JobError) -> [ChatMessage] {
        guard let value = row[key] else { throw missing(key, of: row) }
        let messages = value.elements?.compactMap { element -> ChatMessage? in
            guard let role = element["role"]?.string, let content = element["content"]?.string else { return nil }
            let others = (element.members ?? []).filter {
                $0.key != "role" && $0.key != "content" && $0.value != .null
                    && !($0.key == "tool_calls" && $0.value == .array([]))
            }
            return ChatMessage(role: role, content: content, others: others)
        }
        guard let messages, messages.count == value.elements?.count else {
            throw wrong(key, value, expected: "a list of {\"role\": …, \"content\": …}")
        }
        return messages
    }

    private func missing(_ key: String, of row: JSONValue) -> JobError {
        let names = row.members?.map(\.key) ?? []
        let found = row.members == nil ? "the line is \(row.kind)" : "it has \(names.joined(separator: ", "))"
        return JobError(place: place, message: "no '\(key)'; \(found)")
    }

    private func wrong(_ key: String, _ value: JSONValue, expected: String) -> JobError {
        JobError(place: place, message: "'\(key)' is \(value.kind), expected \(expected)")
    }
}
