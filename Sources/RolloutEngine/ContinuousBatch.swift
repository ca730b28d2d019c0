internal import Models
internal import Records
internal import Tensors
internal import Tokenization

/// Decodes requests in one batch that never waits for its longest row: a row that ends leaves, a waiting one takes its
/// slot.
///
/// Each prompt is read once, whatever number of completions follow it, and several prompts are read in one packed pass.
/// Rows depend on each other in nothing but the rounding of matrix products of another size.
struct ContinuousBatch {
    /// A request some of whose completions are being written or still wait.
    private final class OpenGroup {
        let promptSlot: Int
        /// `[1, hidden]`: what predicts the first token of every completion.
        let firstHidden: Tensor
        /// What is kept of its products; `nil` for nothing.
        let kept: KeptGroup?
        var unfinished: Int
        var rollouts: [Rollout?]

        init(promptSlot: Int, firstHidden: Tensor, kept: KeptGroup?, rows: Int) {
            (self.promptSlot, self.firstHidden, self.kept) = (promptSlot, firstHidden, kept)
            unfinished = rows
            rollouts = Array(repeating: nil, count: rows)
        }
    }

    private let model: Transformer
    private let tokenizer: Tokenizer
    private let settings: SamplingSettings
    private let seed: UInt64
    private let step: Int
    private let version: PolicyVersion
    private let requests: [RolloutRequest]
    private let limits: BatchLimits
    let cache: KeyValueCache
    /// Where the products of sampled completions are kept; `nil` for nowhere.
    private let forwardCache: ForwardCache?
    private let head: OutputHead
    /// How rows think; `nil` where they do not.
    private let softStep: SoftStep?
    private var freePromptSlots: [Int]
    private var freeRowSlots: [Int]
    private var open: [Int: OpenGroup] = [:]
    private var rows: [DecodeRow] = []
    /// The next completion that waits: its request and its number there.
    private var waiting: (group: Int, sample: Int) = (0, 0)

    /// - Parameters:
    ///   - forwardCache: Where the products of sampled completions are kept. Thinking in more than words keeps nothing.
    ///   - cache: One of an earlier batch of the same model, which is used again where it is large enough and let go of
    ///     where it is not; then this batch's own.
    init(
        model: Transformer, tokenizer: Tokenizer, requests: [RolloutRequest], settings: SamplingSettings,
        limits: BatchLimits, seed: UInt64, step: Int, version: PolicyVersion, forwardCache: ForwardCache? = nil,
        cache kept: inout KeyValueCache?
    ) throws {
        let configuration = model.configuration
        for request in requests { try Self.check(request, configuration) }
        self.model = model
        self.tokenizer = tokenizer
        self.requests = requests
        self.settings = settings
        self.forwardCache = settings.softThinking == nil ? forwardCache : nil
        let head = try OutputHead(model)
        self.head = head
        softStep = settings.softThinking.map {
            SoftStep(
                model: model, head: head, settings: $0, stopTokenIDs: settings.stopTokenIDs,
                answerTemperature: settings.distribution.temperature)
        }
        self.limits = limits
        self.seed = seed
        self.step = step
        self.version = version
        let longestPrompt = requests.map(\.prompt.tokenIDs.count).max() ?? 1
        let ranks = model.group?.size ?? 1
        let count = limits.rows(
            wanted: requests.reduce(0) { $0 + $1.rowCount },
            bytesPerToken: configuration.keyValueBytesPerToken(model.elementType) / ranks, promptLength: longestPrompt,
            completionLength: settings.maxCompletionLength)
        let prompts = max(1, min(count, requests.count))
        let fits =
            kept?.fits(
                promptSlots: prompts, promptCapacity: longestPrompt, rowSlots: count,
                rowCapacity: settings.maxCompletionLength) ?? false
        if !fits { kept = nil }
        cache =
            try kept
            ?? KeyValueCache(
                configuration: configuration, promptSlots: prompts, promptCapacity: longestPrompt, rowSlots: count,
                rowCapacity: settings.maxCompletionLength, type: model.elementType, device: model.device,
                ranks: ranks)
        kept = cache
        freePromptSlots = (0..<prompts).reversed()
        freeRowSlots = (0..<count).reversed()
    }

    private static func check(_ request: RolloutRequest, _ configuration: ModelConfiguration) throws(RolloutError) {
        let (name, tokens) = (request.prompt.prompt.id, request.prompt.tokenIDs)
        guard !tokens.isEmpty else { throw .emptyPrompt(prompt: name) }
        guard tokens.count < configuration.contextLength else {
            throw .promptTooLong(prompt: name, tokens: tokens.count, contextLength: configuration.contextLength)
        }
        if let token = tokens.first(where: { $0 < 0 || $0 >= configuration.vocabularySize }) {
            throw .unknownToken(prompt: name, token: token, vocabularySize: configuration.vocabularySize)
        }
        guard ((request.includesGreedy ? 0 : 1)...65535).contains(request.samples) else {
            throw .sampleCount(prompt: name, samples: request.samples)
        }
    }

    /// Whether every completion has been written.
    var isDone: Bool { rows.isEmpty && waiting.group >= requests.count }

    /// Writes one token of every row, after letting in what waits and fits.
    /// - Returns: the groups whose last row ended.
    mutating func advance() throws -> [RolloutGroup] {
        let going = rows.count
        try admit()
        var hidden: [Tensor] = []
        if going > 0 {
            let lastTokens = rows[..<going].map { $0.tokens[$0.tokens.count - 1] }
            let indices = decodeRows(rows[..<going])
            if let softStep {
                let inputs = try Tensor.withoutGradients {
                    try softStep.inputs(after: lastTokens, rows[..<going].map(\.lastSoftToken))
                }
                hidden.append(try model.decode(embeddings: inputs, cache: cache, rows: indices))
            } else {
                let kept = try forwardCache?.tokens(
                    rows[..<going].map { (group(of: $0).kept, $0.sample, $0.tokens.count - 1) })
                hidden.append(try model.decode(tokens: lastTokens, cache: cache, rows: indices, kept: kept))
            }
        }
        for row in rows[going...] { hidden.append(group(of: row).firstHidden) }
        return try Tensor.withoutGradients { try take(reasons(Tensor.concatenated(hidden))) }
    }

    /// Gives every row its next token; returns why rows end with it, those that do.
    private func reasons(_ hidden: Tensor) throws -> [FinishReason?] {
        var reasons = [FinishReason?](repeating: nil, count: rows.count)
        let thinking = rows.indices.filter { rows[$0].isThinking }
        let answering = rows.indices.filter { !rows[$0].isThinking }
        if let softStep, !thinking.isEmpty {
            let outcomes = try softStep.outcomes(
                thinking.count == rows.count ? hidden : hidden.rows(at: thinking),
                thinking.map { rows[$0].thinking(seed: seed, step: step) })
            for (row, next) in zip(thinking, outcomes) {
                reasons[row] = try rows[row].append(next.outcome, sureSteps: next.sureSteps, settings)
            }
        }
        guard !answering.isEmpty else { return reasons }
        let logits = try head.logits(answering.count == rows.count ? hidden : hidden.rows(at: answering))
        let drawn: SampledTokens
        do {
            drawn = try logits.sampledTokens(
                from: settings.distribution, choices: answering.map { rows[$0].choice(seed: seed, step: step) },
                seenTokens: settings.distribution.repetitionPenalty == 1 ? [] : answering.map { rows[$0].seen })
        } catch {
            throw try logits.allFinite() ? error : NotFinite("the policy's logits")
        }
        for (index, row) in answering.enumerated() {
            reasons[row] = try rows[row].append(
                drawn.tokens[index], sampling: drawn.samplingLogProbabilities[index],
                policy: drawn.policyLogProbabilities[index], settings)
        }
        return reasons
    }

    private func group(of row: DecodeRow) -> OpenGroup {
        guard let group = open[row.group] else { preconditionFailure("a row outlived its group") }
        return group
    }

    private func decodeRows(_ rows: ArraySlice<DecodeRow>) -> DecodeRows {
        DecodeRows(
            promptSlots: rows.map { group(of: $0).promptSlot },
            promptLengths: rows.map { requests[$0.group].prompt.tokenIDs.count }, ownSlots: rows.map(\.ownSlot),
            ownLengths: rows.map(\.tokens.count))
    }

    /// Lets ended rows go and closes groups.
    private mutating func take(_ reasons: [FinishReason?]) throws -> [RolloutGroup] {
        guard reasons.contains(where: { $0 != nil }) else { return [] }
        var staying: [DecodeRow] = []
        var finished: [RolloutGroup] = []
        for (row, reason) in zip(rows, reasons) {
            guard let reason else {
                staying.append(row)
                continue
            }
            freeRowSlots.append(row.ownSlot)
            let group = group(of: row)
            group.rollouts[row.sample] = try row.rollout(reason)
            group.unfinished -= 1
            if group.unfinished == 0 {
                open[row.group] = nil
                freePromptSlots.append(group.promptSlot)
                finished.append(closed(group, requests[row.group]))
            }
        }
        rows = staying
        return finished
    }

    private func closed(_ group: OpenGroup, _ request: RolloutRequest) -> RolloutGroup {
        let rollouts = group.rollouts.compactMap { $0 }
        let sampled = Array(rollouts.prefix(request.samples))
        if let kept = group.kept {
            forwardCache?.close(
                kept, prompt: request.prompt.tokenIDs, completions: sampled.map(\.completion.tokenIDs))
        }
        return RolloutGroup(
            prompt: request.prompt, rollouts: sampled,
            greedy: request.includesGreedy ? rollouts.last : nil, policyVersion: version,
            variant: request.variant)
    }

    // MARK: Letting rows in

    /// Gives free slots to waiting completions, in order; prompts met for the first time are read together.
    private mutating func admit() throws {
        var fresh: [Int] = []
        var slots: [Int: Int] = [:]
        var freshTokens = 0
        var entering: [(group: Int, sample: Int)] = []
        while waiting.group < requests.count, entering.count < freeRowSlots.count {
            let group = waiting.group
            if waiting.sample == 0 {
                let length = requests[group].prompt.tokenIDs.count
                guard fresh.isEmpty || freshTokens + length <= limits.prefillTokens else { break }
                guard let slot = freePromptSlots.popLast() else { break }
                slots[group] = slot
                fresh.append(group)
                freshTokens += length
            }
            entering.append(waiting)
            let isLast = waiting.sample + 1 == requests[group].rowCount
            waiting = isLast ? (group + 1, 0) : (group, waiting.sample + 1)
        }
        try read(fresh, into: slots)
        for (group, sample) in entering { rows.append(newRow(group, sample)) }
    }

    private mutating func read(_ groups: [Int], into slots: [Int: Int]) throws {
        guard !groups.isEmpty else { return }
        let prompts = groups.map { requests[$0].prompt.tokenIDs }
        let placed = groups.compactMap { slots[$0] }
        let kept = try groups.map {
            try forwardCache?.open(promptLength: requests[$0].prompt.tokenIDs.count, completions: requests[$0].samples)
        }
        let hidden = try model.prefill(
            tokens: Array(prompts.joined()), layout: SequenceLayout(sequenceLengths: prompts.map(\.count)),
            cache: cache, promptSlots: placed, kept: forwardCache?.prompts(Array(zip(kept, prompts.map(\.count)))))
        for (index, group) in groups.enumerated() {
            open[group] = OpenGroup(
                promptSlot: placed[index], firstHidden: try hidden.narrow(axis: 0, start: index, count: 1),
                kept: kept[index], rows: requests[group].rowCount)
        }
    }

    private mutating func newRow(_ group: Int, _ sample: Int) -> DecodeRow {
        let request = requests[group]
        return DecodeRow(
            group: group, sample: sample, isGreedy: settings.isGreedy || sample == request.samples,
            prompt: request.prompt, variant: request.variant,
            limit: min(
                settings.maxCompletionLength, model.configuration.contextLength - request.prompt.tokenIDs.count),
            ownSlot: freeRowSlots.removeLast(), text: CompletionText(tokenizer, stopStrings: settings.stopStrings),
            // A greedy row beside sampled ones is a baseline: the policy's own likeliest completion, without a penalty.
            notesSeen: settings.distribution.repetitionPenalty != 1 && sample < request.samples,
            softTokens: settings.softThinking.map { thinking in
                SoftTokens(
                    componentCount: thinking.noise.perturbsEmbedding ? model.configuration.hiddenSize : nil)
            })
    }
}

extension RolloutRequest {
    /// Completions to write, the greedy one included.
    var rowCount: Int { samples + (includesGreedy ? 1 : 0) }
}
