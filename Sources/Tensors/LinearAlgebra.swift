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
    ///   - given: What it comes to, where that is known: taken for the result, which has the product's gradients.
    package func linear(weight: Tensor, bias: Tensor? = nil, given: Tensor? = nil) throws(TensorError) -> Tensor {
        try Tensor.make("linear") { ctorch_linear(raw, weight.raw, bias?.raw, given?.raw, $0) }
    }

    /// The same with a low-rank update of each weight (LoRA, see ``LowRankUpdate``), which is never added to it, for all
    /// matrices that read one input:
    ///
    ///     outᵢ[n, :] = self[n, :]·weightᵢᵀ + biasᵢ + scale·(self[n, :]·downᵢᵀ)·upᵢᵀ
    ///
    /// - Parameters:
    ///   - matrices: All with a bias, or none; of the type of `self`.
    ///   - given: outᵢ, where they are known; they are taken for the result, which has the products' gradients.
    package func linear(
        _ matrices: [AdaptedMatrix], scale: Double, given: [Tensor]? = nil
    ) throws(TensorError) -> [Tensor] {
        precondition(given.map { $0.count == matrices.count } ?? true, "one result a matrix")
        let raw = matrices.map {
            ctorch_adapted_matrix(weight: $0.weight.raw, bias: $0.bias?.raw, down: $0.down.raw, up: $0.up.raw)
        }
        let known = given?.map { Optional($0.raw) }
        return try Tensor.make("linear", count: raw.count) { outs in
            guard let known else { return ctorch_adapted_linears(self.raw, raw, raw.count, scale, nil, outs) }
            return known.withUnsafeBufferPointer {
                ctorch_adapted_linears(self.raw, raw, raw.count, scale, $0.baseAddress, outs)
            }
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

/// A matrix and its low-rank update.
package struct AdaptedMatrix {
    /// `[outputs, inputs]`
    package let weight: Tensor
    /// `[outputs]`
    package let bias: Tensor?
    /// `[rank, inputs]`
    package let down: Tensor
    /// `[outputs, rank]`
    package let up: Tensor

    package init(weight: Tensor, bias: Tensor?, down: Tensor, up: Tensor) {
        (self.weight, self.bias, self.down, self.up) = (weight, bias, down, up)
    }
}
