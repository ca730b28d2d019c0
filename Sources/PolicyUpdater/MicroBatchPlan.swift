package import Records

/// How an update batch is cut into forward and backward passes that fit in memory.
///
/// The cut never changes the result: denominators belong to the whole batch, no completion is divided, and a prompt
/// that is repeated reads the same in every pass. Groups stay whole where they fit, so that their prompt is read once.
package struct MicroBatchPlan: Sendable, Equatable {
    /// Completions of one group that are computed together behind their prompt.
    package struct Piece: Sendable, Equatable {
        /// Index of the group in the batch.
        package let group: Int
        /// Indices of completions in the group, ascending.
        package let completions: [Int]
        /// Tokens of the prompt, once, and of the completions.
        package let tokenCount: Int
    }

    /// What each pass computes, the longest first: what does not fit in memory shows at once.
    package let microBatches: [[Piece]]
    private let ranks: Int

    /// - Parameters:
    ///   - batch: completions that train nothing (masked, or without actions) are left out; of the others every token
    ///     counts.
    ///   - maxTokens: tokens per pass; `nil` takes everything in one. A prompt with one completion that is longer
    ///     stands alone, and so does a pair, which is never cut.
    ///   - ranks: Among how many the passes are divided: there are as many, where the batch can be cut so.
    package init(_ batch: UpdateBatch, maxTokens: Int?, ranks: Int = 1) {
        self.ranks = ranks
        let tokens = batch.groups.reduce(0) { sum, group in
            sum
                + group.completions.lazy.filter(\.isTrained).reduce(group.promptTokenIDs.count) {
                    $0 + $1.tokenIDs.count
                }
        }
        let limit = min(maxTokens ?? .max, ranks == 1 ? .max : (tokens + ranks - 1) / ranks)
        let isWhole = batch.parts.flatMap { part in part.groups.map { _ in part.kind == .pairs } }
        let pieces = batch.groups.indices.flatMap {
            Self.pieces(of: batch.groups[$0], at: $0, limit: isWhole[$0] ? .max : limit)
        }
        let longestFirst = pieces.sorted {
            ($1.tokenCount, $0.group, $0.completions[0]) < ($0.tokenCount, $1.group, $1.completions[0])
        }
        var passes: [(tokens: Int, pieces: [Piece])] = []
        for piece in longestFirst {
            if let index = passes.firstIndex(where: { $0.tokens <= limit - piece.tokenCount }) {
                passes[index].tokens += piece.tokenCount
                passes[index].pieces.append(piece)
            } else {
                passes.append((piece.tokenCount, [piece]))
            }
        }
        microBatches = passes.map(\.pieces)
    }

    /// The passes of one rank: each goes to the rank that has the fewest tokens to read.
    package func microBatches(of rank: Int) -> [[Piece]] {
        var loads = [Int](repeating: 0, count: ranks)
        return microBatches.filter { pieces in
            let owner = loads.indices.min { (loads[$0], $0) < (loads[$1], $1) }!
            loads[owner] += pieces.reduce(0) { $0 + $1.tokenCount }
            return owner == rank
        }
    }

    /// One group as one piece when it fits, else its completions in runs of similar length.
    private static func pieces(of group: UpdateGroup, at index: Int, limit: Int) -> [Piece] {
        let prompt = group.promptTokenIDs.count
        func length(_ completion: Int) -> Int { group.completions[completion].tokenIDs.count }
        let trained = group.completions.indices.filter { group.completions[$0].isTrained }
        guard !trained.isEmpty else { return [] }
        let whole = prompt + trained.reduce(0) { $0 + length($1) }
        if whole <= limit { return [Piece(group: index, completions: trained, tokenCount: whole)] }

        var pieces: [Piece] = []
        var run: [Int] = []
        var tokens = prompt
        for completion in trained.sorted(by: { (length($1), $0) < (length($0), $1) }) {
            if !run.isEmpty, tokens + length(completion) > limit {
                pieces.append(Piece(group: index, completions: run.sorted(), tokenCount: tokens))
                (run, tokens) = ([], prompt)
            }
            run.append(completion)
            tokens += length(completion)
        }
        pieces.append(Piece(group: index, completions: run.sorted(), tokenCount: tokens))
        return pieces
    }
}
