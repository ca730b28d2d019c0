internal import Records
package import Tensors

/// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2) over a role's parameters, with libtorch's fused kernel.
///
///     m ← β₁m + (1−β₁)g,   v ← β₂v + (1−β₂)g²,   w ← w − η·λ·w − η·m̂/(√v̂ + ε)
///
/// λ is zero for biases and norm weights. A parameter without a gradient counts as one whose gradient is zero.
@TensorActor
package final class AdamW {
    /// Steps taken: what the bias correction of m̂ and v̂ counts.
    package private(set) var stepCount = 0
    /// By parameter name, in the parameter's shape, element type and device.
    package let firstMoments: [String: Tensor]
    package let secondMoments: [String: Tensor]
    private let settings: OptimizerSettings

    /// - Parameters:
    ///   - firstMoments: zeros like each parameter, by name.
    ///   - secondMoments: others of the same kind.
    package init(firstMoments: [String: Tensor], secondMoments: [String: Tensor], settings: OptimizerSettings) {
        self.firstMoments = firstMoments
        self.secondMoments = secondMoments
        self.settings = settings
    }

    /// Writes the parameters and the moments.
    ///
    /// - Parameter gradients: one per parameter, clipped already.
    package func step(parameters: [String: Tensor], gradients: [String: Tensor], learningRate: Double) throws {
        let names = parameters.keys.sorted()
        for decays in [true, false] {
            let part = names.filter { OptimizerSettings.decays($0) == decays }
            guard !part.isEmpty else { continue }
            try Tensor.adamWStep(
                parameters: part.map { parameters[$0]! }, gradients: part.map { gradients[$0]! },
                firstMoments: part.map { firstMoments[$0]! }, secondMoments: part.map { secondMoments[$0]! },
                step: stepCount + 1, learningRate: learningRate, beta1: settings.beta1, beta2: settings.beta2,
                epsilon: settings.epsilon, weightDecay: decays ? settings.weightDecay : 0)
        }
        stepCount += 1
    }

    /// Both moments under the names they have in a checkpoint.
    var moments: [String: Tensor] {
        let first = firstMoments.map { ("first_moment.\($0)", $1) }
        let second = secondMoments.map { ("second_moment.\($0)", $1) }
        return Dictionary(uniqueKeysWithValues: first + second)
    }

    /// Goes on after `stepCount` steps, whose moments have been written into ``firstMoments`` and ``secondMoments``.
    package func resume(after stepCount: Int) { self.stepCount = stepCount }
}

/// The gradients of an optimizer step, and the norm that decides what becomes of them.
@TensorActor
package struct StepGradients {
    /// By parameter name.
    package let gradients: [String: Tensor]
    /// √Σg² over every parameter, before clipping; not finite when a gradient is not.
    package let norm: Double

    /// Takes the gradients the parameters have collected; zeros where there is none.
    package init(of parameters: [String: Tensor]) throws {
        let gradients = try parameters.mapValues { parameter in
            try parameter.gradient
                ?? Tensor.zeros(parameter.shape, parameter.elementType, device: parameter.device)
        }
        norm = try Tensor.norm(of: gradients.keys.sorted().map { gradients[$0]! })
        self.gradients = gradients
    }

    /// Scales all gradients by min(1, max / (norm + 10⁻⁶)), as torch's `clip_grad_norm_`.
    package func clip(to maxNorm: Double) throws {
        let coefficient = maxNorm / (norm + 1e-6)
        guard coefficient < 1 else { return }
        try Tensor.scaleInPlace(Array(gradients.values), by: coefficient)
    }
}
