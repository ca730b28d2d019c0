import Algorithms
import Foundation
import PolicyUpdater
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Two parts of pairs, weighed")
struct MixedPairsTests {
    private static let loss = DPOSettings(beta: 0.4)

    private func policy(mixed: Bool, type: ElementType = .float64) throws -> TinyPolicy {
        try TinyPolicy(
            parts: mixed
                ? [PartPlan(Self.loss, on: .pairs, name: "thinking"), PartPlan(Self.loss, on: .pairs, name: "empty")]
                : [PartPlan(Self.loss, on: .pairs)], .plain(learningRate: 0.01), type: type,
            reference: TinyPolicy.reference(phase: 0.4, type))
    }

    private func parts(_ policy: TinyPolicy) async throws -> (thinking: UpdatePart, empty: UpdatePart) {
        var thinking = UpdatePart(
            .pairs,
            [ExampleBatch.group([1, 2], [[4, 5, 5, 1], [6, 0]]), ExampleBatch.group([5], [[2, 2, 6], [0, 1]])])
        var empty = UpdatePart(
            .pairs, [ExampleBatch.group([1, 2, 3], [[4], [6, 1]]), .withoutPair(promptTokenIDs: [5])])
        thinking.takeReference(
            try await policy.updater.logProbabilities(UpdateBatch(parts: [thinking]), under: .reference).tokens)
        empty.takeReference(
            try await policy.updater.logProbabilities(UpdateBatch(parts: [empty]), under: .reference).tokens)
        return (thinking, empty)
    }

    /// After one step from nothing Adam's first moment is a tenth of the gradient.
    private func moments(_ batch: UpdateBatch, mixed: Bool) async throws -> [String: [Double]] {
        let policy = try policy(mixed: mixed)
        _ = try await policy.updater.train(batch)
        return try policy.updater.optimizer.firstMoments.doubles()
    }

    @Test func theGradientIsTheMixtureOfBoth() async throws {
        var (thinking, empty) = try await parts(policy(mixed: true))
        let single = try await moments(UpdateBatch(parts: [thinking]), mixed: false)
        let other = try await moments(UpdateBatch(parts: [empty]), mixed: false)
        (thinking.weight, empty.weight) = (0.3, 0.7)
        let mixed = try await moments(UpdateBatch(parts: [thinking, empty]), mixed: true)
        #expect(Set(mixed.keys) == Set(single.keys))
        for (name, values) in mixed {
            let expected = zip(single[name] ?? [], other[name] ?? []).map { 0.3 * $0 + 0.7 * $1 }
            #expect(relativeError(values, expected, floor: 1e-3) < 1e-9, "\(name)")
        }
    }

    /// α = 1 is DPO on the pairs with thinking and α = 0 on the others, to the bit.
    @Test(arguments: [1.0, 0]) func anEndOfTheScaleIsDPOToTheBit(_ alpha: Double) async throws {
        var (thinking, empty) = try await parts(policy(mixed: true, type: .float32))
        let mixed = try policy(mixed: true, type: .float32)
        let plain = try policy(mixed: false, type: .float32)
        let own = alpha == 1 ? thinking : empty
        (thinking.weight, empty.weight) = (alpha, 1 - alpha)
        for _ in 0..<3 {
            let metrics = try await mixed.updater.train(UpdateBatch(parts: [thinking, empty]))
            let expected = try await plain.updater.train(UpdateBatch(parts: [own]))
            #expect(metrics["loss"] == expected["loss"] && metrics["grad_norm"] == expected["grad_norm"])
            #expect(try mixed.bits() == plain.bits())
        }
        #expect(try mixed.bits() != policy(mixed: true, type: .float32).bits())
    }

    @Test func everyPartHasItsOwnNumbers() async throws {
        let (thinking, empty) = try await parts(policy(mixed: true))
        let metrics = try await policy(mixed: true).updater.train(UpdateBatch(parts: [thinking, empty]))
        for part in ["thinking", "empty"] {
            for name in ["loss", "rewards/margins", "rewards/accuracies", "logps/chosen"] {
                #expect(metrics["\(part)/\(name)"] != nil, "\(part)/\(name)")
            }
        }
        // The second prompt of `empty` has no pair: its loss is halved.
        var alone = empty
        alone.groups.removeLast()
        let one = try await policy(mixed: false).updater.train(UpdateBatch(parts: [alone]))
        #expect(abs((one["loss"] ?? 0) - 2 * (metrics["empty/loss"] ?? 1)) < 1e-12)
    }

    /// Inner products of sketches are, averaged over seeds, those of the gradients; sketches are linear, and the same
    /// for the same seed.
    @Test func aSketchKeepsInnerProducts() throws {
        let counts = ["a": 40, "b": 25]
        func gradients(_ phase: Double) throws -> [String: Tensor] {
            try Dictionary(
                uniqueKeysWithValues: counts.map { name, count in
                    (name, try Tensor((0..<count).map { sin(phase + Double($0) * (name == "a" ? 1.3 : 0.7)) }))
                })
        }
        func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
        let (first, second) = (try gradients(0), try gradients(0.8))
        let expected = try counts.keys.reduce(0) { try $0 + dot(first[$1]!.doubles(), second[$1]!.doubles()) }
        var sum = 0.0
        for seed in 0..<200 {
            let sketch = try GradientSketch(of: counts, size: 64, seed: UInt64(seed))
            sum += try dot(sketch(first), sketch(second))
        }
        // One sketch of 64 numbers is off by about ‖a‖‖b‖/8 = 4; the mean of 200 by 0.3.
        #expect(abs(sum / 200 - expected) < 1.2 && expected > 15)
        let sketch = try GradientSketch(of: counts, size: 64, seed: 1)
        let both = try first.reduce(into: [:]) { $0[$1.key] = try $1.value + second[$1.key]! * 2 }
        for (own, parts) in zip(try sketch(both), zip(try sketch(first), try sketch(second))) {
            #expect(abs(own - (parts.0 + 2 * parts.1)) < 1e-12)
        }
        #expect(try GradientSketch(of: counts, size: 64, seed: 1)(first) == sketch(first))
    }
}
