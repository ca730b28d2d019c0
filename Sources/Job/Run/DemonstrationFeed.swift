internal import Coordinator
internal import Methods
internal import PromptSets
internal import Records
internal import Tokenization

/// The demonstrations of a run that samples, too: found by their prompts, or handed out in an order of their own.
struct DemonstrationFeed: DemonstrationSource {
    /// Rows with a completion each.
    let rows: any PromptRows
    /// How many of the prompts have one, for the start of a run.
    let line: String
    private let settings: DemonstrationSettings
    private let encoder: PromptEncoder
    /// The rows by a hash of what their prompts say.
    private let indices: [Int: [Int]]
    /// Where the next demonstration comes from; `nil` where prompts find theirs.
    let cursor: PromptCursor?

    /// Reads every row once; keeps a hash of each.
    ///
    /// - Parameters:
    ///   - prompts: What the run samples.
    ///   - limit: Tokens that a completion may have.
    /// - Throws: An error that names the first row that cannot be imitated, or the first prompt that has no
    ///   demonstration and needs one.
    init(
        _ settings: DemonstrationSettings, of prompts: any PromptRows, encoder: PromptEncoder, limit: Int,
        promptsPerStep: Int,
        seed: UInt64, job: DataSettings, sets: RunPromptSets
    ) throws {
        self.settings = settings
        self.encoder = encoder
        let rows = try settings.path.map { path -> any PromptRows in
            try PromptSet(
                DatasetFolder.url(path, sets.base), split: settings.split, columns: RunPromptSets.columns(job.columnMap)
            )
        }
        self.rows = rows ?? prompts
        // A row of the prompts may lack a completion; a row of a file of demonstrations may not.
        let mayLack = rows == nil && settings.missing == .skip
        var indices: [Int: [Int]] = [:]
        for row in 0..<self.rows.count {
            let demonstration: Demonstration
            do {
                demonstration = try self.rows.demonstration(at: row)
            } catch is PromptSetError where mayLack {
                continue  // no completion in this row; one that cannot be read at all is an error
            }
            try encoder.checkDemonstration(demonstration.completion, of: demonstration.prompt, limit: limit)
            indices[demonstration.prompt.content.hashValue, default: []].append(row)
        }
        self.indices = indices
        switch settings.order {
        case .own:
            let own = indices.values.flatMap(\.self).sorted()
            guard !own.isEmpty else {
                throw JobError(place: "demonstrations", message: "no row of \(self.rows.name) has a completion")
            }
            let wanted = settings.perStep ?? promptsPerStep
            guard wanted <= own.count else {
                throw JobError(
                    place: "demonstrations",
                    message: "a step asks for \(wanted) of them, and \(self.rows.name) has \(own.count); set "
                        + "demonstrations.per_step")
            }
            cursor = PromptCursor(
                FittingRows(self.rows, at: own, kind: "demonstrations"), seed: mix64(seed ^ 0xDE30),
                stateName: "demonstration_cursor")
            line = "demonstrations: \(own.count) of \(self.rows.identity), in an order of their own"
        case .prompts:
            cursor = nil
            var (found, first) = (0, String?.none)
            for row in 0..<prompts.count {
                let prompt = try prompts.prompt(at: row)
                if indices[prompt.content.hashValue] != nil { found += 1 } else { first = first ?? prompt.id }
            }
            if let first, settings.missing == .error {
                throw JobError(
                    place: first,
                    message:
                        "the prompt has no demonstration in \(self.rows.identity), like \(prompts.count - found) of "
                        + "\(prompts.count) prompts; add them, or set demonstrations.missing: skip, or "
                        + "demonstrations.order: own")
            }
            guard found > 0 else {
                throw JobError(
                    place: "demonstrations",
                    message: "no prompt of \(prompts.name) has a demonstration in \(self.rows.identity)")
            }
            line = "demonstrations: \(found) of \(prompts.count) prompts have one in \(self.rows.identity)"
        }
    }

    func demonstrations(of prompts: [TokenizedPrompt]) async throws -> [DemonstratedPrompt] {
        guard cursor == nil else { return try await next(prompts.count) }
        return try prompts.compactMap { prompt in
            guard let found = try demonstration(of: prompt.prompt) else { return nil }
            var demonstrated = try demonstrated(found)
            demonstrated.prompt = prompt
            return demonstrated
        }
    }

    func next(_ count: Int, from source: any PromptSource, step: Int, stop: StopSignal) async throws
        -> [DemonstratedPrompt]
    {
        guard cursor == nil else { return try await next(count) }
        return try await demonstrations(of: source.next(count, in: [.plain]).compactMap(\.first))
    }

    func mark() async { await cursor?.mark() }
    func rewind() async { await cursor?.rewind() }

    private func next(_ prompts: Int) async throws -> [DemonstratedPrompt] {
        guard let cursor else { return [] }
        return try await cursor.nextDemonstrations(settings.perStep ?? prompts).map(demonstrated)
    }

    /// The prompt's own row where it is one of these, else the first row that says the same.
    private func demonstration(of prompt: Prompt) throws -> Demonstration? {
        var first: Demonstration?
        for index in indices[prompt.content.hashValue] ?? [] {
            let found = try rows.demonstration(at: index)
            guard found.prompt.content == prompt.content else { continue }
            if found.prompt.place == prompt.place { return found }
            first = first ?? found
        }
        return first
    }

    private func demonstrated(_ demonstration: Demonstration) throws -> DemonstratedPrompt {
        let group = try encoder.encode(demonstration: demonstration.completion, of: demonstration.prompt)
        let tokens = group.completions[0].tokenIDs
        return DemonstratedPrompt(
            prompt: TokenizedPrompt(
                prompt: demonstration.prompt, tokenIDs: group.promptTokenIDs,
                rendered: try encoder.rendered(demonstration.prompt, group.promptTokenIDs)),
            completion: Completion(
                text: demonstration.completion, textWithSpecials: try encoder.tokenizer.decode(tokens),
                tokenIDs: tokens))
    }
}

extension PromptEncoder {
    /// Checks that a demonstration can be imitated as it stands.
    ///
    /// - Parameter limit: Tokens that it may have, its end included.
    /// - Throws: ``JobError`` naming the row: text that the tokenizer cannot represent, or more tokens than a
    ///   completion may have.
    func checkDemonstration(_ completion: String, of prompt: Prompt, limit: Int) throws {
        let tokens = try encode(demonstration: completion, of: prompt).completions[0].tokenIDs
        guard tokens.count <= limit else {
            throw JobError(
                place: prompt.id,
                message:
                    "its demonstration has \(tokens.count) tokens with the one that ends it, and max_completion_length "
                    + "is \(limit); raise that, or leave the row out")
        }
        // Some tokenizers move white space; everything else must come back.
        func visible(_ text: String) -> String { String(text.filter { !$0.isWhitespace }) }
        let (asked, kept) = (visible(completion), visible(try tokenizer.decode(tokenizer.encode(completion))))
        guard asked != kept else { return }
        let lost = zip(asked, kept).first { $0 != $1 }?.0 ?? asked.dropFirst(kept.count).first ?? " "
        throw JobError(
            place: prompt.id,
            message:
                "the tokenizer cannot represent '\(lost)' of its demonstration: \(JSONText.string(completion)) "
                + "would be learned as \(JSONText.string(kept))")
    }
}
