import Models
import Placement
import Records
import TestSupport
import Tensors
import Testing

/// Bytes that the allocator was asked for, not those resident.
@TensorActor @Suite("A hand-over takes the memory it is said to", .timeLimit(.minutes(10)))
struct HandOverMemoryTests {
    struct Example: CustomTestStringConvertible, Sendable {
        let layout: GenerationLayout
        let compute: ElementType
        let isAdapted: Bool
        /// Worked by hand.
        let bytes: Int
        var testDescription: String { "\(layout), \(compute)\(isAdapted ? ", with adapters" : "")" }
    }

    /// Two blocks of width 32: q and o are 32·32 numbers, k and v 16·32, gate and up 48·32, down 32·48, so 7,680 of a
    /// block's matrices, beside two norms of 32. Embedding and head are 64·32 each, the last norm 32.
    private nonisolated static let blocks = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32)
    private nonisolated static let all = blocks + 2 * 64 * 32 + 5 * 32
    /// Outputs in panels of 32: 16 are filled up to 32, 48 to 64.
    private nonisolated static let panels = 2 * (4 * 32 * 32 + 2 * 64 * 32 + 32 * 48) + 64 * 32
    /// A byte a number and 4 an output; the head stays in float32.
    private nonisolated static let bytePanels =
        2 * (4 * 32 * (32 + 4) + 2 * 64 * (32 + 4) + 32 * (48 + 4)) + 4 * 64 * 32

    /// A sum that is packed is there beside it; one that is rounded takes 8 bytes a number before it is 2: of one matrix at
    /// a time, 48·32 numbers at most.
    nonisolated static let examples = [
        Example(layout: .shared, compute: .float32, isAdapted: false, bytes: 0),
        Example(layout: .packed, compute: .float32, isAdapted: false, bytes: 4 * panels),
        Example(layout: .int8, compute: .float32, isAdapted: false, bytes: bytePanels),
        Example(layout: .shared, compute: .bfloat16, isAdapted: false, bytes: 2 * all),
        Example(layout: .shared, compute: .float32, isAdapted: true, bytes: 4 * blocks),
        Example(layout: .shared, compute: .bfloat16, isAdapted: true, bytes: 2 * blocks + 6 * 48 * 32),
        Example(layout: .packed, compute: .float32, isAdapted: true, bytes: 4 * panels + 4 * 48 * 32),
        Example(layout: .int8, compute: .float32, isAdapted: true, bytes: bytePanels + 4 * 48 * 32),
    ]

    private func configuration(_ example: Example) throws -> ModelConfiguration {
        let plain = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 64, hiddenSize: 32, layers: 2, heads: 4, keyValueHeads: 2,
                intermediateSize: 48, tiesEmbeddings: false))
        return example.isAdapted ? try plain.adapted(by: LoRAConfiguration(rank: 4, targets: .allLinear)) : plain
    }

    private func role(_ example: Example) throws -> ReallocatingActor {
        let configuration = try configuration(example)
        let weights = try ModelInitializer.model(
            configuration.withoutAdapters, seed: 1, elementType: example.isAdapted ? example.compute : .float32
        ).parametersByName
        return try ReallocatingActor(
            role: "actor",
            parameters: example.isAdapted
                ? ParameterSet(
                    trainable: configuration.freshAdapters(seed: 1), frozen: weights,
                    adapters: configuration.lowRankUpdates) : ParameterSet(trainable: weights),
            layout: example.compute == .float32 ? .shared : .copies(example.compute),
            packing: configuration.packing(example.layout))
    }

    @Test(arguments: examples) func isWhatItIsSaidToBe(_ example: Example) async throws {
        let estimate = try configuration(example).handOverBytes(
            example.layout, master: .float32, compute: example.compute)
        #expect(estimate == example.bytes)
        let policy = try role(example)
        _ = try await policy.generate { _ in }
        let before = policy.footprint()
        let back = await watchingAllocations { _ = try await policy.train { _ in .skipped(0) } }
        try #require(back.isAlone && back.error == nil)
        #expect(back.allocations.mostBytes == 0)  // what sampling read has gone, and nothing came
        let there = await watchingAllocations { _ = try await policy.generate { _ in } }
        try #require(there.isAlone && there.error == nil)
        let most = there.allocations.mostBytes
        print("\(example.testDescription): a hand-over took \(most) bytes of \(estimate)")
        #expect(Double(most) <= 1.05 * Double(estimate))
        #expect(Double(most) >= 0.85 * Double(estimate))  // the check can fail
        #expect(policy.footprint().byTag == before.byTag)
        let view = before.byTag.reduce(0) { $0 + ($1.key.isView ? $1.value : 0) }
        #expect(there.allocations.heldBytes == view)
    }

    @Test(arguments: examples) func twoHundredCyclesTakeWhatOneTakes(_ example: Example) async throws {
        let policy = try role(example)
        func cycle() async throws {
            _ = try await policy.generate { _ in }
            _ = try await policy.train { _ in .skipped(0) }
        }
        try await cycle()
        let one = await watchingAllocations { try await cycle() }
        let many = await watchingAllocations { for _ in 0..<200 { try await cycle() } }
        try #require(one.isAlone && one.error == nil && many.isAlone && many.error == nil)
        #expect(one.allocations.heldBytes == 0 && many.allocations.heldBytes == 0)
        #expect(many.allocations.mostBytes == one.allocations.mostBytes)
        #expect(many.allocations.count == 200 * one.allocations.count)
    }
}
