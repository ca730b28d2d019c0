import Credit
import Records
import Testing

@Suite("Rewards beside a teacher")
struct TeacherCreditTests {
    /// Two completions of two tokens. Rewards a: 1, 3 and b: 2, 0, so that without scaling A_a = −1, 1 and A_b = 1, −1.
    /// log π_T − log π is 0.25, −1 at the tokens of the first completion, and 0.5, 0 at those of the second.
    private func credited(_ form: RewardCombination.Form, _ weights: StreamWeights = [:]) throws -> CreditedBatch {
        let rewards = RewardCombination(names: ["a", "b"], weights: [1, 0.5], form: form)
        let rule = TeacherCredit(
            rewards: rewards, baseline: GroupBaseline(rewards: rewards, settings: .init(scaling: .none)),
            rewardWeight: 2, teacher: KLToGo(coefficient: 1, estimator: .k1, reach: .oneStep))
        let group = ScoredGroups.group(scores: [[.value(1), .value(2)], [.value(3), .value(0)]])
        return try rule.credit(
            CreditBatch(
                groups: [group], oldLogProbabilities: [[[-0.5, -1], [-1, -2]]],
                referenceLogProbabilities: [[[-0.25, -2], [-0.5, -2]]], weights: weights))
    }

    @Test func eachRewardMayHaveAStreamOfItsOwn() throws {
        let apart = try credited(.apart)
        #expect(apart.streams == ["a", "b", "kl"])
        #expect(apart.update.parts[0].streamWeights == [2, 1, 1])
        #expect(
            apart.update.groups[0].completions.map(\.advantages)
                == [[[-1, -1], [1, 1], [0.25, -1]], [[1, 1], [-1, -1], [0.5, 0]]])
        // Without scaling the sum of the rewards has the sum of their advantages: 1 + 0.5·2 and 3.
        let summed = try credited(.summed)
        #expect(summed.streams == ["reward", "kl"] && summed.update.parts[0].streamWeights == [2, 1])
        #expect(summed.update.advantages == apart.update.advantages)
        #expect(summed.update.advantages == [[[-0.75, -2], [1.5, 1]]])
    }

    /// A multiplier of 0.25 on b, and half of everything that stands beside it: 2·(1·½), 2·(0.5·½ − 0.25) and ½ of the
    /// teacher, which the loss is told for its own divergence, too.
    @Test func multipliersScaleTheTeacherWithTheRest() throws {
        var weights = StreamWeights()
        weights.factor = 0.5
        weights.addends["b"] = -0.25
        let moved = try credited(.apart, weights).update.parts[0]
        #expect(moved.streamWeights == [1, 0, 0.5] && moved.klWeight == 0.5)
    }

    @Test func aGroupThatDiffersInOneRewardIsNotDead() throws {
        let rewards = RewardCombination(names: ["a", "b"], form: .apart)
        let rule = TeacherCredit(
            rewards: rewards, baseline: GroupBaseline(rewards: rewards, settings: .init()), rewardWeight: 1,
            teacher: nil)
        let groups = [
            ScoredGroups.group(scores: [[.value(1), .value(2)], [.value(1), .value(0)]]),
            ScoredGroups.group(scores: [[.value(1), .value(2)], [.value(1), .value(2)]], row: 1),
        ]
        #expect(try rule.credit(CreditBatch(groups: groups)).metrics["frac_reward_zero_std"] == 0.5)
    }
}
