import Placement
import Records
import Tensors
import Testing

@TensorActor @Suite("Masters in float32, copies in bfloat16", .timeLimit(.minutes(10)))
struct CopiesLayoutTests {
    private func policy(_ values: [Float]) throws -> ReallocatingActor {
        try ReallocatingActor(
            role: "policy", parameters: ParameterSet(trainable: ["weight": Tensor(values)]), layout: .copies(.bfloat16),
            verification: .everyHandOver)
    }

    /// Adds to every weight.
    private func add(_ amount: Float, to policy: ReallocatingActor) async throws {
        _ = try await policy.train { lease in
            let leaf = lease.parameters["weight"]!
            let step = try Tensor([Float](repeating: amount, count: leaf.count))
            return .step((), apply: { try leaf.addInPlace(step, scaledBy: 1) })
        }
    }

    @Test func stepsTooSmallForACopyAddUpInTheMasters() async throws {
        let policy = try policy([1])
        // bfloat16 has 7 bits behind the point: next to 1 it holds 1 + 2⁻⁷, and 1 + 2⁻¹⁰ rounds to 1.
        for step in 1...8 {
            try await add(0x1p-10, to: policy)
            let copy = try await policy.generate { lease in
                #expect(lease.parameters["weight"]!.elementType == .bfloat16)
                return try lease.parameters["weight"]!.floats()[0]
            }
            #expect(copy.version == PolicyVersion(step))
            #expect(copy.value == (step > 4 ? 1 + 0x1p-7 : 1))  // 1 + 4·2⁻¹⁰ is half way: to even, which is 1
        }
        let masters = try await policy.infer { try $0.masters["weight"]!.floats() }.value
        #expect(masters == [1 + 0x1p-7])
    }

    @Test func aStepMakesCopiesOnceAndSaysWhatTheyCost() async throws {
        let policy = try policy([1, 2, 3])
        let first = try await policy.generate { _ in }.reallocation
        #expect(first.bytes == 6)
        #expect(first.milliseconds > 0)
        #expect(try await policy.infer { _ in }.reallocation == .nothing)
        let trained = try await policy.train { _ in .skipped(()) }
        #expect(trained.reallocation == first)  // a step reports what was copied since the last one
        #expect(try await policy.train { _ in .skipped(()) }.reallocation == .nothing)
        try await add(1, to: policy)
        #expect(try await policy.infer { _ in }.reallocation.bytes == 6)
    }

    @Test func gradientsOfSeveralPassesAddUpInFloat32() async throws {
        let policy = try policy([1])
        let total = try await policy.train { lease in
            let weight = try lease.parameters.computed()["weight"]!
            #expect(weight.elementType == .bfloat16)
            for factor in [256, 1] as [Float] { try (weight * Tensor([factor]).to(.bfloat16)).sum().backward() }
            return .skipped(try lease.parameters["weight"]!.gradient!.floats())
        }
        #expect(total.value == [257])  // bfloat16 holds 256 and 258
    }

    @Test func aCopyWrittenBehindTheActorIsNoticed() async throws {
        let policy = try policy([1, 2])
        _ = try await policy.generate { try $0.parameters["weight"]!.fillInPlace(3) }
        await #expect(throws: PlacementError.self) { _ = try await policy.infer { _ in } }
        guard case .poisoned = policy.phase else { Issue.record("phase is \(policy.phase)"); return }
    }
}
