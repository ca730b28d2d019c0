internal import Foundation
internal import Placement
internal import Records
package import Tensors

/// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2) over a role's parameters, with libtorch's fused
/// kernel.
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
    /// Which rank keeps the moments of a parameter and writes it; `nil` for one process.
    let sharding: OptimizerSharding?
    /// All moments while a checkpoint is written.
    var assembled: [String: Tensor]?

    /// - Parameters:
    ///   - firstMoments: zeros like each parameter, by name.
    ///   - secondMoments: others of the same kind.
    package convenience init(
        firstMoments: [String: Tensor], secondMoments: [String: Tensor], settings: OptimizerSettings
    ) {
        self.init(firstMoments: firstMoments, secondMoments: secondMoments, settings: settings, sharding: nil)
    }

    private init(
        firstMoments: [String: Tensor], secondMoments: [String: Tensor], settings: OptimizerSettings,
        sharding: OptimizerSharding?
    ) {
        self.firstMoments = firstMoments
        self.secondMoments = secondMoments
        self.settings = settings
        self.sharding = sharding
    }

    /// An optimizer of everything that a role trains.
    ///
    /// - Parameter ranks: Processes that share the moments out among themselves.
    /// - Throws: the engine's refusal when the moments do not fit in memory.
    convenience init(of role: ReallocatingActor, settings: OptimizerSettings, ranks: ProcessGroup? = nil) throws {
        let sharding = ranks.map { OptimizerSharding(role.trainedCounts, over: $0) }
        self.init(
            firstMoments: try role.zeros(of: sharding?.own), secondMoments: try role.zeros(of: sharding?.own),
            settings: settings, sharding: sharding)
    }

    /// η of the next step: the peak times the schedule's factor.
    package var learningRate: Double {
        settings.learningRate * settings.schedule.factor(step: counters.schedulePosition)
    }

    /// Writes the parameters and the moments.
    ///
    /// - Parameter gradients: one per parameter, clipped already.
    package func step(parameters: [String: Tensor], gradients: [String: Tensor], learningRate: Double) throws {
        let names = own(of: parameters)
        for decays in [true, false] {
            let part = names.filter { OptimizerSettings.decays($0) == decays }
            try write(
                part.map { (parameters[$0]!, gradients[$0]!, firstMoments[$0]!, secondMoments[$0]!) }, learningRate,
                weightDecay: decays ? settings.weightDecay : 0)
        }
        try sharding?.share(parameters)
        counters.optimizerSteps += 1
    }

    /// The parameters that are written here, in order.
    private func own(of parameters: [String: Tensor]) -> [String] {
        parameters.keys.sorted().filter { sharding?.own.contains($0) ?? true }
    }

    /// The parameters that ``step(parameters:gradients:learningRate:)`` would write, to the bit; nothing is written.
    ///
    /// Costs a copy of the parameters and, one after the other, of each one's moments.
    package func ahead(
        parameters: [String: Tensor], gradients: [String: Tensor], learningRate: Double
    ) throws -> [String: Tensor] {
        let ahead = try parameters.mapValues { try $0.detached().clone() }
        for name in own(of: parameters) {
            try write(
                [(ahead[name]!, gradients[name]!, firstMoments[name]!.clone(), secondMoments[name]!.clone())],
                learningRate, weightDecay: OptimizerSettings.decays(name) ? settings.weightDecay : 0)
        }
        try sharding?.share(ahead)
        return ahead
    }

    /// How the update answers to a move of the gradient: du, where a step writes w − η·λ·w − η·u.
    ///
    ///     dm̂ = (1−β₁)/(1−β₁ᵗ)·dg,   k = (1−β₂)/(1−β₂ᵗ)
    ///     du = [dm̂ − m̂/(√v̂ + ε)·k·(g/√v̂)·dg] / (√v̂ + ε)        with m̂ and v̂ as the step makes them
    ///
    /// The derivative of the whole step, its second moment included: with the denominators frozen a look-ahead would
    /// not be the step's.
    ///
    /// - Parameters:
    ///   - gradients: Of the step, clipped.
    ///   - direction: dg, by the same names.
    package func derivative(
        gradients: [String: Tensor], along direction: [String: Tensor]
    ) throws -> [String: Tensor] {
        let step = Double(counters.optimizerSteps + 1)
        let first = 1 / (1 - pow(settings.beta1, step))
        let second = 1 / (1 - pow(settings.beta2, step))
        var answers = sharding == nil ? [:] : try gradients.mapValues { try $0.detached().clone() }
        for name in own(of: gradients) {
            let (gradient, move) = (gradients[name]!, direction[name]!)
            let mean = try (firstMoments[name]! * settings.beta1 + gradient * (1 - settings.beta1)) * first
            let square = try (secondMoments[name]! * settings.beta2 + gradient.square() * (1 - settings.beta2)) * second
            let root = try square.sqrt()
            let divisor = try root + settings.epsilon
            // Where v̂ is 0, so is g.
            let share = try gradient / maximum(root, 1e-15)
            let bend = try mean / divisor * share * ((1 - settings.beta2) * second)
            answers[name] = try move * (-bend + (1 - settings.beta1) * first) / divisor
        }
        try sharding?.share(answers)
        return answers
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
    ///
    /// - Parameter ranks: Whose gradients are added up.
    @TensorActor
    package init(of parameters: [String: Tensor], over ranks: ProcessGroup? = nil) throws {
        let gradients = try parameters.mapValues { parameter in
            try parameter.gradient
                ?? Tensor.zeros(parameter.shape, parameter.elementType, device: parameter.device)
        }
        try ranks?.sum(gradients.sorted { $0.key < $1.key }.map(\.value))
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

    /// - Parameter gradients: By parameter name.
    package init(_ gradients: [String: Tensor]) throws {
        norm = try Tensor.norm(of: gradients.keys.sorted().map { gradients[$0]! })
        self.gradients = gradients
    }

    /// ⟨a, b⟩ over every parameter, summed in double.
    package func dot(_ others: [String: Tensor]) throws -> Double {
        try gradients.keys.sorted().reduce(0) { sum, name in
            try sum + (gradients[name]! * others[name]!).to(.float64).sum().item()
        }
    }

    /// Scales all gradients by min(1, max / (norm + 10⁻⁶)), as torch's `clip_grad_norm_`.
    package func clip(to maxNorm: Double) throws {
        let coefficient = maxNorm / (norm + 1e-6)
        guard coefficient < 1 else { return }
        try Tensor.scaleInPlace(Array(gradients.values), by: coefficient)
    }
}
