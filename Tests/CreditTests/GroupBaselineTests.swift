import Credit
import Foundation
import Records
import TestSupport
import Testing

@Suite("Group baseline")
struct GroupBaselineTests {
    /// mean 1/2, std sqrt(1/3): 0.5 / (0.577350 + 1e-4) = 0.865875.
    @Test(arguments: [(1e-4, 0.865_875), (1e-6, 0.866_024)])
    func theGoldenGroup(_ epsilon: Double, _ expected: Double) throws {
        let rule = try GroupBaseline(rewards: .single, settings: .init(epsilon: epsilon))
        let advantages = rule.advantages(of: [[1, 0, 0, 1]])[0]
        for (found, sign) in zip(advantages, [1.0, -1, -1, 1]) { #expect(abs(found - sign * expected) < 1e-6) }
    }

    /// Groups 1, 0 and 4, 0: means 0.5 and 2; batch mean 1.25, batch std sqrt(10.75/3) = 1.892969.
    /// The sampler's filtered log-probs go along only where they differ from the policy's.
    @Test func whatWasSampledFromGoesAlongWhereItDiffers() throws {
        var scored = ScoredGroups.group([1, 0])
        scored.group.rollouts[0].policyLogProbabilities = [-1]
        scored.group.rollouts[0].samplingLogProbabilities = [-0.5]
        scored.group.rollouts[1].samplingLogProbabilities = scored.group.rollouts[1].policyLogProbabilities
        let completions = try GroupBaseline(rewards: .single, settings: .init()).credit(CreditBatch(groups: [scored]))
            .update.groups[0].completions
        #expect(completions.map(\.samplingLogProbabilities) == [[-0.5], nil])
        #expect(completions[0].rolloutLogProbabilities == [-1])
    }

    @Test func scalingByTheBatch() throws {
        let rule = try GroupBaseline(rewards: .single, settings: .init(scaling: .batch, epsilon: 0))
        let advantages = rule.advantages(of: [[1, 0], [4, 0]])
        #expect(relativeDistance(advantages[0], [0.264_135_3, -0.264_135_3]) < 1e-6)
        #expect(relativeDistance(advantages[1], [1.056_541, -1.056_541]) < 1e-6)
    }

    @Test func withoutScalingTheRewardIsOnlyCentred() throws {
        let rule = try GroupBaseline(rewards: .single, settings: .init(scaling: .none))
        #expect(rule.advantages(of: [[3, 1, 2]]) == [[1, -1, 0]])
    }

    /// 0.1 has no exact binary form: three of them do not sum to three times the first.
    @Test(arguments: GroupBaselineSettings.Scaling.allCases)
    func equalRewardsGiveExactlyZero(_ scaling: GroupBaselineSettings.Scaling) throws {
        let rule = try GroupBaseline(rewards: .single, settings: .init(scaling: scaling, epsilon: 0))
        #expect(rule.advantages(of: [[0.1, 0.1, 0.1], [1, 0, 0.5]])[0] == [0, 0, 0])
    }

    @Test func groupsWithoutADifferenceMayBeSparedTheKLTerm() throws {
        let batch = CreditBatch(groups: [ScoredGroups.group([1, 1]), ScoredGroups.group([1, 0], row: 1)])
        func taking(_ settings: GroupBaselineSettings) throws -> [[Bool]] {
            try GroupBaseline(rewards: .single, settings: settings).credit(batch).update.groups
                .map { $0.completions.map(\.takesKL) }
        }
        #expect(try taking(.init()) == [[true, true], [true, true]])
        #expect(try taking(.init(deadGroupsTakeKL: false)) == [[false, false], [true, true]])
    }

    @Test(arguments: GroupBaselineSettings.Scaling.allCases)
    func anUnscorableCompletionChangesNothingForTheOthers(_ scaling: GroupBaselineSettings.Scaling) throws {
        let rule = try GroupBaseline(rewards: .single, settings: .init(scaling: scaling))
        let with = rule.advantages(of: [[1, nil, 0, 0.25], [nil, 2]])
        let without = rule.advantages(of: [[1, 0, 0.25], [2]])
        #expect(with[0] == [without[0][0], 0, without[0][1], without[0][2]])
        #expect(with[1] == [0, 0])
    }

    @Test(arguments: GroupBaselineSettings.Scaling.allCases)
    func theOrderOfGroupsAndCompletionsIsIrrelevantToTheBit(_ scaling: GroupBaselineSettings.Scaling) throws {
        let rule = try GroupBaseline(rewards: .single, settings: .init(scaling: scaling))
        let group: [Double?] = [0.1, 0.7, 0.2, 1e-9, 3.3, nil, 0.4]
        let other: [Double?] = [5, 0.3, 0.3]
        let plain = rule.advantages(of: [group, other])
        let turned = rule.advantages(of: [other.reversed(), group.reversed()])
        #expect(turned == [plain[1].reversed(), plain[0].reversed()])
    }

    @Test func advantagesSumToZeroAndIgnoreShiftAndScale() throws {
        let rule = try GroupBaseline(rewards: .single, settings: .init(epsilon: 0))
        let rewards: [Double?] = [0.3, 0.9, -0.4, 2]
        let plain = rule.advantages(of: [rewards])[0]
        let moved = rule.advantages(of: [rewards.map { $0.map { 7 * $0 + 3 } }])[0]
        #expect(abs(plain.reduce(0, +)) < 1e-12)
        #expect(relativeDistance(moved, plain) < 1e-12)
    }

    /// By hand: a is (1, −1)/√2 in both groups, b is (−1, 1)/√2 in the first and absent in the second's last row.
    /// Sums with weights 1 and 2: −1/√2, 1/√2 | 1/√2 + 0, −1/√2; their mean is 0, their variance 4·(1/2)/3 = 2/3.
    @Test func eachRewardIsNormalizedInItsGroupBeforeTheSum() throws {
        let rewards = RewardCombination(names: ["a", "b"], weights: [1, 2])
        let rule = GroupBaseline(rewards: rewards, settings: .init(aggregation: .normalizeThenSum, epsilon: 0))
        let first = ScoredGroups.group(scores: [[.value(10), .value(0)], [.value(0), .value(1)]])
        let second = ScoredGroups.group(scores: [[.value(1), .value(3)], [.value(0), .abstained(reason: "-")]])
        let credits = try rule.credit(CreditBatch(groups: [first, second])).credits
        let found = credits.joined().compactMap(\.advantage)
        let expected = 0.5.squareRoot() / (2.0 / 3).squareRoot()
        #expect(relativeDistance(found, [-expected, expected, expected, -expected]) < 1e-12)
    }

    /// The normalized rewards 1, 0, 0 add up to 2e-16 in doubles. What a shadow says makes no difference.
    @Test func aGroupWithoutADifferenceHasNoAdvantageAfterTheSumEither() throws {
        let rewards = RewardCombination(names: ["a", "shadow"], weights: [1, 0])
        let rule = GroupBaseline(rewards: rewards, settings: .init(aggregation: .normalizeThenSum))
        let groups = [[1.0, 0, 0], [0.5, 0.5, 0.5]].enumerated().map { row, scores in
            ScoredGroups.group(
                scores: scores.enumerated().map { [.value($1), .value(Double($0))] }, row: row)
        }
        let credited = try rule.credit(CreditBatch(groups: groups))
        #expect(credited.credits[1].map(\.advantage) == [0, 0, 0])
        #expect(credited.credits[0].allSatisfy { abs($0.advantage ?? 0) > 0.5 })
        #expect(credited.metrics["frac_reward_zero_std"] == 0.5)
    }

    @Test func everyTokenGetsItsCompletionsAdvantage() throws {
        let rule = try GroupBaseline(
            rewards: .single, settings: .init(scaling: .none), overlong: .mask)
        let scored = ScoredGroups.group([1, 0, nil], lengths: [3, 1, 2], truncated: [1])
        let credited = try rule.credit(CreditBatch(groups: [scored]))
        let completions = credited.update.groups[0].completions
        #expect(credited.update.advantages[0] == [[0.5, 0.5, 0.5], [-0.5], [0, 0]])
        #expect(completions.map(\.isMasked) == [false, true, false])
        #expect(credited.update.actionTokenCount == 5)
        #expect(credited.credits[0].map(\.reward) == [1, 0, nil])
    }

    /// r − β·Σk1 = 1 − 0.5·(1 + 1) = 0 and 0 − 0.5·(−1 − 1) = 1.
    @Test func theKLPenaltyMayStandInTheReward() throws {
        let penalty = KLToGo(coefficient: 0.5, reach: .completion)
        let rule = try GroupBaseline(rewards: .single, settings: .init(scaling: .none, penalty: penalty))
        let batch = CreditBatch(
            groups: [ScoredGroups.group([1, 0])], oldLogProbabilities: [[[-1, -1], [-2, -2]]],
            referenceLogProbabilities: [[[-2, -2], [-1, -1]]])
        let credited = try rule.credit(batch)
        #expect(credited.update.advantages[0] == [[-0.5, -0.5], [0.5, 0.5]])
        #expect(credited.metrics["kl"] == 0)
        #expect(credited.metrics["reward"] == 0.5)
        #expect(throws: CreditError.missingReference(rule: "the group baseline")) {
            try rule.credit(CreditBatch(groups: batch.groups))
        }
    }

    /// Over all groups of G samples from three arms: without scaling exactly (G−1)/G of the policy gradient, with the
    /// group's deviation another direction.
    @Test(arguments: [2, 3])
    func expectedGradient(_ samples: Int) throws {
        let arms = TabularPolicy(vocabulary: 3, length: 1, seed: 4)
        let rewards = [1.0, 0.2, 0.6]
        let exact = arms.expectation { arms.scoreGradient($0, coefficients: [rewards[$0[0]]]) }
        func mean(_ scaling: GroupBaselineSettings.Scaling) throws -> [Double] {
            let rule = try GroupBaseline(rewards: .single, settings: .init(scaling: scaling))
            return Enumeration.expectedGradient(of: arms, samples: samples) { group in
                rule.advantages(of: [group.map { rewards[$0] }])[0]
            }
        }
        let factor = Double(samples - 1) / Double(samples)
        #expect(relativeDistance(try mean(.none), exact.map { factor * $0 }) < 1e-12)
        let ratios = zip(try mean(.group), exact).map { $0 / $1 }
        #expect(ratios.max()! - ratios.min()! > 0.1)
    }

    /// The factors .91, 1.29 and .54 of two samples. Two different rewards have advantages of ± 1/√2 however
    /// little they differ, so coordinate j of the mean gradient is Σ_b p_b·sign(r_j − r_b) / (√2·(r_j − r̄)) of the
    /// policy gradient's. Rewards 1, 0, 0.3 and logits −0.6, −1.1, 0: p = .2917, .1769, .5314, r̄ = .4511; .7083/.7763,
    /// −.8231/−.6379 and −.1148/−.2137.
    @Test func theDeviationsBiasHasAnotherFactorForEveryArm() throws {
        var arms = TabularPolicy(vocabulary: 3, length: 1, seed: 4)
        arms.logits = [[-0.6, -1.1, 0]]
        let rewards = [1.0, 0, 0.3]
        let exact = arms.expectation { arms.scoreGradient($0, coefficients: [rewards[$0[0]]]) }
        func ratios(_ settings: GroupBaselineSettings) throws -> [Double] {
            let rule = GroupBaseline(rewards: try .single, settings: settings)
            let mean = Enumeration.expectedGradient(of: arms, samples: 2) { group in
                rule.advantages(of: [group.map { rewards[$0] }])[0]
            }
            return zip(mean, exact).map { $0 / $1 }
        }
        #expect(zip(try ratios(.init()), [0.91, 1.29, 0.54]).allSatisfy { abs($0 - $1) < 0.005 })
        let probabilities = (0..<3).map { arms.probability([$0]) }
        let mean = zip(probabilities, rewards).map { $0 * $1 }.reduce(0, +)
        let worked = rewards.map { own in
            let signs = zip(probabilities, rewards).map { $0 * (own > $1 ? 1 : own < $1 ? -1 : 0) }
            return signs.reduce(0, +) / (2.0.squareRoot() * (own - mean))
        }
        #expect(relativeDistance(try ratios(.init(epsilon: 0)), worked) < 1e-12)
        #expect(relativeDistance(try ratios(.init(scaling: .none)), [0.5, 0.5, 0.5]) < 1e-12)
    }

    /// Accuracy is the same for a whole prompt: only the other reward is left, and its weight cancels in the batch's
    /// scale.
    @Test func aRewardThatTellsNobodyApartAddsNothing() throws {
        let rewards = RewardCombination(names: ["accuracy", "style"], weights: [5, 0.25])
        let rule = GroupBaseline(rewards: rewards, settings: .init(aggregation: .normalizeThenSum, epsilon: 0))
        let groups = [[0.3, 0.1], [0.7, 0.9]].enumerated().map { row, style in
            ScoredGroups.group(scores: style.map { [.value(1), .value($0)] }, row: row)
        }
        let found = try rule.credit(CreditBatch(groups: groups)).credits.joined().compactMap(\.advantage)
        let deviation = (4.0 / 3).squareRoot()  // of ±1 four times, in units of the sums' size
        #expect(relativeDistance(found, [1, -1, -1, 1].map { $0 / deviation }) < 1e-12)
    }
}
