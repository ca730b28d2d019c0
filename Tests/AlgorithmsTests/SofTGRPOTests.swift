import Algorithms
import Foundation
import Records
import Tensors
import TestSupport
import Testing

/// Two completions of six tokens, of which four are soft, in plain numbers.
private struct SoftExample {
    let lengths = [4, 2]
    /// Token positions of the soft steps.
    let positions = [0, 1, 2, 4]
    /// One a token; soft positions hold 0.
    var policy = [0, 0, 0, -0.9, 0, -1.3]
    var old = [0, 0, 0, -1.05, 0, -1.2]
    var reference = [0, 0, 0, -0.4, 0, -1.9]
    let advantages = [0.8, 0.8, 0.8, 0.8, -1.1, -1.1]
    /// `[step][component]`; the third step has one word and two empty slots, the fourth one empty slot.
    let values = [[0.2, -0.5, -1], [-1.4, 0.9, -0.2], [0.7, 0, 0], [-2.1, 0.4, 0]]
    let filled = [[1.0, 1, 1], [1, 1, 1], [1, 0, 0], [1, 1, 0]]
    var soft = [[0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [1, 1, 1], [0.35, 0.65, 1]].map { $0.map { log($0) } }
    var softOld = [[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [1, 1, 1], [0.3, 0.7, 1]].map { $0.map { log($0) } }
    let softReference = [[0.4, 0.4, 0.2], [0.5, 0.3, 0.2], [1, 1, 1], [0.8, 0.2, 1]].map { $0.map { log($0) } }

    struct Leaves {
        var inputs: PolicyLossInputs
        let policy: Tensor
        let soft: Tensor
    }

    @TensorActor
    func leaves(isFirstStep: Bool = false, type: ElementType = .float64) throws -> Leaves {
        func row(_ numbers: [Double]) throws -> Tensor { try Tensor(numbers).to(type) }
        func rows(_ numbers: [[Double]]) throws -> Tensor {
            try Tensor(numbers.flatMap(\.self), shape: [4, 3]).to(type)
        }
        let policyLeaf = try row(policy).requiringGradient()
        let softLeaf = try rows(soft).requiringGradient()
        let inputs = PolicyLossInputs(
            logProbabilities: policyLeaf, oldLogProbabilities: isFirstStep ? nil : try row(old),
            referenceLogProbabilities: try row(reference), advantages: try row(advantages),
            spans: try CompletionSpans(lengths: lengths),
            denominators: Denominators(tokens: 6, sequences: 2, maxCompletionLength: 5),
            payload: SoftLossInputs(
                positions: positions, values: try rows(values), filled: try rows(filled), policy: softLeaf,
                old: isFirstStep ? nil : try rows(softOld), rollout: try rows(softOld),
                reference: try rows(softReference)))
        return Leaves(inputs: inputs, policy: policyLeaf, soft: softLeaf)
    }

    /// The loss of the sequence-mean form as the paper writes it, in loops over Double: densities first, then their
    /// difference.
    func lossByLoops(epsilon: Double, beta: Double, isAnalytic: Bool) -> Double {
        func density(_ parameters: [Double], _ step: Int) -> Double {
            zip(zip(values[step], parameters), filled[step]).reduce(0) { sum, item in
                let zeta = item.0.0 - item.0.1
                return sum + item.1 * (-zeta - exp(-zeta))
            }
        }
        var perToken = [Double](repeating: 0, count: 6)
        for token in 0..<6 {
            let step = positions.firstIndex(of: token)
            let logRatio = step.map { density(soft[$0], $0) - density(softOld[$0], $0) } ?? policy[token] - old[token]
            let ratio = exp(logRatio)
            let clipped = min(max(ratio, 1 - epsilon), 1 + epsilon)
            perToken[token] = -min(ratio * advantages[token], clipped * advantages[token])
            let divergence: Double
            if let step, isAnalytic {
                divergence = (0..<3).reduce(0) { sum, index in
                    let difference = soft[step][index] - softReference[step][index]
                    return sum + filled[step][index] * (exp(-difference) - 1 + difference)
                }
            } else {
                let d =
                    step.map { density(soft[$0], $0) - density(softReference[$0], $0) } ?? policy[token]
                    - reference[token]
                divergence = exp(-d) - 1 + d
            }
            perToken[token] += beta * divergence
        }
        return (perToken[..<4].reduce(0, +) / 4 + perToken[4...].reduce(0, +) / 2) / 2
    }
}

@TensorActor @Suite("SofT-GRPO's loss")
struct SofTGRPOTests {
    private func settings(
        _ noise: SoftNoise? = nil, beta: Double = 0.3, divergence: SofTGRPOSettings.Divergence = .analytic,
        lossType: GRPOSettings.LossType = .grpo
    ) throws -> SofTGRPOSettings {
        SofTGRPOSettings(
            surrogate: GRPOSettings(lossType: lossType, klCoefficient: beta, correctsKLBias: false),
            noise: noise ?? .gumbel(GumbelNoise()), divergence: divergence)
    }

    @Test func valueEqualsLoopsOverDensities() throws {
        let example = SoftExample()
        for divergence in SofTGRPOSettings.Divergence.allCases {
            let found = try SofTGRPO.loss(example.leaves().inputs, settings(divergence: divergence))
            let expected = example.lossByLoops(epsilon: 0.2, beta: 0.3, isAnalytic: divergence == .analytic)
            #expect(abs(try found.loss.item() - expected) < 1e-13, "\(divergence)")
            // without the KL term, of soft and of discrete steps
            let policyLoss = try #require(found.read().metrics.metrics["policy_loss"])
            let withoutKL = example.lossByLoops(epsilon: 0.2, beta: 0, isAnalytic: true)
            #expect(abs(policyLoss - withoutKL) < 1e-13, "\(divergence)")
            #expect(abs(expected - example.lossByLoops(epsilon: 0.2, beta: 0.2, isAnalytic: true)) > 1e-3)
        }
        let metrics = try SofTGRPO.loss(example.leaves().inputs, settings()).read().metrics.metrics
        let words = try GRPO.loss(example.leaves().inputs, settings().surrogate).read().metrics.metrics
        // `kl` averages soft and discrete steps alike: the discrete ones' sum, then four soft steps
        let all = try #require(metrics["kl"]), soft = try #require(metrics["soft/kl"]),
            discrete = try #require(words["kl"])
        #expect(abs(all * 6 - (discrete * 6 + soft * 4)) < 1e-12)
    }

    @Test func theGradientIsTheLosssSlope() throws {
        let noises: [SoftNoise] = [
            .gumbel(GumbelNoise(scale: 0.8)), .dirichlet(DirichletNoise(concentration: 2)),
            .gaussian(GaussianNoise(deviation: 0.4)), .embedding(EmbeddingNoise(deviation: 1.5)),
            .gumbel(GumbelNoise(followsRelease: true)),
        ]
        for noise in noises {
            for divergence in SofTGRPOSettings.Divergence.allCases {
                let settings = try settings(noise, divergence: divergence)
                let example = SoftExample()
                let leaves = try example.leaves()
                try SofTGRPO.loss(leaves.inputs, settings).loss.backward()
                func slope(_ path: WritableKeyPath<SoftExample, [[Double]]>) throws -> [Double] {
                    try TestSupport.centralDifferences(at: example[keyPath: path].flatMap(\.self), step: 1e-6) {
                        point in
                        var moved = example
                        moved[keyPath: path] = stride(from: 0, to: 12, by: 3).map { Array(point[$0..<$0 + 3]) }
                        return try SofTGRPO.loss(moved.leaves().inputs, settings).loss.item()
                    }
                }
                let found = try #require(try leaves.soft.gradient?.doubles())
                #expect(relativeDistance(found, try slope(\.soft)) < 1e-6, "\(noise) \(divergence)")
            }
        }
    }

    @Test func withoutSoftStepsItIsGRPOToTheBit() throws {
        let example = LossExample(seed: 9)
        for lossType in [GRPOSettings.LossType.grpo, .dapo, .drGRPO] {
            let settings = try settings(lossType: lossType)
            let soft = try example.evaluate(settings, type: .float32)
            let plain = try example.evaluate(settings.surrogate, type: .float32)
            #expect(soft.loss.bitPattern == plain.loss.bitPattern)
            #expect(soft.gradient.map(\.bitPattern) == plain.gradient.map(\.bitPattern))
            #expect(soft.metrics == plain.metrics)
        }
    }

    @Test func theFirstUpdatesRatiosAreExactlyOne() throws {
        for type in [ElementType.float32, .float64] {
            var example = SoftExample()
            example.soft = example.softOld
            example.policy = example.old
            let given = try SofTGRPO.loss(example.leaves(type: type).inputs, settings(beta: 0))
            let implied = try SofTGRPO.loss(example.leaves(isFirstStep: true, type: type).inputs, settings(beta: 0))
            for result in [given, implied] {
                let metrics = try result.read().metrics.metrics
                #expect(metrics["ratio/mean"] == 1 && metrics["ratio/max"] == 1)
            }
            let gradients = try [false, true].map { isFirst in
                let leaves = try example.leaves(isFirstStep: isFirst, type: type)
                try SofTGRPO.loss(leaves.inputs, settings(beta: 0)).loss.backward()
                return try #require(try leaves.soft.gradient?.doubles())
            }
            #expect(gradients[0] == gradients[1] && gradients[0].contains { $0 != 0 })
        }
    }

    @Test func oneWordAndEmptySlotsTeachNothing() throws {
        let logits = try Tensor([1.0, 3, 9, 2, 5, 5], shape: [2, 3]).requiringGradient()
        let isFilled = try Tensor([true, false, false, true, false, false], shape: [2, 3])
        let leaves = try SoftExample().leaves()
        var soft = try #require(leaves.inputs.payload as? SoftLossInputs)
        soft.policy = try SoftSupport.logProbabilities(logits, isFilled: isFilled)
        let ratio = try GumbelNoise().logRatio(
            soft.values.narrow(axis: 0, start: 0, count: 2), policy: soft.policy,
            old: Tensor.zeros([2, 3], .float64), filled: isFilled.to(.float64))
        #expect(try ratio.doubles() == [0, 0])
        try ratio.sum().backward()
        #expect(try #require(try logits.gradient?.doubles()).allSatisfy { $0 == 0 })
    }

    @Test func withoutAdvantagesTheGradientIsExactlyZero() throws {
        var leaves = try SoftExample().leaves()
        leaves.inputs.advantages = try leaves.inputs.advantages * 0
        try SofTGRPO.loss(leaves.inputs, settings(beta: 0)).loss.backward()
        #expect(try #require(try leaves.soft.gradient?.doubles()).allSatisfy { $0 == 0 })
        #expect(try #require(try leaves.policy.gradient?.doubles()).allSatisfy { $0 == 0 })
    }

    @Test func anAbsentReferenceAndSilentNoiseAreRefused() throws {
        var inputs = try SoftExample().leaves().inputs
        var soft = try #require(inputs.payload as? SoftLossInputs)
        soft.reference = nil
        inputs.payload = soft
        #expect(throws: LossError.self) { try SofTGRPO.loss(inputs, settings()) }
    }
}
