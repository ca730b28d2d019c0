internal import Algorithms
package import Records
package import Tensors

/// How a step is foreseen when a utility is asked what it thinks of it.
package struct LookAhead: Sendable {
    /// `amft.look_ahead:`.
    package enum Point: String, SettingsChoice {
        /// The utility's gradient is taken where the step would lead, θ'.
        case exact
        /// It is taken where the weights are, θ.
        case firstOrder = "first_order"
    }
    /// `amft.step_model:`.
    package enum StepModel: String, SettingsChoice {
        /// The step that the optimizer would take: moments, clipping and all.
        case adam
        /// θ − η·g.
        case plain
    }

    package let point: Point
    package let stepModel: StepModel
    /// What is minimized on the held-out rows: minus the utility.
    package let utility: PartPlan

    package init(_ point: Point = .exact, _ stepModel: StepModel = .adam, utility: PartPlan) {
        self.point = point
        self.stepModel = stepModel
        self.utility = utility
    }

    package init(reading job: inout SettingsReader, utility: PartPlan) {
        point = job.read(
            "amft.look_ahead", default: Point.exact,
            "exact takes the utility's gradient at the weights after the step; first_order at the current ones, which saves a copy of the weights."
        )
        stepModel = job.read(
            "amft.step_model", default: StepModel.adam,
            "adam predicts the real step of adamw_torch and adamw_8bit, with moments and clipping; plain predicts θ − η·g, whatever the optimizer."
        )
        self.utility = utility
    }
}

extension PolicyUpdater {
    /// How a utility answers to the balance of imitation and reward in a step, which is foreseen and not taken.
    ///
    /// Costs five sets of gradients beside the weights.
    ///
    /// - Parameters:
    ///   - batch: Two parts with their weights: rollouts and demonstrations.
    ///   - validation: Held-out rows, the part of ``LookAhead/utility``.
    ///   - stop: Polled between micro-batches.
    /// - Throws: ``UpdateError`` for a part that does not fit, `StopRequested`, or what the engine refuses.
    package func metaGradient(
        of batch: UpdateBatch, by validation: UpdatePart, _ lookAhead: LookAhead, stop: StopSignal? = nil
    ) async throws -> MetaGradient {
        precondition(batch.parts.map(\.kind) == [.rollouts, .demonstrations] && parts.count == 2, "two parts")
        return try await lend { point in
            let rewarded = try gradients(of: batch.parts[0], by: parts[0], at: point, stop: stop).gradients
            let imitated = try gradients(of: batch.parts[1], by: parts[1], at: point, stop: stop).gradients
            let direction = try StepGradients(sumOf: [(1, imitated), (-1, rewarded)])
            let sum = try StepGradients(
                sumOf: zip(batch.parts, parts).map { $0.weight * $1.weight }.enumerated().map { index, weight in
                    (weight, index == 0 ? rewarded : imitated)
                })
            let (ahead, answer) = try foreseen(sum, along: direction, lookAhead, at: point)
            let there = try lookAhead.point == .exact ? point.moved(to: ahead()) : point
            let utility = try gradients(of: validation, by: lookAhead.utility, at: there.undropped, stop: stop)
                .gradients
            return .skipped(
                try MetaGradient(
                    utilityLoss: utility, answer: answer, learningRate: optimizer.learningRate, imitated: imitated,
                    rewarded: rewarded))
        }.value
    }

    /// The weights of the foreseen step, and du along a direction.
    private func foreseen(
        _ sum: StepGradients, along direction: StepGradients, _ lookAhead: LookAhead, at point: UpdatePoint
    ) throws -> (ahead: () throws -> [String: Tensor], answer: StepGradients) {
        switch lookAhead.stepModel {
        case .adam:
            let step = try propose(sum, loss: 0, at: point)
            return (step.lookAhead, try step.derivative(along: direction))
        case .plain:
            let rate = optimizer.learningRate
            return (
                {
                    try Tensor.withoutGradients {
                        var ahead: [String: Tensor] = [:]
                        for (name, leaf) in point.policy.leaves {
                            ahead[name] = try leaf.detached() - sum.gradients[name]! * rate
                        }
                        return ahead
                    }
                }, direction
            )
        }
    }
}

extension MetaGradient {
    /// - Parameters:
    ///   - utilityLoss: ∇L_U, where the utility is asked.
    ///   - answer: du/dμ.
    ///   - learningRate: η of the step.
    ///   - imitated: g_S.
    ///   - rewarded: g_R.
    @TensorActor
    package init(
        utilityLoss: StepGradients, answer: StepGradients, learningRate: Double, imitated: StepGradients,
        rewarded: StepGradients
    ) throws {
        let product = try utilityLoss.dot(answer.gradients)
        self.init(
            slope: learningRate * product, cosine: product / (utilityLoss.norm * answer.norm + 1e-12),
            partsCosine: try imitated.dot(rewarded.gradients) / (imitated.norm * rewarded.norm + 1e-12),
            demonstrationNorm: imitated.norm, rolloutNorm: rewarded.norm, utilityNorm: utilityLoss.norm)
    }
}
