internal import Models
internal import Tensors

/// Turns hidden states into logits.
struct OutputHead {
    /// `[vocabulary, hidden]`, in the type that logits are summed in, as the updater scores them: float32 for 16-bit
    /// weights.
    let matrix: Tensor
    private let packed: PackedMatrix?

    init(_ model: Transformer) throws {
        matrix = try model.head.to(model.elementType == .float64 ? .float64 : .float32)
        packed = model.packedHead
    }

    /// `[rows, hidden]` to `[rows, vocabulary]`.
    func logits(_ hidden: Tensor) throws(TensorError) -> Tensor {
        let hidden = try hidden.to(matrix.elementType)
        if let packed { return try hidden.linear(weight: packed) }
        return try hidden.linear(weight: matrix)
    }
}
