internal import Algorithms
internal import Records
internal import Tensors

/// The linear head that reads values off a trunk's states, a stream for each of its rows.
///
///     V_{k,t} = w_k · h_t       h_t: the state that predicts action t, after the final norm; w `[streams, hidden]`
enum ValueHead {
    /// Its name among parameters, as transformers' sequence classifiers have it.
    static let name = "score.weight"

    /// V of each state, differentiable in states and head, in float64 where the states are and else in float32.
    ///
    /// - Parameter states: `[actions, hidden]`.
    /// - Returns: `[actions, streams]`.
    static func values(_ states: Tensor, _ head: Tensor) throws -> Tensor {
        let sum: ElementType = states.elementType == .float64 ? .float64 : .float32
        return try states.to(sum).linear(weight: head.to(sum))
    }

    /// The values of a whole batch, pass by pass and without gradients.
    ///
    /// - Parameters:
    ///   - ranks: Who divides the passes.
    ///   - forward: The values of a pass at packed indices, `[indices, streams]`.
    @TensorActor
    static func values(
        of batch: UpdateBatch, maxTokens: Int?, _ ranks: ProcessGroup?,
        _ forward: (PackedMicroBatch, [Int]) throws -> Tensor
    ) throws -> CriticValues {
        /// Of one completion.
        struct Found: Codable, Sendable {
            let group: Int
            let completion: Int
            let tokens: [[Float]]
            let ends: [Float]
        }
        var shares: [Found] = []
        let plan = MicroBatchPlan(batch, maxTokens: maxTokens, ranks: ranks?.size ?? 1)
        for pieces in plan.microBatches(of: ranks?.rank ?? 0) {
            let packed = try PackedMicroBatch(pieces, of: batch)
            let indices = packed.predictionIndices + packed.endIndices
            let values = try Tensor.withoutGradients { try forward(packed, indices) }
            let streams = try (0..<values.shape[1]).map { try values.stream($0).floats() }
            let tokens = streams.map { packed.scattered($0) }
            let ends = streams.map { $0.suffix(packed.endIndices.count) }
            for (index, owner) in packed.owners.enumerated() {
                shares.append(
                    Found(
                        group: owner.group, completion: owner.completion, tokens: tokens.map { $0[index] },
                        ends: ends.map { $0[$0.startIndex + index] }))
            }
        }
        if let ranks { shares = try ranks.exchange(shares).flatMap(\.self) }
        var found = CriticValues(batch.groups.map { $0.completions.map { _ in [] } })
        for share in shares {
            found.tokens[share.group][share.completion] = share.tokens
            found.ends[share.group][share.completion] = share.ends
        }
        return found
    }
}

extension Tensor {
    /// One column of values `[rows, streams]`: `[rows]`.
    fileprivate func stream(_ stream: Int) throws -> Tensor {
        try narrow(axis: 1, start: stream, count: 1).reshaped([shape[0]])
    }
}

extension PackedMicroBatch {
    /// The value loss of this micro-batch, c_V·Σ_k w_k·L_V(V_k, R_k), towards the batch's returns: the heads share a
    /// trunk, each is fitted to its own stream. w is ``Algorithms/PPOSettings/headWeights(_:)``.
    ///
    /// - Parameter values: `[actions, streams]`, differentiable; as many streams as the batch's returns have.
    func valueLoss(_ values: Tensor, _ denominators: Denominators, _ settings: PPOSettings) throws -> LossResult {
        func tensor(_ numbers: [Double]) throws -> Tensor {
            try Tensor(numbers).to(values.elementType).to(values.device)
        }
        let count = values.shape[1]
        for (owner, completion) in zip(owners, completions)
        where completion.returns.count != count || completion.oldValues.count != count {
            throw UpdateError.batch(
                group: owner.group, completion: owner.completion,
                message:
                    "returns of \(completion.returns.count) and oldValues of \(completion.oldValues.count) streams "
                    + "for a value head of \(count)")
        }
        let spans = try CompletionSpans(lengths: completionCounts, device: values.device)
        let losses = try settings.headWeights(count).enumerated().map { stream, weight in
            try PPO.valueLoss(
                PPO.ValueInputs(
                    values: values.stream(stream),
                    oldValues: tensor(completions.flatMap { $0.oldValues[stream].map(Double.init) }),
                    returns: tensor(completions.flatMap { $0.returns[stream] })), spans, denominators, settings,
                weight: weight)
        }
        return try losses.dropFirst().reduce(losses[0]) { try $0.combined(with: $1) }
    }
}
