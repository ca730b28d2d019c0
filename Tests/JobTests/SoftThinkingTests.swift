import Coordinator
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
    /// One completion; sizes of its tokens' supports, 0 for a word.
    private func rollout(_ sizes: [Int], sample: Int, _ reason: FinishReason = .stopToken) -> Rollout {
        var record = SoftTokens()
        for size in sizes {
            guard size > 0 else {
                record.appendOrdinary()
                continue
            }
            let shares = [Float](repeating: -1, count: size)
            record.append(
                ids: (0..<size).map(Int32.init), values: shares, parameters: shares, entropy: Float(size),
                largestWeight: 1 / Float(size))
        }
        return Rollout(
            completion: Completion(text: "7", tokenIDs: sizes.map { _ in 1 }, finishReason: reason),
            samplingLogProbabilities: [],
            policyLogProbabilities: [], sample: sample, softTokens: record)
    }

    private func group(_ rollouts: [Rollout]) -> RolloutGroup {
        let prompt = Prompt(row: 0, source: "test", content: .text("?"))
        return RolloutGroup(
            prompt: TokenizedPrompt(prompt: prompt, tokenIDs: [0]), rollouts: rollouts, policyVersion: PolicyVersion(0))
    }

    /// Two soft tokens, then: the end of thinking, a word and the stop token; the length limit; a stop token while thinking; the end of
    /// thinking and the stop token alone; the end of thinking at the limit; and a word behind it, cut off there.
    @Test(
        arguments: [
            ([2, 1, 0, 0, 0], .stopToken, true), ([2, 2], .length, false), ([2, 1, 0], .stopToken, false),
            ([2, 1, 0, 0], .stopToken, false), ([2, 1, 0], .length, false), ([2, 1, 0, 0], .length, true),
        ] as [([Int], FinishReason, Bool)])
    func thinkingWithoutAnAnswerBehindItEarnsNothing(_ sizes: [Int], _ reason: FinishReason, _ answers: Bool)
        async throws
    {
        let scorer = PanelScorer(try RewardPanel([FunctionSource(Always())]))
        let scored = try await scorer.score(group([rollout(sizes, sample: 0, reason)]))
        #expect(scored.scores[0][0].score == (answers ? 1 : 0))
        #expect(scored.scores[0][0].note == (answers ? nil : "no answer behind the thinking"))
    }

    /// A score below 0 stays: no answer is not better than a bad one.
    @Test func completionsWithoutThinkingAreScoredAsTheyAre() async throws {
        let scorer = PanelScorer(try RewardPanel([FunctionSource(Always(-1))]))
        let plain = Rollout(
            completion: Completion(text: "7", tokenIDs: [1]), samplingLogProbabilities: [], policyLogProbabilities: [],
            sample: 1)
        let scored = try await scorer.score(group([rollout([2, 2], sample: 0, .length), plain]))
        #expect(scored.scores.map { $0[0].score } == [-1, -1])
    }

    @Test func theNumbersOfAStepAreWorkedByHand() {
        let scored = ScoredGroup(
            group: group([rollout([2, 1, 0, 0, 0], sample: 0), rollout([4, 1, 1], sample: 1)]), scores: [[], []])
        let metrics = SoftThinkingMetrics.of([scored])
        #expect(metrics["soft/multi_ratio"] == 2.0 / 5)  // five thinking steps, two with several words
        #expect(metrics["soft/max_weight"] == (0.5 + 1 + 0.25 + 1 + 1) / 5)
        #expect(metrics["soft/entropy"] == (2 + 1 + 4 + 1 + 1) / 5.0)
        #expect(metrics["soft/mean_length"] == 2.5 && metrics["soft/unended_ratio"] == 0.5)
        #expect(SoftThinkingMetrics.of([]).entries.isEmpty)
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
