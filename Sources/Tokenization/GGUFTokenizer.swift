import Foundation
import GGUF
import JSON

/// The tokenizer that the metadata of a GGUF file describes, as the files of a Hugging Face folder.
///
/// Of the two kinds that the built families have: `gpt2`, byte-level BPE with merges, and `llama`, SentencePiece
/// pieces with scores. What is not there is as llama.cpp takes it. `tokenizer.json` itself, where the file carries it,
/// is used as it is.
struct GGUFTokenizer {
    let metadata: GGUFMetadata

    /// What a token is, as the file numbers it.
    enum Kind: Int {
        case normal = 1, unknown, control, userDefined, unused, byte
    }

    enum Key {
        static let model = "tokenizer.ggml.model"
        static let pre = "tokenizer.ggml.pre"
        static let tokens = "tokenizer.ggml.tokens"
        static let kinds = "tokenizer.ggml.token_type"
        static let scores = "tokenizer.ggml.scores"
        static let merges = "tokenizer.ggml.merges"
        static let addsBeginning = "tokenizer.ggml.add_bos_token"
        static let addsEnd = "tokenizer.ggml.add_eos_token"
        static let addsSpace = "tokenizer.ggml.add_space_prefix"
        static let template = "tokenizer.chat_template"
        /// Names of further templates, each under the key above with its name behind it.
        static let templates = "tokenizer.chat_templates"
        static let toolTemplate = "tokenizer.chat_template.tool_use"
        static let json = "tokenizer.huggingface.json"
        /// Role in `tokenizer_config.json` and key.
        static let roles = [
            ("bos_token", "tokenizer.ggml.bos_token_id"), ("eos_token", "tokenizer.ggml.eos_token_id"),
            ("unk_token", "tokenizer.ggml.unknown_token_id"), ("pad_token", "tokenizer.ggml.padding_token_id"),
        ]
    }

    /// - Throws: ``TokenizerError`` naming the key of the metadata, what was found and what would be right.
    func files() throws(TokenizerError) -> TokenizerFiles {
        do {
            return try contents()
        } catch let error as GGUFError {
            throw TokenizerError(file: metadata.path, found: error.message, expected: "a sound tokenizer")
        } catch let error as TokenizerError {
            throw error
        } catch {
            throw TokenizerError(file: metadata.path, found: "\(error)", expected: "a sound tokenizer")
        }
    }

    private func contents() throws -> TokenizerFiles {
        let vocabulary = try GGUFTokens(metadata)
        var roles: [JSONValue.Member] = []
        var ids: [String: Int] = [:]
        for (role, key) in Key.roles {
            guard let id = try vocabulary.id(key) else { continue }
            ids[role] = id
            // Some files fill up with a plain token, such as "!", which a role would make a special one.
            if role == "pad_token", vocabulary.kinds[id] == .normal { continue }
            roles.append(.init(role, .string(vocabulary.tokens[id])))
        }
        var configuration =
            roles + [
                .init("tokenizer_class", "PreTrainedTokenizerFast"), .init("clean_up_tokenization_spaces", false),
            ]
        if let architecture = try metadata.string("general.architecture"),
            let length = try metadata.integer("\(architecture).context_length")
        {
            configuration.append(.init("model_max_length", .number(length)))
        }
        let stated = try metadata.string(Key.json)
        let json = try stated ?? definition(vocabulary, ids).indented
        var contents = [
            TokenizerFiles.tokenizer: Data(json.utf8),
            TokenizerFiles.configuration: Data(JSONValue.object(configuration).indented.utf8),
        ]
        if let template = try metadata.string(Key.template) {
            contents[TokenizerFiles.template] = Data(template.utf8)
        }
        if let template = try metadata.string(Key.toolTemplate) {
            contents[TokenizerFiles.toolTemplate] = Data(template.utf8)
        }
        return try TokenizerFiles(contents: contents)
    }

    /// The `tokenizer.json`.
    private func definition(_ vocabulary: GGUFTokens, _ ids: [String: Int]) throws -> JSONValue {
        let model = try metadata.string(Key.model) ?? ""
        let parts: Parts
        switch model {
        case "gpt2": parts = try byteLevel()
        case "llama": parts = try sentencePiece(vocabulary, unknownID: ids["unk_token"])
        default:
            throw TokenizerError(
                file: metadata.path, key: Key.model, found: model.isEmpty ? "nothing" : "\"\(model)\"",
                expected: "gpt2 or llama, the two kinds that are built")
        }
        let members = vocabulary.members.map { JSONValue.Member($0.text, .number($0.id)) }
        return .object([
            "version": "1.0", "truncation": .null, "padding": .null,
            "added_tokens": .array(vocabulary.added.map(\.json)), "normalizer": parts.normalizer,
            "pre_tokenizer": parts.preTokenizer,
            "post_processor": try postProcessor(vocabulary, ids, addsBeginning: parts.addsBeginning),
            "decoder": parts.decoder,
            "model": .object(
                [.init("type", "BPE"), .init("dropout", .null)] + parts.model + [
                    .init("continuing_subword_prefix", .null), .init("end_of_word_suffix", .null),
                    .init("vocab", .object(members)),
                    .init("merges", .array(parts.merges.map { [.string($0.left), .string($0.right)] })),
                ]),
        ])
    }

    /// What the two kinds differ in.
    private struct Parts {
        var normalizer: JSONValue = .null
        var preTokenizer: JSONValue = .null
        var decoder: JSONValue
        var model: [JSONValue.Member]
        var merges: [(left: String, right: String)]
        var addsBeginning: Bool
    }

    private func byteLevel() throws -> Parts {
        let name = try metadata.string(Key.pre)
        guard let pre = name.flatMap(GGUFPreTokenizer.init(name:)) else {
            throw TokenizerError(
                file: metadata.path, key: Key.pre, found: name.map { "\"\($0)\"" } ?? "nothing",
                expected: "one of \(GGUFPreTokenizer.supported)"
                    + (name == nil ? "; the file is of an early version, convert the model anew" : ""))
        }
        guard let texts = try metadata.strings(Key.merges) else {
            throw TokenizerError(
                file: metadata.path, key: Key.merges, found: "nothing", expected: "\"left right\" of every merge")
        }
        var merges: [(String, String)] = []
        merges.reserveCapacity(texts.count)
        for (rank, text) in texts.enumerated() {
            // A part may begin with a space, of added tokens; the first space behind its first character parts the two.
            guard let space = text.utf8.dropFirst().firstIndex(of: UInt8(ascii: " ")) else {
                throw TokenizerError(
                    file: metadata.path, key: "\(Key.merges)[\(rank)]", found: "\"\(text)\"", expected: "\"left right\""
                )
            }
            merges.append((String(text[..<space]), String(text[text.utf8.index(after: space)...])))
        }
        return Parts(
            normalizer: pre.normalizer, preTokenizer: pre.json, decoder: GGUFPreTokenizer.byteLevel(splits: true),
            model: [
                .init("unk_token", .null), .init("fuse_unk", false), .init("byte_fallback", false),
                .init("ignore_merges", .bool(pre.ignoresMerges)),
            ], merges: merges, addsBeginning: pre.addsBeginning)
    }

    /// A space before each stretch of text, spaces written as U+2581: as llama.cpp does, and as the published
    /// `tokenizer.json` of Llama 2.
    private func sentencePiece(_ vocabulary: GGUFTokens, unknownID: Int?) throws -> Parts {
        guard let scores = try metadata.floats(Key.scores), scores.count == vocabulary.tokens.count else {
            throw TokenizerError(
                file: metadata.path, key: Key.scores, found: metadata[Key.scores]?.kind ?? "nothing",
                expected: "a score for each of the \(vocabulary.tokens.count) tokens")
        }
        let addsSpace = try metadata.bool(Key.addsSpace) ?? true
        let pieces = vocabulary.tokens.indices.map { id in
            vocabulary.kinds[id] == .normal || vocabulary.kinds[id] == .userDefined ? vocabulary.tokens[id] : nil
        }
        let toMark = Self.replacement(of: " ", with: "\u{2581}")
        let steps: [JSONValue] = [
            Self.replacement(of: "\u{2581}", with: " "), .object(["type": "ByteFallback"]), .object(["type": "Fuse"]),
        ]
        let strip = JSONValue.object(["type": "Strip", "content": " ", "start": 1, "stop": 0])
        let unknown = unknownID ?? vocabulary.kinds.firstIndex(of: .unknown)
        return Parts(
            normalizer: addsSpace
                ? .object([
                    "type": "Sequence",
                    "normalizers": [.object(["type": "Prepend", "prepend": "\u{2581}"]), toMark],
                ]) : toMark,
            decoder: .object(["type": "Sequence", "decoders": .array(addsSpace ? steps + [strip] : steps)]),
            model: [
                .init("unk_token", unknown.map { .string(vocabulary.tokens[$0]) } ?? .null),
                .init("fuse_unk", true), .init("byte_fallback", true), .init("ignore_merges", false),
            ], merges: PieceMerges.pairs(pieces: pieces, scores: scores), addsBeginning: true)
    }

    private static func replacement(of pattern: String, with content: String) -> JSONValue {
        .object([
            "type": "Replace", "pattern": .object(["String": .string(pattern)]), "content": .string(content),
        ])
    }

    private func postProcessor(
        _ vocabulary: GGUFTokens, _ ids: [String: Int], addsBeginning: Bool
    ) throws -> JSONValue {
        let begin = try metadata.bool(Key.addsBeginning) ?? addsBeginning ? ids["bos_token"] : nil
        let end = try metadata.bool(Key.addsEnd) ?? false ? ids["eos_token"] : nil
        guard begin != nil || end != nil else { return .null }
        func special(_ id: Int?, _ type: Int) -> [JSONValue] {
            id.map { [Self.item("SpecialToken", vocabulary.tokens[$0], type)] } ?? []
        }
        func text(_ name: String, _ type: Int) -> [JSONValue] {
            special(begin, type) + [Self.item("Sequence", name, type)] + special(end, type)
        }
        let tokens = Set([begin, end].compactMap(\.self)).sorted().map { id in
            let name = vocabulary.tokens[id]
            return JSONValue.Member(
                name, .object(["id": .string(name), "ids": [.number(id)], "tokens": [.string(name)]]))
        }
        return .object([
            "type": "TemplateProcessing", "single": .array(text("A", 0)),
            "pair": .array(text("A", 0) + text("B", 1)), "special_tokens": .object(tokens),
        ])
    }

    private static func item(_ kind: String, _ name: String, _ type: Int) -> JSONValue {
        .object([.init(kind, .object(["id": .string(name), "type_id": .number(type)]))])
    }
}
