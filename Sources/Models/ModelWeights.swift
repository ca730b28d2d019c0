package import Tensors

/// Where a model's tensors are read from, under their Hugging Face names: safetensors files, or a GGUF file.
package protocol ModelWeights {
    /// Every tensor's name.
    var names: [String] { get }
    /// The shape of a tensor; `nil` when there is none of this name.
    func shape(of name: String) -> [Int]?
    /// The element type in which a tensor is read, as safetensors files spell it.
    func typeName(of name: String) -> String?
    /// Reads one tensor.
    func tensor(named name: String) throws -> Tensor
}

/// The tensors of an adapter's base, with what the adapters add in the matrices: each is worked out when it is read.
struct MergedWeights: ModelWeights {
    private let base: any ModelWeights
    private let adapters: [String: Tensor]
    private let updates: [String: LowRankUpdate]
    private let type: ElementType

    /// - Parameters:
    ///   - configuration: The base's.
    ///   - type: In which sums are worked out and read, float32 or float64.
    init(
        _ base: any ModelWeights, _ adapter: AdapterFolder, _ configuration: ModelConfiguration, in type: ElementType
    ) throws {
        let adapted = try configuration.adapted(by: adapter.adapters)
        self.base = base
        self.type = type
        adapters = try adapter.tensors(for: adapted, elementType: type)
        updates = Dictionary(uniqueKeysWithValues: adapted.lowRankUpdates.map { ($0.weight, $0) })
    }

    var names: [String] { base.names }

    func shape(of name: String) -> [Int]? { base.shape(of: name) }

    func typeName(of name: String) -> String? { updates[name] == nil ? base.typeName(of: name) : type.name }

    func tensor(named name: String) throws -> Tensor {
        let tensor = try base.tensor(named: name)
        guard let update = updates[name] else { return tensor }
        return try update.merged(in: adapters.merging([name: tensor.to(type)]) { $1 })
    }
}

extension TensorFolder: ModelWeights {
    /// Reads one tensor, in its file's element type.
    package func tensor(named name: String) throws -> Tensor { try tensor(named: name, device: .cpu) }
}
