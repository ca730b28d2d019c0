internal import CTorch

extension Tensor {
    /// The matrix product over the last two axes; leading axes are batches, and one of size 1 goes with any size.
    ///
    ///     out[…, i, j] = Σ_k self[…, i, k] · other[…, k, j]
    package func matmul(_ other: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("matmul") { ctorch_matmul(raw, other.raw, $0) }
    }

    /// out[…, o] = Σ_i self[…, i] · weight[o, i] + bias[o]
    ///
    /// - Parameters:
    ///   - weight: `[outputs, inputs]`, as Hugging Face stores it.
    ///   - bias: `[outputs]`.
    package func linear(weight: Tensor, bias: Tensor? = nil) throws(TensorError) -> Tensor {
        try Tensor.make("linear") { ctorch_linear(raw, weight.raw, bias?.raw, $0) }
    }

    /// The same with a low-rank update of the weight (LoRA, see ``LowRankUpdate``), which is never added to it:
    ///
    ///     out[n, :] = self[n, :]·weightᵀ + bias + scale·(self[n, :]·downᵀ)·upᵀ
    ///
    /// - Parameters:
    ///   - weight: `[outputs, inputs]`, of the type of `self`, as are the others.
    ///   - down: `[rank, inputs]`.
    ///   - up: `[outputs, rank]`.
    package func linear(
        weight: Tensor, bias: Tensor?, down: Tensor, up: Tensor, scale: Double
    ) throws(TensorError) -> Tensor {
        try Tensor.make("linear") {
            ctorch_adapted_linear(raw, weight.raw, bias?.raw, down.raw, up.raw, scale, $0)
        }
    }

    /// The right singular vectors of the largest singular values of a matrix `[rows, columns]`, as orthonormal rows
    /// `[count, columns]`, the largest first. Their signs are LAPACK's whim.
    ///
    /// - Parameter count: At most the shorter side.
    package func principalDirections(_ count: Int) throws(TensorError) -> Tensor {
        try Tensor.make("principalDirections") { ctorch_principal_directions(raw, count, $0) }
    }
}
