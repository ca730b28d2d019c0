import Foundation
import Job
import Models
import Tensors
import TestSupport
import Testing

/// Whole weights from the parts of two and three ranks, by the steps of the transfer plan.
@TensorActor @Suite("Parts of a model come together as its transfer plan says")
struct WeightGatheringTests {
    /// Six heads and 37 words: tied or not, with biases, with norms of heads.
    nonisolated static let models: [(family: ModelFamily, isTied: Bool)] = [
        (.llama, false), (.qwen2, true), (.qwen3, false),
    ]

    private nonisolated static func model(_ family: ModelFamily, isTied: Bool) throws -> ModelConfiguration {
        try ModelConfiguration(
            fresh: FreshModelShape(
                family: family, vocabularySize: 37, hiddenSize: 12, layers: 2, heads: 6, keyValueHeads: 6, headSize: 4,
                intermediateSize: 18, tiesEmbeddings: isTied))
    }

    /// Each element is a number of its own. Between two ranks S, what is cut of the model, goes once: about half of it
    /// each way, which only the odd word makes uneven. Among three each rank lacks two thirds.
    @Test(arguments: models, [2, 3]) func theyAreTheWhole(
        _ example: (family: ModelFamily, isTied: Bool), _ ranks: Int
    ) throws {
        let model = try Self.model(example.family, isTied: example.isTied)
        let transfer = try TensorTransfer(gathering: model, from: ranks)
        let received = try onRanks(ranks) { group in
            let shards = model.shards(over: group)
            var (parts, wholes): ([String: Tensor], [String: Tensor]) = ([:], [:])
            var expected: [String: [Float]] = [:]
            var first = 0
            for parameter in model.parameterShapes where shards.isCut(parameter.name) {
                let values = (first..<first + parameter.count).map(Float.init)
                let tensor = try Tensor(values, shape: parameter.shape)
                parts[parameter.name] = try shards.part(of: tensor, named: parameter.name)
                wholes[parameter.name] = try Tensor.zeros(parameter.shape, .float32)
                expected[parameter.name] = values
                first += parameter.count
            }
            let bytes = try shards.walk(transfer, from: parts, into: wholes)
            for (name, whole) in wholes { #expect(try whole.floats() == expected[name], "\(name)") }
            #expect(bytes == 4 * (first - parts.values.reduce(0) { $0 + $1.count }))
            return bytes
        }
        let cut = 4 * model.parameterShapes.filter { $0.sharedAxis != nil }.reduce(0) { $0 + $1.count }
        #expect(received.reduce(0, +) == (ranks - 1) * cut)
        // A word more or less of twelve numbers, in embedding and head.
        let word = 4 * 12 * (example.isTied ? 1 : 2)
        for bytes in received { #expect(abs(bytes - (ranks - 1) * cut / ranks) <= word) }
    }

    /// One round a layer: the embedding, two blocks, and a head that is not tied. Each rank's part goes to the other,
    /// and into its own whole.
    @Test func aLayerIsUnderWayAtATime() throws {
        for (isTied, rounds) in [(true, 3), (false, 4)] {
            let transfer = try TensorTransfer(gathering: Self.model(.llama, isTied: isTied), from: 2)
            #expect(transfer.rounds.count == rounds)
            for round in transfer.rounds {
                let routes = Set(round.map { [$0.sender] + $0.receivers })
                #expect(routes == [[0, 0], [0, 1], [1, 1], [1, 0]] && round.count == 4)
            }
        }
    }
}
