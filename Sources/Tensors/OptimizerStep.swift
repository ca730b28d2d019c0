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

    /// The same step of one parameter whose moments are kept as bytes (Dettmers et al. 2021, arXiv:2110.02861): it is
    /// the step of the moments before they are rounded to bytes.
    ///
    /// - Parameters:
    ///   - parameter: θ, contiguous.
    ///   - gradient: g; it agrees with θ in shape, element type and device.
    ///   - firstMoment: m, of both signs; its scales are zeros before the first step.
    ///   - secondMoment: v, of no sign; the same.
    package static func adamW8bitStep(
        parameter: Tensor, gradient: Tensor, firstMoment: CodedTensor, secondMoment: CodedTensor, step: Int,
        learningRate: Double, beta1: Double, beta2: Double, epsilon: Double, weightDecay: Double
    ) throws(TensorError) {
        guard step >= 1 else {
            throw .engine(operation: "adamW8bitStep", message: "step \(step): the first step is 1")
        }
        let settings = ctorch_adamw(
            step: step, learning_rate: learningRate, beta1: beta1, beta2: beta2, epsilon: epsilon,
            weight_decay: weightDecay)
        try check(
            "adamW8bitStep",
            ctorch_adamw_8bit_step(parameter.raw, gradient.raw, firstMoment.raw, secondMoment.raw, settings))
    }

    /// One step of Lion (Chen et al. 2023, arXiv:2302.06675, algorithm 2):
    ///
    ///     θ ← θ − η·λ·θ − η·sign(β₁·m + (1 − β₁)·g),   then   m ← β₂·m + (1 − β₂)·g
    ///
    /// - Parameters:
    ///   - parameter: θ, contiguous.
    ///   - gradient: g; with the momentum it agrees with θ in shape, element type and device.
    ///   - momentum: m, zeros before the first step.
    package static func lionStep(
        parameter: Tensor, gradient: Tensor, momentum: Tensor, learningRate: Double, beta1: Double, beta2: Double,
        weightDecay: Double
    ) throws(TensorError) {
        let settings = ctorch_lion(
            learning_rate: learningRate, beta1: beta1, beta2: beta2, weight_decay: weightDecay)
        try check("lionStep", ctorch_lion_step(parameter.raw, gradient.raw, momentum.raw, settings))
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

/// Numbers kept as bytes: each stands for one of 256 numbers between −1 and 1, or 0 and 1, that are the denser the
/// smaller they are, times a scale that 256 numbers after each other share (dynamic block-wise quantization, Dettmers
/// et al. 2021, arXiv:2110.02861, §2).
package struct CodedTensor {
    /// uint8, in the shape of the numbers.
    package let bytes: Tensor
    /// float32 `[blocks]`: the largest size in each block.
    package let scales: Tensor

    package init(bytes: Tensor, scales: Tensor) {
        self.bytes = bytes
        self.scales = scales
    }

    /// Scales of so many numbers.
    package static func blockCount(_ count: Int) -> Int {
        let size = Int(CTORCH_CODE_BLOCK)
        return (count + size - 1) / size
    }

    /// The numbers, in float32.
    ///
    /// - Parameter isSigned: Whether they are of both signs.
    package func decoded(isSigned: Bool) throws(TensorError) -> Tensor {
        try Tensor.make("decoded") { ctorch_decoded(raw, isSigned, $0) }
    }

    fileprivate var raw: ctorch_codes { ctorch_codes(bytes: bytes.raw, scales: scales.raw) }
}
