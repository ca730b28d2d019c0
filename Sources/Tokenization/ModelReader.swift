import JSON

/// Reads the `model` of a tokenizer file.
struct ModelReader {
    let node: JSONNode
    let vocabulary: Vocabulary
    /// Whether the vocabulary is written in the byte alphabet.
    let usesBytes: Bool

    func read() throws(TokenizerError) -> BytePairModel {
        // Files of early versions leave the type out.
        if let type = try node.optional("type"), try type.string() != "BPE" {
            throw type.error(expected: "\"BPE\", the one model that is built")
        }
        try node.requireKeys([
            "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
            "byte_fallback", "ignore_merges", "vocab", "merges",
        ])
        if let dropout = try node.optional("dropout"), dropout.value != 0 {
            throw dropout.error(expected: "null or 0, encoding draws no random numbers")
        }
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if let affix = try node.optional(key), try !affix.string().isEmpty {
                throw affix.error(expected: "null or \"\", affixes are not built")
            }
        }
        let ignoresMerges = try node.bool("ignore_merges", default: false)
        let fallsBack = try node.bool("byte_fallback", default: false)
        return BytePairModel(
            alphabet: usesBytes ? byteAlphabet() : scalarAlphabet(),
            merges: try readMerges(),
            wholePieces: ignoresMerges ? wholePieces() : [:],
            unknownID: try unknownID(),
            fusesUnknown: try node.bool("fuse_unk", default: false),
            fallbackIDs: fallsBack ? fallbackIDs() : [])
    }

    private func unknownID() throws(TokenizerError) -> Int32? {
        guard let unknown = try node.optional("unk_token") else { return nil }
        guard let id = vocabulary.id(try unknown.string()) else {
            throw unknown.error(expected: "a token of the vocabulary")
        }
        return id
    }

    private func byteAlphabet() -> BytePairModel.Alphabet {
        .bytes((0...255).map { vocabulary.id(ByteAlphabet.text(of: [UInt8($0)])) ?? -1 })
    }

    private func scalarAlphabet() -> BytePairModel.Alphabet {
        var ids: [UInt32: Int32] = [:]
        for (token, id) in vocabulary.ids {
            let scalars = token.text.unicodeScalars
            if let first = scalars.first, scalars.count == 1 { ids[first.value] = Int32(id) }
        }
        return .scalars(ids)
    }

    private func wholePieces() -> [ArraySlice<UInt8>: Int32] {
        var pieces: [ArraySlice<UInt8>: Int32] = [:]
        pieces.reserveCapacity(vocabulary.ids.count)
        for (token, id) in vocabulary.ids {
            let bytes = usesBytes ? ByteAlphabet.bytes(of: token.text) : Array(token.text.utf8)
            if let bytes { pieces[bytes[...]] = Int32(id) }
        }
        return pieces
    }

    private func fallbackIDs() -> [Int32] {
        (0...255).map { byte in
            let digits = String(byte, radix: 16, uppercase: true)
            return vocabulary.id("<0x\(digits.count == 1 ? "0" : "")\(digits)>") ?? -1
        }
    }

    private func readMerges() throws(TokenizerError) -> MergeTable {
        let list = try node.required(
            "merges", expected: "the merges of byte-pair encoding, an array of \"left right\" (empty for single bytes)")
        guard case .array(let items) = list.value else { throw list.error(expected: "an array of pairs") }
        var table = MergeTable(capacity: items.count)
        var rank = 0
        for item in items {
            if case .string(let text) = item, text.hasPrefix("#version") { continue }
            let path = "\(list.path)[\(rank)]"
            guard let (left, right) = Self.pair(item) else {
                throw TokenizerError(
                    file: list.file, key: path, found: item.summary,
                    expected: "\"left right\" or [\"left\", \"right\"]")
            }
            guard let leftID = vocabulary.id(left), let rightID = vocabulary.id(right),
                let merged = vocabulary.id(left + right)
            else {
                throw TokenizerError(
                    file: list.file, key: path, found: item.summary,
                    expected: "both parts and \"\(left + right)\" in the vocabulary")
            }
            table.append(leftID, rightID, merged: merged)
            rank += 1
        }
        return table
    }

    /// The two parts of a merge, in either of the forms that files have.
    static func pair(_ item: JSONValue) -> (String, String)? {
        switch item {
        case .string(let text):
            let parts = text.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
            guard parts.count == 2 else { return nil }
            return (String(Substring(parts[0])), String(Substring(parts[1])))
        case .array(let parts):
            guard parts.count == 2, case .string(let left) = parts[0], case .string(let right) = parts[1] else {
                return nil
            }
            return (left, right)
        default: return nil
        }
    }
}
