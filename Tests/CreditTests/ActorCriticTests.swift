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

    /// The specification's fixture: r = 0, 0, 1 and V = .5, .4, .3 give A = .43675, .565, .7 and R = .93675, .965, 1.
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
