internal import Records
internal import Tokenization

/// Watches a completion's text for stop strings while it grows, and writes the completion out at its end.
struct CompletionText {
    private let tokenizer: Tokenizer
    private var decoder: IncrementalDecoder
    private var matcher: StopStringMatcher
    private let watches: Bool
    /// The text before the stop string.
    private var text = ""

    init(_ tokenizer: Tokenizer, stopStrings: [String]) {
        self.tokenizer = tokenizer
        decoder = IncrementalDecoder(tokenizer, skipSpecialTokens: true)
        matcher = StopStringMatcher(stopStrings)
        watches = !stopStrings.isEmpty
    }

    /// Reads one token and returns the stop string it completed.
    mutating func feed(_ token: Int) throws(TokenizerError) -> String? {
        // A model's vocabulary may be padded beyond the tokenizer's: such a token has no text.
        guard watches, token < tokenizer.vocabularySize else { return nil }
        let outcome = matcher.feed(try decoder.feed(token))
        text += outcome.text
        return outcome.matched
    }

    func completion(_ tokens: [Int], _ reason: FinishReason) throws(TokenizerError) -> Completion {
        let written = tokens.filter { $0 < tokenizer.vocabularySize }
        let withSpecials = try tokenizer.decode(written)
        let plain: String
        if case .stopString = reason {
            plain = text
        } else {
            plain = try tokenizer.decode(written, skipSpecialTokens: true)
        }
        return Completion(text: plain, textWithSpecials: withSpecials, tokenIDs: tokens, finishReason: reason)
    }
}
