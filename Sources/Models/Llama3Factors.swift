internal import Foundation
import GGUF
import JSON

/// The factors by which Llama 3.1 and later divide their rotary frequencies. A GGUF file has one for each frequency, a
/// `config.json` the four numbers they come from.
enum Llama3Factors {
    /// The published original context, then the others that are tried; with low 1 and high 4, as every model has them.
    private static let originals = [8192] + (4...20).map { 1 << $0 }

    /// The configuration with the scaling that a file's factors come from.
    ///
    /// Other numbers can give the same factors; then the frequencies are the same too.
    ///
    /// - Parameters:
    ///   - plain: The configuration without scaling.
    ///   - tensor: `[head size / 2]`.
    /// - Throws: ``ModelError`` for factors of another kind.
    static func configuration(
        _ plain: ModelConfiguration, with tensor: GGUFTensor, of file: GGUFFile
    ) throws(ModelError) -> ModelConfiguration {
        let found = values(of: tensor, in: file)
        if plain.ropeScaling == .none, let factor = found.max() {
            for original in originals {
                let scaled = try plain.with([
                    "rope_scaling": .object([
                        "rope_type": "llama3", "factor": .fraction(Double(factor)), "low_freq_factor": .fraction(1),
                        "high_freq_factor": .fraction(4), "original_max_position_embeddings": .number(original),
                    ])
                ])
                let expected = values(of: scaled)
                if found.count == expected.count, zip(found, expected).allSatisfy({ abs($0 - $1) <= 1e-4 * $1 }) {
                    return scaled
                }
            }
        }
        throw .file(
            path: file.path,
            message:
                "\(tensor.name) holds factors that are not those of Llama 3 (low 1, high 4); other scalings of this "
                + "kind are not built")
    }

    /// Plain frequency over scaled frequency, one for each.
    static func values(of configuration: ModelConfiguration) -> [Float] {
        let scaled = RotaryFrequencies(configuration, length: configuration.contextLength).inverse
        let size = Double(configuration.headSize)
        return scaled.enumerated().map { index, frequency in
            Float(1 / (pow(configuration.ropeTheta, Double(2 * index) / size) * Double(frequency)))
        }
    }

    private static func values(of tensor: GGUFTensor, in file: GGUFFile) -> [Float] {
        let values = [Float](unsafeUninitializedCapacity: tensor.count) { target, count in
            file.withBytes(of: tensor) {
                tensor.type.dequantize($0, into: UnsafeMutableBufferPointer(rebasing: target[..<tensor.count]))
            }
            count = tensor.count
        }
        return values.allSatisfy { $0.isFinite && $0 >= 1 } ? values : []
    }
}
