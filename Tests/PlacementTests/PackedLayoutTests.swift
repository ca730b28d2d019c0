import Placement
import Records
import Tensors
import Testing

@TensorActor @Suite("Matrices packed for sampling", .timeLimit(.minutes(10)))
struct PackedLayoutTests {
    /// Two matrices of which one is packed.
    private func policy(
        _ form: PackedMatrix.Form = .float32, adapters: Bool = false, packs: String = "weight"
    ) throws -> ReallocatingActor {
        let tensors = [
            "weight": try Tensor([1, 2, 3, 4] as [Float], shape: [2, 2]),
            "other": try Tensor([5, 6] as [Float], shape: [1, 2]),
        ]
        let (down, up) = (
            try Tensor([1, 1] as [Float], shape: [1, 2]), try Tensor([10, 20] as [Float], shape: [2, 1])
        )
        return try ReallocatingActor(
            role: "policy",
            parameters: adapters
                ? ParameterSet(
                    trainable: ["a": down, "b": up], frozen: tensors,
                    adapters: [LowRankUpdate(weight: "weight", down: "a", up: "b", scale: 0.5)])
                : ParameterSet(trainable: tensors),
            packing: [packs: form], verification: .everyHandOver)
    }

    /// What a generator reads: the matrix by its columns.
    private func read(_ policy: ReallocatingActor) async throws -> Stamped<[Float]> {
        try await policy.generate { lease in
            #expect(Set(lease.packed.keys) == ["weight"] && Set(lease.parameters.keys) == ["weight", "other"])
            let unit = try Tensor([1, 0, 0, 1] as [Float], shape: [2, 2])
            return try unit.linear(weight: lease.packed["weight"]!).floats()
        }
    }

    @Test func itIsMadeOnceAStepAndFollowsTheWeights() async throws {
        let policy = try policy()
        let first = try await read(policy)
        #expect(first.value == [1, 3, 2, 4] && first.reallocation.bytes == 2 * 32 * 4)
        #expect(try await read(policy).reallocation == .nothing)
        #expect(try await policy.infer { _ in }.reallocation == .nothing)  // scoring reads the weights themselves
        _ = try await policy.train { lease in
            let leaf = lease.parameters["weight"]!
            let step = try Tensor([Float](repeating: 1, count: 4), shape: [2, 2])
            return .step((), apply: { try leaf.addInPlace(step, scaledBy: 1) })
        }
        let second = try await read(policy)
        #expect(second.value == [2, 4, 3, 5] && second.version == PolicyVersion(1))
        #expect(second.reallocation.bytes == 2 * 32 * 4)
    }

    /// Twenty steps of w ← w − 0.01·2w, with a view in eight bits made and gone before each or without: the same bits, and
    /// what scores reads the same before a switch and after it.
    @Test func switchesLeaveNoTrace() async throws {
        func score(_ policy: ReallocatingActor) async throws -> [UInt32] {
            try await policy.infer { lease in try lease.parameters["weight"]!.floats().map(\.bitPattern) }.value
        }
        func trained(switching: Bool) async throws -> [UInt32] {
            let weight = try Tensor([0.1, -0.7, 3, 1e-3] as [Float], shape: [2, 2])
            let policy = try ReallocatingActor(
                role: "policy", parameters: ParameterSet(trainable: ["weight": weight]), packing: ["weight": .int8],
                verification: .everyHandOver)
            for _ in 0..<20 {
                if switching {
                    let before = try await score(policy)
                    for _ in 0..<3 { _ = try await policy.generate { lease in #expect(lease.packed.count == 1) } }
                    #expect(try await score(policy) == before)
                }
                _ = try await policy.train { lease in
                    let leaf = lease.parameters["weight"]!
                    try leaf.square().sum().backward()
                    return .step((), apply: { try leaf.addInPlace(leaf.gradient!, scaledBy: -0.01) })
                }
            }
            return try await score(policy)
        }
        let plain = try await trained(switching: false)
        #expect(try await trained(switching: true) == plain)
        let expected = (0..<20).reduce(3.0) { weight, _ in 0.98 * weight }
        #expect(abs(Double(Float(bitPattern: plain[2])) - expected) < 1e-5)
    }

    /// [[1, 2], [3, 4]] + ½·[10, 20]ᵀ·[1, 1] = [[6, 7], [13, 14]].
    @Test func whatAdaptersAddIsInIt() async throws {
        let policy = try policy(adapters: true)
        #expect(try await read(policy).value == [6, 13, 7, 14])
        #expect(try await policy.generate { try $0.parameters["weight"]!.floats() }.value == [1, 2, 3, 4])
    }

    /// A failed hand-over leaves the last good version, and the next one works.
    @Test func whatCannotBePackedLeavesTheRoleAsItWas() async throws {
        let policy = try policy(packs: "missing")
        await #expect(throws: PlacementError.self) { _ = try await policy.generate { _ in } }
        #expect(policy.phase == .idle(PolicyVersion(0)))
        #expect(try await policy.infer { try $0.parameters["weight"]!.floats() }.value == [1, 2, 3, 4])
    }
}
