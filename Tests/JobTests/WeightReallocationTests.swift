import Foundation
import Job
import Models
import Tensors
import TestSupport
import Testing

/// From one number of parts to another, by the steps of the transfer plan, each rank on a thread of its own.
@TensorActor @Suite("Parts of a model move as its transfer plan says")
struct WeightReallocationTests {
    /// Tied or not, with biases, with norms of heads; 37 words, which no number of ranks divides.
    nonisolated static let models: [(family: ModelFamily, isTied: Bool)] = [
        (.llama, false), (.qwen2, true), (.qwen3, false),
    ]

    /// Together, to half as many and to twice as many ranks a layer, and to a number that divides neither.
    nonisolated static let degrees: [(source: Int, target: Int)] = [(2, 1), (3, 1), (4, 2), (2, 4), (2, 3)]

    /// Twelve heads of two numbers, of which twelve or four have keys and values. Where it is adapted, by adapters of
    /// rank 5 on some projections of both kinds.
    private nonisolated static func model(
        _ family: ModelFamily, isTied: Bool, keyValueHeads: Int = 12, isAdapted: Bool = false
    ) throws -> ModelConfiguration {
        let model = try ModelConfiguration(
            fresh: FreshModelShape(
                family: family, vocabularySize: 37, hiddenSize: 12, layers: 2, heads: 12, keyValueHeads: keyValueHeads,
                headSize: 2, intermediateSize: 24, tiesEmbeddings: isTied))
        let adapters = LoRAConfiguration(rank: 5, targets: .names(["q_proj", "v_proj", "o_proj", "down_proj"]))
        return isAdapted ? try model.adapted(by: adapters) : model
    }

    /// What a rank has of an axis that so many share, the neighbours in order.
    private nonisolated static func share(_ count: Int, _ rank: Int, of degree: Int) -> Range<Int> {
        count * (rank % degree) / degree..<count * (rank % degree + 1) / degree
    }

    /// The elements of a tensor in a range of an axis, each a number of its own from `first` on, by loops.
    private nonisolated static func elements(
        _ shape: [Int], axis: Int, _ range: Range<Int>, from first: Int
    ) -> [Float] {
        let columns = shape.count == 1 ? 1 : shape[1]
        var found: [Float] = []
        for row in 0..<shape[0] {
            for column in 0..<columns where range.contains(axis == 0 ? row : column) {
                found.append(Float(first + row * columns + column))
            }
        }
        return found
    }

    @Test(arguments: models, degrees) func everyElementIsWhereItIsNeeded(
        _ example: (family: ModelFamily, isTied: Bool), _ degrees: (source: Int, target: Int)
    ) throws {
        let keyValueHeads = degrees.target == 3 || degrees.source == 3 ? 12 : 4
        let model = try Self.model(example.family, isTied: example.isTied, keyValueHeads: keyValueHeads)
        let transfer = try TensorTransfer(of: model, from: degrees.source, to: degrees.target)
        try expectMoved(model, model.parameterShapes, degrees, isTied: example.isTied, by: transfer)
    }

    /// The model under them is whole on every rank.
    @Test(arguments: degrees) func adaptersMoveAndTheirModelStays(_ degrees: (source: Int, target: Int)) throws {
        let keyValueHeads = degrees.target == 3 || degrees.source == 3 ? 12 : 4
        let model = try Self.model(.llama, isTied: false, keyValueHeads: keyValueHeads, isAdapted: true)
        let transfer = try TensorTransfer(of: model, from: degrees.source, to: degrees.target)
        let names = Set(transfer.rounds.joined().flatMap(\.regions).map(\.name))
        // In each of two blocks B of the queries and of the values, and A of what reads heads and inner columns.
        let tensors = [
            "self_attn.q_proj.lora_B", "self_attn.v_proj.lora_B", "self_attn.o_proj.lora_A", "mlp.down_proj.lora_A",
        ]
        #expect(names == Set((0...1).flatMap { layer in tensors.map { "model.layers.\(layer).\($0).weight" } }))
        try expectMoved(model, model.adapterShapes, degrees, isTied: false, by: transfer)
    }

    /// Of some matrices that are cut and a norm, which every rank has.
    @Test(arguments: degrees) func whatIsNotTrainedStays(_ degrees: (source: Int, target: Int)) throws {
        let model = try Self.model(.llama, isTied: false)
        let tensors = ["self_attn.o_proj", "mlp.up_proj", "input_layernorm"].map { "model.layers.1.\($0).weight" }
        let transfer = try TensorTransfer(
            of: model, training: Set(tensors), from: degrees.source, to: degrees.target)
        #expect(Set(transfer.rounds.joined().flatMap(\.regions).map(\.name)) == Set(tensors.prefix(2)))
        let shapes = model.parameterShapes.filter { tensors.contains($0.name) }
        try expectMoved(model, shapes, degrees, isTied: false, by: transfer)
    }

    /// What a rank has of what it needs is read there, what it lacks comes over the wire once, and nothing else does.
    private func expectMoved(
        _ model: ModelConfiguration, _ shapes: [ParameterShape], _ degrees: (source: Int, target: Int), isTied: Bool,
        by transfer: TensorTransfer
    ) throws {
        let ranks = (1...6).map { $0 * degrees.source }.first { $0.isMultiple(of: degrees.target) }!
        let (having, needing) = (
            try neighbours(degrees.source, among: ranks), try neighbours(degrees.target, among: ranks)
        )
        let received = try onRanks(ranks) { group in
            let rank = group.rank
            let way = ParameterReallocation(
                from: model.shards(over: having[rank]),
                to: degrees.target == 1 ? nil : model.shards(over: needing[rank]), over: group, transfer)
            #expect(way.moves)
            var (held, arriving, expected): ([String: Tensor], [String: Tensor], [String: [Float]]) = ([:], [:], [:])
            var (first, lacking) = (0, 0)
            for parameter in shapes {
                guard let axis = parameter.sharedAxis else {
                    #expect(!way.isCut(parameter.name))
                    continue
                }
                let count = parameter.shape[axis]
                let own = Self.share(count, rank, of: degrees.source)
                let needed = Self.share(count, rank, of: degrees.target)
                var shape = parameter.shape
                shape[axis] = own.count
                let part = try Tensor(Self.elements(parameter.shape, axis: axis, own, from: first), shape: shape)
                let values = Self.elements(parameter.shape, axis: axis, needed, from: first)
                held[parameter.name] = part
                if needed.clamped(to: own) == needed {
                    let view = try #require(try way.view(of: part, named: parameter.name))
                    #expect(try view.floats() == values && view.storage.identity == part.storage.identity)
                } else {
                    #expect(try way.view(of: part, named: parameter.name) == nil)
                    arriving[parameter.name] = try way.room(for: part, named: parameter.name)
                    expected[parameter.name] = values
                    lacking += (needed.count - needed.clamped(to: own).count) * parameter.count / count
                }
                first += parameter.count
            }
            let bytes = try way.walk(from: held, into: arriving)
            for (name, tensor) in arriving { #expect(try tensor.floats() == expected[name], "\(name)") }
            #expect(bytes == 4 * lacking)
            return bytes
        }
        // Of S bytes that are cut, so many rank by rank; a word more or less of twelve numbers is in embedding and head.
        let cut = 4 * shapes.filter { $0.sharedAxis != nil }.reduce(0) { $0 + $1.count }
        let word = 4 * 12 * (isTied ? 1 : 2)
        let shares: [Double] =
            switch degrees {
            case (2, 1): [1 / 2, 1 / 2]
            case (3, 1): [2 / 3, 2 / 3, 2 / 3]
            // Quarters 0 and 3 are in the halves that their ranks need, 1 and 2 are not.
            case (4, 2): [1 / 4, 1 / 2, 1 / 2, 1 / 4]
            case (2, 4): [0, 1 / 4, 1 / 4, 0]
            // Thirds 0, 1, 2, 0, 1, 2 by ranks with the halves 0, 1, 0, 1, 0, 1; half of the middle one is in each.
            default: [0, 1 / 6, 1 / 3, 1 / 3, 1 / 6, 0]
            }
        #expect(received.count == shares.count)
        for (bytes, share) in zip(received, shares) {
            #expect(abs(Double(bytes) - share * Double(cut)) <= Double(word), "\(received)")
        }
    }

    /// Neither between equal layouts nor from wholes does anything move; what is needed lies there.
    @Test(arguments: [(2, 2), (1, 2)]) func whatLiesThereIsNotMoved(_ source: Int, _ target: Int) throws {
        let model = try Self.model(.llama, isTied: false)
        let transfer = try TensorTransfer(of: model, from: source, to: target)
        #expect(transfer.rounds.joined().allSatisfy { $0.receivers == [$0.sender] })
        let bytes = try onRanks(2) { group in
            let shards = model.shards(over: group)
            let way = ParameterReallocation(from: source == 1 ? nil : shards, to: shards, over: group, transfer)
            #expect(!way.moves)
            let whole = try Tensor((0..<24 * 12).map(Float.init), shape: [24, 12])
            let name = "model.layers.0.mlp.gate_proj.weight"
            let held = source == 1 ? whole : try shards.part(of: whole, named: name)
            let view = try #require(try way.view(of: held, named: name))
            #expect(try view.floats() == (0..<12 * 12).map { Float($0 + group.rank * 12 * 12) })
            return try way.walk(from: [name: held], into: [:])
        }
        #expect(bytes == [0, 0])
    }

    /// One round a layer: the embedding, two blocks, and a head that is not tied. Each rank's part goes to the other,
    /// and into its own whole.
    @Test func aLayerIsUnderWayAtATime() throws {
        for (isTied, rounds) in [(true, 3), (false, 4)] {
            let transfer = try TensorTransfer(of: Self.model(.llama, isTied: isTied), from: 2, to: 1)
            #expect(transfer.rounds.count == rounds)
            for round in transfer.rounds {
                let routes = Set(round.map { [$0.sender] + $0.receivers })
                #expect(routes == [[0, 0], [0, 1], [1, 1], [1, 0]] && round.count == 4)
            }
        }
    }
}
