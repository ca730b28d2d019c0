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
        try linear([LinearMap(weight: weight, bias: bias)], given: given.map { [$0] })[0]
    }

    /// The same for all matrices that read one input `[n, inputs]`, whose gradient is then one sum; with a low-rank update of
    /// each weight (LoRA, see ``LowRankUpdate``) where they have one, which is never added to it:
    ///
    ///     outᵢ[n, :] = self[n, :]·weightᵢᵀ + biasᵢ + scale·(self[n, :]·downᵢᵀ)·upᵢᵀ
    ///
    /// - Parameters:
    ///   - factor: Where there is one, the matrices read silu(self)·factor, as ``swiGLU(_:)`` makes it, in the place of
    ///     `self`. It is not kept for the gradients, which make it again.
    ///   - maps: All with a bias, or none; all with an update, or none; of the type of `self`.
    ///   - given: outᵢ, where they are known; they are taken for the result, which has the products' gradients.
    package func linear(
        gating factor: Tensor? = nil, _ maps: [LinearMap], scale: Double = 1, given: [Tensor]? = nil
    ) throws(TensorError) -> [Tensor] {
        precondition(given.map { $0.count == maps.count } ?? true, "one result a matrix")
        let raw = maps.map {
            ctorch_linear_map(
                weight: $0.weight.raw, bias: $0.bias?.raw, down: $0.adapter?.down.raw, up: $0.adapter?.up.raw)
        }
        let known = given?.map { Optional($0.raw) }
        return try Tensor.make("linear", count: raw.count) { outs in
            let make = { known in ctorch_linears(self.raw, factor?.raw, raw, raw.count, scale, known, outs) }
            return known?.withUnsafeBufferPointer { make($0.baseAddress) } ?? make(nil)
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

/// A matrix with its bias and its low-rank update, where it has them.
package struct LinearMap {
    /// `[outputs, inputs]`
    package let weight: Tensor
    /// `[outputs]`
    package let bias: Tensor?
    /// `[rank, inputs]` and `[outputs, rank]`
    package let adapter: (down: Tensor, up: Tensor)?

    package init(weight: Tensor, bias: Tensor? = nil, adapter: (down: Tensor, up: Tensor)? = nil) {
        (self.weight, self.bias, self.adapter) = (weight, bias, adapter)
    }
}
