import Foundation
import Placement
import Records
import Tensors
import Testing

/// Ranks that share one vector, this one an owner of weights and each other a thread that makes the same collectives.
private struct SharedVector: Sendable {
    let count: Int
    let rank: Int
    /// What the ranks have in parts, or read so: the vector, and others of its length.
    let names: [String]
    /// Of those that train parts together, each rank's own; `nil` where each trains the whole.
    let training: [TensorParallelGroup]?
    /// Of those that sample together.
    let sampling: [TensorParallelGroup]
    let all: [TensorParallelGroup]
    let gatheringSteps: TensorTransfer
    let samplingSteps: TensorTransfer

    /// - Parameters:
    ///   - ranks: All of them.
    ///   - degrees: How many train parts together, and how many sample together.
    init(
        count: Int, rank: Int, of ranks: Int, degrees: (training: Int, sampling: Int),
        gathering: [TensorTransfer.Step] = [], sampling steps: [TensorTransfer.Step] = [],
        cutting names: [String] = ["weight"]
    ) throws {
        func groups(_ size: Int) throws -> [TensorParallelGroup] {
            try (0..<ranks / size).flatMap { _ in try TensorParallelGroup.within(size: size) }
        }
        (self.count, self.rank, self.names) = (count, rank, names)
        training = degrees.training == 1 ? nil : try groups(degrees.training)
        sampling = try groups(degrees.sampling)
        all = try groups(ranks)
        gatheringSteps = TensorTransfer(rounds: gathering.isEmpty ? [] : [gathering])
        samplingSteps = TensorTransfer(rounds: steps.isEmpty ? [] : [steps])
    }

    static func step(_ sender: Int, _ receivers: [Int], _ rows: Range<Int>) -> TensorTransfer.Step {
        .init(sender: sender, receivers: receivers, regions: [.init(name: "weight", rows: rows, columns: 0..<1)])
    }

    func shards(_ groups: [TensorParallelGroup], _ rank: Int) -> ParameterShards {
        let cuts = names.map { ($0, ParameterShards.Cut(axis: 0, count: count)) }
        return ParameterShards(over: groups[rank], cuts: Dictionary(uniqueKeysWithValues: cuts))
    }

    func gathering(_ rank: Int) -> ParameterReallocation? {
        training.map { ParameterReallocation(from: shards($0, rank), to: nil, over: $0[rank], gatheringSteps) }
    }

    func reallocation(_ rank: Int) -> ParameterReallocation {
        ParameterReallocation(
            from: training.map { shards($0, rank) }, to: shards(sampling, rank), over: all[rank], samplingSteps)
    }

    /// What a rank trains of the whole vector.
    func part(of whole: [Float], _ rank: Int) -> [Float] {
        guard let group = training?[rank] else { return whole }
        return Array(whole[group.range(of: count)])
    }

    /// Has the other ranks bring what they have of the vector to where it is needed, while the body does so here.
    ///
    /// - Parameters:
    ///   - ranks: Those that take part, this one among them or not.
    ///   - way: Of each of them.
    func others<R: Sendable>(
        _ whole: [Float], _ ranks: [Int], by way: @escaping @Sendable (Int) -> ParameterReallocation,
        _ body: @TensorActor () async throws -> R
    ) async throws -> R {
        for rank in ranks where rank != self.rank {
            let values = part(of: whole, rank)
            Thread {
                // A rank that fails keeps this one waiting, which then throws.
                _ = try? Self.bring(values, by: way(rank))
            }.start()
        }
        return try await body()
    }

    /// The collectives of a hand-over that is verified.
    private static func bring(_ values: [Float], by way: ParameterReallocation) throws {
        let held = ["weight": try Tensor(values)]
        var needed = held
        if let view = try way.view(of: held["weight"]!, named: "weight") {
            try way.walk(from: held, into: [:])
            needed["weight"] = view
        } else {
            needed["weight"] = try way.room(for: held["weight"]!, named: "weight")
            try way.walk(from: held, into: needed)
        }
        _ = try WeightFingerprint(adding: held, of: way.source)
        _ = try WeightFingerprint(adding: needed, of: way.target)
    }
}

/// Two ranks train four numbers, this one the first two.
@TensorActor @Suite("Weights that ranks share, brought together to be read", .timeLimit(.minutes(10)))
struct SharedLayersTests {
    private let vector: SharedVector
    private let weight: Tensor
    private let policy: ReallocatingActor

    init() throws {
        let step = SharedVector.step
        vector = try SharedVector(
            count: 4, rank: 0, of: 2, degrees: (2, 2),
            gathering: [step(0, [0], 0..<2), step(0, [1], 0..<2), step(1, [0], 2..<4), step(1, [1], 2..<4)])
        weight = try Tensor([1, 2] as [Float])
        policy = try ReallocatingActor(
            role: "policy",
            parameters: ParameterSet(trainable: ["weight": weight, "norm": Tensor([5] as [Float])]),
            verification: .everyHandOver, gathering: vector.gathering(0), sampling: vector.reallocation(0))
    }

    /// Adds to every weight that is shared.
    private func add(_ amount: Float) async throws -> ReallocationReport {
        try await policy.train { lease in
            let leaf = lease.parameters["weight"]!
            let step = try Tensor([Float](repeating: amount, count: leaf.count))
            return .step((), apply: { try leaf.addInPlace(step, scaledBy: 1) })
        }.reallocation
    }

    private func gather(_ whole: [Float]) async throws {
        try await vector.others(whole, [0, 1], by: { [vector] in vector.gathering($0)! }) { try await policy.gather() }
    }

    @Test func whatIsReadIsWholeAndWhatIsTrainedThePart() async throws {
        try await gather([1, 2, 3, 4])
        let read = try await policy.infer { lease in
            let isApart = lease.parameters["weight"]!.storage.identity != weight.storage.identity
            let numbers = [lease.parameters["weight"]!, lease.masters["weight"]!, lease.parameters["norm"]!]
            return (isApart, try numbers.map { try $0.floats() })
        }.value
        #expect(read.0 && read.1 == [[1, 2, 3, 4], [1, 2, 3, 4], [5]])
        let trained = try await policy.train { lease in
            .skipped(lease.parameters["weight"]!.storage.identity == weight.storage.identity)
        }
        #expect(trained.value)
    }

    /// Four numbers of four bytes; the norm is on every rank already.
    @Test func theyComeTogetherOnceAStep() async throws {
        try await gather([1, 2, 3, 4])
        try await policy.gather()
        #expect(policy.footprint().bytes(.copies) == 16)
        #expect(try await add(1).bytes == 16)
        #expect(policy.footprint().bytes(.copies) == 0)  // gone while they were trained
        try await gather([2, 3, 4, 5])
        let read = try await policy.generate { try $0.parameters["weight"]!.floats() }
        #expect(read.value == [2, 3, 4, 5] && read.version == PolicyVersion(1) && read.reallocation == .nothing)
    }

    /// Nothing comes together for ranks that sample with the parts they train, and what came together for others goes.
    @Test func partsAreSampledWithWhereTheyAreTrained() async throws {
        func isInPlace() async throws -> Bool {
            try await policy.gatherToSample()
            let (cuts, identity) = try await policy.generate(together: true) { lease in
                (lease.shards?.cuts, lease.parameters["weight"]!.storage.identity)
            }.value
            return cuts == ["weight": .init(axis: 0, count: 4)] && identity == weight.storage.identity
        }
        #expect(try await isInPlace())
        #expect(try await add(1) == .nothing)
        #expect(policy.footprint().bytes(.copies) == 0)
        try await gather([2, 3, 4, 5])
        #expect(policy.footprint().bytes(.copies) == 16)
        #expect(try await isInPlace())
        #expect(policy.footprint().bytes(.copies) == 0)
        try await gather([2, 3, 4, 5])
        let whole = try await policy.generate { lease in
            (lease.shards?.cuts, try lease.parameters["weight"]!.floats())
        }.value
        #expect(whole.0 == nil && whole.1 == [2, 3, 4, 5])
    }

    /// What nobody trains is whole on each rank. It is read where it lies: by halves where the ranks share the layers.
    @Test func frozenParametersDoNotMove() async throws {
        let step = SharedVector.step
        let vector = try SharedVector(
            count: 4, rank: 0, of: 2, degrees: (2, 2),
            gathering: [step(0, [0], 0..<2), step(0, [1], 0..<2), step(1, [0], 2..<4), step(1, [1], 2..<4)],
            cutting: ["weight", "frozen"])
        let frozen = try Tensor([10, 20, 30, 40] as [Float])
        let policy = try ReallocatingActor(
            role: "policy", parameters: ParameterSet(trainable: ["weight": weight], frozen: ["frozen": frozen]),
            verification: .everyHandOver, gathering: vector.gathering(0), sampling: vector.reallocation(0))
        /// Its numbers, where they are the frozen ones themselves.
        func read(_ tensor: Tensor?) throws -> [Float]? {
            try tensor.flatMap { $0.storage.identity == frozen.storage.identity ? try $0.floats() : nil }
        }
        try await vector.others([1, 2, 3, 4], [0, 1], by: { vector.gathering($0)! }) { try await policy.gather() }
        #expect(policy.footprint().bytes(.copies) == 16)  // the four numbers that are trained
        let whole = try await policy.infer { try read($0.parameters["frozen"]) }
        #expect(whole.value == [10, 20, 30, 40])
        let trained = try await policy.train { lease in .skipped(try read(lease.parameters.frozen["frozen"])) }
        #expect(trained.value == [10, 20])
        let sampled = try await policy.generate(together: true) { try read($0.parameters["frozen"]) }
        #expect(sampled.value == [10, 20])
    }

    /// Steps that leave a number of the other rank's out, or all of them.
    @Test(arguments: [[SharedVector.step(0, [0], 0..<2), SharedVector.step(1, [0], 2..<3)], []])
    func whatArrivesOtherwiseIsFound(_ steps: [TensorTransfer.Step]) async throws {
        let vector = try SharedVector(count: 4, rank: 0, of: 2, degrees: (2, 2), gathering: steps)
        let policy = try ReallocatingActor(
            role: "policy", parameters: ParameterSet(trainable: ["weight": weight]), verification: .everyHandOver,
            gathering: vector.gathering(0))
        let error = await #expect(throws: PlacementError.self) {
            try await vector.others([1, 2, 3, 4], [0, 1], by: { vector.gathering($0)! }) { try await policy.gather() }
        }
        #expect(error == .changedOnTheWay(role: "policy", parameter: "weight"))
        #expect(policy.phase == .idle(PolicyVersion(0)))
    }
}

/// Rank 1 of four trains the second half of eight numbers and samples with the second quarter, which rank 0 trains; ranks
/// 0 and 3 sample with halves of what they train.
@TensorActor @Suite("Parts that are sampled with, of other parts", .timeLimit(.minutes(10)))
struct ReallocatedPartsTests {
    private let vector: SharedVector
    private let weight: Tensor
    private let policy: ReallocatingActor
    private let whole: [Float] = [1, 2, 3, 4, 5, 6, 7, 8]

    init() throws {
        let step = SharedVector.step
        vector = try SharedVector(
            count: 8, rank: 1, of: 4, degrees: (2, 4),
            gathering: [step(0, [0], 0..<4), step(0, [1], 0..<4), step(1, [0], 4..<8), step(1, [1], 4..<8)],
            sampling: [step(0, [0], 0..<2), step(0, [1], 2..<4), step(1, [2], 4..<6), step(3, [3], 6..<8)])
        weight = try Tensor([5, 6, 7, 8] as [Float])
        policy = try ReallocatingActor(
            role: "policy",
            parameters: ParameterSet(trainable: ["weight": weight, "norm": Tensor([9] as [Float])]),
            verification: .everyHandOver, gathering: vector.gathering(1), sampling: vector.reallocation(1))
    }

    private func gatherToSample() async throws {
        try await vector.others(whole, Array(0..<4), by: { [vector] in vector.reallocation($0) }) {
            try await policy.gatherToSample()
        }
    }

    private func sampled() async throws -> Stamped<[[Float]]> {
        try await policy.generate(together: true) { lease in
            [try lease.parameters["weight"]!.floats(), try lease.parameters["norm"]!.floats()]
        }
    }

    /// Two numbers of four bytes come, once; they go when wholes come, and with the step.
    @Test func theyComeOnceAStep() async throws {
        try await gatherToSample()
        try await policy.gatherToSample()
        let first = try await sampled()
        #expect(first.value == [[3, 4], [9]] && first.reallocation == .nothing)
        #expect(policy.footprint().bytes(.copies) == 8)
        try await vector.others(whole, [0, 1], by: { [vector] in vector.gathering($0)! }) { try await policy.gather() }
        #expect(policy.footprint().bytes(.copies) == 32)
        #expect(try await policy.infer { try $0.parameters["weight"]!.floats() }.value == whole)
        try await gatherToSample()
        #expect(policy.footprint().bytes(.copies) == 8)
        let step = try await policy.train { lease in
            let leaf = lease.parameters["weight"]!
            return .step((), apply: { try leaf.addInPlace(Tensor([1, 1, 1, 1] as [Float]), scaledBy: 1) })
        }
        #expect(step.reallocation.bytes == 8 + 32 + 8)
        #expect(policy.footprint().bytes(.copies) == 0)
    }

    /// A rank that sends its numbers to another place: what the four sample with is not what they train.
    @Test func whatArrivesOtherwiseIsFound() async throws {
        let step = SharedVector.step
        let wrong = try SharedVector(
            count: 8, rank: 1, of: 4, degrees: (2, 4), sampling: [step(0, [1], 2..<3), step(1, [2], 4..<6)])
        let policy = try ReallocatingActor(
            role: "policy", parameters: ParameterSet(trainable: ["weight": weight]), verification: .everyHandOver,
            gathering: wrong.gathering(1), sampling: wrong.reallocation(1))
        let error = await #expect(throws: PlacementError.self) {
            try await wrong.others(whole, Array(0..<4), by: { wrong.reallocation($0) }) {
                try await policy.gatherToSample()
            }
        }
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
            sampling: ParameterReallocation(
                from: nil, to: ParameterShards(over: group, cuts: ["weight": .init(axis: 1, count: 3)]), over: group,
                TensorTransfer(rounds: [])))
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

    /// W + s·B·A = [[1, 2], [3, 4]] + 2·[1, −1]ᵀ·[1, ½] = [[3, 3], [1, 3]], four numbers of four bytes: of parts for who
    /// samples together, unless they are packed, and of wholes for who samples alone.
    @Test(arguments: [false, true]) func whatAdaptersAddIsMadeForEither(_ packs: Bool) async throws {
        let group = try #require(try TensorParallelGroup.within(size: 1).first)
        let cuts: [String: ParameterShards.Cut] = [
            "weight": .init(axis: 0, count: 2), "b": .init(axis: 0, count: 2),
        ]
        let policy = try ReallocatingActor(
            role: "policy",
            parameters: ParameterSet(
                trainable: [
                    "a": Tensor([1, 0.5] as [Float], shape: [1, 2]), "b": Tensor([1, -1] as [Float], shape: [2, 1]),
                ],
                frozen: ["weight": Tensor([1, 2, 3, 4] as [Float], shape: [2, 2])],
                adapters: [LowRankUpdate(weight: "weight", down: "a", up: "b", scale: 2)]),
            packing: packs ? ["weight": .float32] : [:],
            sampling: ParameterReallocation(
                from: nil, to: ParameterShards(over: group, cuts: cuts), over: group, TensorTransfer(rounds: [])))
        for _ in 0..<2 {
            let alone = try await policy.generate { lease in
                (lease.packed.count, try lease.parameters.mapValues { try $0.floats() })
            }.value
            #expect(alone.0 == 0 && alone.1 == ["weight": [3, 3, 1, 3]])
            #expect(policy.footprint().bytes(.adapterSums) == 16)
            let together = try await policy.generate(together: true) { lease in
                (lease.packed.count, try lease.parameters.mapValues { try $0.floats() })
            }.value
            #expect(together.0 == (packs ? 1 : 0))
            #expect(together.1 == ["weight": packs ? [1, 2, 3, 4] : [3, 3, 1, 3]])
            #expect(policy.footprint().bytes(.adapterSums) == (packs ? 0 : 16))
        }
    }
}
