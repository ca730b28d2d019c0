internal import Models
internal import Placement
package import Records
internal import Tensors

extension PolicyUpdater {
    /// Scores every action of the batch without gradients, masked completions included.
    ///
    /// - Parameter role: `oldPolicy` are the policy's weights as they are now; `reference` the frozen reference's. For the `critic`
    ///   see ``values(_:)``.
    /// - Returns: `[group][completion][action]`, in nats, at the sampling temperature.
    /// - Throws: ``UpdateError/missingReference`` without a reference, ``UpdateError`` for a batch that does not fit.
    package func logProbabilities(_ batch: UpdateBatch, under role: ScoringRole) async throws -> [[[Float]]] {
        try await scores(batch, under: role).logProbabilities
    }

    /// The same, and the completions' payloads with what they keep of the named weights.
    package func scores(_ batch: UpdateBatch, under role: ScoringRole) async throws -> CompletionScores {
        let batch = batch.unmasked
        try batch.check(
            requiring: [], vocabularySize: configuration.vocabularySize, scorer: scorer)
        switch role {
        case .oldPolicy, .sampler:
            return try await policy.infer { lease in
                try score(
                    batch, under: Transformer(configuration: configuration, parameters: lease.parameters), for: role)
            }.value
        case .critic: preconditionFailure("a critic has values, see values(_:)")
        case .reference:
            guard let reference else { throw UpdateError.missingReference }
            return try score(batch, under: reference, for: role)
        }
    }

    /// The values of the head on the policy's trunk, masked completions included. A ``Critic`` of its own weights is asked itself.
    ///
    /// - Throws: ``UpdateError/missingCritic`` without a head.
    package func values(_ batch: UpdateBatch) async throws -> CriticValues {
        guard let valueHead else { throw UpdateError.missingCritic }
        let batch = batch.unmasked
        try batch.check(requiring: [], vocabularySize: configuration.vocabularySize)
        return try await policy.infer { lease in
            let model = try Transformer(configuration: configuration, parameters: lease.parameters)
            return try ValueHead.values(of: batch, maxTokens: settings.maxTokensPerMicroBatch) { packed, places in
                try ValueHead.values(scorer.states(packed, model, at: places), valueHead)
            }
        }.value
    }

    private func score(
        _ batch: UpdateBatch, under model: Transformer, for role: ScoringRole
    ) throws -> CompletionScores {
        var all = CompletionScores(logProbabilities: batch.groups.map { $0.completions.map { _ in [] } })
        for pieces in MicroBatchPlan(batch, maxTokens: settings.maxTokensPerMicroBatch).microBatches {
            let packed = try PackedMicroBatch(pieces, of: batch)
            let scores = try Tensor.withoutGradients { try scorer.scores(packed, under: model) }
            let columns = try scores.columns.map { try $0.doubles() }
            let logProbabilities = PackedScores.joined(columns, at: scores.payload?.positions ?? [])
            let values = packed.scattered(logProbabilities.map(Float.init))
            for (owner, values) in zip(packed.owners, values) {
                all.logProbabilities[owner.group][owner.completion] = values
            }
            guard let payload = scores.payload else { continue }
            for (owner, payload) in zip(packed.owners, try payload.payloads(keptFor: role)) {
                all.payloads[owner.group][owner.completion] = payload
            }
        }
        return all
    }
}

extension UpdateBatch {
    /// The batch with every completion to be read, for scoring.
    var unmasked: UpdateBatch {
        var batch = self
        for group in batch.groups.indices {
            for completion in batch.groups[group].completions.indices {
                batch.groups[group].completions[completion].isMasked = false
            }
        }
        return batch
    }
}
