import Credit
import Records
import TestSupport
import Testing

@Suite("Actor-critic advantages of PPO")
struct ActorCriticTests {
    private func rule(
        _ estimator: GeneralizedAdvantage? = nil, penalty: KLToGo? = nil, missingEndPenalty: Double = 0,
        bootstrapsTruncated: Bool = false
    ) throws -> ActorCritic {
        try ActorCritic(
            rewards: .single, estimator: estimator ?? GeneralizedAdvantage(), penalty: penalty,
            missingEndPenalty: missingEndPenalty, bootstrapsTruncated: bootstrapsTruncated)
    }

    /// r = 0, 0, 1 and V = .5, .4, .3 with λ = .95: δ = −.1, −.1, .7, A = −.1 + .95·.565 = .43675, −.1 + .95·.7 = .565,
    /// .7, and R = A + V = .93675, .965, 1.
    /// The second completion has r = 0, 0 and V = .1, .2: δ = .1, −.2, A = .1 − .95·.2 = −.09, −.2, R = .01, 0.
    @Test func theFixtureAndItsWhitening() throws {
        let batch = CreditBatch(
            groups: [ScoredGroups.group([1, 0], lengths: [3, 2])],
            values: CriticValues(oneHead: [[[0.5, 0.4, 0.3], [0.1, 0.2]]]))
        let update = try rule().credit(batch).update
        let completions = update.groups[0].completions
        let plain = [0.43675, 0.565, 0.7, -0.09, -0.2]
        let mean = plain.reduce(0, +) / 5
        let variance = plain.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 4
        let expected = plain.map { ($0 - mean) / (variance + 1e-8).squareRoot() }
        let found = update.advantages[0].flatMap(\.self)
        #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 1e-6 })  // values came as float32
        let returns = completions.flatMap { $0.returns[0] }
        #expect(zip(returns, [0.93675, 0.965, 1, 0.01, 0]).allSatisfy { abs($0 - $1) < 1e-6 })
        #expect(completions.map(\.oldValues) == [[[0.5, 0.4, 0.3]], [[0.1, 0.2]]])
    }

    /// Without a critic's help and with λ = 1 the estimate is the reward with its KL to go: REINFORCE++'s plain form.
    @Test func withValuesOfZeroAndLambdaOneItIsTheRewardToGo() throws {
        let reference: [[[Float]]] = [[[-1.2, -0.2], [-0.1, -0.9, -0.4]]]
        let groups = [ScoredGroups.group([1, -0.5], lengths: [2, 3])]
        let found = try rule(
            GeneralizedAdvantage(discount: 1, lambda: 1), penalty: KLToGo(coefficient: 0.3, reach: .oneStep)
        ).credit(
            CreditBatch(
                groups: groups, referenceLogProbabilities: reference,
                values: CriticValues(oneHead: [[[0, 0], [0, 0, 0]]])))
        let expected = try BatchWhitening(
            rewards: .single, form: .plain(penalty: KLToGo(coefficient: 0.3, reach: .toGo))
        ).credit(CreditBatch(groups: groups, referenceLogProbabilities: reference))
        let pairs = zip(
            found.update.advantages[0].flatMap(\.self), expected.update.advantages[0].flatMap(\.self))
        #expect(pairs.allSatisfy { abs($0 - $1) < 1e-12 })
    }

    /// A perfect critic of a certain reward has nothing to learn from: all A are 0, and stay 0 when whitened.
    @Test func aPerfectCriticLeavesNoAdvantage() throws {
        let batch = CreditBatch(
            groups: [ScoredGroups.group([2, 2], lengths: [2, 3])],
            values: CriticValues(oneHead: [[[2, 2], [2, 2, 2]]]))
        let credited = try rule().credit(batch)
        #expect(credited.update.advantages[0].flatMap(\.self).allSatisfy { $0 == 0 })
    }

    /// Masked, its tokens are in neither loss and in no denominator. A return of V would pull a critic that has moved
    /// back to V.
    @Test func whatIsUnscoredMovesNeitherNetwork() throws {
        let batch = CreditBatch(
            groups: [ScoredGroups.group([nil, 1, 0], lengths: [2, 2, 2])],
            values: CriticValues(oneHead: [[[0.25, 0.5], [0, 0], [0, 0]]]))
        let update = try rule().credit(batch).update
        #expect(update.groups[0].completions.map(\.isMasked) == [true, false, false])
        #expect(update.actionTokenCount == 4)
        #expect(update.advantages[0][0] == [0, 0])
    }

    /// γ = λ = 1: A = r − V. The task weighs 1, the length −λ = −1, both halved by 1 + λ, the shadow nothing: the first
    /// completion, which it gave no score, has ½·(1 − 0.25) − ½·(20 − 5) = −7.125, the second ½·0 − ½·10 = −5. In the
    /// shadow's stream the first has no advantage, R = V = 2, and no word in the metrics: V = 1 and R = 3 are the
    /// second's.
    @Test func aShadowWithoutAScoreMasksNothing() throws {
        let rewards = RewardCombination(names: ["task", "length", "shadow"], weights: [1, 0, 0], form: .apart)
        var rule = ActorCritic(rewards: rewards, estimator: GeneralizedAdvantage(discount: 1, lambda: 1))
        rule.mixer = Mixer()
        func batch(_ first: [Double?], multiplier: Double) -> CreditBatch {
            let held = LagrangianConstraints(
                [Constraint("length", limit: 10, kind: .atMost)], MultiplierSettings(initial: multiplier))
            let scores: [[Double?]] = [first, [0, 10, 3]]
            return CreditBatch(
                groups: [ScoredGroups.group(scores: scores.map { $0.map(ScoredGroups.score) }, lengths: [1, 1])],
                values: CriticValues([[[[0.25], [5], [2]], [[0], [0], [1]]]]), weights: held.weights(at: 0))
        }
        let credited = try rule.credit(batch([1, 20, nil], multiplier: 1))
        let completions = credited.update.groups[0].completions
        #expect(completions.map(\.isMasked) == [false, false])
        #expect(credited.update.advantages[0] == [[-7.125], [-5]])
        #expect(completions.map(\.returns) == [[[1], [20], [2]], [[0], [10], [3]]])
        #expect(credited.metrics["values/shadow/mean"] == 1 && credited.metrics["returns/shadow/mean"] == 3)
        // A multiplier that happens to be 0 makes no shadow.
        let unheld = try rule.credit(batch([1, nil, 4], multiplier: 0)).update
        #expect(unheld.groups[0].completions.map(\.isMasked) == [true, false])
    }

    @Test func aCutCompletionPaysForItsMissingEnd() throws {
        let batch = CreditBatch(
            groups: [ScoredGroups.group([1, 1], lengths: [1, 1], truncated: [1])],
            values: CriticValues(oneHead: [[[0], [0]]]))
        let completions = try rule(missingEndPenalty: 0.75).credit(batch).update.groups[0].completions
        #expect(completions.map(\.returns) == [[[1]], [[0.25]]])
    }

    /// γ = 1, λ = 0.95, r = 0, 0, V = .1, .2 and .5 behind the end: δ = .1, .3, A = .1 + .95·.3 = .385, .3, R = .485,
    /// .5. The first ended by itself: what the critic says behind its end is nothing, δ = .1, −.2, R = .01, 0.
    @Test func aCutCompletionMayBeWorthItsLastState() throws {
        let batch = CreditBatch(
            groups: [ScoredGroups.group([0, 0], lengths: [2, 2], truncated: [1])],
            values: CriticValues(oneHead: [[[0.1, 0.2], [0.1, 0.2]]], ends: [[0.5, 0.5]]))
        let found = try rule(bootstrapsTruncated: true).credit(batch).update.groups[0].completions.flatMap {
            $0.returns[0]
        }
        #expect(zip(found, [0.01, 0, 0.485, 0.5]).allSatisfy { abs($0 - $1) < 1e-6 }, "\(found)")
        let plain = try rule().credit(batch).update.groups[0].completions.flatMap { $0.returns[0] }
        #expect(zip(plain, [0.01, 0, 0.01, 0]).allSatisfy { abs($0 - $1) < 1e-6 }, "\(plain)")
        #expect(throws: CreditError.self) {
            try rule().credit(
                CreditBatch(groups: batch.groups, values: CriticValues(oneHead: [[[0, 0], [0, 0]]], ends: [[0]])))
        }
    }

    @Test func aStepWithoutValuesIsRefused() throws {
        let rule = try rule()
        #expect(throws: CreditError.missingValues(rule: "ppo")) {
            try rule.credit(CreditBatch(groups: [ScoredGroups.group([1])]))
        }
        #expect(throws: CreditError.self) {
            try rule.credit(CreditBatch(groups: [ScoredGroups.group([1])], values: CriticValues(oneHead: [[[0.5]]])))
        }
    }
}
