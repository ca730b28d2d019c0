internal import Placement
internal import Records
package import Tensors

/// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2) over a role's parameters, with libtorch's fused kernel.
///
///     m ← β₁m + (1−β₁)g,   v ← β₂v + (1−β₂)g²,   w ← w − η·λ·w − η·m̂/(√v̂ + ε)
///
/// λ is zero for biases and norm weights. A parameter without a gradient counts as one whose gradient is zero.
@TensorActor
package final class AdamW {
    /// How far it has come.
    package internal(set) var counters = OptimizerCounters()
    /// By parameter name, in the parameter's shape, element type and device.
    package let firstMoments: [String: Tensor]
    package let secondMoments: [String: Tensor]
    package let settings: OptimizerSettings

    /// - Parameters:
    ///   - firstMoments: zeros like each parameter, by name.
    ///   - secondMoments: others of the same kind.
    package init(firstMoments: [String: Tensor], secondMoments: [String: Tensor], settings: OptimizerSettings) {
        self.firstMoments = firstMoments
        self.secondMoments = secondMoments
        self.settings = settings
    }

    /// An optimizer of everything that a role trains.
    ///
    /// - Throws: the engine's refusal when the moments do not fit in memory.
    convenience init(of role: ReallocatingActor, settings: OptimizerSettings) throws {
        try self.init(firstMoments: role.zeros(), secondMoments: role.zeros(), settings: settings)
    }

    /// η of the next step: the peak times the schedule's factor.
    package var learningRate: Double {
        settings.learningRate * settings.schedule.factor(step: counters.schedulePosition)
    }

    /// Writes the parameters and the moments.
    ///
    /// - Parameter gradients: one per parameter, clipped already.
    package func step(parameters: [String: Tensor], gradients: [String: Tensor], learningRate: Double) throws {
        let names = parameters.keys.sorted()
        for decays in [true, false] {
            let part = names.filter { OptimizerSettings.decays($0) == decays }
            try write(
                part.map { (parameters[$0]!, gradients[$0]!, firstMoments[$0]!, secondMoments[$0]!) }, learningRate,
                weightDecay: decays ? settings.weightDecay : 0)
        }
        counters.optimizerSteps += 1
    }

    /// The parameters that ``step(parameters:gradients:learningRate:)`` would write, to the bit; nothing is written.
    ///
    /// Costs a copy of the parameters and, one after the other, of each one's moments.
    package func ahead(
        parameters: [String: Tensor], gradients: [String: Tensor], learningRate: Double
    ) throws -> [String: Tensor] {
        var ahead: [String: Tensor] = [:]
        for (name, parameter) in parameters {
            let moved = try parameter.detached().clone()
            try write(
                [(moved, gradients[name]!, firstMoments[name]!.clone(), secondMoments[name]!.clone())], learningRate,
                weightDecay: OptimizerSettings.decays(name) ? settings.weightDecay : 0)
            ahead[name] = moved
        }
        return ahead
    }

    private typealias Row = (parameter: Tensor, gradient: Tensor, firstMoment: Tensor, secondMoment: Tensor)

    private func write(_ rows: [Row], _ learningRate: Double, weightDecay: Double) throws {
        guard !rows.isEmpty else { return }
        try Tensor.adamWStep(
            parameters: rows.map(\.parameter), gradients: rows.map(\.gradient),
            firstMoments: rows.map(\.firstMoment), secondMoments: rows.map(\.secondMoment),
            step: counters.optimizerSteps + 1, learningRate: learningRate, beta1: settings.beta1,
            beta2: settings.beta2, epsilon: settings.epsilon, weightDecay: weightDecay)
    }
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
        try self.init(gradients)
    }

    /// Σ weight · gradient: what one backward pass over the sum of weighted losses gives, to rounding.
    ///
    /// - Parameter terms: At least one, all of the same parameters.
    package init(sumOf terms: [(weight: Double, gradients: StepGradients)]) throws {
        precondition(!terms.isEmpty, "a sum of gradients has a term")
        let sum = try terms[0].gradients.gradients.mapValues { try $0 * terms[0].weight }
        for (weight, term) in terms.dropFirst() {
            for (name, gradient) in term.gradients { try sum[name]!.addInPlace(gradient, scaledBy: weight) }
        }
        try self.init(sum)
    }

    private init(_ gradients: [String: Tensor]) throws {
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
