import Credit
import Records
import Testing

@Suite("REINFORCE without a baseline, and the best of a group")
struct PlainRewardTests {
    @Test func everyTokenGetsItsRewardAndAnUnscoredCompletionNothing() throws {
        let rule = PlainReward(rewards: try .single)
        let batch = CreditBatch(groups: [ScoredGroups.group([2, nil, -1], lengths: [1, 2, 3])])
        #expect(try rule.credit(batch).update.advantages[0] == [[2], [0, 0], [-1, -1, -1]])
    }

    /// log-probs −0.7 against −1.2 and −0.2: k1 = 0.5 and −0.5; β 0.2; to go: 0.2·(0.5 − 0.5) = 0 and 0.2·(−0.5) =
    /// −0.1.
    @Test func thePenaltyIsWhatFollows() throws {
        let rule = PlainReward(rewards: try .single, penalty: KLToGo(coefficient: 0.2))
        var batch = CreditBatch(
            groups: [ScoredGroups.group([1])], referenceLogProbabilities: [[[-1.2, -0.2]]])
        let advantages = try rule.credit(batch).update.advantages[0][0]
        #expect(zip(advantages, [1.0, 1.1]).allSatisfy { abs($0 - $1) < 1e-6 })
        batch.weights = ["kl": 0.4]  // a controller's coefficient takes the place of the rule's
        let stronger = try rule.credit(batch).update.advantages[0][0]
        #expect(zip(stronger, [1.0, 1.2]).allSatisfy { abs($0 - $1) < 1e-6 })
    }

    /// Ziegler's rule by hand: KL 0.15 against 0.1 is clipped to 0.2; × (1 + 0.2·100/1000) = 1.02. KL 0.09:
    /// −0.1·100/1000.
    @Test func theControllerMovesTheCoefficientByItsRule() throws {
        let controller = AdaptiveKL(initial: 0.05, target: 0.1, horizon: 1000)
        #expect(abs(controller.next(0.05, kl: 0.15, completions: 100) - 0.051) < 1e-12)
        #expect(abs(controller.next(0.05, kl: 0.09, completions: 100) - 0.0495) < 1e-12)
        #expect(controller.next(0.05, kl: 0.1, completions: 100) == 0.05)
    }

    @Test func theBestOfEachGroupIsLearnedFromTheEarliestOfEquals() throws {
        let rule = BestOfGroup(rewards: try .single)
        let batch = CreditBatch(groups: [
            ScoredGroups.group([0, 1, 1], lengths: [1, 2, 3], row: 0), ScoredGroups.group([nil, nil], row: 1),
            ScoredGroups.group([-3, -2], lengths: [4, 5], row: 2),
        ])
        let credited = try rule.credit(batch)
        #expect(credited.update.groups.map { $0.completions.map(\.tokenIDs.count) } == [[2], [5]])
        #expect(credited.credits.map { $0.map(\.advantage) } == [[nil, 1, nil], [nil, nil], [nil, 1]])
        #expect(credited.metrics["best_of_k/reward"] == -0.5)
        #expect(credited.metrics["best_of_k/kept"] == 2.0 / 3)
    }

    @Test func whatIsBelowTheThresholdOrMaskedIsNotImitated() throws {
        let batch = CreditBatch(groups: [
            ScoredGroups.group([0, 0.4]), ScoredGroups.group([0.9, 0.6], truncated: [0], row: 1),
        ])
        let rule = BestOfGroup(rewards: try .single, threshold: 0.5, overlong: .mask)
        let credited = try rule.credit(batch)
        #expect(credited.update.groups.count == 1)
        #expect(credited.credits[1].map(\.advantage) == [nil, 1])
    }
}
