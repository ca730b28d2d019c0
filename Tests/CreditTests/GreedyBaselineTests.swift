import Credit
import Foundation
import Records
import TestSupport
import Testing

@Suite("Greedy baseline of ReMax")
struct GreedyBaselineTests {
    private static let policy = TabularPolicy(vocabulary: 3, length: 3, seed: 11)
    private static let reference = TabularPolicy(vocabulary: 3, length: 3, seed: 12)

    /// Any reward that depends on the whole sequence.
    private static func reward(_ sequence: [Int]) -> Double {
        sin(Double(sequence.enumerated().map { ($0 + 2) * ($1 + 1) }.reduce(0, +))) + 0.4 * Double(sequence.count)
    }

    /// The expected gradient when each token carries the advantage the rule gives it.
    private static func expectedGradient(
        _ settings: GreedyBaselineSettings, reward: ([Int]) -> Double = reward
    ) throws -> [Double] {
        let rule = try GreedyBaseline(rewards: .single, settings: settings)
        let advantages = Dictionary(
            uniqueKeysWithValues: try policy.sequences.map { sequence in
                let rollout = ScoredGroups.rollout(
                    tokens: sequence, logProbabilities: policy.logProbabilities(sequence))
                let group = RolloutGroup(
                    prompt: ScoredGroups.prompt(0), rollouts: [rollout], policyVersion: PolicyVersion(0))
                let scored = ScoredGroup(
                    group: group, scores: [[.value(reward(sequence))]], greedyScores: [.value(reward(policy.greedy))])
                let batch = CreditBatch(
                    groups: [scored],
                    referenceLogProbabilities: [[reference.logProbabilities(sequence).map(Float.init)]])
                return (sequence, try rule.credit(batch).update.advantages[0][0])
            })
        return policy.expectation { policy.scoreGradient($0, coefficients: advantages[$0]!) }
    }

    @Test func theGradientIsThatOfTheExpectedReward() throws {
        let found = try Self.expectedGradient(.init())
        let plain = Self.policy.expectation { sequence in
            Self.policy.scoreGradient(sequence, coefficients: sequence.map { _ in Self.reward(sequence) })
        }
        let differences = Self.policy.centralDifferences { $0.expectation(Self.reward) }
        #expect(relativeDistance(found, plain) < 1e-12)
        #expect(relativeDistance(found, differences) < 1e-6)
        #expect(relativeDistance(found.map(-), differences) > 1)
    }

    @Test func aConstantRewardGivesExactlyZeroAndAShiftChangesNothing() throws {
        #expect(try Self.expectedGradient(.init(), reward: { _ in 0.3 }).allSatisfy { $0 == 0 })
        let plain = try Self.expectedGradient(.init())
        let shifted = try Self.expectedGradient(.init(), reward: { Self.reward($0) + 5 })
        #expect(relativeDistance(shifted, plain) < 1e-12)
    }

    @Test func theKLToGoHasTheGradientOfTheSequencesKLAndOneStepHasNot() throws {
        let coefficient = 0.3
        let divergence = Self.policy.centralDifferences { policy in
            policy.expectation { sequence in
                policy.logProbabilities(sequence).reduce(0, +)
                    - Self.reference.logProbabilities(sequence).reduce(0, +)
            }
        }
        let expected = divergence.map { -coefficient * $0 }
        func found(_ reach: KLToGo.Reach) throws -> [Double] {
            let penalty = KLToGo(coefficient: coefficient, reach: reach)
            return try Self.expectedGradient(.init(penalty: penalty), reward: { _ in 1 })
        }
        #expect(relativeDistance(try found(.toGo), expected) < 1e-5)  // log-probs cross rooms as Float
        #expect(relativeDistance(try found(.completion), expected) < 1e-5)
        #expect(relativeDistance(try found(.oneStep), expected) > 0.05)
    }

    /// The trace of the covariance of (r − baseline)·∇ log π over the two logits, for p = π(first arm).
    private func variance(_ p: Double, rewards: [Double], baseline: Double) throws -> Double {
        let rule = try GreedyBaseline(rewards: .single, settings: .init())
        var arms = TabularPolicy(vocabulary: 2, length: 1, seed: 1)
        arms.logits = [[log(p), log(1 - p)]]
        func gradient(_ arm: [Int]) -> [Double] {
            let difference = rule.difference(reward: rewards[arm[0]], baseline: baseline)
            return arms.scoreGradient(arm, coefficients: [difference])
        }
        let mean = arms.expectation(gradient)
        return arms.expectation { (arm: [Int]) -> Double in
            let deviations: [Double] = zip(gradient(arm), mean).map { $0 - $1 }
            return deviations.map { $0 * $0 }.reduce(0, +)
        }
    }

    /// The covariance over the two logits has the trace 2·p·(1 − p)·((r₁ − b)·(1 − p) + (r₂ − b)·p)²; rewards 1 and 0.2.
    /// The greedy arm is the first; below p = 1/2 + 0.2/(2·0.8) = 0.625 its baseline has the lower variance.
    @Test(arguments: [(0.55, 0.0958, 0.1552), (0.63, 0.1184, 0.1147)])
    func varianceOfTwoArms(_ p: Double, _ withGreedy: Double, _ without: Double) throws {
        let rewards = [1.0, 0.2]
        let greedy = try variance(p, rewards: rewards, baseline: rewards[0])
        let plain = try variance(p, rewards: rewards, baseline: 0)
        #expect(abs(greedy - withGreedy) < 5e-5)
        #expect(abs(plain - without) < 5e-5)
        #expect((greedy < plain) == (p < 0.625))
        let best = (1 - p) * rewards[0] + p * rewards[1]
        #expect(try variance(p, rewards: rewards, baseline: best) < 1e-15)  // the best baseline of two arms
    }

    @Test(arguments: [0.05, 0.2, 0.35, 0.45, 0.49])
    func whereTheGreedyArmIsTheWorseOneItsVarianceIsAlwaysLower(_ p: Double) throws {
        let rewards = [1.0, 0.2]
        #expect(try variance(p, rewards: rewards, baseline: 0.2) < variance(p, rewards: rewards, baseline: 0))
        // A constant on every reward changes the variance of REINFORCE and not that of ReMax.
        let shifted = rewards.map { $0 + 3 }
        let greedy = try variance(p, rewards: rewards, baseline: 0.2)
        #expect(abs(try variance(p, rewards: shifted, baseline: 3.2) - greedy) < 1e-12)
        #expect(try variance(p, rewards: shifted, baseline: 0) > 2 * variance(p, rewards: rewards, baseline: 0))
    }

    @Test func aPromptWithoutAGreedyRewardIsDropped() throws {
        let rule = try GreedyBaseline(rewards: .single, settings: .init())
        let kept = ScoredGroups.group([1, nil], greedy: 0.25, row: 1)
        var failed = ScoredGroups.group([1, 0], row: 2)
        failed.greedyScores = [.failed(message: "broke")]
        let missing = ScoredGroups.group([1, 0], row: 3)
        let credited = try rule.credit(CreditBatch(groups: [failed, kept, missing]))
        #expect(credited.update.advantages == [[[0.75, 0.75], [0, 0]]])
        #expect(credited.credits.map { $0.map(\.advantage) } == [[nil, nil], [0.75, 0], [nil, nil]])
        #expect(credited.metrics["reward/greedy"] == 0.25)
        #expect(credited.metrics["remax/baseline_mean"] == 0.25)
        #expect(credited.metrics["remax/dropped_prompts"] == 2)
        #expect(credited.metrics["reward"] == 0.6)  // 1, 1, 0, 1, 0: the greedy completion is not among them
    }

    @Test func theDifferenceIsClippedAndNotTheReward() throws {
        let rule = try GreedyBaseline(rewards: .single, settings: .init(differenceClip: 5))
        #expect(rule.difference(reward: 20, baseline: 18) == 2)
        #expect(rule.difference(reward: 20, baseline: 1) == 5)
        #expect(rule.difference(reward: -20, baseline: 1) == -5)
    }

    /// γ = 1/2 over three tokens: γⁿ⁻ᵗ is 1/4, 1/2, 1; the authors' code has one factor more.
    @Test func theDifferenceIsDiscountedFromTheEnd() throws {
        func advantages(_ settings: GreedyBaselineSettings) throws -> [Double] {
            let group = ScoredGroup(
                group: RolloutGroup(
                    prompt: ScoredGroups.prompt(0),
                    rollouts: [ScoredGroups.rollout(tokens: [1, 2, 0], logProbabilities: [-1, -1, -1])],
                    policyVersion: PolicyVersion(0)),
                scores: [[.value(9)]], greedyScores: [.value(1)])
            let batch = CreditBatch(groups: [group], referenceLogProbabilities: [[[-1.5, -0.75, -2]]])
            return try GreedyBaseline(rewards: .single, settings: settings).credit(batch)
                .update.advantages[0][0]
        }
        #expect(try advantages(.init(discount: 0.5)) == [2, 4, 8])
        #expect(try advantages(.init(discount: 0.5, discountsLastToken: true)) == [1, 2, 4])
        let release = GreedyBaselineSettings(
            differenceClip: 4, penalty: KLToGo(coefficient: 2, reach: .oneStep), discount: 0.5, discountsLastToken: true
        )
        #expect(try advantages(release) == [0.5 - 1, 1 + 0.5, 2 - 2])  // c = 4; β·k1 is 1, −0.5, 2
    }

    /// d = 0.5, −0.25, 1 with β = 2: to go 2.5, 1.5, 2; one step 1, −0.5, 2; whole 2.5. The reward is the greedy
    /// completion's, so that nothing else is left.
    @Test func penaltiesByReach() throws {
        func penalties(_ reach: KLToGo.Reach) throws -> [Double] {
            let group = ScoredGroup(
                group: RolloutGroup(
                    prompt: ScoredGroups.prompt(0),
                    rollouts: [ScoredGroups.rollout(tokens: [1, 2, 0], logProbabilities: [-1, -1, -1])],
                    policyVersion: PolicyVersion(0)),
                scores: [[.value(1)]], greedyScores: [.value(1)])
            let batch = CreditBatch(groups: [group], referenceLogProbabilities: [[[-1.5, -0.75, -2]]])
            let penalty = KLToGo(coefficient: 2, reach: reach)
            return try GreedyBaseline(rewards: .single, settings: .init(penalty: penalty)).credit(batch)
                .update.advantages[0][0].map { -$0 }
        }
        #expect(try penalties(.toGo) == [2.5, 1.5, 2])
        #expect(try penalties(.oneStep) == [1, -0.5, 2])
        #expect(try penalties(.completion) == [2.5, 2.5, 2.5])
    }
}
