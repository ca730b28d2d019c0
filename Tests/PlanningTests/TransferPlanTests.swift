import Planning
import TestSupport
import Testing

/// Each element of a model as a number of its own, four bytes: tensor by tensor, row by row.
private struct NumberedModel {
    let shape: ModelShape
    private var first: [String: UInt32] = [:]

    init(_ shape: ModelShape) {
        self.shape = shape
        var next: UInt32 = 1
        for layer in 0..<shape.layerCount {
            for tensor in shape.tensors(ofLayer: layer) where first[tensor.name] == nil {
                first[tensor.name] = next
                next += UInt32(tensor.count)
            }
        }
    }

    /// What a device of a sharded model holds, by a loop over rows and columns.
    func buffer(_ layout: ShardLayout) -> [UInt8] {
        var values: [UInt32] = []
        for part in layout.parts {
            #expect(part.start == values.count)
            for row in part.block.rows {
                for column in part.block.columns {
                    values.append((first[part.tensor.name] ?? 0) + UInt32(row * part.tensor.columns + column))
                }
            }
        }
        return values.withUnsafeBytes { Array($0) }
    }

    func buffers(_ model: ShardedModel) -> [Int: [UInt8]] {
        Dictionary(
            uniqueKeysWithValues: model.ranks.map { rank in (rank, model.layout(ofRank: rank).map(buffer) ?? []) })
    }
}

@Suite("Transfer plans move every element to where it is needed, once")
struct TransferPlanTests {
    /// Up to 6 blocks of width 8 to 64: tied and untied heads, critics, biases, fused tensors, few key and value heads,
    /// heads that a degree divides and heads that each shard then has whole, words in parts that differ by one.
    private static func shape(_ random: inout TestRandom) -> ModelShape {
        let heads = [1, 2, 3, 4, 5, 6, 8, 12, 12, 12].randomElement(using: &random)!
        let keyValueHeads = (1...heads).filter { heads.isMultiple(of: $0) }.randomElement(using: &random)!
        let outputs: [ModelShape.Output] = [.head, .tied, .values(1), .values(3)]
        return ModelShape(
            layers: Int.random(in: 1...6, using: &random), hiddenSize: Int.random(in: 8...64, using: &random),
            intermediateSize: Int.random(in: 8...48, using: &random), heads: heads, keyValueHeads: keyValueHeads,
            headSize: Int.random(in: 2...4, using: &random), vocabularySize: Int.random(in: 7...64, using: &random),
            output: outputs.randomElement(using: &random)!,
            biases: ModelShape.Biases(rawValue: Int.random(in: 0...7, using: &random)),
            normalizesQueriesAndKeys: Bool.random(using: &random), fusesProjections: Bool.random(using: &random))
    }

    /// How the devices of two placements lie to each other.
    private enum Meshes: CaseIterable {
        case disjoint, overlapping, nested

        init(_ one: ShardedModel, _ other: ShardedModel) {
            let (first, second) = (Set(one.ranks), Set(other.ranks))
            self =
                first.isDisjoint(with: second)
                ? .disjoint : first.isSubset(of: second) || second.isSubset(of: first) ? .nested : .overlapping
        }
    }

    /// Up to four stages, shards and replicas on devices that follow each other: from one of another placement on, from
    /// its first, or behind its last.
    private static func placed(
        _ shape: ModelShape, beside other: ShardedModel? = nil, _ random: inout TestRandom
    ) -> ShardedModel? {
        func degree() -> Int { Int.random(in: 1...4, using: &random) }
        let strategy = Strategy(min(degree(), shape.layerCount), degree(), degree())
        var first = Int.random(in: 0...8, using: &random)
        if let other {
            let start = other.ranks[0]
            switch Int.random(in: 0..<3, using: &random) {
            case 0: first = start
            case 1: first = start + Int.random(in: 0..<other.ranks.count, using: &random)
            default: first = start + other.ranks.count
            }
        }
        return ShardedModel(shape, strategy, ranks: Array(first..<first + strategy.size))
    }

    @Test func everyElementArrivesOnce() throws {
        var random = TestRandom(seed: 14)
        var seen: Set<Meshes> = []
        for _ in 0..<32 {
            let shape = Self.shape(&random)
            let source = try #require(Self.placed(shape, &random))
            let target = try #require(Self.placed(shape, beside: source, &random))
            seen.insert(Meshes(source, target))
            let node = [2, 4, 8].randomElement(using: &random)!
            let moved = Self.move(source, target, node)
            // By way of the target a third layout is what it is from the source.
            let third = try #require(Self.placed(shape, beside: target, &random))
            let on = TransferPlan(from: target, to: third, devicesPerNode: node)
            let direct = TransferPlan(from: source, to: third, devicesPerNode: node)
            let arrived = on.perform(on: moved, elementSize: 4)
            let numbers = NumberedModel(shape)
            #expect(arrived == direct.perform(on: numbers.buffers(source), elementSize: 4))
            #expect(arrived == numbers.buffers(third))
        }
        #expect(seen == Set(Meshes.allCases))
    }

    /// There, where every buffer must be what a loop makes of the model, and back, where it is the source again.
    ///
    /// - Returns: The target's buffers.
    @discardableResult
    private static func move(_ source: ShardedModel, _ target: ShardedModel, _ node: Int) -> [Int: [UInt8]] {
        let plan = TransferPlan(from: source, to: target, devicesPerNode: node)
        let numbers = NumberedModel(source.shape)
        let moved = plan.perform(on: numbers.buffers(source), elementSize: 4)
        #expect(moved == numbers.buffers(target), "\(source.shape): \(source.strategy) → \(target.strategy)")
        let back = TransferPlan(from: target, to: source, devicesPerNode: node)
        #expect(back.perform(on: moved, elementSize: 4) == numbers.buffers(source))
        checkSteps(plan)
        return moved
    }

    /// Heads of keys and values that become whole on each shard, and cut again; a head that is the embedding, stored once
    /// or twice; a critic's; degrees of which none divides the other; other numbers of replicas. On the same devices, on
    /// some of them, on others.
    @Test(
        arguments: [
            (Strategy(1, 1, 1), Strategy(1, 4, 1), 2, .head), (Strategy(1, 4, 1), Strategy(1, 2, 2), 2, .head),
            (Strategy(1, 3, 1), Strategy(1, 2, 1), 6, .head), (Strategy(1, 3, 1), Strategy(1, 4, 1), 3, .tied),
            (Strategy(1, 2, 1), Strategy(3, 1, 1), 2, .tied), (Strategy(3, 1, 1), Strategy(1, 1, 2), 4, .tied),
            (Strategy(2, 2, 1), Strategy(1, 4, 1), 12, .values(1)), (Strategy(1, 2, 3), Strategy(2, 1, 2), 4, .head),
        ] as [(Strategy, Strategy, Int, ModelShape.Output)])
    func namedChanges(_ from: Strategy, _ to: Strategy, _ keyValueHeads: Int, _ output: ModelShape.Output) throws {
        let shape = ModelShape(
            layers: 2, hiddenSize: 24, intermediateSize: 24, heads: 12, keyValueHeads: keyValueHeads, headSize: 2,
            vocabularySize: 13, output: output)
        let source = try #require(ShardedModel(shape, from, ranks: Array(0..<from.size)))
        for first in [0, 1, 8] {
            Self.move(source, try #require(ShardedModel(shape, to, ranks: Array(first..<first + to.size))), 4)
        }
    }

    /// Every element of a target is written by one step; nobody sends to himself; a node has one sender of a piece.
    private static func checkSteps(_ plan: TransferPlan) {
        var written: [Int: [Int]] = [:]
        var senders: Set<[Int]> = []
        for step in plan.steps {
            let piece = plan.pieces[step.piece]
            #expect(step.isLocal || !step.receivers.contains(step.sender))
            if !step.isLocal {
                #expect(senders.insert([step.piece, step.sender / plan.devicesPerNode]).inserted)
            }
            guard let held = plan.source.layout(ofRank: step.sender) else {
                Issue.record("rank \(step.sender) holds nothing")
                continue
            }
            for receiver in step.receivers {
                guard let needed = plan.target.layout(ofRank: receiver) else { continue }
                let runs = plan.runs(of: piece, from: held, to: needed)
                #expect(runs.source.reduce(0) { $0 + $1.count } == piece.elements)
                #expect(runs.target.reduce(0) { $0 + $1.count } == piece.elements)
                var count = written.removeValue(forKey: receiver) ?? [Int](repeating: 0, count: needed.count)
                for run in runs.target { for element in run { count[element] += 1 } }
                written[receiver] = count
            }
        }
        for rank in plan.target.ranks { #expect(written[rank]?.allSatisfy { $0 == 1 } == true) }
    }

    /// S is what two shards divide, R what both hold: one block with h = 4, two heads of 2 and as many for keys and
    /// values, feed-forward 8, vocabulary 6. Block: q, k, v, o 16 each, three of 32, so 160 in S, norms 8 in R.
    /// Embedding 24 and head 24 in S, the last norm 4 in R.
    @Test func bytesOnTheWireAreTheClosedForms() throws {
        let shape = ModelShape(
            layers: 1, hiddenSize: 4, intermediateSize: 8, heads: 2, keyValueHeads: 2, vocabularySize: 6)
        let sharded = 208
        #expect(shape.parameterCount == sharded + 12)
        func bytes(_ from: Strategy, _ to: Strategy) throws -> Int {
            let source = try #require(ShardedModel(shape, from, ranks: [0, 1]))
            let target = try #require(ShardedModel(shape, to, ranks: [0, 1]))
            return TransferPlan(from: source, to: target, devicesPerNode: 2).wireBytes(elementSize: 2)
        }
        let (pp, tp, dp) = (Strategy(2, 1, 1), Strategy(1, 2, 1), Strategy(1, 1, 2))
        #expect(try bytes(dp, tp) == 0)
        #expect(try bytes(tp, dp) == 2 * sharded)  // half of S each way
        #expect(try bytes(pp, dp) == 2 * shape.parameterCount)  // each stage once
        // Half of the other stage's S each way.
        #expect(try bytes(tp, pp) == sharded)
        // Half of the other stage's S, and its R, each way; whole replicas have everything.
        #expect(try bytes(pp, tp) == sharded + 2 * 12)
        #expect(try bytes(dp, pp) == 0)
        for same in [pp, tp, dp] { #expect(try bytes(same, same) == 0) }
    }

    /// Of seven words of four numbers one shard has three, the other four.
    @Test func wordsAreCutAsEvenlyAsTheyCanBe() throws {
        let shape = ModelShape(
            layers: 1, hiddenSize: 4, intermediateSize: 8, heads: 2, keyValueHeads: 2, vocabularySize: 7, output: .tied)
        let held = try #require(ShardedModel(shape, Strategy(1, 2, 1), ranks: [0, 1]))
        let words = [0, 1].compactMap { held.layout(ofRank: $0)?.parts[0].block.rows }
        #expect(words == [0..<3, 3..<7])
        let needed = try #require(ShardedModel(shape, Strategy(1, 1, 2), ranks: [0, 1]))
        let plan = TransferPlan(from: held, to: needed, devicesPerNode: 2)
        // Half of the block's 160 each way, and of the 28 of the words what the other has.
        #expect(plan.wireBytes(elementSize: 1) == 160 + 28)
    }

    /// A node that holds nothing asks one that has least to do.
    @Test func sendersAreSpreadOverNodes() throws {
        let shape = ModelShape(
            layers: 2, hiddenSize: 4, intermediateSize: 8, heads: 2, keyValueHeads: 2, vocabularySize: 6)
        // Nodes of one device: 0 and 1 hold, 2 to 5 need.
        let source = try #require(ShardedModel(shape, Strategy(1, 1, 2), ranks: [0, 1]))
        let target = try #require(ShardedModel(shape, Strategy(1, 1, 4), ranks: [2, 3, 4, 5]))
        let balanced = TransferPlan(from: source, to: target, devicesPerNode: 1)
        #expect(balanced.steps.map(\.sender) == [0, 1])
        #expect(balanced.steps.map(\.receivers) == [[2, 4], [3, 5]])
        let published = TransferPlan(from: source, to: target, devicesPerNode: 1, policy: .published)
        #expect(published.steps.map(\.sender) == [0])
    }

    @Test func whatFitsNothingIsRefused() {
        let shape = ModelShape(
            layers: 1, hiddenSize: 4, intermediateSize: 8, heads: 2, keyValueHeads: 2, vocabularySize: 6)
        #expect(ShardedModel(shape, Strategy(4, 1, 1), ranks: [0, 1, 2, 3]) == nil)
        #expect(ShardedModel(shape, Strategy(2, 1, 1), ranks: [0]) == nil)
    }

    private static func nanoseconds(
        _ from: (Strategy, [Int]), _ to: (Strategy, [Int]), elementSize: Int = 1
    ) throws -> Int {
        let cluster = Toy.cluster(nodes: 2, devices: 2)
        let held = try #require(ShardedModel(Toy.shape, from.0, ranks: from.1))
        let needed = try #require(ShardedModel(Toy.shape, to.0, ranks: to.1))
        return TransferPlan(from: held, to: needed, devicesPerNode: 2).nanoseconds(
            on: cluster, elementSize: elementSize)
    }

    /// 10 bytes a nanosecond inside a node, 1 between nodes, of P elements.
    @Test func aNodeIsPaidForOnce() throws {
        let all = Double(Toy.shape.parameterCount)
        // Rank 0 sends one piece to its neighbour and to the other node: P/10 + P, of two bytes an element.
        let one = try Self.nanoseconds((Strategy(1, 1, 1), [0]), (Strategy(1, 1, 4), [0, 1, 2, 3]), elementSize: 2)
        #expect(one == Int((2 * 1.1 * all).rounded()))
        // With a replica in each node nothing crosses.
        let two = try Self.nanoseconds((Strategy(1, 1, 2), [0, 2]), (Strategy(1, 1, 4), [0, 1, 2, 3]))
        #expect(two == Int((0.1 * all).rounded()))
    }

    /// Two shards go to a node that needs both twice: one comes in at each of its devices, which hand them on. The
    /// norms, 9 of 64, come in at the first; so the second has the first shard, and the first the second one.
    @Test func whatComesInIsSharedOut() throws {
        let norms = 9.0 * 64
        let shard = (Double(Toy.shape.parameterCount) - norms) / 2
        let found = try Self.nanoseconds((Strategy(1, 2, 1), [0, 1]), (Strategy(1, 1, 2), [2, 3]))
        #expect(found == Int((norms + 0.1 * shard + shard).rounded()))
    }
}
