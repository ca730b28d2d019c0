package import Placement
package import Records
package import Tensors

/// Where gradients are taken: the weights of all roles of a step while they are lent to it.
package struct UpdatePoint {
    package private(set) var policy: TrainableParameters
    /// A critic of its own weights.
    var critic: TrainableParameters?
    /// The reference policy's parameters, where the step reads or moves them.
    var reference: [String: Tensor]?
    /// Whether the reference is lent to be moved with the step.
    var movesReference = false
    /// What passes that train drop of the adapters' inputs.
    var dropout: StepDropout?

    init(policy: TrainableParameters) { self.policy = policy }

    /// The same with other weights of the policy, as those of ``ProposedStep/lookAhead()``.
    ///
    /// - Parameter weights: Of everything that is trained, by name.
    package func moved(to weights: [String: Tensor]) throws -> UpdatePoint {
        var moved = self
        moved.policy = try policy.moved(to: weights)
        return moved
    }

    /// The same for a pass that is to say what the weights are worth.
    package var undropped: UpdatePoint {
        var undropped = self
        undropped.dropout = nil
        return undropped
    }
}

/// The loss of one part, its numbers and its gradient, kept apart from those of other parts.
package struct PartGradients {
    /// Without the part's weight, as all of this.
    package let loss: Double
    package let metrics: Metrics
    package let gradients: StepGradients
}

/// An optimizer step of one role that has been worked out and not taken.
package struct ProposedStep {
    /// Clipped; as they were where the step cannot be taken.
    package let gradients: StepGradients
    package let loss: Double
    package let learningRate: Double
    /// Whether the batch had nothing to learn from. Weights and moments then stay: momentum and decay would move them
    /// all the same.
    package let isEmpty: Bool
    private let parameters: [String: Tensor]
    private let optimizer: Optimizer

    /// - Parameters:
    ///   - parameters: What the gradients are of.
    ///   - optimizer: Takes the step, at the learning rate it has now.
    @TensorActor
    init(
        _ gradients: StepGradients, loss: Double, isEmpty: Bool, of parameters: TrainableParameters,
        by optimizer: Optimizer
    ) throws {
        self.gradients = gradients
        self.loss = loss
        self.isEmpty = isEmpty
        self.parameters = parameters.leaves
        self.optimizer = optimizer
        learningRate = optimizer.learningRate
        if isFinite, !isEmpty, let limit = optimizer.settings.maxGradientNorm { try gradients.clip(to: limit) }
    }

    /// Whether loss and gradients are finite. A step that is not cannot be taken.
    package var isFinite: Bool { loss.isFinite && gradients.norm.isFinite }

    /// The weights that ``commit()`` would write, to the bit, by name. Nothing is written.
    ///
    /// Costs a copy of the weights.
    @TensorActor
    package func lookAhead() throws -> [String: Tensor] {
        guard !isEmpty else { return parameters }
        return try optimizer.ahead(
            parameters: parameters, gradients: gradients.gradients, learningRate: learningRate)
    }

    /// How the step answers to a move of its gradients: du, where it writes w − η·λ·w − η·u. Clipping is part of it.
    ///
    /// Costs three copies of the weights on the way.
    ///
    /// - Parameter direction: dg, before clipping.
    @TensorActor
    package func derivative(along direction: StepGradients) throws -> StepGradients {
        var moves = direction.gradients
        if let limit = optimizer.settings.maxGradientNorm, limit / (gradients.norm + 1e-6) < 1 {
            // ĝ = g·c with c = limit/(‖g‖ + 10⁻⁶):  dĝ = c·dg − ĝ·⟨g, dg⟩/(‖g‖·(‖g‖ + 10⁻⁶))
            let scale = limit / (gradients.norm + 1e-6)
            let turn = try gradients.dot(moves) / scale / (gradients.norm * (gradients.norm + 1e-6))
            for (name, move) in moves {
                moves[name] = try move * scale - gradients.gradients[name]! * turn
            }
        }
        return try StepGradients(
            optimizer.derivative(gradients: gradients.gradients, along: moves), shards: gradients.shards)
    }

    /// Writes weights and moments, and goes on in the schedule: for the `apply` of a lease.
    @TensorActor
    package func commit() throws {
        precondition(isFinite, "a step that is not finite is skipped")
        if !isEmpty {
            try optimizer.step(
                parameters: parameters, gradients: gradients.gradients, learningRate: learningRate)
        }
        optimizer.goOnInSchedule()
    }

    /// Goes on in the schedule without a step.
    ///
    /// - Parameter isCounted: whether it is a step that could not be taken, not one with nothing in it.
    @TensorActor
    func pass(isCounted: Bool) {
        optimizer.goOnInSchedule()
        optimizer.counters.skippedSteps += isCounted ? 1 : 0
    }

    /// `grad_norm`, `learning_rate` and `skipped_steps`, as they are after the step.
    ///
    /// - Parameter family: What their names begin with, `critic/`.
    @TensorActor
    func metrics(isSkipped: Bool, family: String = "") -> Metrics {
        var metrics = Metrics()
        metrics[family + "grad_norm"] = gradients.norm
        metrics[family + "learning_rate", .last] = learningRate
        metrics[family + "skipped_steps", .last] = Double(optimizer.counters.skippedSteps + (isSkipped ? 1 : 0))
        return metrics
    }
}
