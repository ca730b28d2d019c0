import Credit
import Foundation
import Records
import TestSupport
import Testing

@Suite("Each reward's share of the advantage")
struct RewardSharesTests {
    private func shares(
        _ rewards: RewardCombination, _ groups: [ScoredGroup], scaling: GroupBaselineSettings.Scaling
    ) throws -> [Double] {
        let rule = GroupBaseline(rewards: rewards, settings: .init(scaling: scaling, epsilon: 0))
        let metrics = try rule.credit(CreditBatch(groups: groups)).metrics
        return rewards.names.map { metrics["rewards/\($0)/advantage_share"] ?? .nan }
    }

    private func group(_ scores: [[Double]], row: Int = 0) -> ScoredGroup {
        ScoredGroups.group(scores: scores.map { $0.map { .value($0) } }, row: row)
    }

    /// c = 2·(½, −½) and (−½, ½), A = (½, −½): (½ + ½)/½ = 2 and (−¼ − ¼)/½ = −1.
    @Test func theyAddUpToOneAndOneThatPullsAgainstTheOthersIsBelowZero() throws {
        let rewards = RewardCombination(names: ["a", "b", "shadow"], weights: [2, 1, 0])
        let found = try shares(rewards, [group([[1, 0, 3], [0, 1, 9]])], scaling: .none)
        #expect(relativeDistance(found, [2, -1, 0]) < 1e-12)
    }

    /// Of c = ±½ in one group and ±2 in the other; divided by their deviations both groups have advantages of ±1/√2.
    @Test func groupsCountByTheSizeOfTheirAdvantages() throws {
        let rewards = RewardCombination(names: ["a", "b"], weights: [1, 1])
        let groups = [group([[1, 0], [0, 0]]), group([[0, 4], [0, 0]], row: 1)]
        #expect(relativeDistance(try shares(rewards, groups, scaling: .none), [0.5 / 8.5, 8 / 8.5]) < 1e-12)
        #expect(relativeDistance(try shares(rewards, groups, scaling: .group), [0.5, 0.5]) < 1e-12)
    }

    /// Two streams of ±1/√2 with the weights 3 and 1.
    @Test func streamsOfTheirOwnCountByTheirWeights() throws {
        var rewards = RewardCombination(names: ["a", "b"], weights: [3, 1])
        rewards.form = .apart
        let found = try shares(rewards, [group([[1, 500], [0, 0]])], scaling: .group)
        #expect(relativeDistance(found, [0.75, 0.25]) < 1e-12)
    }

    /// The sampled completion is better than the greedy one in the first reward alone.
    @Test func againstTheGreedyCompletionWhereThereIsOne() throws {
        let rewards = RewardCombination(names: ["a", "b"], weights: [1, 1])
        let group = ScoredGroups.group(scores: [[.value(1), .value(5)]], greedyScores: [.value(0), .value(5)])
        let metrics = try GreedyBaseline(rewards: rewards, settings: .init()).credit(CreditBatch(groups: [group]))
            .metrics
        #expect(metrics["rewards/a/advantage_share"] == 1 && metrics["rewards/b/advantage_share"] == 0)
    }

    /// A reward that is best at ½ counts as −(r − ½)²: 0 and −1, c = ±½ as the other's, and A = (1, −1).
    @Test func aRewardCountsAsItDoesInTheSum() throws {
        let rewards = RewardCombination(names: ["a", "held"], shapes: [.asScored, .near(0.5, scale: 1)])
        let found = try shares(rewards, [group([[1, 0.5], [0, 1.5]])], scaling: .none)
        #expect(relativeDistance(found, [0.5, 0.5]) < 1e-12)
    }

    @Test func withoutAnAdvantageThereIsNone() throws {
        let rewards = RewardCombination(names: ["a", "b"], weights: [1, 1])
        #expect(try shares(rewards, [group([[1, 2], [1, 2]])], scaling: .group).allSatisfy(\.isNaN))
    }

    /// The shadow scored what the other reward did not: still no reward, so that nothing is learned from it.
    @Test func aShadowIsNoReward() throws {
        let rewards = RewardCombination(names: ["a", "shadow"], weights: [1, 0])
        #expect(rewards.combined([.abstained(reason: "-"), .value(3)]) == nil)
        #expect(rewards.combined([.value(2), .value(3)]) == 2)
    }
}

@Suite("The watch over rewards")
struct RewardWatchTests {
    private let rewards = RewardCombination(names: ["task", "shadow"], weights: [1, 0])

    private func step(_ groups: [ScoredGroup]) -> ObservedStep {
        ObservedStep(rewardNames: rewards.names, groups: groups)
    }

    private func group(_ task: [Double], shadow: Double = 0, lengths: [Int]) -> ScoredGroup {
        ScoredGroups.group(scores: task.map { [.value($0), .value(shadow)] }, lengths: lengths)
    }

    private func updates(_ steps: [ObservedStep]) throws -> [ControllerUpdate] {
        var watch = RewardWatch(rewards)
        #expect(watch.weights(at: 3) == StreamWeights())
        return try steps.map { step in
            let update = watch.observe(step)
            return try #require(update)
        }
    }

    @Test func liveGroupsAreCountedForEachReward() throws {
        let groups = [group([1, 0], lengths: [1, 1]), group([1, 1], lengths: [1, 1])]
        let metrics = try updates([step(groups)])[0].metrics
        #expect(metrics["rewards/task/live_groups"] == 0.5 && metrics["rewards/shadow/live_groups"] == 0)
    }

    /// Of 1234 1234 the 4-grams 1234, 2341, 3412, 4123, 1234: one of five stands there before.
    @Test func repetitionIsTheShareOfFourGramsThatComeAgain() {
        #expect(abs(RewardWatch.repetition(of: [1, 2, 3, 4, 1, 2, 3, 4]) - 0.2) < 1e-12)
        #expect(RewardWatch.repetition(of: [5, 5, 5]) == 0)
        #expect(RewardWatch.repetition(of: [5, 5, 5, 5, 5, 5]) == 1 - 1.0 / 3)
    }

    /// Within each group the longer completion is better by as much; between the groups the shorter ones are far
    /// better.
    @Test func aRewardThatFollowsLengthWithinGroupsIsSaidOnceHalfAWindowIsFull() throws {
        let groups = [group([1, 2, 3], lengths: [1, 2, 3]), group([-9, -8, -7], lengths: [2, 3, 4])]
        let updates = try updates(Array(repeating: step(groups), count: 20))
        #expect(updates.allSatisfy { abs(($0.metrics["reward_correlation/length"] ?? 0) - 1) < 1e-12 })
        #expect(updates.map { $0.note != nil } == (1...20).map { $0 == 16 })
        #expect(updates.map { $0.metrics["alarms/reward_follows_length"] } == (1...20).map { $0 < 16 ? nil : 1 })
        #expect(
            updates[15].note
                == "the reward follows length: longer completions are the better ones, correlation 1.00 within "
                + "groups over the last 16 steps (threshold 0.6); the policy may be learning that instead")
    }

    /// Completions of one token that comes again and again: repetition 0, ½, ⅔; lengths 4, 5, 6. Rewards 0, 3, 4 follow
    /// both.
    @Test func repetitionHasAnAlarmOfItsOwn() throws {
        let updates = try updates(Array(repeating: step([group([0, 3, 4], lengths: [4, 5, 6])]), count: 16))
        #expect(updates[15].metrics["alarms/reward_follows_repetition"] == 1)
        #expect(
            updates[15].note?.contains("follows repetition: completions that repeat themselves are the better") == true)
        #expect(abs((updates[0].metrics["completions/repetition"] ?? 0) - (0.5 + 2.0 / 3) / 3) < 1e-12)
        let others = try self.updates(Array(repeating: step([group([4, 3, 0], lengths: [4, 5, 6])]), count: 16))
        #expect(others[15].note == nil)
    }

    @Test func aShadowThatFallsWhileTheRewardRisesIsSaidOnce() throws {
        func steps(_ shadow: (Double) -> Double) -> [ObservedStep] {
            (0..<40).map { step([group([Double($0), Double($0) + 1], shadow: shadow(Double($0)), lengths: [1, 1])]) }
        }
        let falling = try updates(steps { -$0 })
        #expect(falling.map { $0.note != nil } == (1...40).map { $0 == 16 })
        #expect(falling[15].note?.contains("the reward rises while its shadow shadow falls") == true)
        #expect(falling[15].metrics["alarms/shadow_falls/shadow"] == 1)
        #expect(abs((falling[39].metrics["rewards/shadow/trend"] ?? 0) + 1) < 1e-12)
        #expect(try updates(steps { $0 }).allSatisfy { $0.note == nil })
        // Falls for 8 steps, then rises: in a window of 32 it has risen at the end.
        #expect(abs((try updates(steps { abs($0 - 8) })[39].metrics["rewards/shadow/trend"] ?? 0) - 1) < 1e-12)
    }

    /// The groups differ from each other and in the shadow, which nothing is learned from.
    @Test func stepsWithNothingToLearnFromAreSaidOnceAfterEight() throws {
        let dead = step([group([1, 1], lengths: [1, 2]), group([0, 0], lengths: [1, 2])])
        let live = step([group([1, 1], lengths: [1, 2]), group([0, 1], lengths: [1, 2])])
        let found = try updates([live] + Array(repeating: dead, count: 9) + [live, dead])
        #expect(found.map { $0.metrics["alarms/no_live_groups"] != nil } == (0..<12).map { $0 == 8 || $0 == 9 })
        #expect(
            found.compactMap(\.note) == [
                "no completions of the last 8 steps differ in a trained reward where they are compared: there is nothing "
                    + "to learn from"
            ])
        // A demonstration among them may be better.
        var taught = dead
        for index in taught.groups.indices { taught.groups[index].demonstrationScores = [.value(1), .value(0)] }
        #expect(try updates(Array(repeating: taught, count: 12)).allSatisfy { $0.note == nil })
        // Single completions are compared over the step.
        let single = step([group([1], lengths: [1]), group([0], lengths: [1])])
        #expect(try updates(Array(repeating: single, count: 12)).allSatisfy { $0.note == nil })
        var held = RewardWatch(rewards, constrained: ["shadow"])
        var notes: [String] = []
        for _ in 0..<8 {
            if let note = held.observe(dead)?.note { notes.append(note) }
        }
        #expect(notes.count == 1 && notes[0].hasSuffix("and multipliers.max bounds it"))
    }

    @Test func itsStateGoesThroughAFile() throws {
        let steps = (0..<40).map { step([group([Double($0 % 5), 1], shadow: -Double($0), lengths: [$0 % 3 + 1, 2])]) }
        var whole = RewardWatch(rewards)
        var resumed = RewardWatch(rewards)
        for step in steps.prefix(20) { _ = whole.observe(step) }
        try resumed.takeState(from: whole.encodedState(with: JSONEncoder()), with: JSONDecoder())
        for step in steps.suffix(20) {
            let (left, right) = (whole.observe(step), resumed.observe(step))
            #expect(left == right && left != nil)
        }
    }
}
