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
            verification: .everyHandOver, shards: ParameterShards(over: group, cuts: Self.cuts),
            gathering: TensorTransfer(rounds: [[.init(sender: 0, receivers: [0], regions: [Self.region])]]),
            generationShards: ParameterShards(over: group, cuts: Self.cuts))
    }

    private nonisolated static let cuts = ["weight": ParameterShards.Cut(axis: 0, count: 3)]
    private nonisolated static let region = TensorTransfer.Region(name: "weight", rows: 0..<3, columns: 0..<1)

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

    /// Nothing comes together for ranks that sample with the parts they train, and what came together for others goes.
    @Test func partsAreSampledWithWhereTheyAreTrained() async throws {
        func isInPlace() async throws -> Bool {
            let (cuts, identity) = try await policy.generate(together: true) { lease in
                (lease.shards?.cuts, lease.parameters["weight"]!.storage.identity)
            }.value
            return cuts == Self.cuts && identity == weight.storage.identity
        }
        #expect(try await isInPlace())
        #expect(try await add(1) == .nothing)
        #expect(policy.footprint().bytes(.copies) == 0)
        try await policy.gather()
        #expect(policy.footprint().bytes(.copies) == 12)
        #expect(try await isInPlace())
        #expect(policy.footprint().bytes(.copies) == 0)
        let whole = try await policy.generate { lease in
            (lease.shards?.cuts, try lease.parameters["weight"]!.floats())
        }.value
        #expect(whole.0 == nil && whole.1 == [2, 3, 4])
    }

    /// Steps that leave a number out, or put two of them elsewhere.
    @Test(arguments: [
        [TensorTransfer.Region(name: "weight", rows: 0..<2, columns: 0..<1)], [],
    ])
    func whatArrivesOtherwiseIsFound(_ regions: [TensorTransfer.Region]) async throws {
        let group = try #require(try TensorParallelGroup.within(size: 1).first)
        let policy = try ReallocatingActor(
            role: "policy", parameters: ParameterSet(trainable: ["weight": weight]), verification: .everyHandOver,
            shards: ParameterShards(over: group, cuts: Self.cuts),
            gathering: TensorTransfer(
                rounds: regions.isEmpty ? [] : [[.init(sender: 0, receivers: [0], regions: regions)]]))
        let error = await #expect(throws: PlacementError.self) { try await policy.gather() }
        #expect(error == .changedOnTheWay(role: "policy", parameter: "weight"))
        #expect(policy.phase == .idle(PolicyVersion(0)))
    }
}

@TensorActor @Suite("Whole weights that several ranks sample with in parts")
struct SampledPartsTests {
    /// Rank 0 of one has everything; no copy is made of it, also where the columns are cut, and the packed matrices are
    /// those of the ranks that sample together.
    @Test func partsAreCutWithoutACopy() async throws {
        let group = try #require(try TensorParallelGroup.within(size: 1).first)
        let weight = try Tensor([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3])
        let policy = try ReallocatingActor(
            role: "policy", parameters: ParameterSet(trainable: ["weight": weight]), packing: ["weight": .float32],
            generationShards: ParameterShards(over: group, cuts: ["weight": .init(axis: 1, count: 3)]))
        for _ in 0..<2 {
            let found = try await policy.generate(together: true) { lease in
                let part = lease.parameters["weight"]!
                return (part.storage.identity == weight.storage.identity, part.shape, lease.packed["weight"]?.outputs)
            }.value
            #expect(found.0 && found.1 == [2, 3] && found.2 == 2)
            let alone = try await policy.generate { lease in (lease.shards?.cuts, lease.packed.count) }.value
            #expect(alone.0 == nil && alone.1 == 0)
        }
        #expect(policy.footprint().bytes(.copies) == 0 && policy.footprint().bytes(.packed) > 0)
    }
}
