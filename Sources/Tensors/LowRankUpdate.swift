/// Which tensors make a low-rank update of a matrix (LoRA, Hu et al. 2021, arXiv:2106.09685), by name.
///
///     W + s·B·A      W `[outputs, inputs]`, A `[rank, inputs]`, B `[outputs, rank]`
package struct LowRankUpdate: Sendable, Equatable {
    /// The name of W, which stays as it is.
    package let weight: String
    /// The name of A.
    package let down: String
    /// The name of B.
    package let up: String
    /// s.
    package let scale: Double

    package init(weight: String, down: String, up: String, scale: Double) {
        self.weight = weight
        self.down = down
        self.up = up
        self.scale = scale
    }

    /// W + s·B·A, worked out in the type of A and rounded to that of W: memory of its own, without a gradient.
    ///
    /// - Parameter tensors: Has the three, W of any floating type.
    package func merged(in tensors: [String: Tensor]) throws(TensorError) -> Tensor {
        guard let weight = tensors[weight], let down = tensors[down], let up = tensors[up] else {
            preconditionFailure("the update of \(weight) has all its tensors")
        }
        let product = try up.detached().matmul(down.detached())
        try product.multiplyInPlace(scale)
        try product.addInPlace(weight.detached().to(product.elementType))
        return try product.to(weight.elementType)
    }
}
