internal import CTorch

/// Operations of a transformer block that read memory once where composed operations read it several times.
extension Tensor {
    /// Root-mean-square normalization over the last axis (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4).
    ///
    ///     out = self / sqrt(mean(self²) + epsilon) · weight
    ///
    /// The mean is taken in float32 for narrower types. Differentiable in `self` and `weight`.
    ///
    /// - Parameter weight: one element for each of the last axis.
    package func rmsNorm(weight: Tensor, epsilon: Double) throws(TensorError) -> Tensor {
        try Tensor.make("rmsNorm(weight:epsilon:)") { ctorch_rms_norm(raw, weight.raw, epsilon, $0) }
    }

    /// Rotary position embedding in Hugging Face's order: element i of a head pairs with element i + d/2.
    ///
    ///     out[t, h, i]       = x[t, h, i]·cos[t, i] − x[t, h, i + d/2]·sin[t, i]
    ///     out[t, h, i + d/2] = x[t, h, i + d/2]·cos[t, i] + x[t, h, i]·sin[t, i]
    ///
    /// Differentiable in `self` alone.
    ///
    /// - Parameters:
    ///   - cosines: `[tokens, d/2]`, for `self` of `[tokens, heads, d]`.
    ///   - sines: `[tokens, d/2]`.
    package func rotated(cosines: Tensor, sines: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("rotated(cosines:sines:)") { ctorch_rotary(raw, cosines.raw, sines.raw, $0) }
    }

    /// The gated activation silu(self)·up, `self` being the gate. Both of one shape; differentiable in both.
    package func swiGLU(_ up: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("swiGLU(_:)") { ctorch_swiglu(raw, up.raw, $0) }
    }
}
