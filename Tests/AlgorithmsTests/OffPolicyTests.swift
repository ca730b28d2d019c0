import Algorithms
import Foundation
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Completions that the policy has moved away from")
struct OffPolicyMaskTests {
    /// Four completions of two tokens, threshold 0.5 nats a token. Mean of log π_rollout − log π and A:
    /// 0.625 and −1: dropped; 0.5 and −1: not above it; 0.625 and 1: pushed up, kept; −2 and −1: the policy likes it
    /// more.
    @Test func onlyWhatIsPushedDownAndFarOffIsDropped() throws {
        var example = LossExample(seed: 2)
        example.lengths = [2, 2, 2, 2]
        example.policy = [Double](repeating: -1, count: 8)
        example.old = example.policy
        let drift = [1.125, 0.125, 0.75, 0.25, 1.125, 0.125, -2, -2]
        example.rollout = zip(example.policy, drift).map { $0 + $1 }
        example.advantages = [-1, -1, -1, -1, 1, 1, -1, -1]
        let found = try example.evaluate(GRPOSettings(offPolicyThreshold: 0.5)).gradient
        // The mean is over eight tokens all the same.
        #expect(relativeDistance(found, [0, 0, 1, 1, -1, -1, 1, 1].map { $0 / 8 }) < 1e-14)
        let off = try example.evaluate(GRPOSettings()).gradient
        #expect(relativeDistance(off, example.advantages.map { -$0 / 8 }) < 1e-14)
    }

    /// With filters the sampler draws from another distribution than the policy whose log-probs are scored again:
    /// weights compare with the former. Tokens of twice the old policy's probability weigh a half; A = −1, ρ = 1, a
    /// mean over two tokens.
    @Test func weightsCompareWithWhatWasSampledFrom() throws {
        let policy = try Tensor([-1.0, -2]).requiringGradient()
        let inputs = PolicyLossInputs(
            logProbabilities: policy, rolloutLogProbabilities: try Tensor([-1.0, -2]),
            samplingLogProbabilities: try Tensor([-1 + log(2.0), -2]), advantages: try Tensor([-1.0, -1]),
            spans: try CompletionSpans(lengths: [2]),
            denominators: Denominators(tokens: 2, sequences: 1, maxCompletionLength: 2))
        let correction = MismatchCorrection(granularity: .token, constraint: .truncate)
        try GRPO.loss(inputs, GRPOSettings(mismatchCorrection: correction)).loss.backward()
        #expect(relativeDistance(try #require(policy.gradient).doubles(), [0.25, 0.5]) < 1e-14)
    }

    /// Decoupled PPO (arXiv:2505.24298): −w·min(r·A, clip(r, 0.8, 1.2)·A) with r = π/π_old and w = π_old/π_sampler, and a
    /// mean over all tokens, also those of weight 0. By token: r 1.5, w 2, A 1: −2·1.2; r 1.5, w 0.5, A −1: 0.5·1.5;
    /// r 0.5, w 4, A 1: −3·0.5 where 4 is cut to 3, and 0 where it is masked; r 1, w 1, A 1: −1.
    @Test(
        arguments: [
            (.truncate, (-2.4 + 0.75 - 1.5 - 1) / 4), (.mask, (-2.4 + 0.75 - 1) / 4),
        ] as [(MismatchCorrection.Constraint, Double)])
    func ratiosClipBetweenTwoPoliciesAndWeighTheThird(
        _ constraint: MismatchCorrection.Constraint, _ expected: Double
    ) throws {
        let old = [-1.0, -2, -1.5, -0.5]
        let ratios = [1.5, 1.5, 0.5, 1]
        let weights = [2.0, 0.5, 4, 1]
        let inputs = PolicyLossInputs(
            logProbabilities: try Tensor(zip(old, ratios).map { $0 + log($1) }).requiringGradient(),
            oldLogProbabilities: try Tensor(old),
            rolloutLogProbabilities: try Tensor(zip(old, weights).map { $0 - log($1) }),
            advantages: try Tensor([1.0, -1, 1, 1]), spans: try CompletionSpans(lengths: [1, 3]),
            denominators: Denominators(tokens: 4, sequences: 2, maxCompletionLength: 3))
        let correction = MismatchCorrection(granularity: .token, constraint: constraint, maximum: 3)
        let loss = try GRPO.loss(inputs, GRPOSettings(mismatchCorrection: correction)).loss.item()
        #expect(abs(loss - expected) < 1e-12)
    }

    /// Without the sampler's log-probs the old policy's stand in for them, as in TRL.
    @Test func theOldPolicyStandsInForTheSampler() throws {
        var example = LossExample(seed: 3)
        for token in example.ranges[3] { example.old[token] = example.policy[token] + 0.125 }  // advantage −0.6
        var inputs = try example.inputs().inputs
        let settings = GRPOSettings(offPolicyThreshold: 0.05)
        inputs.rolloutLogProbabilities = inputs.oldLogProbabilities
        let given = try GRPO.loss(inputs, settings).loss.item()
        inputs.rolloutLogProbabilities = nil
        #expect(try GRPO.loss(inputs, settings).loss.item() == given)
        #expect(try GRPO.loss(inputs, GRPOSettings()).loss.item() != given)
    }

    /// With advantages of 0 only the KL term is left: neither weights nor the mask may touch it.
    @Test func theKLTermIsNeitherWeighedNorMasked() throws {
        var example = LossExample(seed: 3)
        example.advantages = example.advantages.map { _ in 0 }
        let plain = try example.evaluate(GRPOSettings(klCoefficient: 0.3))
        let corrected = try example.evaluate(
            GRPOSettings(
                klCoefficient: 0.3,
                mismatchCorrection: .init(granularity: .token, constraint: .truncate, maximum: 1.1),
                offPolicyThreshold: 0.01))
        #expect(plain.loss > 0.01)
        #expect(corrected.loss == plain.loss)
        #expect(corrected.gradient == plain.gradient)
    }
}

/// Rollouts of an older policy: what replay and several optimizer steps per rollout learn from.
@TensorActor @Suite("Learning from an older policy's completions")
struct OldPolicyTests {
    private func reward(_ sequence: [Int]) -> Double { cos(Double(sequence.reduce(2) { 3 * $0 + $1 })) }

    /// E over the older policy's completions of −∇ loss, with the log-probs that it left.
    private func expectedGradient(_ objective: Objective, of policy: TabularPolicy, older: TabularPolicy) throws
        -> [Double]
    {
        try older.sequences.map { sequence in
            let leaf = try Tensor(policy.logProbabilities(sequence)).requiringGradient()
            let inputs = PolicyLossInputs(
                logProbabilities: leaf, oldLogProbabilities: try Tensor(older.logProbabilities(sequence)),
                advantages: try Tensor(sequence.map { _ in reward(sequence) }),
                spans: try CompletionSpans(lengths: [sequence.count]),
                denominators: Denominators(tokens: sequence.count, sequences: 1, maxCompletionLength: 3))
            try objective.loss(inputs).loss.backward()
            let slope = try #require(leaf.gradient).doubles().map { -$0 * older.probability(sequence) }
            return policy.scoreGradient(sequence, coefficients: slope)
        }.summed()
    }

    /// The ratio of whole completions is exact at any age, as long as nothing clips; a ratio for each token leaves out
    /// how likely the tokens before it have become.
    @Test func theRatioOfACompletionMakesUpForItsAge() throws {
        let policy = TabularPolicy(vocabulary: 3, length: 3, seed: 51)
        let older = TabularPolicy(vocabulary: 3, length: 3, seed: 52)
        let exact = policy.centralDifferences { $0.expectation(reward) }
        let unclipped = ClippedSurrogate(epsilon: 1e6)
        func distance(_ objective: Objective) throws -> Double {
            relativeDistance(try expectedGradient(objective, of: policy, older: older), exact)
        }
        #expect(try distance(RLOOSettings(ratioClip: unclipped)) < 1e-7)
        #expect(try distance(ReMaxSettings(reduction: .sequenceSum, ratioClip: unclipped)) > 0.05)
        // Without the log-probs it was written with, an old completion counts as the present policy's.
        #expect(try distance(RLOOSettings(ratioClip: nil)) > 0.05)
    }

    @Test func oneTokenHasOneRatio() throws {
        let policy = TabularPolicy(vocabulary: 5, length: 1, seed: 53)
        let older = TabularPolicy(vocabulary: 5, length: 1, seed: 54)
        let settings = PPOSettings(clip: .init(epsilon: 1e6))
        let found = try expectedGradient(settings, of: policy, older: older)
        #expect(relativeDistance(found, policy.centralDifferences { $0.expectation(reward) }) < 1e-7)
    }
}
