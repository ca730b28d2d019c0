internal import Algorithms
package import Records
internal import Tensors

extension PolicyUpdater {
    /// Inner products of the gradients that each stream of advantages of the batch's rollouts has alone, a KL term of
    /// the loss in each of them but nothing else of it (``Objective/drivenByAdvantages``); nothing is written.
    ///
    /// Costs a forward and a backward pass a stream, and a set of gradients each.
    ///
    /// - Parameter batch: With rollouts, the only part that is read: what is imitated beside them may be absent.
    /// - Throws: ``UpdateError`` for a batch that does not fit, `StopRequested`, or what the engine refuses.
    package func streamProducts(_ batch: UpdateBatch, stop: StopSignal?) async throws -> StreamProducts {
        guard let part = batch.parts.first(where: { $0.kind == .rollouts }),
            let plan = parts.first(where: { $0.kind == .rollouts })
        else { throw UpdateError.parts(found: batch.parts.count, expected: parts.count) }
        let driven = PartPlan(
            plan.objective.drivenByAdvantages, on: plan.kind, weight: plan.weight, temperature: plan.temperature,
            name: plan.name)
        return try await lend { point in
            let alone = try part.streamWeights.indices.map { stream in
                var single = part
                single.streamWeights = part.streamWeights.indices.map { $0 == stream ? 1 : 0 }
                return try gradients(of: single, by: driven, at: point, stop: stop).gradients
            }
            var gram = alone.map { _ in alone.map { _ in 0.0 } }
            for (row, one) in alone.enumerated() {
                for (column, other) in alone.enumerated() where column >= row {
                    let product = try one.product(with: other)
                    (gram[row][column], gram[column][row]) = (product, product)
                }
            }
            return .skipped(
                StreamProducts(
                    gram: gram, weights: part.streamWeights, learningRate: optimizer.learningRate,
                    peakLearningRate: optimizer.settings.learningRate))
        }.value
    }
}

extension StepGradients {
    /// ⟨g, h⟩ over every parameter, each summed in its own type and those sums in Double.
    ///
    /// - Parameter other: Of the same parameters.
    func product(with other: StepGradients) throws -> Double {
        try sum { name in try (gradients[name]! * other.gradients[name]!).sum().item() }
    }
}
