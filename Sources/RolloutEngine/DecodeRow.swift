internal import Algorithms
internal import Records
internal import Tensors
internal import Tokenization

/// One completion while it is being written.
final class DecodeRow {
    /// Which request it belongs to.
    let group: Int
    /// Which of the request's completions; the greedy one comes behind the sampled ones.
    let sample: Int
    let isGreedy: Bool
    let promptRow: Int
    let variant: Int
    /// Most tokens it may have.
    let limit: Int
    let ownSlot: Int
    private(set) var tokens: [Int] = []
    /// Whether the policy chose each token.
    private var isAction: [Bool] = []
    private var samplingLogProbabilities: [Float] = []
    private var policyLogProbabilities: [Float] = []
    private var text: CompletionText
    /// Ids of prompt and completion without duplicates, where a repetition penalty is for them.
    private(set) var seen: [Int] = []
    private var seenSet: Set<Int> = []
    private let notesSeen: Bool
    /// Whether the next token is a soft one.
    private(set) var isThinking = false
    /// The last token where it is soft: the row's next input.
    private(set) var lastSoftToken: SoftToken?
    private var sureSteps = 0
    private var softTokens: SoftTokens?

    /// - Parameter notesSeen: Whether a repetition penalty acts on the row.
    init(
        group: Int, sample: Int, isGreedy: Bool, prompt: TokenizedPrompt, variant: Int, limit: Int, ownSlot: Int,
        text: CompletionText,
        notesSeen: Bool, softTokens: SoftTokens? = nil
    ) {
        self.group = group
        self.sample = sample
        self.isGreedy = isGreedy
        promptRow = prompt.prompt.row
        self.variant = variant
        self.limit = limit
        self.ownSlot = ownSlot
        self.text = text
        self.softTokens = softTokens
        isThinking = softTokens != nil
        self.notesSeen = notesSeen
        if notesSeen { prompt.tokenIDs.forEach { note($0) } }
    }

    private func note(_ token: Int) {
        if seenSet.insert(token).inserted { seen.append(token) }
    }

    /// The address has no field for a variant, so that its draws have a seed of their own; variant 0 keeps the run's.
    private func variantSeed(_ seed: UInt64) -> UInt64 { variant == 0 ? seed : mix64(seed ^ UInt64(variant) << 32) }

    /// How the next token is chosen: one uniform at the address of step, prompt row, sample and token.
    func choice(seed: UInt64, step: Int) -> TokenChoice {
        guard !isGreedy else { return .greedy }
        let address = RandomAddress(step: step, row: promptRow, sample: sample, token: tokens.count)
        return .draw(uniform: address.uniform(seed: variantSeed(seed), stream: .sample))
    }

    /// Takes the chosen token; returns why the completion ends with it, if it does.
    func append(
        _ token: Int, sampling: Float, policy: Float, _ settings: SamplingSettings
    ) throws(TokenizerError) -> FinishReason? {
        lastSoftToken = nil
        softTokens?.appendOrdinary()
        return try note(token, (sampling, policy), settings)
    }

    /// The row as a thinking step sees it.
    func thinking(seed: UInt64, step: Int) -> ThinkingRow {
        let address = RandomAddress(step: step, row: promptRow, sample: sample, token: tokens.count)
        return ThinkingRow(
            draws: SoftDraws(seed: variantSeed(seed), address: address), isGreedy: isGreedy, sureSteps: sureSteps)
    }

    /// Takes the outcome of a thinking step; returns why the completion ends with it, if it does.
    func append(
        _ outcome: SoftOutcome, sureSteps: Int, _ settings: SamplingSettings
    ) throws(TokenizerError) -> FinishReason? {
        self.sureSteps = sureSteps
        switch outcome {
        case .word(let token, let logProbability):
            let reason = try append(token, sampling: logProbability, policy: logProbability, settings)
            endThinking(reason, entersAsWord: false)
            return reason
        case .forced(let token):
            lastSoftToken = nil
            let reason = try note(token, nil, settings)
            endThinking(reason, entersAsWord: false)
            return reason
        case .ending(let token):
            lastSoftToken = nil
            let reason = try append(token, settings)
            endThinking(reason, entersAsWord: true)
            return reason
        case .soft(let token):
            lastSoftToken = token
            return try append(token, settings)
        }
    }

    private func append(
        _ token: SoftToken, _ settings: SamplingSettings
    ) throws(TokenizerError) -> FinishReason? {
        softTokens?.append(
            ids: token.ids, values: token.values, parameters: token.parameters, entropy: token.entropy,
            largestWeight: token.largestWeight)
        return try note(token.leading, (token.logDensity, token.logDensity), settings)
    }

    /// A stop token ends the completion while it is still thinking.
    private func endThinking(_ reason: FinishReason?, entersAsWord: Bool) {
        isThinking = false
        if reason != .stopToken { softTokens?.endThinking(entersAsWord: entersAsWord) }
    }

    /// - Parameter logProbabilities: Of the distribution that was sampled from, and the policy's; `nil` for a token
    ///   that nobody chose.
    private func note(
        _ token: Int, _ logProbabilities: (sampling: Float, policy: Float)?, _ settings: SamplingSettings
    ) throws(TokenizerError) -> FinishReason? {
        tokens.append(token)
        isAction.append(logProbabilities != nil)
        if let logProbabilities {
            samplingLogProbabilities.append(logProbabilities.sampling)
            policyLogProbabilities.append(logProbabilities.policy)
        }
        if notesSeen { note(token) }
        let stop = try text.feed(token)
        if settings.stopTokenIDs.contains(token) { return .stopToken }
        if let stop { return .stopString(stop) }
        return tokens.count >= limit ? .length : nil
    }

    func rollout(_ reason: FinishReason) throws(TokenizerError) -> Rollout {
        Rollout(
            completion: try text.completion(tokens, reason), samplingLogProbabilities: samplingLogProbabilities,
            policyLogProbabilities: policyLogProbabilities, sample: sample,
            isAction: isAction.contains(false) ? isAction : nil, payload: softTokens)
    }
}
