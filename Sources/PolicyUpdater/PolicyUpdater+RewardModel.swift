internal import Algorithms
internal import Models
internal import Placement
package import Records
internal import Tensors

// Reward models: linear heads on the policy's trunk that score a completion at its last token.
extension PolicyUpdater {
    /// What the head of each pair says of its two sides, `[pair][side]`, without gradients.
    ///
    /// - Parameter part: Of pairs.
    /// - Throws: ``UpdateError`` for a part that does not fit, `StopRequested`, or what the engine refuses.
    package func scores(of part: UpdatePart, by plan: PartPlan, stop: StopSignal? = nil) async throws -> [[Double]] {
        try check(part, plan)
        let batch = UpdateBatch(parts: [part])
        return try await policy.infer { lease in
            let model = try Transformer(configuration: configuration, parameters: lease.parameters)
            let head = lease.heads[ValueHead.name]!
            var found = part.groups.map { _ in [Double]() }
            for pieces in MicroBatchPlan(batch, maxTokens: settings.maxTokensPerMicroBatch).microBatches {
                try stop?.check()
                let packed = try PackedMicroBatch(pieces, of: batch)
                let flat = try Tensor.withoutGradients {
                    try scores(packed, plan, model, head).doubles()
                }
                for (index, piece) in pieces.enumerated() {
                    found[piece.group] = Array(flat[2 * index..<2 * index + 2])
                }
                await Task.yield()  // ranks that wait hear that this one is still there
            }
            return found
        }.value
    }

    /// Each side's score by the head of its pair, `[pairs, 2]`.
    ///
    /// - Parameter head: w `[heads, hidden]`.
    func scores(_ packed: PackedMicroBatch, _ plan: PartPlan, _ model: Transformer, _ head: Tensor) throws -> Tensor {
        let ends = packed.scoredIndices(padding: configuration.paddingTokenID)
        let all = try ValueHead.values(plan.scorer(settings).states(packed, model, at: ends), head)
        let heads = packed.pairs.flatMap { [$0.head, $0.head] }
        let index = try Tensor(heads, device: all.device).reshaped([heads.count, 1])
        return try all.gathered(axis: 1, index: index).reshaped([packed.pairs.count, 2])
    }
}

extension PackedMicroBatch {
    /// The packed index of each completion's last token that is no padding, as transformers' classifiers take it.
    fileprivate func scoredIndices(padding: Int?) -> [Int] {
        layout.groups.flatMap { group in
            group.completions.map { completion in
                completion.last { tokens[$0] != padding } ?? group.prompt.last { tokens[$0] != padding }
                    ?? group.prompt.lowerBound
            }
        }
    }
}
