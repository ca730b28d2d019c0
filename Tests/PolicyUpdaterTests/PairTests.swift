import Algorithms
import Foundation
import PolicyUpdater
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Pairs are learned from whole")
struct PairTests {
    private static let objective = DPOSettings(beta: 0.4)

    /// Three pairs with the log-probs of a reference of other weights.
    private func part(_ policy: TinyPolicy) async throws -> UpdatePart {
        var part = UpdatePart(
            .pairs,
            [
                ExampleBatch.group([1, 2, 3], [[4, 5], [6, 0, 1, 2]]),
                ExampleBatch.group([5], [[2, 2, 6, 4, 1], [0]]),
                ExampleBatch.group([6, 6], [[1, 1, 3], [5, 0, 2]]),
            ])
        part.takeReference(
            try await policy.updater.logProbabilities(UpdateBatch(parts: [part]), under: .reference).tokens)
        return part
    }

    private func policy(maxTokens: Int? = nil, weights: [String: [Double]]? = nil) throws -> TinyPolicy {
        try TinyPolicy(
            parts: [PartPlan(Self.objective, on: .pairs)],
            .plain(learningRate: 0.01, maxTokensPerMicroBatch: maxTokens), weights: weights,
            reference: TinyPolicy.reference())
    }

    private func gradients(_ policy: TinyPolicy, _ part: UpdatePart) async throws -> (Double, [String: [Double]]) {
        var found: (Double, [String: [Double]]) = (0, [:])
        _ = try await policy.updater.lend { point in
            let taken = try policy.updater.gradients(of: part, by: policy.updater.parts[0], at: point)
            found = (taken.loss, try taken.gradients.gradients.doubles())
            return .skipped(0)
        }
        return found
    }

    /// Loops over Double: −log σ(βΔ) of each pair, of log-probs worked out one sequence a pass.
    private func lossByLoops(_ part: UpdatePart, weights: [String: [Double]]) throws -> Double {
        let found = try TinyPolicy.logProbabilities(of: UpdateBatch(parts: [part]), weights: weights)
        return zip(found, part.groups).reduce(0) { sum, pair in
            let ratios = zip(pair.0, pair.1.completions).map { own, completion in
                own.reduce(0, +) - completion.referenceLogProbabilities.reduce(0) { $0 + Double($1) }
            }
            return sum + log(1 + exp(-0.4 * (ratios[0] - ratios[1]))) / Double(part.groups.count)
        }
    }

    @Test func theGradientOfEveryWeightIsACentralDifference() async throws {
        let policy = try policy()
        let part = try await part(policy)
        let (loss, gradients) = try await gradients(policy, part)
        let weights = try TinyPolicy.weights()
        #expect(abs(loss - (try lossByLoops(part, weights: weights))) < 1e-9)
        var compared = 0
        for (name, values) in gradients {
            for index in stride(from: 0, to: values.count, by: 5) {
                func moved(_ by: Double) throws -> Double {
                    var moved = weights
                    moved[name]![index] += by
                    return try lossByLoops(part, weights: moved)
                }
                let difference = (try moved(1e-5) - moved(-1e-5)) / 2e-5
                #expect(abs(difference - values[index]) < 1e-6 * max(1, abs(difference)), "\(name)[\(index)]")
                compared += 1
            }
        }
        #expect(compared > 60)
    }

    @Test func aPairIsNeverCut() async throws {
        let whole = try policy()
        let part = try await part(whole)
        let expected = try await gradients(whole, part)
        let cut = try await gradients(policy(maxTokens: 1), part)  // every pair in a pass of its own, both sides in it
        #expect(abs(expected.0 - cut.0) < 1e-12)
        for (name, values) in expected.1 { #expect(relativeError(cut.1[name] ?? [], values, floor: 1e-3) < 1e-9) }
        let plan = MicroBatchPlan(UpdateBatch(parts: [part]), maxTokens: 1)
        #expect(plan.microBatches.allSatisfy { $0.count == 1 && $0[0].completions == [0, 1] })
        #expect(plan.microBatches.count == 3)
    }

    @Test func aPromptWithoutAPairCountsInTheMeanAlone() async throws {
        let policy = try policy()
        var part = try await part(policy)
        let three = try await gradients(policy, part)
        part.groups.append(
            UpdateGroup(
                promptTokenIDs: [1],
                completions: [
                    UpdateCompletion(tokenIDs: [], isMasked: true), UpdateCompletion(tokenIDs: [], isMasked: true),
                ]))
        let four = try await gradients(policy, part)
        #expect(abs(three.0 * 3 - four.0 * 4) < 1e-12)
    }

    @Test func measuringIsTheLossWithoutAStep() async throws {
        let policy = try policy()
        let part = try await part(policy)
        let before = try policy.state()
        let measured = try await policy.updater.measure(part, by: policy.updater.parts[0])
        #expect(try policy.state() == before)
        let (loss, _) = try await gradients(policy, part)
        #expect(measured.loss == loss && measured.metrics["rewards/accuracies"] != nil)
    }

    @Test func whatIsNoPairIsRefused() async throws {
        let policy = try policy()
        var part = try await part(policy)
        part.groups[1].completions[0].isMasked = true
        await #expect(
            throws: UpdateError.group(1, message: "2 completions, 1 of them to learn from; a pair has two")
        ) { try await policy.updater.train(UpdateBatch(parts: [part])) }
        part.groups[1].completions.removeFirst()
        await #expect(throws: UpdateError.self) { try await policy.updater.train(UpdateBatch(parts: [part])) }
    }

    @Test func aReferenceThatTheBatchBringsNeedsNotBeLoaded() async throws {
        let part = try await part(policy())
        #expect(throws: UpdateError.missingReference) {
            try TinyPolicy(parts: [PartPlan(Self.objective, on: .pairs)], .plain(learningRate: 0.01))
        }
        let bare = try TinyPolicy(
            parts: [PartPlan(Self.objective, on: .pairs)], .plain(learningRate: 0.01), bringsReference: true)
        let full = try policy()
        _ = try await bare.updater.train(UpdateBatch(parts: [part]))
        _ = try await full.updater.train(UpdateBatch(parts: [part]))
        #expect(try bare.bits() == full.bits())
    }
}
