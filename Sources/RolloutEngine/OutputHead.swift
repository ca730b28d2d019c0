internal import Models
internal import Tensors

/// Turns hidden states into logits.
struct OutputHead {
    /// `[vocabulary, hidden]`, in the type that logits are summed in, as the updater scores them: float32 for 16-bit
    /// weights. Of a model that several ranks share, this one's words. Read where the head is not packed.
    private let matrix: Tensor
    private let packed: PackedMatrix?
    private let group: TensorParallelGroup?
    private let vocabulary: Int

    init(_ model: Transformer) throws {
        matrix = try model.head.to(model.elementType == .float64 ? .float64 : .float32)
        packed = model.packedHead
        (group, vocabulary) = (model.group, model.configuration.vocabularySize)
    }

    /// `[rows, hidden]` to `[rows, vocabulary]`, the same on every rank that shares the words.
    func logits(_ hidden: Tensor) throws -> Tensor {
        let hidden = try hidden.to(matrix.elementType)
        let own = if let packed { try hidden.linear(weight: packed) } else { try hidden.linear(weight: matrix) }
        return try group?.logits(own, vocabulary: vocabulary) ?? own
    }
}
