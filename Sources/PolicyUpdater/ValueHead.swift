internal import Algorithms
internal import Records
internal import Tensors

/// The linear head that reads values off a trunk's states.
///
///     V_t = w · h_t       h_t: the state that predicts token t, after the final norm; w `[1, hidden]`
enum ValueHead {
    /// Its name among parameters, as transformers' sequence classifiers have it.
    static let name = "score.weight"

    /// V of each state, differentiable in states and head, in float64 where the states are and else in float32.
    ///
    /// - Parameter states: `[generated tokens, hidden]`.
    /// - Returns: `[generated tokens]`.
    static func values(_ states: Tensor, _ head: Tensor) throws -> Tensor {
        let sum: ElementType = states.elementType == .float64 ? .float64 : .float32
        return try states.to(sum).linear(weight: head.to(sum)).reshaped([states.shape[0]])
    }

    /// The values of a whole batch, pass by pass and without gradients.
    ///
    /// - Parameter forward: The values of a pass at packed indices, `[indices]`.
    static func values(
        of batch: UpdateBatch, maxTokens: Int?, _ forward: (PackedMicroBatch, [Int]) throws -> Tensor
    ) throws -> CriticValues {
        var found = CriticValues(batch.groups.map { $0.completions.map { _ in [] } })
        for pieces in MicroBatchPlan(batch, maxTokens: maxTokens).microBatches {
            let packed = try PackedMicroBatch(pieces, of: batch)
            let places = packed.predictionIndices + packed.endIndices
            let values = try Tensor.withoutGradients { try forward(packed, places).floats() }
            let own = zip(packed.scattered(values), values.suffix(packed.endIndices.count))
            for (owner, (tokens, end)) in zip(packed.owners, own) {
                found.tokens[owner.group][owner.completion] = tokens
                found.ends[owner.group][owner.completion] = end
            }
        }
        return found
    }
}

extension PackedMicroBatch {
    /// The value loss of this micro-batch, c_V·L_V, towards the batch's returns.
    ///
    /// - Parameter values: `[generated tokens]`, differentiable.
    func valueLoss(_ values: Tensor, _ denominators: Denominators, _ settings: PPOSettings) throws -> LossResult {
        func tensor(_ numbers: [Double]) throws -> Tensor {
            try Tensor(numbers).to(values.elementType).to(values.device)
        }
        let old = self.values(\.oldValues)?.map(Double.init) ?? []
        return try PPO.valueLoss(
            PPO.ValueInputs(
                values: values, oldValues: tensor(old), returns: tensor(self.values(\.returns) ?? [])),
            CompletionSpans(lengths: completionCounts, device: values.device), denominators, settings)
    }
}
