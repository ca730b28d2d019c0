internal import CTorch

// What an optimizer does to the list of all parameters. In place, no gradient is recorded.
extension Tensor {
    /// One step of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2) with libtorch's fused kernel:
    ///
    ///     θ ← θ − η·λ·θ
    ///     m ← β₁·m + (1 − β₁)·g        v ← β₂·v + (1 − β₂)·g²
    ///     θ ← θ − η · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
    ///
    /// - Parameters:
    ///   - parameters: θ, contiguous.
    ///   - gradients: g; with the moments it agrees with θ in shape, element type and device.
    ///   - firstMoments: m, zeros before the first step.
    ///   - secondMoments: v, zeros before the first step.
    ///   - step: t, 1 for the first step.
    ///   - learningRate: η.
    ///   - weightDecay: λ.
    package static func adamWStep(
        parameters: [Tensor], gradients: [Tensor], firstMoments: [Tensor], secondMoments: [Tensor], step: Int,
        learningRate: Double, beta1: Double, beta2: Double, epsilon: Double, weightDecay: Double
    ) throws(TensorError) {
        let count = parameters.count
        guard gradients.count == count, firstMoments.count == count, secondMoments.count == count else {
            throw .shape(
                operation: "adamWStep", expected: "\(count) gradients, first and second moments",
                got: [gradients.count, firstMoments.count, secondMoments.count])
        }
        guard step >= 1 else {
            throw .engine(operation: "adamWStep", message: "step \(step): the first step is 1")
        }
        let settings = ctorch_adamw(
            step: step, learning_rate: learningRate, beta1: beta1, beta2: beta2, epsilon: epsilon,
            weight_decay: weightDecay)
        let status = withExtendedLifetime((parameters, gradients, firstMoments, secondMoments)) {
            ctorch_adamw_step(
                handles(of: parameters), handles(of: gradients), handles(of: firstMoments),
                handles(of: secondMoments), count, settings)
        }
        try check("adamWStep", status)
    }

    /// √(Σ x²) over every element of every tensor, added in float64. Not finite exactly when an element is not.
    package static func norm(of tensors: [Tensor]) throws(TensorError) -> Double {
        var norm = 0.0
        let status = withExtendedLifetime(tensors) { ctorch_norm(handles(of: tensors), tensors.count, &norm) }
        try check("norm", status)
        return norm
    }

    /// Multiplies every element of every tensor.
    package static func scaleInPlace(_ tensors: [Tensor], by factor: Double) throws(TensorError) {
        let status = withExtendedLifetime(tensors) {
            ctorch_scale_in_place(handles(of: tensors), tensors.count, factor)
        }
        try check("scaleInPlace", status)
    }
}
