package import GGUF
import JSON

/// A tokenizer as llama.cpp wants it in the metadata of a GGUF file.
package struct GGUFVocabulary: Sendable {
    /// In the order in which they are written.
    package let entries: [(key: String, value: GGUFValue)]
    /// Where llama.cpp's reading of a text can differ from this tokenizer's.
    package let notices: [String]

    private typealias Key = GGUFTokenizer.Key
    private typealias Kind = GGUFTokenizer.Kind

    /// - Parameters:
    ///   - rows: Rows of the model's embedding; ids that no token has are filled up.
    ///   - endIDs: What ends a completion, the tokenizer's own token first where it has one.
    /// - Throws: ``TokenizerError`` for a tokenizer that llama.cpp cannot be told of, saying which part it is.
    package init(_ tokenizer: Tokenizer, rows: Int, endIDs: [Int]) throws(TokenizerError) {
        let source = try Source(tokenizer)
        var notices: [String] = []
        let isByteLevel = source.definition.preTokenizer.usesByteAlphabet
        var entries: [(key: String, value: GGUFValue)] = [(Key.model, .string(isByteLevel ? "gpt2" : "llama"))]
        if isByteLevel { entries.append((Key.pre, .string(try source.preTokenizer(&notices).names[0]))) }
        let count = max(rows, source.definition.tokens.count)
        let tokens = (0..<count).map { tokenizer.token(of: $0) ?? GGUFTokens.padding($0) }
        entries.append((Key.tokens, .strings(tokens)))
        if isByteLevel {
            entries.append((Key.kinds, .integers(source.kinds(tokens, hasBytes: false).map(\.rawValue))))
            entries.append((Key.merges, .strings(try source.merges().map { "\($0.left) \($0.right)" })))
        } else {
            try source.requireSentencePiece(&notices)
            entries.append((Key.scores, .floats(try source.scores(tokens))))
            entries.append((Key.kinds, .integers(source.kinds(tokens, hasBytes: true).map(\.rawValue))))
        }
        let frame = try source.frame(begin: tokenizer.beginningOfTextID, end: tokenizer.endOfTextID ?? endIDs.first)
        let end = tokenizer.endOfTextID ?? endIDs.first ?? frame.end
        let named = [
            ("tokenizer.ggml.bos_token_id", tokenizer.beginningOfTextID ?? frame.begin),
            ("tokenizer.ggml.eos_token_id", end),
            ("tokenizer.ggml.eot_token_id", endIDs.first { $0 != end }),
            ("tokenizer.ggml.unknown_token_id", tokenizer.specialTokenTexts["unk_token"].flatMap(tokenizer.id(of:))),
            ("tokenizer.ggml.padding_token_id", tokenizer.paddingID),
        ]
        for (key, id) in named { if let id { entries.append((key, .integer(id))) } }
        entries.append((Key.addsBeginning, .bool(frame.begin != nil)))
        entries.append((Key.addsEnd, .bool(frame.end != nil)))
        entries.append((Key.addsSpace, .bool(source.addsSpace)))
        let pickier = source.addedTokensWithConditions
        if !pickier.isEmpty {
            notices.append(
                "llama.cpp finds an added token wherever its text stands; here \(pickier.joined(separator: ", ")) "
                    + "must be a word of its own, takes spaces beside it, or is found in another form")
        }
        if let template = tokenizer.chatTemplate { entries.append((Key.template, .string(template))) }
        if let template = tokenizer.toolChatTemplate {
            entries += [(Key.templates, .strings(["tool_use"])), (Key.toolTemplate, .string(template))]
        }
        entries.append((Key.json, .string(source.text)))
        self.entries = entries
        self.notices = notices
    }

    /// The tokenizer's own file, read once more for what encoding keeps in another form.
    private struct Source {
        let definition: TokenizerDefinition
        let text: String
        private let root: JSONNode

        init(_ tokenizer: Tokenizer) throws(TokenizerError) {
            let json = tokenizer.definitionFile
            root = try JSONNode(json, file: TokenizerFiles.tokenizer)
            var definition = try TokenizerDefinition(root)
            let own = definition.addedTokens
            try definition.take(tokenizer.statedTokens)
            self.definition = definition
            text =
                definition.addedTokens == own
                ? String(decoding: json, as: UTF8.self) : Self.text(root.value, definition.addedTokens)
        }

        /// The file with the added tokens that other files of its folder make of it: a GGUF file has only this one.
        private static func text(_ file: JSONValue, _ added: [AddedToken]) -> String {
            let key = "added_tokens"
            let others = (file.members ?? []).filter { $0.key != key }
            return JSONValue.object(others + [.init(key, .array(added.map(\.json)))]).serialized
        }

        private func refused(_ part: String, _ expected: String) throws(TokenizerError) -> TokenizerError {
            TokenizerError(
                file: TokenizerFiles.tokenizer, key: part, found: try root.optional(part)?.value.summary ?? "nothing",
                expected: "what llama.cpp can also do: \(expected)")
        }

        func preTokenizer(_ notices: inout [String]) throws(TokenizerError) -> GGUFPreTokenizer {
            let ignoresMerges = try root.required("model").bool("ignore_merges", default: false)
            guard let known = GGUFPreTokenizer(definition.preTokenizer, ignoresMerges: ignoresMerges) else {
                throw try refused(
                    "pre_tokenizer",
                    "the splits of GPT-2, of SmolLM, of Llama 3 or of Qwen 2"
                        + (ignoresMerges ? ", and ignore_merges only with that of Llama 3" : ""))
            }
            switch definition.normalizer {
            case .none: break
            case .form(.nfc):
                notices.append(
                    "llama.cpp does not bring texts into Unicode's form NFC as this tokenizer does: decomposed letters "
                        + "get other ids there")
            default: throw try refused("normalizer", "none, or NFC")
            }
            return known
        }

        /// Whether each stretch of text gets a space put before it.
        var addsSpace: Bool {
            switch (definition.normalizer, definition.preTokenizer) {
            case (.sequence(let parts), _): parts.contains { if case .prepend = $0 { true } else { false } }
            case (_, .metaspace(_, let prepends, _)): prepends != .never
            default: false
            }
        }

        func requireSentencePiece(_ notices: inout [String]) throws(TokenizerError) {
            let mark = Array("\u{2581}".utf8)
            switch (definition.normalizer, definition.preTokenizer) {
            case (.sequence(let parts), .none):
                guard parts.count == 2, case .prepend(mark) = parts[0],
                    case .replace([UInt8(ascii: " ")], with: mark) = parts[1]
                else { throw try refused("normalizer", "U+2581 put before the text and for every space") }
            case (.replace([UInt8(ascii: " ")], with: mark), .none): break
            case (.none, .metaspace(mark, .first, splits: false)):
                notices.append("llama.cpp puts a space also before a text that follows a special token")
            case (.none, .metaspace(mark, _, splits: false)): break
            default: throw try refused("pre_tokenizer", "U+2581 for every space, and no splits")
            }
            guard try root.required("model").bool("byte_fallback", default: false) else {
                throw try refused("model", "byte_fallback true")
            }
        }

        func merges() throws(TokenizerError) -> [(left: String, right: String)] {
            var pairs: [(left: String, right: String)] = []
            for item in try root.required("model").required("merges").items() {
                if let pair = ModelReader.pair(item.value) { pairs.append((pair.0, pair.1)) }
            }
            return pairs
        }

        /// The rank of the first merge that gives a piece, counted down: llama.cpp merges the piece with the highest
        /// score first.
        func scores(_ tokens: [String]) throws(TokenizerError) -> [Float] {
            let merges = try merges()
            var scores = tokens.indices.map { -Float(merges.count + $0) }
            var isSet = [Bool](repeating: false, count: tokens.count)
            for (rank, pair) in merges.enumerated() {
                guard let id = definition.ids[TokenText(pair.left + pair.right)], !isSet[id] else { continue }
                scores[id] = -Float(rank)
                isSet[id] = true
            }
            return scores
        }

        /// - Parameter hasBytes: Whether `<0x0A>` stands for a byte, and not for its own text.
        func kinds(_ tokens: [String], hasBytes: Bool) -> [Kind] {
            var kinds = tokens.indices.map { id -> Kind in
                guard definition.tokens.indices.contains(id), definition.tokens[id] != nil else { return .unused }
                return hasBytes && Self.isByte(tokens[id]) ? .byte : .normal
            }
            for token in definition.addedTokens { kinds[token.id] = token.isSpecial ? .control : .userDefined }
            if hasBytes, let unknown = definition.model.unknownID { kinds[Int(unknown)] = .unknown }
            return kinds
        }

        private static func isByte(_ token: String) -> Bool {
            token.utf8.count == 6 && token.hasPrefix("<0x") && token.hasSuffix(">")
                && token.dropFirst(3).prefix(2).allSatisfy(\.isHexDigit)
        }

        /// The texts of added tokens for which more counts than that they stand there.
        var addedTokensWithConditions: [String] {
            definition.addedTokens.filter { token in
                let text = Array(token.content.utf8)
                return token.isSingleWord || token.stripsLeft || token.stripsRight
                    || (token.isNormalized && definition.normalizer.normalized(text) != text)
            }.map { JSONValue.string($0.content).serialized }
        }

        /// The special tokens that encoding puts around a text.
        ///
        /// - Parameters:
        ///   - begin: The one that the tokenizer calls the beginning of a text.
        ///   - end: The one that ends it.
        func frame(begin: Int?, end: Int?) throws(TokenizerError) -> (begin: Int?, end: Int?) {
            let own = definition.postProcessor
            let isPlain =
                own.before.count <= 1 && own.after.count <= 1
                && (begin == nil || own.before.isEmpty || own.before == [begin])
                && (end == nil || own.after.isEmpty || own.after == [end])
            guard isPlain else {
                throw try refused(
                    "post_processor",
                    "the beginning-of-text token before a text, the end-of-text token behind it")
            }
            return (own.before.first, own.after.first)
        }
    }
}
