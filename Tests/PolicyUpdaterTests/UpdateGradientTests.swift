import Algorithms
import Foundation
import Models
import Placement
import PolicyUpdater
import Records
import Tensors
import Testing

@TensorActor @Suite("The gradient of a whole update", .timeLimit(.minutes(10)))
struct UpdateGradientTests {
    /// The objectives by name, with a KL term where there is one.
    nonisolated static let objectives = [
        "sft", "grpo", "dapo", "dr_grpo", "grpo kl", "grpo kl corrected", "grpo exact kl", "gspo", "cispo",
        "token mismatch", "sequence mismatch", "remax", "rloo", "rloo clipped", "reinforce++", "ppo",
    ]

    static let cispoBound = 1.5

    static func objective(_ name: String) throws -> Objective {
        switch name {
        case "sft": SupervisedFineTuning()
        case "grpo": GRPOSettings(lossType: .grpo)
        case "dapo": GRPOSettings()
        case "dr_grpo": GRPOSettings(lossType: .drGRPO)
        case "grpo kl": GRPOSettings(lossType: .grpo, klCoefficient: 0.3, correctsKLBias: false)
        case "grpo kl corrected": GRPOSettings(lossType: .grpo, klCoefficient: 0.3, correctsKLBias: true)
        case "cispo": GRPOSettings(lossType: .cispo, clip: ClippedSurrogate(epsilonHigh: cispoBound))
        case "token mismatch":
            GRPOSettings(
                klCoefficient: 0.3,
                mismatchCorrection: MismatchCorrection(granularity: .token, constraint: .truncate, maximum: 1.1))
        case "sequence mismatch":
            GRPOSettings(
                lossType: .grpo, klCoefficient: 0.3,
                mismatchCorrection: MismatchCorrection(granularity: .sequence, constraint: .mask, maximum: 1.3))
        case "rloo clipped": RLOOSettings(ratioClip: ClippedSurrogate(epsilon: 0.2))
        case "grpo exact kl": GRPOSettings(lossType: .grpo, klCoefficient: 0.3, usesExactKL: true)
        case "gspo":
            GRPOSettings(lossType: .grpo, importanceLevel: .sequence, clip: ClippedSurrogate(epsilon: 0.05))
        case "ppo":
            PPOSettings(clip: ClippedSurrogate(upperBound: .dual(3)), entropyCoefficient: 0.1)
        case "remax": ReMaxSettings(reduction: .sequenceSum)
        case "rloo": RLOOSettings(ratioClip: nil)
        default: REINFORCEPlusPlusSettings(klCoefficient: 0.2)
        }
    }

    struct Gradient {
        let loss: Double
        let metrics: Metrics
        let values: [String: [Double]]

        /// ‖a − b‖ / ‖b‖ over all parameters.
        func distance(from other: Gradient) -> Double {
            var difference = 0.0
            var size = 0.0
            for (name, expected) in other.values {
                for (a, b) in zip(values[name]!, expected) {
                    difference += (a - b) * (a - b)
                    size += b * b
                }
            }
            return (difference / size).squareRoot()
        }
    }

    /// One update that writes nothing: with β₁ = 0 and no clipping the first moment is the gradient itself.
    func gradient(
        _ objective: Objective, _ batch: UpdateBatch, maxTokens: Int? = nil, temperature: Double = 1,
        checkpointsBlocks: Bool = false, weights: [String: [Double]]? = nil, type: ElementType = .float64,
        layout: ParameterLayout = .shared
    ) async throws -> Gradient {
        let policy = try TinyPolicy(
            objective,
            .plain(
                learningRate: 0, beta1: 0, maxTokensPerMicroBatch: maxTokens, checkpointsBlocks: checkpointsBlocks),
            temperature: temperature, weights: weights, type: type, layout: layout,
            reference: objective.needsReference || objective.needsExactDivergence ? TinyPolicy.reference() : nil)
        let metrics = try await policy.updater.train(batch)
        return Gradient(
            loss: try #require(metrics["loss"]), metrics: metrics,
            values: try policy.updater.optimizer.firstMoments.mapValues { try $0.to(.float64).doubles() })
    }

    /// What an objective is tested on: with the sampler's log-probs where it reads them.
    static func batch(for objective: Objective, temperature: Double = 1) async throws -> UpdateBatch {
        let batch = try await ExampleBatch.mixed(temperature: temperature)
        return objective.needsRolloutLogProbabilities ? batch.withRolloutLogProbabilities : batch
    }

    /// CISPO's weights are constants, so that its gradient is the slope of another loss: the one that has them in its
    /// advantages.
    @Test(arguments: objectives)
    func equalsCentralDifferencesOfTheLoss(_ name: String) async throws {
        let objective = try Self.objective(name)
        let batch = try await Self.batch(for: objective, temperature: 0.7)
        guard name == "cispo" else {
            return try await expectTheSlopeOfTheLoss(objective, batch, tolerance: 1e-6)
        }
        var frozen = batch
        let policy = try TinyPolicy.logProbabilities(of: batch, temperature: 0.7)
        var clipped = 0
        for group in batch.groups.indices {
            for (index, completion) in batch.groups[group].completions.enumerated() {
                for (token, old) in completion.oldLogProbabilities.enumerated() {
                    let ratio = exp(policy[group][index][token] - Double(old))
                    clipped += ratio > Self.cispoBound ? 1 : 0
                    frozen.groups[group].completions[index].advantages[0][token] *= min(ratio, Self.cispoBound)
                }
            }
        }
        #expect(clipped > 0)
        let plain = ReMaxSettings(reduction: .tokenMean)
        try await expectTheSlope(of: gradient(objective, batch, maxTokens: 9, temperature: 0.7), tolerance: 1e-6) {
            try await gradient(plain, frozen, temperature: 0.7, weights: $0).loss
        }
    }

    /// The weights against plain loops, and not only the slope of whatever the loss is: of all six completions three
    /// tokens weigh less than the bound, and one completion's product is beyond its own.
    @Test func mismatchWeightsAreThoseOfTheSampler() async throws {
        for name in ["token mismatch", "sequence mismatch"] {
            let objective = try Self.objective(name)
            let batch = try await Self.batch(for: objective)
            let completions = batch.groups.flatMap(\.completions)
            let ratios = completions.map { completion in
                zip(completion.oldLogProbabilities, completion.rolloutLogProbabilities).map {
                    exp(Double($0) - Double($1))
                }
            }
            let weights: [Double] =
                if name == "token mismatch" {
                    ratios.flatMap { $0.map { min($0, 1.1) } }
                } else {
                    ratios.map { $0.reduce(1, *) }.map { $0 > 1.3 ? 0 : $0 }
                }
            let metrics = try await gradient(objective, batch).metrics
            let mean = try #require(metrics["sampling/importance_sampling_ratio/mean"])
            #expect(abs(mean - weights.reduce(0, +) / Double(weights.count)) < 1e-6)
            let largest = try #require(metrics["sampling/importance_sampling_ratio/max"])
            #expect(abs(largest - (weights.max() ?? 0)) < 1e-6)
            #expect(weights.contains { $0 == 1.1 || $0 == 0 } && weights.contains { $0 != 1.1 && $0 != 0 })
        }
    }

    /// The gradient against central differences of the loss, along one direction in every tensor.
    func expectTheSlopeOfTheLoss(_ objective: Objective, _ batch: UpdateBatch, tolerance: Double) async throws {
        try await expectTheSlope(
            of: gradient(objective, batch, maxTokens: 9, temperature: 0.7), tolerance: tolerance
        ) { try await gradient(objective, batch, temperature: 0.7, weights: $0).loss }
    }

    /// A gradient against central differences of a loss that is a function of the weights.
    func expectTheSlope(
        of found: Gradient, tolerance: Double, _ loss: ([String: [Double]]) async throws -> Double
    ) async throws {
        let weights = try TinyPolicy.weights()
        let h = 1e-5  // the error of a central difference is h² times the third derivative, and 10⁻¹⁶/h of rounding
        var largest = 0.0
        for (number, name) in weights.keys.sorted().enumerated() {
            // one direction per tensor, with another step along each of its elements
            let direction = weights[name]!.indices.map {
                1 + 0.5 * Double(($0 * 7 + number) % 5) * ($0 % 2 == 0 ? 1 : -1)
            }
            var losses: [Double] = []
            for sign in [1.0, -1] {
                var moved = weights
                for index in direction.indices { moved[name]![index] += sign * h * direction[index] }
                losses.append(try await loss(moved))
            }
            let expected = (losses[0] - losses[1]) / (2 * h)
            let slope = zip(found.values[name]!, direction).reduce(0) { $0 + $1.0 * $1.1 }
            #expect(abs(slope - expected) < tolerance * max(1, abs(expected)), "\(name): \(slope), \(expected)")
            largest = max(largest, abs(expected))
        }
        #expect(largest > 0.01)  // the comparison is not one of zeros
    }

    /// Σ_v p·(log p − log q) by plain loops over the logits of both models, at the temperature, averaged over tokens.
    @Test func theExactKLIsTheSumOverTheVocabulary() async throws {
        let group = ExampleBatch.group([1, 2, 3], [[4, 5, 6]])
        let batch = UpdateBatch(groups: [group])
        let objective = try Self.objective("grpo exact kl")
        let found = try await gradient(objective, batch, temperature: 0.7)
        let policy = try Transformer(
            configuration: TinyPolicy.configuration(), parameters: TinyPolicy.tensors(TinyPolicy.weights()))
        func logProbabilities(_ model: Transformer, _ position: Int) throws -> [Double] {
            let states = try model.hiddenStates(
                tokens: Tensor([1, 2, 3, 4, 5, 6]), layout: SequenceLayout(sequenceLengths: [6]))
            let logits = try states.rows(at: [position]).linear(weight: model.head).doubles().map { $0 / 0.7 }
            let sum = logits.reduce(0) { $0 + exp($1) }
            return logits.map { $0 - log(sum) }
        }
        var expected = 0.0
        for position in 2...4 {
            let pairs = zip(
                try logProbabilities(policy, position), try logProbabilities(TinyPolicy.reference(), position))
            expected += pairs.reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) } / 3
        }
        #expect(expected > 0.01)
        #expect(abs(try #require(found.metrics["kl"]) - expected) < 1e-12)
        await #expect(throws: UpdateError.missingReference) {
            _ = try await TinyPolicy(objective, .plain(learningRate: 0, beta1: 0)).updater.train(batch)
        }
    }

    /// With advantages of 0 the KL term is all there is: completions that take none move nothing.
    @Test func completionsThatTakeNoKLMoveNothing() async throws {
        let objective = try Self.objective("grpo kl")
        var batch = try await ExampleBatch.mixed()
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                let count = batch.groups[group].completions[index].tokenIDs.count
                batch.groups[group].completions[index].advantages = [[Double](repeating: 0, count: count)]
            }
        }
        let pulled = try await gradient(objective, batch)
        #expect(pulled.values.values.contains { $0.contains { abs($0) > 1e-6 } })
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].takesKL = false
            }
        }
        let still = try await gradient(objective, batch, maxTokens: 9)
        #expect(still.values.values.allSatisfy { $0.allSatisfy { $0 == 0 } })
        #expect(try #require(still.metrics["kl"]) > 0)  // it is still measured
    }

    @Test(arguments: objectives)
    func doesNotDependOnTheCut(_ name: String) async throws {
        let objective = try Self.objective(name)
        let batch = try await Self.batch(for: objective)
        let whole = try await gradient(objective, batch)
        for limit in [1, 9, 14] {
            let cut = try await gradient(objective, batch, maxTokens: limit)
            #expect(cut.distance(from: whole) < 1e-11, "\(limit) tokens")
            for (metric, value) in whole.metrics.entries where !metric.hasPrefix("timing_s/") {
                let other = try #require(cut.metrics[metric])
                #expect(abs(other - value) < 1e-11, "\(metric) with \(limit) tokens")
            }
        }
    }

    @Test(arguments: objectives)
    func doesNotDependOnTheOrderOfGroupsAndCompletions(_ name: String) async throws {
        let objective = try Self.objective(name)
        let batch = try await Self.batch(for: objective)
        var turned = UpdateBatch(groups: batch.groups.reversed())
        for index in turned.groups.indices { turned.groups[index].completions.reverse() }
        let distance = try await gradient(objective, turned, maxTokens: 14)
            .distance(from: gradient(objective, batch, maxTokens: 14))
        #expect(distance < 1e-11)
    }

    @Test func inBfloat16IsNearTheExactOneAndCutsAddUpInFloat32() async throws {
        let objective = try Self.objective("dapo")
        let batch = try await ExampleBatch.mixed().withoutOldLogProbabilities
        let exact = try await gradient(objective, batch)
        let narrow = try await gradient(objective, batch, type: .float32, layout: .copies(.bfloat16))
        let distance = narrow.distance(from: exact)
        #expect(distance < 0.03)  // 2⁻⁸ a rounding, some thirty of them on the way
        #expect(distance > 1e-4)  // and it is bfloat16 that computed
        let cut = try await gradient(objective, batch, maxTokens: 9, type: .float32, layout: .copies(.bfloat16))
        #expect(cut.distance(from: exact) < 0.03)
    }

    @Test func isTheSameWhenActivationsAreComputedAgain() async throws {
        let objective = try Self.objective("grpo kl")
        let batch = try await ExampleBatch.mixed()
        let kept = try await gradient(objective, batch, maxTokens: 14)
        let computed = try await gradient(objective, batch, maxTokens: 14, checkpointsBlocks: true)
        #expect(computed.distance(from: kept) < 1e-12)
        #expect(computed.loss == kept.loss)
    }

    /// Added by their weights where the gradient is taken, in Double: as if the sum had been one stream.
    @Test func streamsOfAdvantagesAreAddedByTheirWeights() async throws {
        let objective = try Self.objective("dapo")
        let mixed = try await ExampleBatch.mixed()
        var apart = mixed
        apart.parts[0].streamWeights = [1, 0.5]
        for group in mixed.groups.indices {
            for index in mixed.groups[group].completions.indices {
                let sum = mixed.groups[group].completions[index].advantages[0]
                let second = sum.indices.map { Double($0) - 1 }
                let first = zip(sum, second).map { $0 - 0.5 * $1 }
                apart.groups[group].completions[index].advantages = [first, second]
            }
        }
        let (one, other) = (try await gradient(objective, mixed), try await gradient(objective, apart))
        #expect(other.distance(from: one) < 1e-12)
        apart.parts[0].streamWeights = [1, 0]
        #expect(try await gradient(objective, apart).distance(from: one) > 1e-3)
    }

    @Test func oldLogProbsThatAreThePresentOnesNeedNotBeGiven() async throws {
        let objective = try Self.objective("dapo")
        var batch = try await ExampleBatch.mixed()
        let own = try await TinyPolicy(objective, .plain(learningRate: 0)).updater
            .logProbabilities(batch, under: .oldPolicy).tokens
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].oldLogProbabilities = own[group][index]
            }
        }
        let given = try await gradient(objective, batch)
        let absent = try await gradient(objective, batch.withoutOldLogProbabilities)
        #expect(given.distance(from: absent) < 1e-6)  // the given ones are float32
        #expect(absent.metrics["clip_ratio/region_mean"] == 0)
    }

    @Test func aMaskedCompletionTrainsNothingAndStillCountsAsASequence() async throws {
        var masked = try await ExampleBatch.mixed()
        masked.groups[0].completions[1].isMasked = true
        var removed = masked
        removed.groups[0].completions.remove(at: 1)
        let dapo = try Self.objective("dapo")  // divides by trained tokens: the masked one is as if it were absent
        #expect(try await gradient(dapo, masked).distance(from: gradient(dapo, removed)) < 1e-14)
        let rloo = try Self.objective("rloo")  // divides by 7 sequences instead of 6
        let loss = try await gradient(rloo, masked).loss
        #expect(abs(loss * 7 - (try await gradient(rloo, removed).loss) * 6) < 1e-12)
    }
}

extension UpdateBatch {
    /// The same batch with log-probs of a sampler that was near the old policy, above and below it.
    var withRolloutLogProbabilities: UpdateBatch {
        var batch = self
        for group in batch.groups.indices {
            for (index, completion) in batch.groups[group].completions.enumerated() {
                batch.groups[group].completions[index].rolloutLogProbabilities =
                    completion.oldLogProbabilities.enumerated().map { $1 + ([-0.25, 0.08, -0.04] as [Float])[$0 % 3] }
            }
        }
        return batch
    }

    /// The same batch, as right after its rollout.
    var withoutOldLogProbabilities: UpdateBatch {
        var batch = self
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].oldLogProbabilities = []
            }
        }
        return batch
    }
}
