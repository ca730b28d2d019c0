internal import Coordinator
package import PromptSets
package import Records

/// The prompts of a run in their order, as tokens.
package struct PromptFeed: PromptSource {
    package let cursor: PromptCursor
    private let encoder: PromptEncoder
    /// `nil` for a method that compares none.
    let pairs: PairFeed?

    package init(_ cursor: PromptCursor, encoder: PromptEncoder) { self.init(cursor, encoder: encoder, pairs: nil) }

    init(_ cursor: PromptCursor, encoder: PromptEncoder, pairs: PairFeed?) {
        self.cursor = cursor
        self.encoder = encoder
        self.pairs = pairs
    }

    package func next(_ count: Int, in variants: [PromptVariant]) async throws -> [[TokenizedPrompt]] {
        try await cursor.next(count).map { prompt in try variants.map { try encoder.encode(prompt, as: $0) } }
    }

    package func nextDemonstrations(_ count: Int) async throws -> [UpdateGroup] {
        try await cursor.nextDemonstrations(count).map {
            try encoder.encode(demonstration: $0.completion, of: $0.prompt)
        }
    }

    package func nextPairs(_ count: Int) async throws -> [UpdatePart] {
        guard let pairs else { preconditionFailure("a recipe that compares has pairs") }
        return try pairs.parts(at: await cursor.nextIndices(count))
    }

    package func mark() async { await cursor.mark() }
    package func rewind() async { await cursor.rewind() }
    package var epoch: Double { get async { await cursor.epoch } }
}

/// The rows of a prompt set that fit: the length limit, or what else they were chosen for; by their indices in it.
package struct FittingRows: PromptRows {
    package let all: any PromptRows
    private let indices: [Int]
    /// What they are, and the others are not.
    private let kind: String
    /// Rows that were left out.
    package var droppedCount: Int { all.count - indices.count }
    /// What the start of a run should say of rows that the tokenizer does not read all of; `nil` where there are none.
    package let leftOutNotice: String?

    package var name: String { all.name }
    package var count: Int { indices.count }
    package var identity: String { "\(all.identity), \(indices.count) of them \(kind)" }

    /// Rows that somebody else has chosen.
    init(_ all: any PromptRows, at indices: [Int], kind: String) {
        self.all = all
        self.indices = indices
        self.kind = kind
        leftOutNotice = nil
    }

    /// Reads every row once, for those that fit the length limit.
    ///
    /// - Parameters:
    ///   - asDemonstrations: Whether every row needs a completion.
    ///   - drops: Whether rows over the limit are left out; otherwise the first one found is an error that comes with
    ///     the lengths of all.
    ///   - check: What else a row that fits must stand.
    ///   - progress: Is told of the rows that are read.
    /// - Throws: `CancellationError` in a cancelled task, what reading a row throws, ``JobError`` for rows over the
    ///   limit, or else the first thing that `check` threw: a row that is none says more than one that lacks a column.
    package init(
        _ rows: any PromptRows, encoder: PromptEncoder, asDemonstrations: Bool = false, drops: Bool,
        check: (Prompt) throws -> Void = { _ in }, progress: ProgressNote? = nil
    ) throws {
        var indices: [Int] = []
        var leftOut: (rows: Int, first: String)?
        var refusal: (any Error)?
        for row in 0..<rows.count {
            if row % 64 == 0 {
                try Task.checkCancellation()
                progress?("reading prompts of \(rows.name)", row, rows.count)
            }
            let demonstration = asDemonstrations ? try rows.demonstration(at: row) : nil
            let prompt = try demonstration?.prompt ?? rows.prompt(at: row)
            guard try Self.fits(prompt, encoder) else { continue }
            if let demonstration, try !encoder.hasRoom(for: demonstration, orThrows: !drops) { continue }
            do {
                if refusal == nil { try check(prompt) }
            } catch {
                refusal = error
            }
            indices.append(row)
            if let found = encoder.firstLeftOut(of: prompt, completion: demonstration?.completion) {
                leftOut = ((leftOut?.rows ?? 0) + 1, leftOut?.first ?? found)
            }
        }
        guard drops || indices.count == rows.count else { throw try Self.tooLong(rows, encoder) }
        guard !indices.isEmpty else {
            throw JobError(
                place: "prompt set \(rows.name)",
                message: "every row is too long: prompts have at most \(encoder.maxPromptLength) tokens "
                    + "(max_prompt_length)" + (asDemonstrations ? ", with their completion \(encoder.maxLength)" : ""))
        }
        if let refusal { throw refusal }
        all = rows
        self.indices = indices
        kind = "short enough"
        leftOutNotice = leftOut.map {
            "\($0.rows) of \(indices.count) rows of \(rows.name) have characters that the tokenizer has no symbol for and "
                + "leaves out, such as \(JSONText.string($0.first))"
        }
    }

    /// Encodes only what might be too long: a token covers at least one byte.
    private static func fits(_ prompt: Prompt, _ encoder: PromptEncoder) throws -> Bool {
        let limit = encoder.maxPromptLength
        let bytes = prompt.text.utf8.count
        if encoder.readsAsText(prompt), bytes + mostSpecials <= limit, bytes > 0 { return true }
        return try encoder.tokens(of: prompt).count <= limit
    }

    package func prompt(at row: Int) throws -> Prompt { try all.prompt(at: indices[row]) }
    package func demonstration(at row: Int) throws -> Demonstration { try all.demonstration(at: indices[row]) }
    package func preference(at row: Int) throws -> Preference { try all.preference(at: indices[row]) }

    /// Special tokens that a tokenizer may put around a text.
    static let mostSpecials = 8

    private static func tooLong(_ rows: any PromptRows, _ encoder: PromptEncoder) throws -> JobError {
        let limit = encoder.maxPromptLength
        let lengths = try (0..<rows.count).map { try encoder.tokens(of: rows.prompt(at: $0)).count }
        let distribution = LengthDistribution(lengths)
        let first = lengths.firstIndex { $0 > limit } ?? 0
        return JobError(
            place: try rows.prompt(at: first).id,
            message:
                "the prompt has \(lengths[first]) tokens, the limit is \(limit); \(distribution.count(over: limit)) of "
                + "\(lengths.count) prompts are over it. Raise max_prompt_length, lower max_completion_length, or set "
                + "overlong_prompts: drop. Lengths: \(distribution.summary)\n"
                + distribution.histogram(limit: limit).map { "  \($0)" }.joined(separator: "\n"))
    }
}

extension PromptRows {
    /// The prompt of a row that is what training needs it to be: a demonstration has its completion too.
    func checked(_ row: Int, asDemonstration: Bool) throws -> Prompt {
        asDemonstration ? try demonstration(at: row).prompt : try prompt(at: row)
    }
}
