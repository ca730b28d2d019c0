internal import Coordinator
internal import Credit
internal import Methods
internal import PolicyUpdater
internal import PromptSets
internal import Records

/// The rows that a meta-gradient is taken on: nothing is trained on them, and no result is reported on them.
struct HeldOutRows {
    let rows: any PromptRows
    let settings: UtilitySettings

    /// - Parameters:
    ///   - trained: Rows that the run learns from.
    ///   - check: What a row must stand beside its form and length.
    /// - Throws: ``JobError`` naming the rows that stand in others, and the errors of rows that cannot be used.
    init(
        _ settings: UtilitySettings, _ job: ResolvedJob, _ sets: RunPromptSets, encoder: PromptEncoder,
        trained: [any PromptRows], check: (Prompt) throws -> Void
    ) throws {
        self.settings = settings
        let set = try PromptSet(
            DatasetFolder.url(settings.path, sets.base), split: settings.split,
            columns: RunPromptSets.columns(job.data.columnMap))
        let asDemonstrations = settings.utility == .loss
        rows = try FittingRows(
            set, encoder: encoder, asDemonstrations: asDemonstrations, drops: job.data.overlong == .drop,
            check: asDemonstrations ? { _ in } : check)
        guard settings.prompts <= rows.count else {
            throw JobError(
                place: set.identity,
                message:
                    "a meta-gradient takes \(settings.prompts) rows (amft.validation_prompts), and there are \(rows.count)"
            )
        }
        for others in trained { try requireDisjoint(from: others, "which is trained on") }
        if let test = try RunPromptSets.testRows(job.data, base: sets.base),
            !trained.contains(where: { test.identity == $0.identity || $0.identity.hasPrefix("\(test.identity),") })
        {
            try requireDisjoint(from: test, "the test split, on which results are reported")
        }
    }

    private func requireDisjoint(from others: any PromptRows, _ what: String) throws {
        var held: [Int: String] = [:]
        for row in 0..<rows.count {
            let prompt = try rows.prompt(at: row)
            held[prompt.content.hashValue] = prompt.id
        }
        var overlaps: [String] = []
        for row in 0..<others.count {
            let prompt = try others.prompt(at: row)
            if let own = held[prompt.content.hashValue] { overlaps.append("\(own) is \(prompt.id)") }
        }
        guard !overlaps.isEmpty else { return }
        throw JobError(
            place: "amft.validation",
            message: "\(overlaps.count) of its prompts stand in \(others.name), \(what): "
                + overlaps.prefix(5).joined(separator: "; ") + (overlaps.count > 5 ? "; …" : "")
                + ". Held-out rows must be new to the policy and to the result")
    }
}

/// Measures how the utility of held-out rows answers to a step, on rows and draws of its own: taking it or not changes
/// nothing else.
struct HeldOutUtility {
    let cursor: PromptCursor
    private let feed: PromptFeed
    private let settings: UtilitySettings
    private let generator: EngineGenerator?
    private let scorer: PanelScorer?
    private let updater: PolicyUpdater

    /// - Parameters:
    ///   - generator: With draws of its own; `nil` for a utility of demonstrations.
    ///   - scorer: The run's.
    init(
        _ held: HeldOutRows, encoder: PromptEncoder, generator: EngineGenerator?, scorer: PanelScorer?,
        updater: PolicyUpdater, seed: UInt64
    ) {
        settings = held.settings
        cursor = PromptCursor(held.rows, seed: mix64(seed ^ 0x4E1D), stateName: "validation_cursor")
        feed = PromptFeed(cursor, encoder: encoder)
        self.generator = generator
        self.scorer = scorer
        self.updater = updater
    }

    /// - Parameters:
    ///   - batch: Of the next optimizer step, with its parts weighed as they would be: rollouts, then demonstrations.
    ///     It is not learned from.
    ///   - step: Addresses the draws of held-out completions.
    func metaGradient(of batch: UpdateBatch, step: Int, stop: StopSignal) async throws -> MetaGradient {
        let (part, utility) = try await validation(step, stop)
        var meta = try await updater.metaGradient(of: batch, by: part, settings.lookAhead, stop: stop)
        meta.utility = utility ?? meta.utility
        return meta
    }

    private func validation(_ step: Int, _ stop: StopSignal) async throws -> (UpdatePart, utility: Double?) {
        guard settings.utility == .reward, let generator, let scorer else {
            return (UpdatePart(.demonstrations, try await feed.nextDemonstrations(settings.prompts)), nil)
        }
        let requests = try await feed.next(settings.prompts, in: [.plain]).compactMap(\.first).map {
            RolloutRequest(prompt: $0, samples: settings.generations)
        }
        var found: [GroupAddress: ScoredGroup] = [:]
        for try await group in generator.generate(requests, step: step, stop: stop) {
            found[group.address] = try await scorer.scoreUnremarked(group)
        }
        try stop.check()
        let groups = requests.compactMap { found[$0.address] }
        let rule = LeaveOneOut(rewards: settings.rewards, settings: LeaveOneOutSettings())
        let credited = try rule.credit(
            CreditBatch(
                groups: groups,
                oldLogProbabilities: groups.map { $0.group.rollouts.map(\.policyLogProbabilities) }))
        return (credited.update.parts[0], credited.metrics["reward"])
    }

    func mark() async { await feed.mark() }
    func rewind() async { await feed.rewind() }
}
