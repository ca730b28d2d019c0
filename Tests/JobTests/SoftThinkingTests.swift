import Coordinator
import Job
import Records
import RewardInterface
import Testing

/// A score of 1 for everything.
private struct Always: RewardFunction {
    static let name = "always"
    static let range = 0.0...1.0
    init(settings: inout RewardSettings) {}
    init() {}
    func score(_ completion: Completion, for prompt: Prompt) -> RewardScore { .value(1) }
}

@Suite("Soft thinking in a run")
struct SoftThinkingTests {
    /// One completion of three tokens; sizes of their supports, 0 for a word.
    private func rollout(_ sizes: [Int], sample: Int) -> Rollout {
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
            completion: Completion(text: "7", tokenIDs: sizes.map { _ in 1 }), samplingLogProbabilities: [],
            policyLogProbabilities: [], sample: sample, softTokens: record)
    }

    private func group(_ rollouts: [Rollout]) -> RolloutGroup {
        let prompt = Prompt(row: 0, source: "test", content: .text("?"))
        return RolloutGroup(
            prompt: TokenizedPrompt(prompt: prompt, tokenIDs: [0]), rollouts: rollouts, policyVersion: PolicyVersion(0))
    }

    @Test func thinkingThatNeverEndsHasNoAnswerToReward() async throws {
        let scorer = PanelScorer(try RewardPanel([FunctionSource(Always())]))
        let plain = Rollout(
            completion: Completion(text: "7", tokenIDs: [1]), samplingLogProbabilities: [], policyLogProbabilities: [],
            sample: 2)
        let scored = try await scorer.score(
            group([rollout([2, 1, 0], sample: 0), rollout([2, 2, 2], sample: 1), plain]))
        #expect(scored.scores.map { $0[0].score } == [1, 0, 1])
        #expect(scored.scores[1][0].note == "the thinking did not end")
    }

    @Test func theNumbersOfAStepAreWorkedByHand() {
        let scored = ScoredGroup(
            group: group([rollout([2, 1, 0], sample: 0), rollout([4, 1, 1], sample: 1)]), scores: [[], []])
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
