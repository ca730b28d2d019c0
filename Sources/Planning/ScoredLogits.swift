/// The logits that a pass has while its tokens are scored: float32, of some rows at a time.
package enum ScoredLogits {
    /// Logits that are computed at one time: `Tensor.scoreChunk(vocabulary:)`, which a room without tensors cannot read.
    package static func atOnce(vocabulary: Int) -> Int { max(4 << 20, 256 * vocabulary) }

    /// Logits of one pass that may be kept for its way back: `Tensor.keptScores(vocabulary:)`.
    package static func kept(vocabulary: Int) -> Int { max(64 << 20, atOnce(vocabulary: vocabulary)) }

    /// Bytes of those that a pass without gradients has at a time.
    ///
    /// - Parameters:
    ///   - rows: That are scored.
    ///   - words: Of the head, or of a device's part of it.
    package static func bytes(rows: Int, words: Int) -> Int {
        min(rows, atOnce(vocabulary: words) / max(1, words)) * words * 4
    }

    /// Bytes of those of a training pass, and beside them all that are kept: of every row, or of whole chunks of them.
    package static func trainedBytes(rows: Int, words: Int) -> Int {
        let (most, chunk) = (kept(vocabulary: words) / max(1, words), atOnce(vocabulary: words) / max(1, words))
        return bytes(rows: rows, words: words) + (rows <= most ? rows : most / chunk * chunk) * words * 4
    }
}

extension ModelShape {
    /// Words that a token is scored among; 0 of a model that gives values.
    var scoredWords: Int {
        switch output {
        case .head, .tied: vocabularySize
        case .values: 0
        }
    }
}
