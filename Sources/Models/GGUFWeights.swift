import GGUF
internal import Tensors

/// The tensors of a GGUF file under their Hugging Face names, quantised ones as float32.
struct GGUFWeights: ModelWeights {
    private let file: GGUFFile
    private let configuration: ModelConfiguration
    private let tensors: [String: GGUFTensor]
    let names: [String]

    init(_ file: GGUFFile, _ configuration: ModelConfiguration) {
        self.file = file
        self.configuration = configuration
        let named = file.tensors.filter { $0.name != GGUFParameterName.rotaryFactors }
            .map { (GGUFParameterName.huggingFace($0.name) ?? $0.name, $0) }
        tensors = Dictionary(named) { first, _ in first }
        names = named.map(\.0)
    }

    func shape(of name: String) -> [Int]? { tensors[name]?.shape }

    func typeName(of name: String) -> String? { tensors[name].map { Self.elementType($0.type).name } }

    func tensor(named name: String) throws -> Tensor {
        guard let tensor = tensors[name] else {
            throw ModelError.file(path: file.path, message: "no tensor is named \(GGUFParameterName.gguf(name))")
        }
        return try file.withBytes(of: tensor) { bytes in
            guard let order = GGUFRowOrder(of: name, rows: tensor.shape.first ?? 1, in: configuration) else {
                return try Self.tensor(bytes, tensor)
            }
            return try order.restored(bytes).withUnsafeBytes { try Self.tensor($0, tensor) }
        }
    }

    private static func tensor(_ bytes: UnsafeRawBufferPointer, _ tensor: GGUFTensor) throws -> Tensor {
        guard tensor.type.isQuantized else {
            return try Tensor(bytes: bytes, shape: tensor.shape, elementType: elementType(tensor.type))
        }
        let values = [Float](unsafeUninitializedCapacity: tensor.count) { target, count in
            tensor.type.dequantize(bytes, into: UnsafeMutableBufferPointer(rebasing: target[..<tensor.count]))
            count = tensor.count
        }
        return try Tensor(values, shape: tensor.shape)
    }

    private static func elementType(_ type: GGUFTensorType) -> ElementType {
        switch type {
        case .f16: .float16
        case .bf16: .bfloat16
        default: .float32
        }
    }
}
