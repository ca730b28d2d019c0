package import Algorithms
package import Models
package import Placement
package import Records
package import Tensors

/// PPO's critic: a transformer with a linear head that says what a completion is still worth before each of its tokens.
///
///     V_t = w · h_t       h_t: the hidden state that predicts token t, after the final norm; w `[1, hidden]`
///
/// The other form, a head on the policy's own trunk, is ``PolicyUpdater``'s `valueHead`.
/// Its weights, gradients and moments are its own: nothing is shared with the policy. With w = 0 to start with, values are 0
/// and the first advantages are those of no critic.
@TensorActor
package final class Critic {
    /// The head's name among the parameters, as transformers' sequence classifiers have it.
    package static let headName = ValueHead.name

    let owner: ReallocatingActor
    /// Its moments are part of what a checkpoint holds.
    package let optimizer: AdamW
    /// Optimizer steps and skipped ones: the place in the schedule.
    var schedulePosition = 0
    var skippedSteps = 0
    private let configuration: ModelConfiguration
    private let settings: UpdaterSettings
    private let objective: PPOSettings

    /// - Parameters:
    ///   - trunk: A language model's parameters by name, not shared with anyone; its own head is never read.
    ///   - head: w `[1, hidden]` to start from; zeros unless given.
    ///   - settings: The critic's own optimizer and schedule; its micro-batches are the policy's.
    /// - Throws: The engine's refusal when the moments do not fit in memory.
    package init(
        trunk: Transformer, head: Tensor? = nil, objective: PPOSettings, settings: UpdaterSettings,
        layout: ParameterLayout = .shared
    ) throws {
        configuration = trunk.configuration
        self.objective = objective
        self.settings = settings
        var parameters = trunk.parametersByName
        parameters[Self.headName] =
            try head ?? Tensor.zeros([1, trunk.configuration.hiddenSize], trunk.elementType, device: trunk.device)
        owner = try ReallocatingActor(role: "critic", parameters: parameters, layout: layout)
        optimizer = try AdamW(firstMoments: owner.zeros(), secondMoments: owner.zeros(), settings: settings.optimizer)
    }

    /// What the completions are still worth before each of their tokens and behind the last, masked completions included.
    package func values(_ batch: UpdateBatch) async throws -> CriticValues {
        let batch = batch.unmasked
        try batch.check(requiring: [], vocabularySize: configuration.vocabularySize)
        return try await owner.infer { lease in
            let (model, head) = try parts(lease.parameters)
            return try ValueHead.values(of: batch, maxTokens: settings.maxTokensPerMicroBatch) { packed, places in
                try values(packed, model, head, at: places)
            }
        }.value
    }

    /// Takes one optimizer step towards the batch's returns; none when every completion is masked or empty.
    ///
    /// - Returns: `value_loss`, `value_clip_ratio`, `critic/grad_norm`, `critic/learning_rate`, `critic/skipped_steps`.
    /// - Throws: ``UpdateError`` for a batch without returns or old values.
    package func train(_ batch: UpdateBatch) async throws -> Metrics {
        try batch.check(requiring: [.returns], vocabularySize: configuration.vocabularySize)
        let plan = MicroBatchPlan(batch, maxTokens: settings.maxTokensPerMicroBatch)
        let denominators = Denominators(batch, maxCompletionLength: settings.maxCompletionLength)
        return try await owner.train { lease in
            let (model, head) = try parts(lease.computed())
            var loss = 0.0
            var noted = LossMetrics()
            for pieces in plan.microBatches {
                let pass = try backward(PackedMicroBatch(pieces, of: batch), model, head, denominators)
                loss += pass.loss
                noted.combine(pass.metrics)
            }
            let parameters = lease.parameters
            let gradients = try StepGradients(of: parameters)
            let rate = settings.optimizer.learningRate * settings.optimizer.schedule.factor(step: schedulePosition)
            schedulePosition += 1
            let isFinite = loss.isFinite && gradients.norm.isFinite
            if !isFinite { skippedSteps += 1 }
            var metrics = noted.metrics
            metrics["critic/grad_norm"] = gradients.norm
            metrics["critic/learning_rate"] = rate
            metrics["critic/skipped_steps"] = Double(skippedSteps)
            guard isFinite, !plan.microBatches.isEmpty else { return .skipped(metrics) }
            if let limit = settings.optimizer.maxGradientNorm { try gradients.clip(to: limit) }
            return .step(metrics) {
                try self.optimizer.step(parameters: parameters, gradients: gradients.gradients, learningRate: rate)
            }
        }.value
    }

    private func parts(_ parameters: [String: Tensor]) throws -> (model: Transformer, head: Tensor) {
        var trunk = parameters
        guard let head = trunk.removeValue(forKey: Self.headName) else {
            throw PlacementError.unknownParameter(role: "critic", name: Self.headName)
        }
        return (try Transformer(configuration: configuration, parameters: trunk), head)
    }

    /// At packed indices, `[indices]`.
    private func values(
        _ packed: PackedMicroBatch, _ model: Transformer, _ head: Tensor, at places: [Int]
    ) throws -> Tensor {
        let hidden = try model.hiddenStates(
            tokens: Tensor(packed.tokens, device: model.device), layout: packed.layout,
            checkpointsBlocks: settings.checkpointsBlocks)
        return try ValueHead.values(hidden.rows(at: places), head)
    }

    private func backward(
        _ packed: PackedMicroBatch, _ model: Transformer, _ head: Tensor, _ denominators: Denominators
    ) throws -> (loss: Double, metrics: LossMetrics) {
        let result = try packed.valueLoss(
            values(packed, model, head, at: packed.predictionIndices), denominators, objective)
        try result.loss.backward()
        return try result.read()
    }
}
