import Algorithms
import Foundation
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Clipped surrogate")
struct ClippedSurrogateTests {
    /// ε 0.2; worked by hand: min(1.5, 1.2) = 1.2, −min(−1.5, −1.2) = 1.5, −min(−0.5, −0.8) = 0.8, −min(0.5, 0.8) =
    /// −0.5.
    @Test(arguments: [(1.5, 1.0, -1.2), (1.5, -1, 1.5), (0.5, -1, 0.8), (0.5, 1, -0.5)])
    func goldenValues(_ ratio: Double, _ advantage: Double, _ expected: Double) throws {
        let loss = try ClippedSurrogate().loss(ratios: Tensor([ratio]), advantages: Tensor([advantage]))
        #expect(abs(try loss.item() - expected) < 1e-15)
    }

    /// Ratio 5 and advantage −1: unbounded 5, held at 3 by either bound.
    @Test(arguments: [(ClippedSurrogate.UpperBound.none, 5.0), (.dual(3), 3), (.delta(3), 3)])
    func boundsOnALargeRatio(_ bound: ClippedSurrogate.UpperBound, _ expected: Double) throws {
        let clip = ClippedSurrogate(upperBound: bound)
        #expect(try clip.loss(ratios: Tensor([5.0]), advantages: Tensor([-1.0])).item() == expected)
        #expect(try clip.loss(ratios: Tensor([5.0]), advantages: Tensor([1.0])).item() == -1.2)
    }

    /// Slopes of −min(ρA, clip(ρ)A) on either side of each kink.
    @Test func theGradientIsExactlyZeroOutsideTheClip() throws {
        let ratios = try Tensor([1.5, 1.1, 0.5, 0.5, 0.9, 5, 2]).requiringGradient()
        let advantages = try Tensor([2.0, 2, 2, -2, -2, -2, -2])
        let clip = ClippedSurrogate(upperBound: .dual(3))
        try clip.loss(ratios: ratios, advantages: advantages).sum().backward()
        #expect(try ratios.gradient?.doubles() == [0, -2, -2, 0, 2, 0, 2])
    }

    /// Ratios 5, 5, 2 and 0.5, of which the second alone has a positive advantage: one token has no gradient for the
    /// bound of 3, one for the upper clip, one for the lower, and each share is a quarter.
    @Test(arguments: [ClippedSurrogate.UpperBound.delta(3), .dual(3)])
    func everyTokenWithoutAGradientIsInAMetric(_ bound: ClippedSurrogate.UpperBound) throws {
        var example = LossExample(seed: 2)
        example.lengths = [4]
        example.policy = [-1, -1, -1, -1]
        example.old = [5, 5, 2, 0.5].map { -1 - log($0) }
        example.advantages = [-1, 1, -1, -1]
        let found = try example.evaluate(PPOSettings(clip: ClippedSurrogate(upperBound: bound)))
        #expect(found.gradient.map { $0 == 0 } == [true, true, false, true])
        for name in ["dual_mean", "high_mean", "low_mean"] {
            #expect(found.metrics.metrics["clip_ratio/\(name)"] == 0.25, "\(name)")
        }
        let unbounded = try example.evaluate(PPOSettings())
        #expect(unbounded.gradient[0] != 0 && unbounded.metrics["clip_ratio/dual_mean"] == nil)
    }

    @Test func clipHigherMovesOnlyTheUpperBound() throws {
        let clip = ClippedSurrogate(epsilon: 0.2, epsilonHigh: 0.28)
        let loss = try clip.loss(ratios: Tensor([1.5, 0.5]), advantages: Tensor([1.0, -1]))
        #expect(relativeDistance(try loss.doubles(), [-1.28, 0.8]) < 1e-15)
    }

    @Test func deltaAndDualClipAreOneFunctionAboveTheClip() throws {
        let ratios = try Tensor(stride(from: 0.05, to: 6, by: 0.05).map { $0 })
        for advantage in [-1.3, 0.7] {
            let advantages = try Tensor([Double](repeating: advantage, count: ratios.count))
            let delta = try ClippedSurrogate(upperBound: .delta(3)).loss(ratios: ratios, advantages: advantages)
            let dual = try ClippedSurrogate(upperBound: .dual(3)).loss(ratios: ratios, advantages: advantages)
            #expect(relativeDistance(try delta.doubles(), try dual.doubles()) < 1e-15)
        }
    }
}

@TensorActor @Suite("KL estimators in the loss")
struct KLGradientTests {
    private let policy = TabularPolicy(vocabulary: 4, length: 1, seed: 21)
    private let other = TabularPolicy(vocabulary: 4, length: 1, seed: 22)
    private let reference = TabularPolicy(vocabulary: 4, length: 1, seed: 23)

    /// E over y ∼ `sampler` of the gradient of a loss in log π(y).
    private func expectedGradient(
        sampler: TabularPolicy, _ loss: (_ logProbability: Tensor, _ token: [Int]) throws -> Tensor
    ) throws -> [Double] {
        try sampler.sequences.map { token in
            let logProbability = try Tensor(policy.logProbabilities(token)).requiringGradient()
            try loss(logProbability, token).sum().backward()
            let slope = try #require(logProbability.gradient).doubles()
            return policy.scoreGradient(token, coefficients: slope).map { $0 * sampler.probability(token) }
        }.summed()
    }

    private func estimate(_ estimator: KLEstimator, _ logProbability: Tensor, _ token: [Int]) throws -> Tensor {
        try estimator.estimate(policy: logProbability, reference: Tensor(reference.logProbabilities(token)))
    }

    private static func divergence(_ from: TabularPolicy, _ to: TabularPolicy) -> Double {
        from.expectation { (token: [Int]) -> Double in from.logProbabilities(token)[0] - to.logProbabilities(token)[0] }
    }

    private var reverse: [Double] { policy.centralDifferences { Self.divergence($0, reference) } }
    private var forward: [Double] { policy.centralDifferences { Self.divergence(reference, $0) } }

    @Test func k1HasNoGradientOnAverage() throws {
        let found = try expectedGradient(sampler: policy) { try estimate(.k1, $0, $1) }
        #expect(found.allSatisfy { abs($0) < 1e-15 })
    }

    @Test func k2DescendsTheReverseKL() throws {
        let found = try expectedGradient(sampler: policy) { try estimate(.k2, $0, $1) }
        #expect(relativeDistance(found, reverse) < 1e-8)
    }

    @Test func k3DescendsTheForwardKL() throws {
        let found = try expectedGradient(sampler: policy) { try estimate(.k3, $0, $1) }
        #expect(relativeDistance(found, forward) < 1e-8)
        #expect(relativeDistance(found, reverse) > 0.05)
    }

    @Test(arguments: [KLEstimator.k1, .k3])
    func timesTheRatioItDescendsTheReverseKLWhateverTheSampler(_ estimator: KLEstimator) throws {
        for sampler in [policy, other] {
            let found = try expectedGradient(sampler: sampler) { logProbability, token in
                let old = try Tensor(sampler.logProbabilities(token))
                let ratio = try ImportanceRatio.token.ratios(
                    policy: logProbability, old: old, CompletionSpans(lengths: [1]))
                return try estimate(estimator, logProbability, token) * ratio
            }
            #expect(relativeDistance(found, reverse) < 1e-8)
        }
    }

    /// ∇E[ρ·k2] = E[(d + d²/2)·∇log π]: only as a weight does the ratio leave k2 what it is.
    @Test func timesTheRatioAsAWeightK2DescendsTheReverseKLWhateverTheSampler() throws {
        for sampler in [policy, other] {
            func found(_ weight: (Tensor) throws -> Tensor) throws -> [Double] {
                try expectedGradient(sampler: sampler) { logProbability, token in
                    let ratio = try ImportanceRatio.token.ratios(
                        policy: logProbability, old: Tensor(sampler.logProbabilities(token)),
                        CompletionSpans(lengths: [1]))
                    return try estimate(.k2, logProbability, token) * weight(ratio)
                }
            }
            let weighed = try found { try $0.detached() }
            #expect(relativeDistance(weighed, reverse) < 1e-8)
            let multiplied = try found { $0 }
            #expect(relativeDistance(multiplied, reverse) > 0.05)
        }
    }

    /// The KL term of whole objectives, advantages 0 and β = 1.
    @Test func theMethodsDescendTheKLTheySay() throws {
        func found(_ objective: Objective, sampler: TabularPolicy) throws -> [Double] {
            try expectedGradient(sampler: sampler) { logProbability, token in
                try objective.loss(
                    PolicyLossInputs(
                        logProbabilities: logProbability, oldLogProbabilities: Tensor(sampler.logProbabilities(token)),
                        referenceLogProbabilities: Tensor(reference.logProbabilities(token)),
                        advantages: Tensor([0.0]), spans: CompletionSpans(lengths: [1]),
                        denominators: Denominators(tokens: 1, sequences: 1, maxCompletionLength: 1))
                ).loss
            }
        }
        let corrected = GRPOSettings(klCoefficient: 1)
        let plain = GRPOSettings(klCoefficient: 1, correctsKLBias: false)
        #expect(relativeDistance(try found(corrected, sampler: policy), reverse) < 1e-8)
        #expect(relativeDistance(try found(corrected, sampler: other), reverse) < 1e-8)
        #expect(relativeDistance(try found(plain, sampler: policy), forward) < 1e-8)
        #expect(relativeDistance(try found(plain, sampler: other), reverse) > 0.05)
        for estimator in [KLEstimator.k1, .k2] {
            let settings = GRPOSettings(klCoefficient: 1, klEstimator: estimator)
            #expect(relativeDistance(try found(settings, sampler: policy), reverse) < 1e-8)
            #expect(relativeDistance(try found(settings, sampler: other), reverse) < 1e-8)
        }
        let plusPlus = REINFORCEPlusPlusSettings(klCoefficient: 1)
        #expect(relativeDistance(try found(plusPlus, sampler: policy), reverse) < 1e-8)
    }

    /// With A = 0 the loss is β times the mean of the exact divergences, whatever the ratios and the token that was
    /// drawn.
    @Test func anExactDivergenceTakesNoRatio() throws {
        let exact = try Tensor([0.25, 0.75]).requiringGradient()
        var inputs = PolicyLossInputs(
            logProbabilities: try Tensor([-1.0, -2]), oldLogProbabilities: try Tensor([-2.0, -1]),
            exactDivergences: exact, advantages: try Tensor([0.0, 0]), spans: try CompletionSpans(lengths: [1, 1]),
            denominators: Denominators(tokens: 2, sequences: 2, maxCompletionLength: 1))
        let objective = GRPOSettings(klCoefficient: 0.5, usesExactKL: true)
        let result = try objective.loss(inputs)
        try result.loss.backward()
        #expect(try result.loss.item() == 0.25)
        #expect(try #require(exact.gradient).doubles() == [0.25, 0.25])
        #expect(try result.read().metrics.metrics["kl"] == 0.5)
        inputs.exactDivergences = nil
        #expect(throws: LossError.self) { try objective.loss(inputs) }
    }

    /// Over completions of several tokens a term in the loss descends the KL at the states that were visited; what a
    /// token does to the states after it is left out. The penalty in the reward has that, where each token gets the sum
    /// to go.
    @Test func inTheLossLaterStatesAreLeftOut() throws {
        let policy = TabularPolicy(vocabulary: 3, length: 3, seed: 24)
        let reference = TabularPolicy(vocabulary: 3, length: 3, seed: 25)
        let found = try policy.sequences.map { sequence in
            let leaf = try Tensor(policy.logProbabilities(sequence)).requiringGradient()
            try KLEstimator.k2.estimate(policy: leaf, reference: Tensor(reference.logProbabilities(sequence))).sum()
                .backward()
            let slope = try #require(leaf.gradient).doubles().map { $0 * policy.probability(sequence) }
            return policy.scoreGradient(sequence, coefficients: slope)
        }.summed()
        func divergence(of moved: TabularPolicy, along sequence: [Int]) -> Double {
            var sum = 0.0
            for step in sequence.indices {
                for token in 0..<3 {
                    let next = sequence[..<step] + [token]
                    let mine = moved.logProbabilities(Array(next))[step]
                    sum += exp(mine) * (mine - reference.logProbabilities(Array(next))[step])
                }
            }
            return sum
        }
        let visited = policy.centralDifferences { moved in
            policy.expectation { (sequence: [Int]) -> Double in divergence(of: moved, along: sequence) }
        }
        let whole = policy.centralDifferences { moved in
            moved.expectation { (sequence: [Int]) -> Double in divergence(of: moved, along: sequence) }
        }
        #expect(relativeDistance(found, visited) < 1e-8)
        #expect(relativeDistance(found, whole) > 0.05)
    }

    @Test(arguments: zip(KLEstimator.allCases, [0.5, 0.125, 0.106_530_659_7, 0.5]))
    func goldenValues(_ estimator: KLEstimator, _ expected: Double) throws {
        let found = try estimator.estimate(policy: Tensor([-1.0]), reference: Tensor([-1.5])).item()
        #expect(abs(found - expected) < 1e-10)
    }
}

@TensorActor @Suite("Mismatch between sampler and trainer")
struct MismatchCorrectionTests {
    private func weights(_ correction: MismatchCorrection, _ example: LossExample) throws -> [Double] {
        let inputs = try example.inputs().inputs
        return try correction.weights(
            old: Tensor(example.old), rollout: Tensor(example.rollout), inputs.spans
        ).doubles()
    }

    @Test func aSequencesWeightIsTheProductOfItsTokens() throws {
        let example = LossExample(seed: 3)
        let tokens = try weights(.init(granularity: .token, constraint: .truncate, maximum: nil), example)
        let sequences = try weights(.init(granularity: .sequence, constraint: .truncate, maximum: nil), example)
        for range in example.ranges {
            let product = tokens[range].reduce(1, *)
            #expect(sequences[range].allSatisfy { abs($0 - product) < 1e-12 })
        }
    }

    /// Ratios 0.5, 1 and 2 within 0.8...1.5.
    @Test(arguments: [(MismatchCorrection.Constraint.truncate, [0.8, 1, 1.5]), (.mask, [0, 1, 0])])
    func bounds(_ constraint: MismatchCorrection.Constraint, _ expected: [Double]) throws {
        let correction = MismatchCorrection(
            granularity: .token, constraint: constraint, minimum: 0.8, maximum: 1.5)
        let found = try correction.weights(
            old: Tensor([log(0.5), 0, log(2.0)]), rollout: Tensor([0.0, 0, 0]), CompletionSpans(lengths: [3]))
        #expect(relativeDistance(try found.doubles(), expected) < 1e-15)
    }

    @Test(arguments: MismatchCorrection.Granularity.allCases, MismatchCorrection.Constraint.allCases)
    func whereSamplerAndTrainerAgreeItChangesNoBit(
        _ granularity: MismatchCorrection.Granularity, _ constraint: MismatchCorrection.Constraint
    ) throws {
        var example = LossExample(seed: 3)
        example.rollout = example.old
        let correction = MismatchCorrection(granularity: granularity, constraint: constraint)
        let on = try example.evaluate(GRPOSettings(mismatchCorrection: correction), type: .float32)
        let off = try example.evaluate(GRPOSettings(), type: .float32)
        #expect(on.loss == off.loss)
        #expect(on.gradient == off.gradient)
    }

    @Test func aMaskedCompletionLeavesNoGradientAndTheDenominatorsStay() throws {
        var example = LossExample(seed: 3)
        example.rollout = example.old
        example.rollout[example.ranges[3].lowerBound] -= 5  // weight e^5
        let found = try example.evaluate(GRPOSettings(mismatchCorrection: .init())).gradient
        let plain = try example.evaluate(GRPOSettings()).gradient
        #expect(found[example.ranges[3]].allSatisfy { $0 == 0 })
        #expect(found[..<example.ranges[3].lowerBound] == plain[..<example.ranges[3].lowerBound])
    }

    /// Sampling from another policy, unbounded sequence weights restore the policy gradient; token weights do not.
    @Test func onlySequenceWeightsAreUnbiased() throws {
        let policy = TabularPolicy(vocabulary: 3, length: 2, seed: 31)
        let sampler = TabularPolicy(vocabulary: 3, length: 2, seed: 32)
        func reward(_ sequence: [Int]) -> Double { sin(Double(sequence.reduce(3) { 2 * $0 + $1 })) }
        let exact = policy.expectation { sequence in
            policy.scoreGradient(sequence, coefficients: sequence.map { _ in reward(sequence) })
        }
        func found(_ granularity: MismatchCorrection.Granularity) throws -> [Double] {
            let correction = MismatchCorrection(granularity: granularity, constraint: .truncate, maximum: nil)
            return try sampler.sequences.map { sequence in
                let weights = try correction.weights(
                    old: Tensor(policy.logProbabilities(sequence)),
                    rollout: Tensor(sampler.logProbabilities(sequence)), CompletionSpans(lengths: [sequence.count])
                ).doubles()
                let coefficients = weights.map { $0 * reward(sequence) * sampler.probability(sequence) }
                return policy.scoreGradient(sequence, coefficients: coefficients)
            }.summed()
        }
        #expect(relativeDistance(try found(.sequence), exact) < 1e-12)
        #expect(relativeDistance(try found(.token), exact) > 0.05)
    }
}
