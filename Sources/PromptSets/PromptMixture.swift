package import Records

/// Several prompt sets as one (`datasets:`), each with the share of the rows that was asked for.
///
/// As in TRL's `DatasetMixtureConfig`: with fractions f, normalized to a sum of one, the mixture has N = min_i(n_i /
/// f_i) rows, the most that repeat no row, and takes the first round(f_i · N) rows of set i. Without fractions every
/// set is taken whole. Rows are numbered through all parts, in their order; the cursor shuffles them.
///
/// A column that another part has and this row lacks is null, as it is in TRL: rewards see the same columns in every
/// row.
package struct PromptMixture: PromptRows {
    /// A set and its share of the mixture.
    package struct Part: Sendable {
        package let set: any PromptRows
        /// Above 0. Given for every part or for none.
        package let fraction: Double?

        package init(_ set: any PromptRows, fraction: Double? = nil) {
            self.set = set
            self.fraction = fraction
        }
    }

    private struct Piece: Sendable {
        let set: any PromptRows
        let first: Int
    }

    private let pieces: [Piece]
    private let columnNames: Set<String>
    /// Rows taken of each part.
    package let counts: [Int]
    package let count: Int
    package let identity: String

    /// - Throws: ``PromptSetError/use(set:message:)`` without parts, for a fraction that is not above 0, that only some
    ///   parts have, or that is so small that it asks for no row; and what reading a first row throws.
    package init(_ parts: [Part]) throws {
        counts = try Self.counts(parts)
        var first = 0
        pieces = zip(parts, counts).map { part, count in
            defer { first += count }
            return Piece(set: part.set, first: first)
        }
        count = first
        identity = zip(parts, counts).map { "\($1) rows of \($0.set.identity)" }.joined(separator: "; ")
        columnNames = try parts.reduce(into: []) { $0.formUnion(try $1.set.prompt(at: 0).columns.keys) }
    }

    private static func counts(_ parts: [Part]) throws(PromptSetError) -> [Int] {
        guard !parts.isEmpty else { throw .use(set: "mixture", message: "no parts; at least one is needed") }
        let fractions = parts.compactMap(\.fraction)
        if fractions.isEmpty { return parts.map(\.set.count) }
        guard fractions.count == parts.count else {
            let without = parts.first { $0.fraction == nil }
            throw .use(
                set: without?.set.name ?? "", message: "no fraction; give one to every set of a mixture or to none")
        }
        for part in parts {
            guard let fraction = part.fraction, fraction > 0, fraction.isFinite else {
                throw .use(set: part.set.name, message: "fraction \(part.fraction ?? 0); above 0 is expected")
            }
        }
        let sum = fractions.reduce(0, +)
        let shares = fractions.map { $0 / sum }
        let total = zip(parts, shares).map { Double($0.set.count) / $1 }.min() ?? 0
        let counts = zip(parts, shares).map {
            min($0.set.count, Int(($1 * total).rounded(.toNearestOrEven)))
        }
        for (part, count) in zip(parts, counts) where count == 0 {
            throw .use(
                set: part.set.name,
                message: "its fraction comes to no row of a mixture of \(Int(total)); raise it, or leave the set out")
        }
        return counts
    }

    package var name: String { pieces.map(\.set.name).joined(separator: " + ") }

    package func prompt(at row: Int) throws -> Prompt {
        let piece = piece(of: row)
        return numbered(try piece.set.prompt(at: row - piece.first), row)
    }

    package func demonstration(at row: Int) throws -> Demonstration {
        let piece = piece(of: row)
        let demonstration = try piece.set.demonstration(at: row - piece.first)
        return Demonstration(prompt: numbered(demonstration.prompt, row), completion: demonstration.completion)
    }

    package func preference(at row: Int) throws -> Preference {
        let piece = piece(of: row)
        let pair = try piece.set.preference(at: row - piece.first)
        return Preference(prompt: numbered(pair.prompt, row), chosen: pair.chosen, rejected: pair.rejected)
    }

    /// The prompt as a row of the mixture: two parts must not share the random draws of a row.
    private func numbered(_ prompt: Prompt, _ row: Int) -> Prompt {
        var prompt = prompt
        prompt.row = row
        for name in columnNames where prompt.columns[name] == nil { prompt.columns[name] = .null }
        return prompt
    }

    private func piece(of row: Int) -> Piece {
        precondition((0..<count).contains(row), "row \(row) of \(count)")
        return pieces.last { $0.first <= row } ?? pieces[0]
    }
}
