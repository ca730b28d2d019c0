import Models
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("A base in eight bits under adapters")
struct WeightStorageTests {
    private let adapter: AdapterFolder
    private let whole: Transformer
    private let packed: Transformer
    private let configuration: ModelConfiguration
    private let texts: [[Int]]

    init() throws {
        adapter = try PublishedAdapters.folder("stabilized")
        whole = try ModelFolder.load(adapter.base)
        packed = try ModelFolder.load(adapter.base, storage: .int8)
        configuration = try whole.configuration.adapted(by: adapter.adapters)
        texts = try PublishedAdapters().texts
    }

    /// What the bytes and scales say, element by element: of output o and input i at panel o / 32, place o % 32.
    private func unpacked() throws -> [String: Tensor] {
        var parameters = packed.parametersByName
        for shape in whole.configuration.parameterShapes {
            guard let scales = parameters.removeValue(forKey: shape.name + ".scales") else { continue }
            let (bytes, factors) = (try parameters[shape.name]!.doubles(), try scales.floats())
            let (outputs, inputs) = (shape.shape[0], shape.shape[1])
            let values = (0..<outputs).flatMap { output in
                (0..<inputs).map { input in
                    let byte = bytes[(output / 32 * inputs + input) * 32 + output % 32]
                    return factors[output] * Float(byte < 128 ? byte : byte - 256)
                }
            }
            parameters[shape.name] = try Tensor(values, shape: shape.shape)
        }
        return parameters
    }

    @Test func itsLogProbsAreThoseOfWhatItsBytesSay() throws {
        let plain = try Transformer(configuration: whole.configuration, parameters: unpacked())
        for text in texts {
            let (found, expected) = (try packed.logProbabilities(text), try plain.logProbabilities(text))
            #expect(largestDifference(found, expected) < 1e-5)
            // It is another model than the one that was packed, and near to it.
            let distance = try largestDifference(found, whole.logProbabilities(text))
            #expect(distance > 1e-5 && distance < 0.5, "\(distance)")
        }
    }

    @Test(arguments: [false, true]) func gradientsReadTheBytes(checkpointsBlocks: Bool) throws {
        func gradients(_ base: [String: Tensor]) throws -> [String: [Double]] {
            let leaves = try adapter.tensors(for: configuration).mapValues { try $0.requiringGradient() }
            let model = try Transformer(configuration: configuration, parameters: base.merging(leaves) { $1 })
            try model.hiddenStates(
                tokens: Tensor(texts[0]), layout: SequenceLayout(sequenceLengths: [texts[0].count]),
                checkpointsBlocks: checkpointsBlocks
            ).square().sum().backward()
            return try leaves.mapValues { try #require($0.gradient).doubles() }
        }
        let (found, expected) = (try gradients(packed.parametersByName), try gradients(unpacked()))
        let largest = expected.values.joined().map(abs).max() ?? 0
        for (name, values) in expected {
            for (a, b) in zip(try #require(found[name]), values) { #expect(abs(a - b) < 1e-4 * largest, "\(name)") }
        }
    }

    /// Four bytes become one, and a scale of four for each output, where outputs come in thirty-twos.
    @Test func itTakesAQuarterOfTheBlocksMatrices() throws {
        func bytes(_ model: Transformer) -> Int {
            model.parameters.reduce(0) { $0 + $1.tensor.count * $1.tensor.elementType.byteCount }
        }
        let matrices = whole.configuration.parameterShapes.filter {
            $0.shape.count == 2 && $0.name.hasPrefix("model.layers.")
        }
        let saved = matrices.reduce(0) { sum, matrix in
            sum + 4 * matrix.count - (matrix.shape[0] + 31) / 32 * 32 * (matrix.shape[1] + 4)
        }
        #expect(bytes(packed) == bytes(whole) - saved)
        #expect(packed.configuration.parameterBytes(.float32, .int8) == bytes(packed))
        #expect(whole.configuration.parameterBytes(.float32, .whole) == bytes(whole))
    }

    @Test func scalesOfAnotherMatrixAreRefused() throws {
        var parameters = packed.parametersByName
        let name = "model.layers.0.self_attn.q_proj.weight"
        parameters[name + ".scales"] = try Tensor([1, 2] as [Float])
        #expect(throws: ModelError.self) {
            try Transformer(configuration: whole.configuration, parameters: parameters)
        }
        parameters[name + ".scales"] = nil
        #expect(throws: ModelError.self) {
            try Transformer(configuration: whole.configuration, parameters: parameters)
        }
    }
}
