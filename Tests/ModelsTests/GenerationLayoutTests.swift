import Models
import Tensors
import Testing

@TensorActor @Suite("A model whose matrices are packed for sampling")
struct GenerationLayoutTests {
    nonisolated static let families = ["llama_biases", "llama3", "qwen2", "mistral_sliding", "qwen3"]

    private func packed(_ model: Transformer, _ layout: GenerationLayout) throws -> Transformer {
        let parameters = model.parametersByName
        let matrices = try Dictionary(
            uniqueKeysWithValues: model.configuration.packing(layout).map {
                ($0.key, try PackedMatrix(try #require(parameters[$0.key]), as: $0.value))
            })
        #expect(matrices.values.reduce(0) { $0 + $1.byteCount } == model.configuration.packedBytes(layout))
        return try Transformer(configuration: model.configuration, parameters: parameters, packed: matrices)
    }

    /// Hidden states behind prompts of 9 and 4 tokens, and behind three steps of five rows, one row after the other.
    private func hidden(_ model: Transformer, together: Bool) throws -> (prompts: [Float], steps: [[Float]]) {
        let token = PackedTransformerTests.token
        let cache = try KeyValueCache(
            configuration: model.configuration, promptSlots: 2, promptCapacity: 9, rowSlots: 5, rowCapacity: 3)
        let prompts = try model.prefill(
            tokens: (0..<9).map(token) + (20..<24).map(token), layout: SequenceLayout(sequenceLengths: [9, 4]),
            cache: cache, promptSlots: [0, 1])
        var steps = [[Float]](repeating: [], count: 5)
        for step in 1...3 {
            for rows in together ? [Array(0..<5)] : (0..<5).map({ [$0] }) {
                let decoded = try model.decode(
                    tokens: rows.map { token($0 * 7 + step) }, cache: cache,
                    rows: DecodeRows(
                        promptSlots: rows.map { $0 % 2 }, promptLengths: rows.map { [9, 4][$0 % 2] }, ownSlots: rows,
                        ownLengths: rows.map { _ in step }))
                let width = try decoded.size(1)
                let flat = try decoded.floats()
                for (index, row) in rows.enumerated() { steps[row] += flat[index * width..<(index + 1) * width] }
            }
        }
        return (try prompts.floats(), steps)
    }

    private func largestDifference(_ left: [Float], _ right: [Float]) -> Float {
        left.count == right.count ? zip(left, right).map { abs($0 - $1) }.max() ?? 0 : .infinity
    }

    @Test(arguments: families) func computesTheSame(_ name: String) throws {
        let model = try ModelFolder.load(PublishedModel(name).folder)
        let (own, other) = (
            try hidden(model, together: true), try hidden(packed(model, .packed), together: true)
        )
        let difference = zip([own.prompts] + own.steps, [other.prompts] + other.steps).map(largestDifference).max()
        print("\(name): hidden states of packed matrices \(difference ?? .infinity) from the others")
        #expect(difference! < 1e-4)
        #expect(model.configuration.packing(.shared).isEmpty)
    }

    /// Kept packed alone, without the matrices that copies are made of, it is the same to the bit.
    @Test(arguments: families) func needsNotWhatItIsPackedFrom(_ name: String) throws {
        let folder = try PublishedModel(name).folder
        let whole = try ModelFolder.load(folder)
        let kept = try ModelFolder.load(folder, storage: .packed)
        let (configuration, parameters) = (kept.configuration, kept.parametersByName)
        let rest = configuration.packing(.packed, of: .packed)
        #expect(Array(rest.keys) == (configuration.tiesEmbeddings ? ["model.embed_tokens.weight"] : []))
        let matrices = try Dictionary(
            uniqueKeysWithValues: rest.map { ($0.key, try PackedMatrix(parameters[$0.key]!, as: $0.value)) })
        let model = try Transformer(configuration: configuration, parameters: parameters, packed: matrices)
        let (own, other) = (try hidden(model, together: true), try hidden(packed(whole, .packed), together: true))
        #expect(own.prompts == other.prompts && own.steps == other.steps)
        let bytes = kept.parameters.reduce(0) { $0 + $1.tensor.count * $1.tensor.elementType.byteCount }
        #expect(bytes == configuration.parameterBytes(.float32, .packed))
        #expect(matrices.values.reduce(0) { $0 + $1.byteCount } == configuration.packedBytes(.packed, of: .packed))
    }

    /// A step's numbers of a row do not depend on the rows beside it, to the bit.
    @Test(arguments: [GenerationLayout.packed, .int8]) func rowsAreIndependent(_ layout: GenerationLayout) throws {
        let model = try packed(ModelFolder.load(PublishedModel("qwen2").folder), layout)
        let (together, alone) = (try hidden(model, together: true), try hidden(model, together: false))
        #expect(together.steps == alone.steps)
    }

    @Test func eightBitsAreAnotherModelAndNear() throws {
        let model = try ModelFolder.load(PublishedModel("llama3").folder)
        let (own, other) = (try hidden(model, together: true), try hidden(packed(model, .int8), together: true))
        let difference = zip(own.steps, other.steps).map(largestDifference).max() ?? .infinity
        #expect(difference > 1e-4 && difference < 0.3, "\(difference)")
    }
}
