package import Foundation
import GGUF

/// Text to token ids and back, as a `tokenizer.json` of Hugging Face's `tokenizers` library defines it.
///
/// Byte-pair encoding over bytes (GPT-2, Llama 3, Qwen) or over characters with byte fallback (Llama 2, Mistral).
/// The ids and the text are the library's own; a setting this type does not know is an error when the file is read.
package struct Tokenizer: Sendable {
    private let definition: TokenizerDefinition
    private let files: TokenizerFiles
    private let rawMatcher: AddedTokenMatcher
    private let normalizedMatcher: AddedTokenMatcher
    private let specialMatcher: AddedTokenMatcher
    /// The normalized texts of added tokens, where normalization changes them.
    private let normalizedTexts: [Int: String]

    /// The id that ends a text (`eos_token`), when the tokenizer names one.
    package let endOfTextID: Int?
    /// The id that begins a text (`bos_token`), when the tokenizer names one.
    package let beginningOfTextID: Int?
    /// The id that fills a row (`pad_token`), when the tokenizer names one.
    package let paddingID: Int?
    /// The ids that decoding leaves out when it skips special tokens.
    package let specialTokenIDs: Set<Int>

    /// Reads `tokenizer.json` and, where they exist, `tokenizer_config.json`, `special_tokens_map.json`,
    /// `chat_template.jinja` and `additional_chat_templates/tool_use.jinja`; or the metadata of a GGUF file.
    ///
    /// - Throws: ``TokenizerError`` naming the file, the key, what was found and what would be right.
    package init(folder: URL) throws(TokenizerError) {
        if let metadata = try Self.metadata(ofGGUF: folder) {
            try self.init(metadata, of: folder)
            return
        }
        do throws(TokenizerError) {
            try self.init(files: try TokenizerFiles.read(folder: folder))
        } catch {
            throw error.placed { folder.appendingPathComponent($0).path }
        }
    }

    /// Reads one `tokenizer.json` of any name, with the other files of ``init(folder:)`` that lie beside it.
    package init(besideOthers file: URL) throws(TokenizerError) {
        do throws(TokenizerError) {
            let folder = file.deletingLastPathComponent()
            try self.init(files: try TokenizerFiles.read(folder: folder, tokenizer: file))
        } catch {
            throw error.placed { name in
                name == TokenizerFiles.tokenizer
                    ? file.path : file.deletingLastPathComponent().appendingPathComponent(name).path
            }
        }
    }

    /// What a GGUF file says of itself; `nil` when the path leads to anything else.
    private static func metadata(ofGGUF url: URL) throws(TokenizerError) -> GGUFMetadata? {
        do throws(GGUFError) {
            return try GGUFFile.isOne(url) ? GGUFFile(url: url).metadata : nil
        } catch {
            throw TokenizerError(file: error.path, found: error.message, expected: "a GGUF file")
        }
    }

    private init(_ metadata: GGUFMetadata, of file: URL) throws(TokenizerError) {
        do throws(TokenizerError) {
            try self.init(files: try GGUFTokenizer(metadata: metadata).files())
        } catch {
            throw error.placed { _ in file.path }
        }
    }

    /// Reads one `tokenizer.json`, from wherever it is.
    package init(json file: URL) throws(TokenizerError) {
        do throws(TokenizerError) {
            try self.init(json: try TokenizerFiles.bytes(of: file))
        } catch {
            throw error.placed { _ in file.path }
        }
    }

    /// Reads the bytes of a `tokenizer.json`.
    package init(json: Data) throws(TokenizerError) {
        try self.init(files: try TokenizerFiles(contents: [TokenizerFiles.tokenizer: json]))
    }

    init(files: TokenizerFiles) throws(TokenizerError) {
        let json = files.contents[TokenizerFiles.tokenizer] ?? Data()
        var definition = try TokenizerDefinition(try JSONNode(json, file: TokenizerFiles.tokenizer))
        try files.requireOnePrefix(with: definition.preTokenizer)
        try definition.take(files.statedTokens)
        self.definition = definition
        self.files = files
        // Of two tokens with the same text the library's first counts, and it puts special tokens first.
        let ordered = definition.addedTokens.filter(\.isSpecial) + definition.addedTokens.filter { !$0.isSpecial }
        rawMatcher = AddedTokenMatcher(
            ordered.filter { !$0.isNormalized }.map { ($0, Array($0.content.utf8)) })
        let normalized = ordered.filter(\.isNormalized)
            .map { (token: $0, text: definition.normalizer.normalized(Array($0.content.utf8))) }
        normalizedMatcher = AddedTokenMatcher(normalized)
        specialMatcher = AddedTokenMatcher(
            definition.addedTokens.filter(\.isSpecial).map { ($0, Array($0.content.utf8)) })
        normalizedTexts = Dictionary(
            uniqueKeysWithValues: normalized.filter { !$0.token.content.utf8.elementsEqual($0.text) }
                .map { ($0.token.id, String(decoding: $0.text, as: UTF8.self)) })
        specialTokenIDs = Set(definition.addedTokens.filter(\.isSpecial).map(\.id))
        let ids = files.specialTokenTexts.compactMapValues { definition.ids[TokenText($0)] }
        endOfTextID = ids["eos_token"]
        beginningOfTextID = ids["bos_token"]
        paddingID = ids["pad_token"]
    }

    /// Number of ids, added tokens and gaps included: the highest id plus one.
    package var vocabularySize: Int { definition.tokens.count }

    /// The chat template (Jinja), when the folder has one.
    package var chatTemplate: String? { files.chatTemplate }

    /// The chat template for chats with tools, when the folder has one of its own for them (`tool_use`).
    package var toolChatTemplate: String? { files.toolTemplate }

    /// The texts of the special tokens by role (`bos_token`, `eos_token` …): what ``ChatTemplate`` takes as variables.
    package var specialTokenTexts: [String: String] { files.specialTokenTexts }

    /// The tokens matched in the text before any splitting, in the order of the file.
    package var addedTokens: [AddedToken] { definition.addedTokens }

    /// A token as the vocabulary writes it (byte-level ones in the byte alphabet, `Ġthe`); nil for an unused id.
    package func token(of id: Int) -> String? { definition.tokens.indices.contains(id) ? definition.tokens[id] : nil }

    /// The id of a token as the vocabulary writes it.
    package func id(of token: String) -> Int? { definition.ids[TokenText(token)] }

    /// The ids of a text.
    ///
    /// Added tokens inside the text become their ids, special ones too. Bytes that a byte-level vocabulary has no symbol
    /// for are left out, as by the `tokenizers` library; ``firstLeftOut(of:)`` says so of a text.
    ///
    /// - Parameters:
    ///   - addSpecialTokens: also put the post-processor's special ids around it, such as a beginning of text.
    ///   - mark: what ``marked(_:with:)`` put into parts of the text; it is taken out behind the search for added
    ///     tokens.
    package func encode(_ text: String, addSpecialTokens: Bool = false, mark: SpellingMark? = nil) -> [Int] {
        let ids = encoded(text, mark: mark).ids
        return addSpecialTokens ? definition.postProcessor.wrap(ids) : ids
    }

    /// The first character of a text that ``encode(_:addSpecialTokens:mark:)`` leaves out, as no symbol of the vocabulary
    /// stands for it; `nil` where all of the text is read.
    package func firstLeftOut(of text: String) -> String? {
        func leavesOut(_ text: String) -> Bool { encoded(text, mark: nil).scratch.hasLeftOut }
        guard definition.model.leavesOut, leavesOut(text) else { return nil }
        return text.first { leavesOut(String($0)) }.map { String($0) } ?? text
    }

    private func encoded(_ text: String, mark: SpellingMark?) -> EncodeCall {
        var call = EncodeCall(definition: definition, matcher: normalizedMatcher, mark: mark)
        let bytes = Array(text.utf8)
        for part in rawMatcher.parts(of: bytes) {
            switch part {
            case .token(let id): call.ids.append(id)
            case .text(let range):
                call.encode(range.count == bytes.count ? bytes : Array(bytes[range]), startsText: range.lowerBound == 0)
            }
        }
        return call
    }

    /// A text in which special tokens are only spelled: with the mark in them they are not found, and read as what they
    /// are written with. `split_special_tokens` of transformers, for a part of a text; a special token of a single
    /// scalar is found all the same.
    package func marked(_ text: String, with mark: SpellingMark) -> String {
        String(decoding: specialMatcher.marked(Array(text.utf8), with: mark.bytes), as: UTF8.self)
    }

    /// The special tokens that a text spells out, as often as it does.
    package func specialTokens(spelledIn text: String) -> [String] {
        specialMatcher.parts(of: Array(text.utf8)).compactMap { part in
            if case .token(let id) = part { token(of: id) } else { nil }
        }
    }

    /// The text of ids. Bytes that are no UTF-8 become U+FFFD.
    ///
    /// Departs from the library in one place: it keeps a special token whose text normalization changes (it looks for
    /// the changed text among the special ones); here every id of ``specialTokenIDs`` is skipped.
    ///
    /// - Throws: ``TokenizerError`` for an id below 0 or not below ``vocabularySize``. An id in a gap of the vocabulary
    ///   gives no text.
    package func decode(_ ids: [Int], skipSpecialTokens: Bool = false) throws(TokenizerError) -> String {
        var decoder = IncrementalDecoder(self, skipSpecialTokens: skipSpecialTokens)
        var text = ""
        for id in ids { text += try decoder.feed(id) }
        return text + decoder.finish()
    }

    var decoder: TokenDecoder { definition.decoder }

    /// What the files beside `tokenizer.json` say of the tokens.
    var statedTokens: StatedTokens { files.statedTokens }

    /// The bytes of its `tokenizer.json`.
    var definitionFile: Data { files.contents[TokenizerFiles.tokenizer] ?? Data() }

    /// What the decoder reads for an id. The library gives it the normalized text of an added token that is looked for
    /// after normalization, and so does this.
    func textToDecode(_ id: Int) -> String? { normalizedTexts[id] ?? token(of: id) }

    /// Writes the files that ``init(folder:)`` reads, each a byte-identical copy of what was read; one that was not there
    /// is not written.
    package func save(to folder: URL) throws(TokenizerError) {
        for name in TokenizerFiles.saved {
            guard let data = files.contents[name] else { continue }
            let file = folder.appendingPathComponent(name)
            do {
                try FileManager.default.createDirectory(
                    at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
                try data.write(to: file, options: .atomic)
            } catch {
                throw TokenizerError(
                    file: file.path, found: "a file that cannot be written (\(error.localizedDescription))",
                    expected: "a folder with room and write permission")
            }
        }
    }
}

/// A scalar that no text has, to tell a spelled-out token from a token.
package struct SpellingMark: Sendable {
    let bytes: [UInt8]

    /// One of Unicode's noncharacters, which are kept for such inner use.
    ///
    /// - Returns: `nil` for texts that hold all of them.
    package init?(absentFrom texts: [String]) {
        let candidates = (0xFDD0...0xFDEF as ClosedRange<UInt32>).compactMap(Unicode.Scalar.init)
        guard let free = candidates.first(where: { mark in !texts.contains { $0.unicodeScalars.contains(mark) } })
        else {
            return nil
        }
        bytes = Array(String(free).utf8)
    }

    /// The bytes without the mark's.
    func removed(from text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var index = 0
        while index < text.count {
            if text[index...].starts(with: bytes) {
                index += bytes.count
            } else {
                result.append(text[index])
                index += 1
            }
        }
        return result
    }
}

/// One call of `encode`: its ids so far and the room it reuses.
private struct EncodeCall {
    /// Texts shorter than this meet too few pieces twice to pay for a cache.
    private static let worthCaching = 4096

    let definition: TokenizerDefinition
    let matcher: AddedTokenMatcher
    let mark: SpellingMark?
    var ids: [Int] = []
    private(set) var scratch = MergeScratch()
    private var cache: PieceCache?

    init(definition: TokenizerDefinition, matcher: AddedTokenMatcher, mark: SpellingMark?) {
        self.definition = definition
        self.matcher = matcher
        self.mark = mark
    }

    mutating func encode(_ raw: [UInt8], startsText: Bool) {
        let bytes = definition.normalizer.normalized(raw)
        if bytes.count >= Self.worthCaching, cache == nil { cache = PieceCache() }
        for part in matcher.parts(of: bytes) {
            switch part {
            case .token(let id): ids.append(id)
            case .text(let range):
                let isStart = startsText && range.lowerBound == 0
                let isWhole = range.count == bytes.count
                let own = isWhole ? bytes : Array(bytes[range])
                let piece = mark?.removed(from: own) ?? own
                var text = SplitText(bytes: piece, pieces: [0..<piece.count], startsText: isStart)
                definition.preTokenizer.apply(to: &text)
                for piece in text.pieces { encode(text.bytes, piece) }
            }
        }
    }

    private mutating func encode(_ bytes: [UInt8], _ piece: Range<Int>) {
        guard cache != nil, let key = PieceCache.Key(bytes, piece) else {
            definition.model.encode(bytes, piece, scratch: &scratch, into: &ids)
            return
        }
        if let known = cache?.ids(of: key) {
            for index in known { ids.append(ids[index]) }
            return
        }
        let start = ids.count
        definition.model.encode(bytes, piece, scratch: &scratch, into: &ids)
        cache?.remember(key, ids: start..<ids.count)
    }
}
