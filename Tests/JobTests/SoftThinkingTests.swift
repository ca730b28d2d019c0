import Job
import Records
import RewardInterface
import Testing

/// A score of 1 for everything.
private struct Always: RewardFunction {
    static let name = "always"
    static let range = -1.0...1.0
    private let value: Double
    init(reading settings: inout SettingsReader) { value = 1 }
    init(_ value: Double = 1) { self.value = value }
    func score(_ completion: Completion, for prompt: Prompt) -> RewardScore { .value(value) }
}

@Suite("Soft thinking in a run")
struct SoftThinkingTests {
    /// What ended the thinking.
    enum End: Sendable {
        case soft, word, forced, nothing
    }

    /// One completion: soft tokens with supports of some sizes, what ended the thinking (a soft token of one word
    /// more), and words behind it.
    private func rollout(
        _ sizes: [Int], _ end: End = .nothing, words: Int = 0, sample: Int = 0, reason: FinishReason = .stopToken
    ) -> Rollout {
        var record = SoftTokens()
        for size in sizes + (end == .soft ? [1] : []) {
            let shares = [Float](repeating: -1, count: size)
            record.append(
                ids: (0..<size).map(Int32.init), values: shares, parameters: shares, entropy: Float(size),
                largestWeight: 1 / Float(size))
        }
        if end == .word { record.appendOrdinary() }
        if end != .nothing { record.endThinking(entersAsWord: end == .soft) }
        for _ in 0..<words { record.appendOrdinary() }
        let count = sizes.count + (end == .nothing ? 0 : 1) + words
        return Rollout(
            completion: Completion(text: "7", tokenIDs: [Int](repeating: 1, count: count), finishReason: reason),
            samplingLogProbabilities: [], policyLogProbabilities: [], sample: sample,
            isAction: end == .forced ? (0..<count).map { $0 != sizes.count } : nil, payload: record)
    }

    private func group(_ rollouts: [Rollout]) -> RolloutGroup {
        let prompt = Prompt(row: 0, source: "test", content: .text("?"))
        return RolloutGroup(
            prompt: TokenizedPrompt(prompt: prompt, tokenIDs: [0]), rollouts: rollouts, policyVersion: PolicyVersion(0))
    }

    /// Behind the end of thinking: a word and the stop token; the stop token alone; nothing, at the length limit; a
    /// word, cut off there.
    @Test(
        arguments: [.soft, .word, .forced] as [End],
        [(2, .stopToken, true), (1, .stopToken, false), (0, .length, false), (1, .length, true)]
            as [(Int, FinishReason, Bool)])
    func whatStandsBehindTheEndOfThinkingIsTheAnswer(
        _ end: End, _ rest: (words: Int, reason: FinishReason, answers: Bool)
    )
        async throws
    {
        try await expect(rollout([2, 1], end, words: rest.words, reason: rest.reason), answers: rest.answers)
    }

    /// The length limit, and a leading stop token: drawn, and as a word.
    @Test func thinkingThatDoesNotEndIsNoAnswer() async throws {
        try await expect(rollout([2, 2], reason: .length), answers: false)
        try await expect(rollout([2, 1], reason: .stopToken), answers: false)
        try await expect(rollout([2, 1], words: 1, reason: .stopToken), answers: false)
    }

    private func expect(_ rollout: Rollout, answers: Bool) async throws {
        let scorer = PanelScorer(try RewardPanel([FunctionSource(Always())]))
        let scored = try await scorer.score(group([rollout]))
        #expect(scored.scores[0][0].score == (answers ? 1 : 0))
        #expect(scored.scores[0][0].note == (answers ? nil : "no answer behind the thinking"))
    }

    /// A score below 0 stays: no answer is not better than a bad one.
    @Test func completionsWithoutThinkingAreScoredAsTheyAre() async throws {
        let scorer = PanelScorer(try RewardPanel([FunctionSource(Always(-1))]))
        let plain = Rollout(
            completion: Completion(text: "7", tokenIDs: [1]), samplingLogProbabilities: [], policyLogProbabilities: [],
            sample: 1)
        let scored = try await scorer.score(group([rollout([2, 2], reason: .length), plain]))
        #expect(scored.scores.map { $0[0].score } == [-1, -1])
    }

    /// Of a length, 0 would be the best there is.
    @Test func aCostOfWhatHasNoAnswerIsWhatItIs() async throws {
        let scorer = PanelScorer(try RewardPanel([FunctionSource(Always())]))
        let draft = group([rollout([2, 2], reason: .length)])
        let earned = try await scorer.score(draft).scores[0][0]
        scorer.keepScores(of: Set(scorer.rewardNames))
        let cost = try await scorer.score(draft).scores[0][0]
        #expect(earned.score == 0 && cost == .value(1))
    }

    @Test func theNumbersOfAStepAreWorkedByHand() {
        let metrics = [rollout([2], .soft, words: 2), rollout([4, 1, 1], sample: 1)].payloadMetrics
        #expect(metrics["soft/multi_ratio"] == 2.0 / 5)  // five thinking steps, two with several words
        #expect(metrics["soft/max_weight"] == (0.5 + 1 + 0.25 + 1 + 1) / 5)
        #expect(metrics["soft/entropy"] == (2 + 1 + 4 + 1 + 1) / 5.0)
        #expect(metrics["soft/mean_length"] == 2.5 && metrics["soft/unended_ratio"] == 0.5)
        #expect([Rollout]().payloadMetrics.entries.isEmpty)
    }

    @Test func aCollapseIsAnnounced() {
        let watch = RunWatch(gapLimit: 0.01)
        var metrics = Metrics()
        metrics["soft/multi_ratio"] = 0.4
        metrics["soft/unended_ratio"] = 0.1
        metrics["soft/kl"] = 0.02
        #expect(watch.warnings(metrics).isEmpty)
        metrics["soft/multi_ratio"] = 0.005
        metrics["soft/unended_ratio"] = 0.6
        metrics["soft/kl"] = 1.5
        #expect(watch.warnings(metrics).map(\.name) == ["soft_collapse", "soft_unended", "soft_kl"])
    }
}
