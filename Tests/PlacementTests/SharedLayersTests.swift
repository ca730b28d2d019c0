import Placement
import Records
import Tensors
import Testing

/// Of a group of one rank, whose part is the whole; what several make of theirs is in the tests of Tensors.
@TensorActor @Suite("Weights that ranks share, brought together to be read", .timeLimit(.minutes(10)))
struct SharedLayersTests {
    private let weight: Tensor
    private let policy: ReallocatingActor

    init() throws {
        let group = try #require(try TensorParallelGroup.within(size: 1).first)
        weight = try Tensor([1, 2, 3] as [Float])
        policy = try ReallocatingActor(
            role: "policy",
            parameters: ParameterSet(trainable: ["weight": weight, "norm": Tensor([5] as [Float])]),
            verification: .everyHandOver,
            shards: ParameterShards(over: group, cuts: ["weight": .init(axis: 0, count: 3)]))
    }

    /// Adds to every weight that is shared.
    private func add(_ amount: Float) async throws -> ReallocationReport {
        try await policy.train { lease in
            let leaf = lease.parameters["weight"]!
            let step = try Tensor([Float](repeating: amount, count: leaf.count))
            return .step((), apply: { try leaf.addInPlace(step, scaledBy: 1) })
        }.reallocation
    }

    @Test func whatIsReadIsWholeAndWhatIsTrainedThePart() async throws {
        try await policy.gather()
        let read = try await policy.infer { lease in
            let isApart = lease.parameters["weight"]!.storage.identity != weight.storage.identity
            let numbers = [lease.parameters["weight"]!, lease.masters["weight"]!, lease.parameters["norm"]!]
            return (isApart, try numbers.map { try $0.floats() })
        }.value
        #expect(read.0 && read.1 == [[1, 2, 3], [1, 2, 3], [5]])
        let trained = try await policy.train { lease in
            .skipped(lease.parameters["weight"]!.storage.identity == weight.storage.identity)
        }
        #expect(trained.value)
    }

    /// Three numbers of four bytes; the norm is on every rank already.
    @Test func theyComeTogetherOnceAStep() async throws {
        try await policy.gather()
        try await policy.gather()
        #expect(policy.footprint().bytes(.copies) == 12)
        #expect(try await add(1).bytes == 12)
        #expect(policy.footprint().bytes(.copies) == 0)  // gone while they were trained
        try await policy.gather()
        let read = try await policy.generate { try $0.parameters["weight"]!.floats() }
        #expect(read.value == [2, 3, 4] && read.version == PolicyVersion(1) && read.reallocation == .nothing)
    }
}
