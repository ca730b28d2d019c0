import Foundation
import Models
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Layers that ranks share, against whole ones")
struct TensorParallelTests {
    private struct Found: Sendable {
        var loss: Double
        var states: [Double]
        /// By parameter name; whole ones.
        var gradients: [String: [Double]]
    }

    /// A weighted sum of the log-probs of all completion tokens and of entropies.
    private nonisolated static func pass(
        _ model: Transformer, checkpointsBlocks: Bool, dropping share: Double = 0
    ) throws -> (loss: Tensor, states: Tensor) {
        let layout = try SequenceLayout(groups: PackedTransformerTests.groups)
        let rows = (0..<layout.tokenCount).map { RandomAddress(token: $0) }
        let states = try model.hiddenStates(
            tokens: Tensor((0..<layout.tokenCount).map(PackedTransformerTests.token)), layout: layout,
            checkpointsBlocks: checkpointsBlocks,
            dropout: share > 0 ? AdapterDropout(share, seed: 6, of: rows) : nil)
        let targets = layout.completionTokenIndices
        let scores = try model.tokenScores(
            hidden: states.rows(at: layout.predictionIndices),
            targets: Tensor(targets.map(PackedTransformerTests.token)), temperature: 0.8)
        let weights = try Tensor(targets.map { sin(Double($0) * 1.7) + 0.3 }).to(model.elementType)
        return (try (scores.logProbabilities * weights + scores.entropies * 0.1).sum(), states)
    }

    /// Biases on every projection, tied embeddings, sliding windows, norms on queries and keys.
    @Test(arguments: ["llama_biases", "llama_tied", "qwen2_sliding", "mistral_sliding", "qwen3"], [false, true])
    func statesAndGradientsAreThoseOfOneRank(_ name: String, _ checkpointsBlocks: Bool) throws {
        let model = try ModelFolder.load(PublishedModel(name).folder, elementType: .float64)
        let whole = try model.leaves(.float64)
        let (loss, states) = try Self.pass(whole, checkpointsBlocks: checkpointsBlocks)
        try loss.backward()
        let configuration = model.configuration
        let values = try model.parametersByName.mapValues { try $0.doubles() }
        let found = try onRanks(2) { group in
            let shards = configuration.shards(over: group)
            var leaves: [String: Tensor] = [:]
            for parameter in configuration.parameterShapes {
                let tensor = try Tensor(values[parameter.name] ?? [], shape: parameter.shape)
                leaves[parameter.name] = try shards.part(of: tensor, named: parameter.name).requiringGradient()
            }
            let part = try Transformer(configuration: configuration, parameters: leaves, shards: shards)
            let (loss, states) = try Self.pass(part, checkpointsBlocks: checkpointsBlocks)
            try loss.backward()
            var gradients: [String: [Double]] = [:]
            for parameter in configuration.parameterShapes {
                let own = try #require(leaves[parameter.name]?.gradient)
                gradients[parameter.name] = try shards.whole(of: own, named: parameter.name).doubles()
            }
            return Found(loss: try loss.item(), states: try states.doubles(), gradients: gradients)
        }
        #expect(found[0].states == found[1].states && found[0].loss == found[1].loss)
        #expect(relativeError(found[0].loss, try loss.item()) < 1e-12)
        #expect(relativeError(found[0].states, try states.doubles()) < 1e-12)
        for (name, leaf) in whole.parameters {
            let expected = try #require(leaf.gradient).doubles()
            // Those that every rank has whole are the same on each, without a sum over the ranks.
            for one in found { #expect(relativeError(one.gradients[name] ?? [], expected) < 1e-10, "\(name)") }
        }
    }

    /// Adapters of rank 3 on every projection. B is no longer 0, where A would have no gradient.
    private func adapted(_ model: Transformer) throws -> (
        configuration: ModelConfiguration, values: [String: [Double]]
    ) {
        let configuration = try model.configuration.adapted(
            by: LoRAConfiguration(rank: 3, alpha: 6, targets: .allLinear))
        var values: [String: [Double]] = [:]
        for (index, shape) in configuration.adapterShapes.enumerated() {
            values[shape.name] = (0..<shape.count).map { sin(Double($0) * 0.7 + Double(index)) / 8 }
        }
        return (configuration, values)
    }

    /// What share of the adapters' inputs is dropped, and whether blocks are computed twice.
    nonisolated static let forms: [(share: Double, checkpointsBlocks: Bool)] = [
        (0, false), (0.4, false), (0.4, true),
    ]

    /// Over a frozen model of which each rank reads a part of what it has whole.
    @Test(arguments: ["llama_biases", "llama_tied", "qwen3"], forms)
    func adaptersHaveTheGradientsOfOneRank(_ name: String, _ form: (share: Double, checkpointsBlocks: Bool)) throws {
        let model = try ModelFolder.load(PublishedModel(name).folder, elementType: .float64)
        let (configuration, values) = try adapted(model)
        let (share, checkpointsBlocks) = form
        var leaves: [String: Tensor] = [:]
        for shape in configuration.adapterShapes {
            leaves[shape.name] = try Tensor(values[shape.name] ?? [], shape: shape.shape).requiringGradient()
        }
        let whole = try Transformer(
            configuration: configuration, parameters: model.parametersByName.merging(leaves) { $1 })
        let (loss, states) = try Self.pass(whole, checkpointsBlocks: checkpointsBlocks, dropping: share)
        try loss.backward()
        let frozen = try model.parametersByName.mapValues { try $0.doubles() }
        let found = try onRanks(2) { group in
            let shards = configuration.shards(over: group)
            var parameters: [String: Tensor] = [:]
            for shape in configuration.parameterShapes {
                parameters[shape.name] = try shards.view(
                    of: Tensor(frozen[shape.name] ?? [], shape: shape.shape), named: shape.name)
            }
            for shape in configuration.adapterShapes {
                let tensor = try Tensor(values[shape.name] ?? [], shape: shape.shape)
                parameters[shape.name] = try shards.part(of: tensor, named: shape.name).requiringGradient()
            }
            let part = try Transformer(configuration: configuration, parameters: parameters, shards: shards)
            let (loss, states) = try Self.pass(part, checkpointsBlocks: checkpointsBlocks, dropping: share)
            try loss.backward()
            var gradients: [String: [Double]] = [:]
            for shape in configuration.adapterShapes {
                let own = try #require(parameters[shape.name]?.gradient)
                gradients[shape.name] = try shards.whole(of: own, named: shape.name).doubles()
            }
            return Found(loss: try loss.item(), states: try states.doubles(), gradients: gradients)
        }
        #expect(found[0].states == found[1].states && found[0].loss == found[1].loss)
        #expect(relativeError(found[0].loss, try loss.item()) < 1e-12)
        #expect(relativeError(found[0].states, try states.doubles()) < 1e-12)
        for (name, leaf) in leaves {
            let expected = try #require(leaf.gradient).doubles()
            #expect(expected.contains { $0 != 0 })
            for one in found { #expect(relativeError(one.gradients[name] ?? [], expected) < 1e-10, "\(name)") }
        }
    }

    /// What adapters add to a rank's part of a matrix is that part of what they add to the whole.
    @Test func partsOfAdaptersMergeIntoPartsOfMatrices() throws {
        let model = try ModelFolder.load(PublishedModel("llama_biases").folder, elementType: .float64)
        let (configuration, values) = try adapted(model)
        var whole = model.parametersByName
        for shape in configuration.adapterShapes {
            whole[shape.name] = try Tensor(values[shape.name] ?? [], shape: shape.shape)
        }
        for group in try TensorParallelGroup.within(size: 2) {
            let shards = configuration.shards(over: group)
            var parts: [String: Tensor] = [:]
            for (name, tensor) in whole { parts[name] = try shards.part(of: tensor, named: name) }
            for update in configuration.lowRankUpdates {
                let expected = try shards.part(of: update.merged(in: whole), named: update.weight)
                let found = try update.merged(in: parts)
                #expect(found.shape == expected.shape, "\(update.weight)")
                let error = largestDifference(try found.doubles(), try expected.doubles())
                #expect(error < 1e-15, "\(update.weight)")
            }
        }
    }

    /// Hidden states behind prompts of 9 and 4 tokens, and behind three tokens of four rows: a number each.
    private nonisolated static func decoded(_ model: Transformer) throws -> [Double] {
        let token = PackedTransformerTests.token
        let cache = try KeyValueCache(
            configuration: model.configuration, promptSlots: 2, promptCapacity: 9, rowSlots: 4, rowCapacity: 3,
            type: model.elementType, ranks: model.group?.size ?? 1)
        var found = try model.prefill(
            tokens: (0..<9).map(token) + (20..<24).map(token), layout: SequenceLayout(sequenceLengths: [9, 4]),
            cache: cache, promptSlots: [0, 1]
        ).to(.float64).doubles()
        for step in 1...3 {
            let hidden = try model.decode(
                tokens: (0..<4).map { token($0 * 7 + step) }, cache: cache,
                rows: DecodeRows(
                    promptSlots: [0, 1, 0, 1], promptLengths: [9, 4, 9, 4], ownSlots: [0, 1, 2, 3],
                    ownLengths: [step, step, step, step]))
            found += try hidden.to(.float64).doubles()
        }
        return found
    }

    /// Each rank with its heads' keys and values, from views of whole matrices as they are or packed.
    @Test(arguments: ["llama_biases", "llama_tied", "qwen2_sliding", "mistral_sliding", "qwen3"], [false, true])
    func ranksThatDecodeTogetherHaveTheStatesOfOne(_ name: String, _ packs: Bool) throws {
        let type: ElementType = packs ? .float32 : .float64
        let model = try ModelFolder.load(PublishedModel(name).folder, elementType: type)
        let expected = try Self.decoded(model)
        let configuration = model.configuration
        let values = try model.parametersByName.mapValues { try $0.to(.float64).doubles() }
        let found = try onRanks(2) { group in
            let shards = configuration.shards(over: group)
            var parts: [String: Tensor] = [:]
            for parameter in configuration.parameterShapes {
                let whole = try Tensor(values[parameter.name] ?? [], shape: parameter.shape).to(type)
                parts[parameter.name] = try shards.view(of: whole, named: parameter.name)
            }
            var packed: [String: PackedMatrix] = [:]
            if packs {
                for (name, form) in configuration.packing(.packed) {
                    packed[name] = try PackedMatrix(#require(parts[name]), as: form)
                }
                let bytes = packed.values.reduce(0) { $0 + $1.byteCount }
                #expect(bytes <= configuration.packedBytes(.packed, ranks: 2))
            }
            return try Self.decoded(
                Transformer(configuration: configuration, parameters: parts, packed: packed, shards: shards))
        }
        #expect(found[0] == found[1] && found[0].count == expected.count)
        #expect(relativeError(found[0], expected) < (packs ? 1e-5 : 1e-12))
    }

    /// Parts of other ranks, or whole matrices, do not go for this rank's.
    @Test func partsOfAnotherShapeAreRefused() throws {
        let model = try ModelFolder.load(PublishedModel("llama3").folder)
        let group = try #require(try TensorParallelGroup.within(size: 1).first)
        let half = ParameterShards(over: group, cuts: ["model.norm.weight": .init(axis: 0, count: 64)])
        let error = #expect(throws: ModelError.self) {
            try Transformer(
                configuration: model.configuration, parameters: model.parametersByName, shards: half)
        }
        #expect("\(error.map { "\($0)" } ?? "")".contains("model.norm.weight"))
    }

    @Test func whatCannotBeDividedIsSaidWithItsNumber() throws {
        let model = try ModelFolder.readConfiguration(PublishedModel("llama3").folder)
        #expect(model.problem(tensorParallel: 1) == nil && model.problem(tensorParallel: 2) == nil)
        #expect(
            model.problem(tensorParallel: 4)
                == "the model has 2 key and value heads, which cannot be divided by 4")
        #expect(
            model.problem(tensorParallel: 5)
                == "the model has 4 attention heads and 2 key and value heads and 48 columns of the feed-forward "
                + "part, which cannot be divided by 5")
    }

    /// Of every matrix that is cut the parts of all ranks are the whole; nothing else is cut.
    @Test func normsAloneAreWholeOnEveryRank() throws {
        let model = try ModelFolder.readConfiguration(PublishedModel("llama_biases").folder)
        for shape in model.parameterShapes {
            let part = shape.largestPart(of: 2)
            let rows = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"].map { $0 + ".bias" }
            let isCut = shape.role == .weight || rows.contains { shape.name.hasSuffix($0) }
            #expect(part.count == (isCut ? shape.count / 2 : shape.count), "\(shape.name)")
        }
    }

    /// Of an adapter the tensor beside the axis that is cut: B where a projection makes heads or inner columns, A where it
    /// reads them.
    @Test func anAdapterIsCutAsItsMatrixIs() throws {
        let model = try ModelFolder.readConfiguration(PublishedModel("llama_biases").folder)
            .adapted(by: LoRAConfiguration(rank: 2, targets: .allLinear))
        for shape in model.adapterShapes {
            let reads = ["o_proj", "down_proj"].contains { shape.name.contains($0) }
            let axis: Int? = shape.name.contains("lora_A") == reads ? (reads ? 1 : 0) : nil
            #expect(shape.sharedAxis == axis, "\(shape.name)")
        }
    }
}
