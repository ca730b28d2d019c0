import Algorithms
import Foundation
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("GRPO against plain loops over Double")
struct GRPOTests {
    private static let clip = (low: 0.8, high: 1.28)

    /// Written from the paper: first each token, then each completion, then the batch.
    private static func lossByLoops(_ example: LossExample, _ type: GRPOSettings.LossType, beta: Double) -> Double {
        var total = 0.0
        for range in example.ranges {
            var completion = 0.0
            for token in range {
                let ratio = exp(example.policy[token] - example.old[token])
                let advantage = example.advantages[token]
                let toReference = example.reference[token] - example.policy[token]
                let divergence = exp(toReference) - toReference - 1
                if type == .cispo {
                    completion -= min(ratio, clip.high - 1) * advantage * example.policy[token]
                } else {
                    let clipped = max(clip.low, min(clip.high, ratio))
                    completion -= min(ratio * advantage, clipped * advantage)
                }
                completion += beta * divergence
            }
            switch type {
            case .grpo: total += range.isEmpty ? 0 : completion / Double(range.count) / Double(example.lengths.count)
            case .drGRPO: total += completion / Double(example.lengths.count * example.maxCompletionLength)
            case .dapo, .cispo: total += completion / Double(example.tokenCount)
            }
        }
        return total
    }

    @Test(arguments: GRPOSettings.LossType.allCases, [0.0, 0.2])
    func value(_ type: GRPOSettings.LossType, _ beta: Double) throws {
        let example = LossExample(seed: 2)
        let settings = GRPOSettings(
            lossType: type, clip: .init(epsilon: 0.2, epsilonHigh: 0.28), klCoefficient: beta, correctsKLBias: false)
        let found = try example.evaluate(settings).loss
        let expected = Self.lossByLoops(example, type, beta: beta)
        #expect(abs(found - expected) < 1e-13)
        #expect(abs(-found - expected) > 1e-3)
    }

    /// What advantages drive is told apart from the KL term and the entropy bonus.
    @Test(arguments: GRPOSettings.LossType.allCases)
    func thePolicyLossIsWithoutTheKLTerm(_ type: GRPOSettings.LossType) throws {
        let example = LossExample(seed: 2)
        let settings = GRPOSettings(
            lossType: type, clip: .init(epsilon: 0.2, epsilonHigh: 0.28), klCoefficient: 0.2, correctsKLBias: false,
            entropyCoefficient: 0.01)
        let metrics = try example.evaluate(settings).metrics.metrics
        let expected = Self.lossByLoops(example, type, beta: 0)
        #expect(abs(try #require(metrics["policy_loss"]) - expected) < 1e-13)
        #expect(abs(Self.lossByLoops(example, type, beta: 0.2) - expected) > 1e-3)
    }

    /// The weights min(ρ, bound) are constants: the slope of token t is −weight·A / N.
    @Test func cispoKeepsAGradientWhereItClips() throws {
        let example = LossExample(seed: 2)
        let settings = GRPOSettings(lossType: .cispo, clip: .init(epsilonHigh: 1.5))
        let expected = example.policy.indices.map { token in
            let weight = min(exp(example.policy[token] - example.old[token]), 1.5)
            return -weight * example.advantages[token] / Double(example.tokenCount)
        }
        #expect(relativeDistance(try example.evaluate(settings).gradient, expected) < 1e-13)
    }

    /// Without old log-probs they are the current ones: the gradient is that of scoring them again.
    @Test(arguments: GRPOSettings.LossType.allCases)
    func theFirstStepNeedsNoSecondScoring(_ type: GRPOSettings.LossType) throws {
        var example = LossExample(seed: 2)
        example.old = example.policy
        let settings = GRPOSettings(lossType: type, klCoefficient: 0.1)
        var (inputs, policy, _) = try example.inputs(type: .float32)
        inputs.oldLogProbabilities = nil
        try GRPO.loss(inputs, settings).loss.backward()
        let again = try example.evaluate(settings, type: .float32)
        #expect(try policy.gradient?.doubles() == again.gradient)
    }

    /// verl's `agg_loss` by plain loops, with the batch's own number of completions, the empty one counted, and the
    /// limit for the width.
    @Test(arguments: LossAggregation.allCases)
    func lossesOfTokensBecomeOneNumberAsTheModeSays(_ aggregation: LossAggregation) throws {
        let example = LossExample(seed: 4)
        let losses = example.advantages.indices.map { example.advantages[$0] * example.policy[$0] }
        var expected = 0.0
        for range in example.ranges {
            var sum = 0.0
            for token in range { sum += losses[token] }
            switch aggregation {
            case .tokenMean: expected += sum / 18
            case .sequenceMeanTokenMean: expected += range.isEmpty ? 0 : sum / Double(range.count) / 6
            case .sequenceMeanTokenSum: expected += sum / 6
            case .sequenceMeanTokenSumOverLimit: expected += sum / 6 / 8
            }
        }
        let found = try aggregation.total(
            Tensor(losses), CompletionSpans(lengths: example.lengths), example.denominators)
        #expect(abs(try found.item() - expected) < 1e-13 && abs(expected) > 1e-3)
    }

    /// Completions of one length n: the three aggregations differ by a constant.
    @Test func withEqualLengthsTheLossTypesAgree() throws {
        var example = LossExample(seed: 2)
        example.lengths = [3, 3, 3, 3, 3, 3]
        func gradient(_ type: GRPOSettings.LossType) throws -> [Double] {
            try example.evaluate(GRPOSettings(lossType: type)).gradient
        }
        let scale = Double(example.maxCompletionLength) / 3
        #expect(relativeDistance(try gradient(.grpo), try gradient(.dapo)) < 1e-14)
        #expect(relativeDistance(try gradient(.drGRPO).map { $0 * scale }, try gradient(.dapo)) < 1e-14)
    }

    /// On policy, Dr. GRPO's centred rewards times G/(G − 1) are RLOO's advantages; its constant L is all that is left.
    @Test func drGRPOIsRLOOUpToAConstant() throws {
        var example = LossExample(seed: 2)
        example.old = example.policy
        var leaveOneOut = example
        leaveOneOut.advantages = example.advantages.map { $0 * 6 / 5 }
        let drGRPO = try example.evaluate(GRPOSettings(lossType: .drGRPO)).gradient
        let rloo = try leaveOneOut.evaluate(RLOOSettings(ratioClip: nil)).gradient
        let clipped = try leaveOneOut.evaluate(RLOOSettings()).gradient
        let scale = Double(example.maxCompletionLength) * 6 / 5
        #expect(relativeDistance(drGRPO.map { $0 * scale }, rloo) < 1e-14)
        #expect(relativeDistance(clipped, rloo) < 1e-14)
    }

    @Test func withOneUpdatePerRolloutSequenceRatiosAreTokenRatios() throws {
        var example = LossExample(seed: 2)
        example.old = example.policy
        let gspo = GRPOSettings(lossType: .grpo, importanceLevel: .sequence, clip: .init(epsilon: 3e-4))
        let sequence = try example.evaluate(gspo).gradient
        let token = try example.evaluate(GRPOSettings(lossType: .grpo)).gradient
        #expect(relativeDistance(sequence, token) < 1e-14)
    }

    /// ρ·k3 has the gradient of KL(π‖π_ref) as ρ = π/π_old of a token turns the mean over π_old's next tokens into one
    /// over π's. A ratio of the whole completion does not, and its product is the gradient of neither KL: with sequence
    /// ratios the setting does nothing. With token ratios it does.
    @Test func theKLTermIsNotMultipliedByASequenceRatio() throws {
        let example = LossExample(seed: 2)
        func evaluate(_ level: ImportanceRatio, corrects: Bool) throws -> (loss: Double, gradient: [Double]) {
            let settings = GRPOSettings(
                lossType: .grpo, importanceLevel: level, clip: .init(epsilon: 0.05), klCoefficient: 0.3,
                correctsKLBias: corrects)
            let found = try example.evaluate(settings)
            return (found.loss, found.gradient)
        }
        let asked = try evaluate(.sequence, corrects: true), plain = try evaluate(.sequence, corrects: false)
        #expect(asked.loss == plain.loss && asked.gradient == plain.gradient)
        // β·k3 summed by loops: what is left when the policy's part is taken off
        let policyPart = try example.evaluate(
            GRPOSettings(lossType: .grpo, importanceLevel: .sequence, clip: .init(epsilon: 0.05))
        ).loss
        let divergence = example.ranges.filter { !$0.isEmpty }.reduce(0.0) { sum, range in
            let tokens = range.map { token in
                let d = example.policy[token] - example.reference[token]
                return exp(-d) - 1 + d
            }
            return sum + tokens.reduce(0, +) / Double(range.count) / 6
        }
        #expect(abs(asked.loss - policyPart - 0.3 * divergence) < 1e-14)
        #expect(try evaluate(.token, corrects: true).loss != evaluate(.token, corrects: false).loss)
    }

    /// The centred advantages of one group: a loss of about 0 whose gradient is not.
    @Test func theLossOfTheFirstStepIsZeroAndItsGradientIsNot() throws {
        var example = LossExample(seed: 2)
        example.lengths = [3, 3]
        example.policy = Array(example.policy[..<6])
        example.old = example.policy
        example.advantages = [1, 1, 1, -1, -1, -1]
        let found = try example.evaluate(GRPOSettings(lossType: .grpo))
        #expect(abs(found.loss) < 1e-15)
        #expect(relativeDistance(found.gradient, [-1, -1, -1, 1, 1, 1].map { $0 / 6 }) < 1e-14)
    }

    /// On samples of π_old, ρ − 1 − log ρ estimates KL(π_old‖π); the other direction would be another number.
    @Test(arguments: [GRPOSettings.LossType.dapo, .cispo])
    func driftAndRatiosByLoops(_ type: GRPOSettings.LossType) throws {
        let example = LossExample(seed: 2)
        let metrics = try example.evaluate(GRPOSettings(lossType: type)).metrics.metrics
        let ratios = zip(example.policy, example.old).map { exp($0 - $1) }
        let drift = ratios.map { $0 - 1 - log($0) }.reduce(0, +) / Double(ratios.count)
        #expect(abs(try #require(metrics["approx_kl"]) - drift) < 1e-12)
        #expect(abs(try #require(metrics["ratio/mean"]) - ratios.reduce(0, +) / Double(ratios.count)) < 1e-12)
        #expect(abs(try #require(metrics["ratio/max"]) - exp(2)) < 1e-12)
    }
}

@TensorActor @Suite("ReMax, RLOO, REINFORCE++ and supervised fine-tuning")
struct OtherMethodTests {
    /// Σ_y π(y)·∇L(y) with advantages r(y) − r(greedy), against differences of the expected reward.
    @Test func reMaxsSequenceSumIsTheGradientOfTheExpectedReward() throws {
        let policy = TabularPolicy(vocabulary: 3, length: 3, seed: 41)
        func reward(_ sequence: [Int]) -> Double { cos(Double(sequence.reduce(1) { 3 * $0 + $1 })) }
        func expected(_ reduction: ReMaxSettings.Reduction) throws -> [Double] {
            try policy.sequences.map { sequence in
                let leaf = try Tensor(policy.logProbabilities(sequence)).requiringGradient()
                let advantage = reward(sequence) - reward(policy.greedy)
                let inputs = PolicyLossInputs(
                    logProbabilities: leaf, advantages: try Tensor(sequence.map { _ in advantage }),
                    spans: try CompletionSpans(lengths: [sequence.count]),
                    denominators: Denominators(tokens: sequence.count, sequences: 1, maxCompletionLength: 3))
                try ReMax.loss(inputs, .init(reduction: reduction)).loss.backward()
                let slope = try #require(leaf.gradient).doubles().map { -$0 * policy.probability(sequence) }
                return policy.scoreGradient(sequence, coefficients: slope)
            }.summed()
        }
        let differences = policy.centralDifferences { $0.expectation(reward) }
        #expect(relativeDistance(try expected(.sequenceSum), differences) < 1e-7)
        #expect(relativeDistance(try expected(.tokenMean), differences) > 0.05)
    }

    @Test func reMaxsTokenMeanByLoops() throws {
        let example = LossExample(seed: 2)
        let found = try example.evaluate(ReMaxSettings())
        let expected = -zip(example.advantages, example.policy).map(*).reduce(0, +) / Double(example.tokenCount)
        #expect(abs(found.loss - expected) < 1e-14)
        #expect(found.metrics["clip_ratio/low_mean"] == nil)
        #expect(abs(try #require(found.metrics.metrics["entropy"]) - example.entropies.reduce(0, +) / 18) < 1e-14)
    }

    /// The ratio is a completion's, the drift a token's, as in the other methods.
    @Test func driftOfRLOOByLoops() throws {
        let example = LossExample(seed: 2)
        let ratios = zip(example.policy, example.old).map { exp($0 - $1) }
        let drift = ratios.map { $0 - 1 - log($0) }.reduce(0, +) / 18
        let metrics = try example.evaluate(RLOOSettings()).metrics.metrics
        #expect(abs(try #require(metrics["approx_kl"]) - drift) < 1e-12)
        #expect(try example.evaluate(RLOOSettings(ratioClip: nil)).metrics["approx_kl"] == nil)
    }

    @Test func reinforcePlusPlusByLoops() throws {
        let example = LossExample(seed: 2)
        var expected = 0.0
        for range in example.ranges where !range.isEmpty {
            let tokens = range.map { token in
                let ratio = exp(example.policy[token] - example.old[token])
                let advantage = example.advantages[token]
                let difference = example.policy[token] - example.reference[token]
                return -min(ratio * advantage, max(0.8, min(1.2, ratio)) * advantage)
                    + 0.3 * difference * difference / 2
            }
            expected += tokens.reduce(0, +) / Double(range.count) / 6
        }
        let found = try example.evaluate(REINFORCEPlusPlusSettings(klCoefficient: 0.3)).loss
        #expect(abs(found - expected) < 1e-14)
    }

    /// One token: ρ = 1 and A = 2 make −2. d = −1 + 1.5 adds 0.4·0.5²/2 = 0.05 to the loss alone.
    @Test func theKLTermOfREINFORCEPlusPlusIsNoPolicyLoss() throws {
        var example = LossExample(seed: 2)
        example.lengths = [1]
        (example.policy, example.old, example.reference, example.advantages) = ([-1], [-1], [-1.5], [2])
        let found = try example.evaluate(REINFORCEPlusPlusSettings(klCoefficient: 0.4))
        #expect(abs(found.loss + 1.95) < 1e-14)
        #expect(found.metrics.metrics["policy_loss"] == -2)
        #expect(found.metrics.metrics["kl"] == 0.125)
    }

    @Test func supervisedFineTuningIsTheMeanNegativeLogLikelihood() throws {
        let example = LossExample(seed: 2)
        let found = try example.evaluate(SupervisedFineTuning())
        #expect(abs(found.loss + example.policy.reduce(0, +) / 18) < 1e-14)
        #expect(relativeDistance(found.gradient, example.policy.map { _ in -1.0 / 18 }) < 1e-14)
    }
}

@Suite("Numbers that combine over micro-batches")
struct LossMetricsTests {
    @Test func meansAreWeighedAndExtremaKept() throws {
        func share(_ sum: Double, _ count: Double, _ total: Double, _ low: Double, _ high: Double) -> LossMetrics {
            var metrics = LossMetrics()
            metrics["kl"] = .mean(sum: sum, count: count)
            metrics["policy_loss"] = .total(total)
            metrics["low"] = .minimum(low)
            metrics["high"] = .maximum(high)
            return metrics
        }
        var metrics = share(1, 1, 0.25, 2, 3)
        metrics.combine(share(8, 2, 0.5, 1, 2.5))
        var rare = LossMetrics()
        rare["rare"] = .mean(sum: 0, count: 0)
        metrics.combine(rare)
        let found = metrics.metrics
        #expect(found.names == ["kl", "policy_loss", "low", "high"])
        #expect(found["kl"] == 3)
        #expect(found["policy_loss"] == 0.75)
        #expect(found["low"] == 1)
        #expect(found["high"] == 3)
    }

    @Test func denominatorsComeFromTheWholeBatch() {
        let batch = UpdateBatch(groups: [
            UpdateGroup(
                promptTokenIDs: [1],
                completions: [
                    UpdateCompletion(tokenIDs: [1, 2, 3]), UpdateCompletion(tokenIDs: [1, 2], isMasked: true),
                    UpdateCompletion(tokenIDs: []),
                ])
        ])
        let expected = Denominators(tokens: 3, sequences: 3, maxCompletionLength: 9)
        #expect(Denominators(batch, maxCompletionLength: 9) == expected)
    }
}
