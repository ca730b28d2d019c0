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

extension TensorFolder: ModelWeights {
    /// Reads one tensor, in its file's element type.
    package func tensor(named name: String) throws -> Tensor { try tensor(named: name, device: .cpu) }
}
