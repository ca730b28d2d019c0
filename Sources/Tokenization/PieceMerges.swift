/// The merges that a SentencePiece vocabulary implies, whose pieces have scores instead: two pieces beside each other
/// become the piece that they spell, and the one with the highest score goes first.
enum PieceMerges {
    /// - Parameters:
    ///   - pieces: The texts that merging may give, by id; each once, `nil` for what merging must not touch.
    ///   - scores: By id.
    /// - Returns: Pairs of texts in the order of their rank, as Hugging Face's converter ranks them: by score, and
    ///   where scores are equal with the longer left part first.
    static func pairs(pieces: [String?], scores: [Float]) -> [(left: String, right: String)] {
        precondition(pieces.count == scores.count)
        var ids: [[UInt8]: Int] = [:]
        ids.reserveCapacity(pieces.count)
        for (id, piece) in pieces.enumerated() { if let piece { ids[Array(piece.utf8)] = id } }
        var found: [Pair] = []
        for (id, piece) in pieces.enumerated() {
            guard let piece else { continue }
            let bytes = Array(piece.utf8)
            var local: [Pair] = []
            var length = 0
            let whole = piece.unicodeScalars.count
            for cut in 1..<max(bytes.count, 1) where bytes[cut] & 0xC0 != 0x80 {
                length += 1
                if let left = ids[Array(bytes[..<cut])], let right = ids[Array(bytes[cut...])] {
                    local.append(
                        Pair(left: left, right: right, score: scores[id], leftLength: length, length: whole))
                }
            }
            found += local.sorted { ($0.left, $0.right) < ($1.left, $1.right) }
        }
        // Swift's sort keeps equal elements in their order.
        return found.sorted(by: Pair.goesFirst).map { (pieces[$0.left] ?? "", pieces[$0.right] ?? "") }
    }

    private struct Pair {
        let left: Int
        let right: Int
        let score: Float
        /// In Unicode scalars.
        let leftLength: Int
        let length: Int

        static func goesFirst(_ a: Pair, _ b: Pair) -> Bool {
            if a.score != b.score { return a.score > b.score }
            if a.leftLength != b.leftLength { return a.leftLength > b.leftLength }
            return a.length - a.leftLength > b.length - b.leftLength
        }
    }
}
