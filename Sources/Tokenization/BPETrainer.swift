/// Trains a byte-level byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) on texts.
///
/// Merges the most frequent pair until the vocabulary is full or no pair is frequent enough; equal counts go to the
/// pair whose first id, then second id, is lower. The same texts and settings give the same bytes.
package struct BPETrainer: Sendable {
    /// Ids wanted, special tokens and the 256 bytes included. Few texts may give fewer.
    package let vocabularySize: Int
    /// Special tokens, which get the ids from 0.
    package let specialTokens: [String]
    /// How text is cut before pairs are counted.
    package let splitPattern: SplitPattern
    /// A pair has to occur this often to merge.
    package let minimumFrequency: Int
    /// Makes every digit a piece of its own.
    package let splitsDigits: Bool

    /// - Throws: ``TokenizerError`` for a vocabulary too small for the bytes and special tokens, a special token that
    ///   is empty or given twice, or a frequency below 1.
    package init(
        vocabularySize: Int, specialTokens: [String] = ["<|endoftext|>"], splitPattern: SplitPattern = .qwen2,
        minimumFrequency: Int = 2, splitsDigits: Bool = false
    ) throws(TokenizerError) {
        func check(_ holds: Bool, _ key: String, _ found: String, _ expected: String) throws(TokenizerError) {
            guard !holds else { return }
            throw TokenizerError(file: "tokenizer training", key: key, found: found, expected: expected)
        }
        let smallest = 256 + specialTokens.count
        try check(
            (smallest...TokenizerDefinition.idLimit).contains(vocabularySize), "vocabulary_size", "\(vocabularySize)",
            "from \(smallest) (256 bytes and \(specialTokens.count) special tokens) to \(TokenizerDefinition.idLimit)")
        try check(minimumFrequency >= 1, "min_frequency", "\(minimumFrequency)", "at least 1")
        let byteTokens = Set(ByteAlphabet.points.compactMap(Unicode.Scalar.init).map { TokenText(String($0)) })
        var seen: Set<TokenText> = []
        for token in specialTokens {
            let isNew = seen.insert(TokenText(token)).inserted
            try check(
                !token.isEmpty && isNew && !byteTokens.contains(TokenText(token)), "special_tokens", "\"\(token)\"",
                "tokens of several characters, each once")
        }
        self.vocabularySize = vocabularySize
        self.specialTokens = specialTokens
        self.splitPattern = splitPattern
        self.minimumFrequency = minimumFrequency
        self.splitsDigits = splitsDigits
    }

    /// The roles that special tokens may take in `tokenizer_config.json`.
    package struct Roles: Sendable {
        package let endOfText: String?
        package let beginningOfText: String?
        package let padding: String?
        package let chatTemplate: String?

        package init(
            endOfText: String? = nil, beginningOfText: String? = nil, padding: String? = nil,
            chatTemplate: String? = nil
        ) {
            self.endOfText = endOfText
            self.beginningOfText = beginningOfText
            self.padding = padding
            self.chatTemplate = chatTemplate
        }
    }

    /// Trains on texts, in any order, and returns a tokenizer that `save(to:)` writes.
    ///
    /// - Parameter roles: written to `tokenizer_config.json` and `special_tokens_map.json`.
    /// - Throws: ``TokenizerError`` when a role names no special token.
    package func train(_ texts: some Sequence<String>, roles: Roles = Roles()) throws(TokenizerError) -> Tokenizer {
        var counts: [[UInt8]: Int] = [:]
        for text in texts { count(text, into: &counts) }
        let reserved = specialTokens.compactMap { ByteAlphabet.bytes(of: $0) }
        var merging = PairMerging(pieces: counts, firstByteID: specialTokens.count, reserved: reserved)
        while merging.vocabularySize < vocabularySize, merging.mergeBest(atLeast: minimumFrequency) {}
        let file = TrainedFile(trainer: self, merging: merging, roles: roles)
        return try Tokenizer(files: try TokenizerFiles(contents: file.contents()))
    }

    /// The pre-tokenizer as its file describes it, so that counting and encoding cut alike.
    var preTokenizer: PreTokenizer {
        var parts: [PreTokenizer] = splitsDigits ? [.digits(individually: true)] : []
        if splitPattern == .gpt2 {
            parts.append(.byteLevel(addsPrefixSpace: false, splits: true))
        } else {
            parts += [.split(splitPattern), .byteLevel(addsPrefixSpace: false, splits: false)]
        }
        return .sequence(parts)
    }

    private func count(_ text: String, into counts: inout [[UInt8]: Int]) {
        let specials = specialTokens.enumerated()
            .map { (AddedToken(content: $1, id: $0, isSpecial: true), Array($1.utf8)) }
        let bytes = Array(text.utf8)
        for case .text(let range) in AddedTokenMatcher(specials).parts(of: bytes) {
            let part = Array(bytes[range])
            var split = SplitText(bytes: part, pieces: [0..<part.count], startsText: false)
            preTokenizer.apply(to: &split)
            for piece in split.pieces where piece.count > 1 { counts[Array(part[piece]), default: 0] += 1 }
        }
    }
}
