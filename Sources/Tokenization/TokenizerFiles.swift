import Foundation
import Runs

/// What a tokenizer's folder holds beside `tokenizer.json`: the roles of its special tokens and its chat template.
struct TokenizerFiles: Sendable {
    static let tokenizer = "tokenizer.json"
    static let configuration = "tokenizer_config.json"
    static let specialTokens = "special_tokens_map.json"
    static let template = "chat_template.jinja"
    /// The template of chats with tools, beside that of all others.
    static let toolTemplate = "additional_chat_templates/tool_use.jinja"
    /// What a folder is read for, and what ``Tokenizer/save(to:)`` writes.
    static let saved = [tokenizer, configuration, specialTokens, template, toolTemplate]

    /// The files as they were read, byte for byte.
    private(set) var contents: [String: Data]
    /// What they say of the tokens.
    let statedTokens: StatedTokens
    /// Role to text for every special token that has one, such as `unk_token`.
    var specialTokenTexts: [String: String] { statedTokens.texts }
    private(set) var chatTemplate: String?
    /// What a chat with tools is written with, where it is another.
    private(set) var toolTemplate: String?
    private let configuration: JSONNode?

    /// - Parameter contents: file name to bytes; `tokenizer.json` is among them.
    init(contents: [String: Data]) throws(TokenizerError) {
        self.contents = contents
        func root(_ name: String) throws(TokenizerError) -> JSONNode? {
            guard let data = contents[name] else { return nil }
            return try JSONNode(data, file: name)
        }
        configuration = try root(Self.configuration)
        statedTokens = try StatedTokens(configuration: configuration, map: try root(Self.specialTokens))
        let files = [Self.template, Self.toolTemplate]
        guard files.allSatisfy({ contents[$0] == nil }) else {  // beside them the configuration's say nothing
            chatTemplate = try contents[Self.template].map { data throws(TokenizerError) in
                try Self.text(data, file: Self.template)
            }
            toolTemplate = try contents[Self.toolTemplate].map { data throws(TokenizerError) in
                try Self.text(data, file: Self.toolTemplate)
            }
            return
        }
        if let configuration { (chatTemplate, toolTemplate) = try Self.templates(configuration) }
    }

    /// Refuses a folder whose two files differ in whether a `ByteLevel` puts a space before a text: some versions of
    /// `transformers` and some of its classes take what `tokenizer_config.json` says, false where it says nothing, and
    /// others what `tokenizer.json` says.
    func requireOnePrefix(with preTokenizer: PreTokenizer) throws(TokenizerError) {
        guard let configuration, let (adds, isAlone) = preTokenizer.byteLevelPrefix else { return }
        let name = try configuration.optional("tokenizer_class")?.string() ?? ""
        // These make the pre-tokenizer anew; elsewhere one among several steps is left as it is.
        let isRemade = ["GPT2Tokenizer", "GPTNeoXTokenizer", "Qwen2Tokenizer"].contains { name.hasPrefix($0) }
        guard isAlone || isRemade else { return }
        let key = "add_prefix_space"
        let stated = try configuration.optional(key)?.bool()
        guard adds != stated ?? false else { return }
        throw TokenizerError(
            file: configuration.file, key: key, found: stated.map { "\($0)" } ?? "nothing, which is false",
            expected: "\(adds), as the ByteLevel of \(Self.tokenizer) has it: transformers takes the one or the other")
    }

    /// Reads the files of a folder; only `tokenizer.json` has to be there, or the file that stands for it.
    static func read(folder: URL, tokenizer given: URL? = nil) throws(TokenizerError) -> TokenizerFiles {
        var contents: [String: Data] = [:]
        for name in saved {
            let own = folder.appendingPathComponent(name)
            let file = name == tokenizer ? given ?? own : own
            if name == tokenizer || FileManager.default.fileExists(atPath: file.path) {
                contents[name] = try bytes(of: file)
            }
        }
        return try TokenizerFiles(contents: contents)
    }

    /// No tokenizer's file is larger: the largest vocabularies take some 30 MB.
    private static let largestFile = 1 << 28

    static func bytes(of file: URL) throws(TokenizerError) -> Data {
        guard FileManager.default.fileExists(atPath: file.path) else { throw missing(file) }
        do throws(RunError) {
            return Data(try PosixFile.contents(of: file, atMost: largestFile))
        } catch {
            throw TokenizerError(
                file: file.path, found: "a file that cannot be read (\(error))", expected: "a tokenizer file")
        }
    }

    /// What to do about a folder without `tokenizer.json`, by what it has instead.
    private static func missing(_ file: URL) -> TokenizerError {
        let folder = file.deletingLastPathComponent()
        let older = ["tokenizer.model", "vocab.json", "spiece.model"].first {
            FileManager.default.fileExists(atPath: folder.appendingPathComponent($0).path)
        }
        let remedy =
            older.map {
                "\(tokenizer): \($0) is not read, save it as \(tokenizer) with transformers "
                    + "(AutoTokenizer.from_pretrained(…).save_pretrained(…))"
            }
            ?? "\(tokenizer) of the model, copied beside its config.json, or a new one from plumbline tokenizer train"
        return TokenizerError(file: file.path, found: "no such file", expected: remedy)
    }

    private static func text(_ data: Data, file: String) throws(TokenizerError) -> String {
        guard let text = String(validating: data, as: UTF8.self) else {
            throw TokenizerError(file: file, found: "bytes that are not UTF-8", expected: "text in UTF-8")
        }
        return text
    }

    /// The template itself, or those named `default` and `tool_use` in a list of several.
    private static func templates(_ root: JSONNode) throws(TokenizerError) -> (usual: String?, tools: String?) {
        guard let node = try root.optional("chat_template") else { return (nil, nil) }
        guard case .array = node.value else { return (try node.string(), nil) }
        var named: [String: String] = [:]
        for item in try node.items() {
            named[try item.required("name").string()] = try item.required("template").string()
        }
        guard let usual = named["default"] else {
            throw node.error(expected: "a template, or a list of templates with one named \"default\"")
        }
        return (usual, named["tool_use"])
    }
}
