internal import Algorithms
internal import Records
internal import Tensors

// Which part of a mixed loss a step's gradient is from.

extension PartPlan {
    /// What the gradient of its loss is a sum of, by the names of ``PolicyUpdater/partGradients(_:at:_:)``: the
    /// objective's terms, or the whole.
    package var gradientNames: [String] {
        guard !objective.terms.isEmpty else { return [name ?? kind.rawValue] }
        return objective.terms.map { term in name.map { "\($0)/\(term)" } ?? term }
    }
}

extension PolicyUpdater {
    /// The gradients of everything that the step's loss is a sum of, each with what it counts there; nothing is
    /// written.
    ///
    ///     gradient_parts/NAME/norm     ‖w·g‖
    ///     gradient_parts/NAME/share    ⟨w·g, Σ⟩ / ‖Σ‖²      Σ: the gradient of the step, before it is clipped
    ///
    /// The shares add up to 1; a part that pulls against the others has one below 0. Parts of the batch with nothing in
    /// them, or of weight 0, have no numbers. Costs a forward and a backward pass, and a set of gradients, for each;
    /// `timing_s/part_gradients` are the seconds.
    ///
    /// - Throws: As ``gradients(of:by:at:term:stop:)``.
    func partGradients(_ batch: UpdateBatch, at point: UpdatePoint, _ stop: StopSignal?) throws -> Metrics {
        let clock = ContinuousClock()
        let start = clock.now
        var found: [(name: String, weight: Double, gradients: StepGradients)] = []
        for (part, plan) in zip(batch.parts, parts) {
            let weight = plan.weight * part.weight
            guard weight != 0, part.actionTokenCount > 0 else { continue }
            for (index, name) in plan.gradientNames.enumerated() {
                let term = plan.objective.terms.isEmpty ? nil : index
                found.append(
                    (name, weight, try gradients(of: part, by: plan, at: point, term: term, stop: stop).gradients))
            }
        }
        var metrics = Metrics()
        guard !found.isEmpty else { return metrics }
        let sum = try StepGradients(sumOf: found.map { ($0.weight, $0.gradients) })
        for (name, weight, gradients) in found {
            metrics["gradient_parts/\(name)/norm"] = abs(weight) * gradients.norm
            if sum.norm > 0 {
                metrics["gradient_parts/\(name)/share"] =
                    weight * (try gradients.dot(sum.gradients)) / (sum.norm * sum.norm)
            }
        }
        metrics["timing_s/part_gradients"] = (clock.now - start) / .seconds(1)
        return metrics
    }

    /// Whether the step that comes is one that is measured.
    var measuresParts: Bool {
        settings.partGradientSteps > 0
            && optimizer.counters.schedulePosition.isMultiple(of: settings.partGradientSteps)
    }
}
