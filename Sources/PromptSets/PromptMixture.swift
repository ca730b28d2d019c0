package import Records

/// Several prompt sets as one (`datasets:`), each with a share of its rows.
///
/// Rows are numbered through all parts. A part below 1 contributes a sample of its rows that depends on the seed and the part's place
/// only, not on the other parts.
package struct PromptMixture: PromptRows {
    /// A set and the share of its rows that is used.
    package struct Part: Sendable {
        package let set: any PromptRows
        /// Above 0, at most 1.
        package let fraction: Double

        package init(_ set: any PromptRows, fraction: Double = 1) {
            self.set = set
            self.fraction = fraction
        }
    }

    private struct Piece: Sendable {
        let set: any PromptRows
        let first: Int
        let count: Int
        let sample: KeyedPermutation?
    }

    private let pieces: [Piece]
    package let count: Int
    package let identity: String

    /// - Throws: ``PromptSetError/use(set:message:)`` without parts, or for a fraction outside (0, 1].
    package init(_ parts: [Part], seed: UInt64) throws(PromptSetError) {
        guard !parts.isEmpty else { throw .use(set: "mixture", message: "no parts; at least one is needed") }
        var pieces: [Piece] = []
        var total = 0
        for (place, part) in parts.enumerated() {
            guard part.fraction > 0, part.fraction <= 1 else {
                throw .use(set: part.set.name, message: "fraction \(part.fraction); above 0 and at most 1 is expected")
            }
            let count = max(1, Int((part.fraction * Double(part.set.count)).rounded()))
            let sample =
                count < part.set.count
                ? KeyedPermutation(count: part.set.count, seed: seed, stream: .mixture, index: UInt64(place)) : nil
            pieces.append(Piece(set: part.set, first: total, count: count, sample: sample))
            total += count
        }
        self.pieces = pieces
        count = total
        identity =
            zip(pieces, parts).map { "\($0.count) of \($1.set.identity)" }.joined(separator: "; ")
            + "; seed \(seed)"
    }

    package var name: String { pieces.map(\.set.name).joined(separator: " + ") }

    package func prompt(at row: Int) throws -> Prompt {
        let (piece, own) = place(of: row)
        var prompt = try piece.set.prompt(at: own)
        prompt.row = row  // two parts must not share the draws of a row
        return prompt
    }

    package func demonstration(at row: Int) throws -> Demonstration {
        let (piece, own) = place(of: row)
        let demonstration = try piece.set.demonstration(at: own)
        var prompt = demonstration.prompt
        prompt.row = row
        return Demonstration(prompt: prompt, completion: demonstration.completion)
    }

    private func place(of row: Int) -> (Piece, Int) {
        precondition((0..<count).contains(row), "row \(row) of \(count)")
        var piece = pieces[0]
        for candidate in pieces where candidate.first <= row { piece = candidate }
        let own = row - piece.first
        return (piece, piece.sample?[own] ?? own)
    }
}
