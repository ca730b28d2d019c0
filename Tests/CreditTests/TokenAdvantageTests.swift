import Credit
import Records
import TestSupport
import Testing

@Suite("Whitening over the batch (REINFORCE++)")
struct BatchWhiteningTests {
    /// Tokens 1, 1, 1, 0: mean 0.75, variance 0.25 with n − 1; whitened 0.5, 0.5, 0.5, −1.5.
    @Test func longRowsWeighMore() throws {
        let rule = try BatchWhitening(rewards: .single, form: .plain(penalty: nil))
        let groups = [ScoredGroups.group([1], lengths: [3]), ScoredGroups.group([0], lengths: [1])]
        let found = try rule.credit(CreditBatch(groups: groups)).update.advantages.map { $0[0] }
        #expect(relativeDistance(found.flatMap(\.self), [0.5, 0.5, 0.5, -1.5]) < 1e-7)
    }

    @Test func meanZeroAndVarianceOneOverTheTokensLearnedFrom() throws {
        let rule = try BatchWhitening(rewards: .single, form: .groupMean, overlong: .mask)
        let groups = [
            ScoredGroups.group([1, 0, nil], lengths: [3, 1, 4]),
            ScoredGroups.group([0.2, 0.9], lengths: [2, 5], truncated: [1]),
        ]
        let credited = try rule.credit(CreditBatch(groups: groups)).update
        let advantages = credited.advantages.flatMap(\.self)
        let learned = [0, 1, 3].flatMap { advantages[$0] }
        let mean = learned.reduce(0, +) / 6
        #expect(abs(mean) < 1e-12)
        #expect(abs(learned.map { $0 * $0 }.reduce(0, +) / 5 - 1) < 1e-6)
        #expect(advantages[2] == [0, 0, 0, 0])
        #expect(advantages[4] == [0, 0, 0, 0, 0])
    }

    @Test func aConstantPerPromptChangesThePlainFormOnly() throws {
        func advantages(_ form: BatchWhitening.Form, shift: Double) throws -> [Double] {
            let rule = try BatchWhitening(rewards: .single, form: form)
            let groups = [ScoredGroups.group([1 + shift, shift]), ScoredGroups.group([0.5, 0])]
            return try rule.credit(CreditBatch(groups: groups)).update.advantages
                .flatMap { $0.flatMap(\.self) }
        }
        let (mean, plain) = (BatchWhitening.Form.groupMean, BatchWhitening.Form.plain(penalty: nil))
        #expect(relativeDistance(try advantages(mean, shift: 3), try advantages(mean, shift: 0)) < 1e-9)
        #expect(relativeDistance(try advantages(plain, shift: 3), try advantages(plain, shift: 0)) > 0.1)
    }

    @Test(arguments: [BatchWhitening.Form.groupMean, .plain(penalty: nil)])
    func equalRewardsGiveExactlyZero(_ form: BatchWhitening.Form) throws {
        let rule = try BatchWhitening(rewards: .single, form: form)
        let groups = [ScoredGroups.group([0.1, 0.1, 0.1]), ScoredGroups.group([0.1, 0.1])]
        let found = try rule.credit(CreditBatch(groups: groups)).update.advantages
            .flatMap { $0.flatMap(\.self) }
        #expect(found.allSatisfy { $0 == 0 })
    }

    /// β·k1 to go with d = 1, 1: 1 − 2·0.5, 1 − 0.5 and 0 − 0, 0 − 0 before whitening: 0, 0.5, 0, 0.
    @Test func thePenaltyIsPartOfWhatIsWhitened() throws {
        let penalty = KLToGo(coefficient: 0.5)
        let rule = try BatchWhitening(rewards: .single, form: .plain(penalty: penalty))
        let batch = CreditBatch(
            groups: [ScoredGroups.group([1, 0])], oldLogProbabilities: [[[-1, -1], [-1, -1]]],
            referenceLogProbabilities: [[[-2, -2], [-1, -1]]])
        let found = try rule.credit(batch).update.advantages[0].flatMap(\.self)
        #expect(relativeDistance(found, [-0.5, 1.5, -0.5, -0.5]) < 1e-6)
    }
}

@Suite("Generalized advantage estimation")
struct GeneralizedAdvantageTests {
    private let values = [0.5, 0.4, 0.3]

    @Test func theGoldenRow() throws {
        let estimate = GeneralizedAdvantage().estimate(rewards: [0, 0, 1], values: values)
        #expect(relativeDistance(estimate.advantages, [0.43675, 0.565, 0.7]) < 1e-12)
        #expect(relativeDistance(estimate.returns, [0.93675, 0.965, 1.0]) < 1e-12)
    }

    @Test func lambdaOneWithoutACriticIsRewardToGo() throws {
        let estimate = GeneralizedAdvantage(lambda: 1).estimate(rewards: [0.5, 0.25, 1], values: [0, 0, 0])
        #expect(estimate.advantages == [1.75, 1.25, 1])
    }

    @Test func lambdaZeroIsTheOneStepError() throws {
        let estimate = GeneralizedAdvantage(discount: 0.5, lambda: 0)
            .estimate(rewards: [0, 0, 1], values: values, valueAfterEnd: 2)
        #expect(relativeDistance(estimate.advantages, [-0.3, -0.25, 1.7]) < 1e-12)
    }

    @Test func aPerfectCriticLeavesNothingToLearn() throws {
        let estimate = GeneralizedAdvantage().estimate(rewards: [0, 0, 1], values: [1, 1, 1])
        #expect(estimate.advantages == [0, 0, 0])
    }

    /// Over all completions of a policy: with the critic that knows every state's mean reward the estimate is the
    /// policy gradient for every λ; with another critic only for λ = 1, where values are no more than a baseline.
    @Test func theMeanGradientIsThePolicyGradient() throws {
        let policy = TabularPolicy(vocabulary: 3, length: 3, seed: 61)
        func reward(_ sequence: [Int]) -> Double { Double(sequence.reduce(1) { ($0 * 3 + $1) % 7 }) / 4 }
        func perfect(_ sequence: [Int]) -> [Double] {
            sequence.indices.map { step in
                let same = policy.sequences.filter { $0.starts(with: sequence[..<step]) }
                let mass = same.map(policy.probability).reduce(0, +)
                return same.map { policy.probability($0) * reward($0) }.reduce(0, +) / mass
            }
        }
        func wrong(_ sequence: [Int]) -> [Double] {
            sequence.indices.map { step in sequence[..<step].reduce(0.8) { $0 - 0.6 * Double($1) } }
        }
        func gradient(_ lambda: Double, _ values: ([Int]) -> [Double]) throws -> [Double] {
            let estimator = GeneralizedAdvantage(discount: 1, lambda: lambda)
            return policy.expectation { sequence in
                let rewards = GeneralizedAdvantage.tokenRewards(
                    score: reward(sequence), penalties: sequence.map { _ in 0 })
                let estimate = estimator.estimate(rewards: rewards, values: values(sequence))
                return policy.scoreGradient(sequence, coefficients: estimate.advantages)
            }
        }
        let exact = policy.centralDifferences { $0.expectation(reward) }
        for lambda in [0, 0.5, 0.95, 1] {
            #expect(relativeDistance(try gradient(lambda, perfect), exact) < 1e-7, "λ = \(lambda)")
        }
        #expect(relativeDistance(try gradient(1, wrong), exact) < 1e-7)
        #expect(relativeDistance(try gradient(0.5, wrong), exact) > 0.05)
    }

    @Test func theScoreFallsOnTheLastToken() {
        #expect(GeneralizedAdvantage.tokenRewards(score: 2, penalties: [0.5, -1, 0.25]) == [-0.5, 1, 1.75])
        #expect(GeneralizedAdvantage.tokenRewards(score: 2, penalties: []) == [])
    }

    @Test func whiteningHasMeanZeroAndVarianceOne() {
        let whitened = Whitening.whitened([[1, 2], [3, 4, 10]]).flatMap(\.self)
        #expect(abs(whitened.reduce(0, +)) < 1e-12)
        #expect(abs(whitened.map { $0 * $0 }.reduce(0, +) / 4 - 1) < 1e-7)
        #expect(Whitening.whitened([[3]]) == [[3]])
    }
}
