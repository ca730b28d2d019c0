import Credit
import Records
import Testing

@Suite("Weighted sum of rewards")
struct RewardCombinationTests {
    @Test func weightsMultiplyTheirScores() throws {
        let rewards = RewardCombination(names: ["accuracy", "format"], weights: [2, 0.5])
        #expect(rewards.combined([.value(1), .value(-1)]) == 1.5)
    }

    @Test(arguments: [RewardScore.abstained(reason: "-"), .failed(message: "-"), .timedOut(seconds: 1), .value(.nan)])
    func aRewardWithoutANumberLeavesItsTermOut(_ state: RewardScore) throws {
        let rewards = RewardCombination(names: ["accuracy", "format"], weights: [2, 0.5])
        #expect(rewards.combined([.value(3), state]) == 6)
        #expect(rewards.combined([state, state]) == nil)
    }
}

@Suite("Reward numbers of a step")
struct RewardStatisticsTests {
    /// Rewards 1, 0 | 1, 1 | 0, 0 | –, –: mean 0.5, std sqrt(6·0.25/5), one group solved, one hopeless, one unscored.
    @Test func deadGroupsAreCountedApart() throws {
        let rule = try GroupBaseline(rewards: .single, settings: .init())
        let groups: [[Double?]] = [[1, 0], [1, 1], [0, 0], [nil, nil]]
        let metrics = try rule.credit(CreditBatch(groups: groups.map { ScoredGroups.group($0) })).metrics
        #expect(metrics["reward"] == 0.5)
        #expect(abs(try #require(metrics["reward_std"]) - 0.3.squareRoot()) < 1e-12)
        #expect(metrics["frac_reward_zero_std"] == 0.75)
        #expect(metrics["frac_reward_zero_std/all_right"] == 0.25)
        #expect(metrics["frac_reward_zero_std/all_wrong"] == 0.25)
        #expect(metrics["rewards/accuracy/coverage"] == 0.75)
    }

    @Test func everyRewardHasItsOwnNumbers() throws {
        let rewards = RewardCombination(names: ["accuracy", "format"], weights: [1, 10])
        let rule = GroupBaseline(rewards: rewards, settings: .init())
        let group = ScoredGroups.group(scores: [
            [.value(1), .value(0.5)], [.value(0), .failed(message: "broke")], [.value(0), .timedOut(seconds: 2)],
            [.value(1), .abstained(reason: "-")],
        ])
        let metrics = try rule.credit(CreditBatch(groups: [group])).metrics
        #expect(metrics["rewards/accuracy/mean"] == 0.5)
        #expect(abs(try #require(metrics["rewards/accuracy/std"]) - (1.0 / 3).squareRoot()) < 1e-12)
        #expect(metrics["rewards/format/mean"] == 0.5)
        #expect(metrics["rewards/format/std"] == nil)
        #expect(metrics["rewards/format/coverage"] == 0.25)
        #expect(metrics["rewards/format/error_rate"] == 0.25)
        #expect(metrics["rewards/format/timeout_rate"] == 0.25)
        #expect(metrics["reward"] == 1.75)  // 1 + 10·0.5, 0, 0 and 1
    }

    @Test func aBatchThatDoesNotFitIsRefused() throws {
        let rule = try GroupBaseline(rewards: .single, settings: .init())
        var group = ScoredGroups.group([1, 0])
        group.scores[1] = []
        #expect(throws: CreditError.scoreCount(prompt: "test row 0", what: "scores", expected: 1, found: 0)) {
            try rule.credit(CreditBatch(groups: [group]))
        }
        group.scores.removeLast()
        #expect(throws: CreditError.scoreCount(prompt: "test row 0", what: "rows of scores", expected: 2, found: 1)) {
            try rule.credit(CreditBatch(groups: [group]))
        }
        let short = CreditBatch(groups: [ScoredGroups.group([1, 0])], referenceLogProbabilities: [[[0, 0], [0]]])
        #expect(
            throws: CreditError.logProbabilityCount(
                prompt: "test row 0, sample 1", whose: "reference policy", expected: 2, found: 1)
        ) { try rule.credit(short) }
    }
}
