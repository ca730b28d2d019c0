internal import Tensors

/// Texts packed for one forward pass: what all of them begin with stands there once.
///
/// The completions of a prompt share its tokens, up to where the tokenizer joins the two; that part is computed once
/// for all.
struct PackedTexts {
    /// In the order of the layout.
    let tokens: [Int]
    let layout: SequenceLayout
    /// The packed index of each text's last token that is no padding.
    let lastTokens: [Int]

    /// - Parameters:
    ///   - texts: At least one, each of at least one token.
    ///   - padding: The id that is passed over at the end, as transformers does wherever it stands; a text of nothing
    ///     else is judged at its first token.
    init(_ texts: ArraySlice<[Int]>, padding: Int?) throws {
        let shared = Self.sharedLength(texts)
        if shared == 0 {
            layout = try SequenceLayout(sequenceLengths: texts.map(\.count))
        } else {
            layout = try SequenceLayout(groups: [(shared, texts.map { $0.count - shared })])
        }
        tokens =
            shared == 0 ? texts.flatMap(\.self) : texts[texts.startIndex][..<shared] + texts.flatMap { $0[shared...] }
        let slots = layout.groups
        lastTokens = texts.enumerated().map { index, text in
            let last = padding.map { padding in text.lastIndex { $0 != padding } ?? 0 } ?? text.count - 1
            if shared == 0 { return slots[index].prompt.lowerBound + last }
            if last < shared { return slots[0].prompt.lowerBound + last }
            return slots[0].completions[index].lowerBound + last - shared
        }
    }

    /// How many tokens all texts have in common from the start.
    private static func sharedLength(_ texts: ArraySlice<[Int]>) -> Int {
        guard let first = texts.first else { return 0 }
        return texts.reduce(first.count) { length, text in
            zip(first[..<length], text).prefix { $0 == $1 }.count
        }
    }

    /// Cuts texts into runs of at most `limit` tokens, in order; a longer text is a run of its own.
    static func runs(of texts: [[Int]], limit: Int) -> [Range<Int>] {
        var runs: [Range<Int>] = []
        var start = 0
        var count = 0
        for (index, text) in texts.enumerated() {
            if count + text.count > limit, index > start {
                runs.append(start..<index)
                (start, count) = (index, 0)
            }
            count += text.count
        }
        return start < texts.count ? runs + [start..<texts.count] : runs
    }
}
