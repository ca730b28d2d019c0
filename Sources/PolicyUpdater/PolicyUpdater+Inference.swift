package import Models
internal import Placement
package import Records
internal import Tensors

extension PolicyUpdater {
    /// The log-prob of every action of the batch, without gradients, masked completions included.
    ///
    /// - Parameter role: `oldPolicy` are the policy's weights as they are now; `reference` the frozen reference's. For
    ///   the `critic` see ``values(_:)``.
    /// - Returns: In nats, at the sampling temperature, and the completions' payloads with what they keep of the named
    ///   weights.
    /// - Throws: ``UpdateError/missingReference`` without a reference, ``UpdateError`` for a batch that does not fit.
    package func logProbabilities(
        _ batch: UpdateBatch, under role: InferenceRole
    ) async throws -> CompletionLogProbabilities {
        try await logProbabilities(batch, under: role, dividedBy: ranks)
    }

    /// The same in this process alone: what evaluations read, which are the first rank's.
    package func ownLogProbabilities(
        _ batch: UpdateBatch, under role: InferenceRole
    ) async throws -> CompletionLogProbabilities {
        try await logProbabilities(batch, under: role, dividedBy: nil)
    }

    private func logProbabilities(
        _ batch: UpdateBatch, under role: InferenceRole, dividedBy ranks: ProcessGroup?
    ) async throws -> CompletionLogProbabilities {
        let configuration = role == .reference ? referenceConfiguration : configuration
        let batch = try batch.toRead(by: scorer, configuration)
        func read(_ parameters: [String: Tensor]) async throws -> CompletionLogProbabilities {
            try await Self.logProbabilities(
                batch, of: Transformer(configuration: configuration, parameters: parameters), for: role, by: scorer,
                settings, ranks)
        }
        switch role {
        case .oldPolicy, .sampler: return try await policy.infer { try await read($0.parameters) }.value
        case .critic: preconditionFailure("a critic has values, see values(_:)")
        case .reference:
            guard let reference else { throw UpdateError.missingReference }
            return try await reference.infer { try await read($0.parameters) }.value
        }
    }

    /// The values of the ``Critic``, or of the head on the policy's trunk; masked completions included.
    ///
    /// - Throws: ``UpdateError/missingCritic`` without either.
    package func values(_ batch: UpdateBatch) async throws -> CriticValues {
        if let critic { return try await critic.values(batch) }
        guard hasValueHead else { throw UpdateError.missingCritic }
        let batch = batch.unmasked
        try batch.check(requiring: [], vocabularySize: configuration.vocabularySize)
        return try await policy.infer { lease in
            let model = try Transformer(configuration: configuration, parameters: lease.parameters)
            return try ValueHead.values(of: batch, maxTokens: settings.maxTokensPerMicroBatch, ranks) {
                packed, indices in
                try ValueHead.values(scorer.states(packed, model, at: indices), lease.heads[ValueHead.name]!)
            }
        }.value
    }

    /// The log-prob of every action of the batch under weights that no role owns, as ``logProbabilities(_:under:)``
    /// gives them.
    ///
    /// - Parameter plan: Whose actions these are.
    package static func logProbabilities(
        _ batch: UpdateBatch, of model: Transformer, by plan: PartPlan, _ settings: UpdaterSettings
    ) async throws -> CompletionLogProbabilities {
        let scorer = plan.scorer(settings)
        return try await logProbabilities(
            batch.toRead(by: scorer, model.configuration), of: model, for: .reference, by: scorer, settings)
    }

    private static func logProbabilities(
        _ batch: UpdateBatch, of model: Transformer, for role: InferenceRole, by scorer: any TokenScoring,
        _ settings: UpdaterSettings, _ ranks: ProcessGroup? = nil
    ) async throws -> CompletionLogProbabilities {
        /// Of one completion.
        struct Found: Codable, Sendable {
            let group: Int
            let completion: Int
            let tokens: [Float]
            @HeldPayload var payload: (any RolloutPayload)?
        }
        var found: [Found] = []
        let plan = MicroBatchPlan(batch, maxTokens: settings.maxTokensPerMicroBatch, ranks: ranks?.size ?? 1)
        for pieces in plan.microBatches(of: ranks?.rank ?? 0) {
            try Task.checkCancellation()
            let packed = try PackedMicroBatch(pieces, of: batch)
            let scores = try Tensor.withoutGradients { try scorer.scores(packed, under: model) }
            let columns = try scores.columns.map { try $0.doubles() }
            let logProbabilities = PackedScores.joined(columns, at: scores.payload?.positions ?? [])
            let values = packed.scattered(logProbabilities.map(Float.init))
            let payloads = try scores.payload?.payloads(keptFor: role) ?? packed.owners.map { _ in nil }
            for (owner, (values, payload)) in zip(packed.owners, zip(values, payloads)) {
                found.append(
                    Found(group: owner.group, completion: owner.completion, tokens: values, payload: payload))
            }
            // Where this rank reads alone, the others hear between passes that it is still there.
            if ranks == nil { await Task.yield() }
        }
        if let ranks { found = try ranks.exchange(found).flatMap(\.self) }
        var all = CompletionLogProbabilities(batch.groups.map { $0.completions.map { _ in [] } })
        for one in found {
            all.tokens[one.group][one.completion] = one.tokens
            all.payloads[one.group][one.completion] = one.payload
        }
        return all
    }
}

extension UpdateBatch {
    /// The batch with every completion to be read, after the checks that reading needs.
    fileprivate func toRead(by scorer: any TokenScoring, _ configuration: ModelConfiguration) throws -> UpdateBatch {
        let batch = unmasked
        try batch.check(requiring: [], vocabularySize: configuration.vocabularySize, scorer: scorer)
        return batch
    }

    /// The batch with every completion to be read, for inference.
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
