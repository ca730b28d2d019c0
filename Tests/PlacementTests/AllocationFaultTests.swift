import Placement
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Memory that is refused, for one tensor after the other", .timeLimit(.minutes(10)))
struct AllocationFaultTests {
    /// How weights lie while they are sampled with.
    enum Layout: CaseIterable, Sendable {
        /// As they are trained; packed; copies in bfloat16; packed in eight bits.
        case shared, packed, copies, int8
        /// With what adapters add to matrices of float32, of bfloat16, and to packed ones.
        case sums, roundedSums, packedSums
        /// Copies, sums, and packed matrices of both forms.
        case everything
    }

    /// Two matrices and a vector; with adapters of both matrices these are what is trained.
    private func role(_ layout: Layout) throws -> ReallocatingActor {
        var tensors = [
            "x": try Tensor([0.5, -1, 2, 3, -0.25, 1] as [Float], shape: [3, 2]),
            "y": try Tensor([1, 2, 3, 4] as [Float], shape: [2, 2]), "n": try Tensor([1.5, -2] as [Float]),
        ]
        var packing: [String: PackedMatrix.Form] = [:]
        switch layout {
        case .packed, .packedSums: packing = ["x": .float32, "y": .float32]
        case .int8: packing = ["x": .int8, "y": .int8]
        case .everything: packing = ["x": .float32, "z": .int8]
        case .shared, .copies, .sums, .roundedSums: break
        }
        switch layout {
        case .shared, .packed, .copies, .int8:
            return try ReallocatingActor(
                role: "policy", parameters: ParameterSet(trainable: tensors),
                layout: layout == .copies ? .copies(.bfloat16) : .shared, packing: packing,
                verification: .everyHandOver)
        case .roundedSums: tensors = try tensors.mapValues { try $0.to(.bfloat16) }
        case .everything: tensors["z"] = try Tensor([9, 10, 11, 12] as [Double], shape: [2, 2])
        case .sums, .packedSums: break
        }
        let adapters = [
            "xa": try Tensor([1, 2] as [Float], shape: [1, 2]), "xb": try Tensor([3, 4, 5] as [Float], shape: [3, 1]),
            "ya": try Tensor([-1, 2] as [Float], shape: [1, 2]), "yb": try Tensor([1, 0.5] as [Float], shape: [2, 1]),
        ]
        return try ReallocatingActor(
            role: "policy",
            parameters: ParameterSet(
                trainable: adapters, frozen: tensors,
                adapters: ["x", "y"].map { LowRankUpdate(weight: $0, down: $0 + "a", up: $0 + "b", scale: 0.5) }),
            layout: layout == .everything ? .copies(.float32) : .shared, packing: packing,
            verification: .everyHandOver)
    }

    /// Everything that is lent to be sampled with, as numbers.
    private func numbers(
        _ parameters: [String: Tensor], _ packed: [String: PackedMatrix]
    ) throws -> [String: [Float]] {
        let unit = try Tensor([1, 0, 0, 1] as [Float], shape: [2, 2])
        let products = try packed.mapValues { try unit.linear(weight: $0).floats() }
        return try parameters.mapValues { try $0.floats() }.merging(products) { $1 }
    }

    private func sampled(_ policy: ReallocatingActor) async throws -> [String: [Float]] {
        try await policy.generate { lease in try numbers(lease.parameters, lease.packed) }.value
    }

    private func masters(_ policy: ReallocatingActor) async throws -> [String: [Float]] {
        try await policy.infer { lease in try lease.masters.mapValues { try $0.floats() } }.value
    }

    /// The hand-over alone, with nothing made before or with what scoring reads: that stays where it lies.
    @Test(arguments: Layout.allCases, [false, true])
    func everyAllocationOfAHandOver(_ layout: Layout, _ isScoredBefore: Bool) async throws {
        func start() async throws -> ReallocatingActor {
            let policy = try role(layout)
            if isScoredBefore { _ = try await policy.infer { _ in } }
            return policy
        }
        let twin = try await start()
        let (expected, unchanged) = (try await sampled(twin), try await masters(twin))
        var failures = 0
        while true {
            let policy = try await start()
            let before = policy.footprint()
            let call = await watchingAllocations(failingAt: failures + 1) { _ = try await policy.generate { _ in } }
            try #require(call.isAlone)
            guard call.error != nil else {
                #expect(call.allocations.count == failures)
                #expect(policy.footprint().byTag == twin.footprint().byTag)
                break
            }
            try #require(call.lacksMemory, "\(call.error as Any)")
            failures += 1
            #expect(policy.phase == .idle(PolicyVersion(0)))
            #expect(policy.footprint() == before && call.allocations.heldBytes == 0)
            if isScoredBefore { #expect(try await policy.infer { _ in }.reallocation == .nothing) }
            let (next, kept) = (try await sampled(policy), try await masters(policy))
            #expect(next == expected)
            #expect(kept == unchanged)  // digests too: every hand-over compares them
        }
        #expect((failures == 0) == (layout == .shared || layout == .copies && isScoredBefore))
    }

    /// A phase that has its view already, and a cache of its own.
    @Test(arguments: Layout.allCases)
    func everyAllocationOfSampling(_ layout: Layout) async throws {
        let policy = try role(layout)
        let expected = try await sampled(policy)
        let before = policy.footprint()
        var failures = 0
        while true {
            let call = await watchingAllocations(failingAt: failures + 1) {
                let found = try await policy.generate { lease in
                    let cache = KeptTensor(try Tensor.zeros([2, 8]), .keyValueCache)
                    policy.count(cache)
                    defer { withExtendedLifetime(cache) {} }
                    return try numbers(lease.parameters, lease.packed)
                }
                #expect(found.value == expected && found.reallocation == .nothing)
            }
            try #require(call.isAlone)
            #expect(policy.phase == .idle(PolicyVersion(0)))
            #expect(policy.footprint() == before && call.allocations.heldBytes == 0)
            guard call.error != nil else { break }
            try #require(call.lacksMemory, "\(call.error as Any)")
            failures += 1
        }
        #expect(failures >= 2)  // the cache and what is multiplied
        let next = try await sampled(policy)
        #expect(next == expected)
    }

    @TensorActor private final class Moments: MemoryOwner {
        let first: [String: Tensor]
        let second: [String: Tensor]

        init(of policy: ReallocatingActor) throws {
            first = try policy.zeros()
            second = try policy.zeros()
            policy.count(self)
        }

        var footprint: Footprint {
            var all = Footprint()
            all.add(first.values, as: .optimizer)
            all.add(second.values, as: .optimizer)
            return all
        }

        func numbers() throws -> [[String: [Float]]] {
            [try first.mapValues { try $0.floats() }, try second.mapValues { try $0.floats() }]
        }
    }

    /// A step of AdamW on the sum of the squares of what a pass reads of everything trained.
    private func step(_ policy: ReallocatingActor, _ moments: Moments) async throws {
        _ = try await policy.train { lease in
            let leaves = lease.parameters.leaves.sorted { $0.key < $1.key }
            let read = try lease.parameters.computed()
            for leaf in leaves { try read[leaf.key]!.square().sum().backward() }
            let gradients = leaves.map { $0.value.gradient! }
            return .step(
                0,
                apply: {
                    try Tensor.adamWStep(
                        parameters: leaves.map { $0.value }, gradients: gradients,
                        firstMoments: leaves.map { moments.first[$0.key]! },
                        secondMoments: leaves.map { moments.second[$0.key]! }, step: 1, learningRate: 0.1, beta1: 0.9,
                        beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01)
                })
        }
    }

    /// The view goes before a step and is made again with the same numbers after one that failed. Once the step is
    /// written nothing is asked for: a failure there would leave weights of no version.
    @Test(arguments: Layout.allCases)
    func everyAllocationOfAStep(_ layout: Layout) async throws {
        let (policy, twin) = (try role(layout), try role(layout))
        let (moments, others) = (try Moments(of: policy), try Moments(of: twin))
        let before = policy.footprint()
        let untouched = try moments.numbers()
        let (read, unchanged) = (try await sampled(policy), try await masters(policy))
        var failures = 0
        while true {
            let call = await watchingAllocations(failingAt: failures + 1) { try await step(policy, moments) }
            try #require(call.isAlone)
            guard call.error != nil else { break }
            try #require(call.lacksMemory, "\(call.error as Any)")
            failures += 1
            try #require(policy.phase == .idle(PolicyVersion(0)))
            #expect(policy.footprint() == before && call.allocations.heldBytes == 0)
            #expect(try moments.numbers() == untouched)
            let (next, kept) = (try await sampled(policy), try await masters(policy))
            #expect(next == read)
            #expect(kept == unchanged)
        }
        #expect(failures >= 6)  // a square, a sum and a gradient of each of two tensors at least
        try await step(twin, others)
        #expect(policy.phase == .idle(PolicyVersion(1)))
        #expect(try moments.numbers() == others.numbers())
        let (next, expected) = (try await sampled(policy), try await sampled(twin))
        #expect(next == expected && next != read)
    }
}
