/// Decodes ids one at a time. The pieces of text it returns, put together, are what `decode` gives for all ids.
package struct IncrementalDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipSpecialTokens: Bool
    private var state = TokenDecoder.State()

    /// - Parameter skipSpecialTokens: leave out the tokens in ``Tokenizer/specialTokenIDs``.
    package init(_ tokenizer: Tokenizer, skipSpecialTokens: Bool = false) {
        self.tokenizer = tokenizer
        self.skipSpecialTokens = skipSpecialTokens
    }

    /// Reads one id and returns the text it completes: whole characters only, often none or several.
    ///
    /// - Throws: ``TokenizerError`` for an id outside the vocabulary.
    package mutating func feed(_ id: Int) throws(TokenizerError) -> String {
        guard id >= 0, id < tokenizer.vocabularySize else {
            throw TokenizerError(
                file: "decode", key: "id", found: "\(id)", expected: "an id from 0 to \(tokenizer.vocabularySize - 1)")
        }
        guard let token = tokenizer.textToDecode(id), !(skipSpecialTokens && tokenizer.specialTokenIDs.contains(id))
        else {
            return ""
        }
        return String(decoding: tokenizer.decoder.feed(token, &state), as: UTF8.self)
    }

    /// The text still held back: U+FFFD for a character whose last bytes never came. The decoder is then as new.
    package mutating func finish() -> String {
        String(decoding: tokenizer.decoder.finish(&state), as: UTF8.self)
    }
}
