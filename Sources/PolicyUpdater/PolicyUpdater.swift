package import Algorithms
package import Models
package import Placement
package import Records
package import Tensors

/// Turns update batches into optimizer steps on a policy, and scores tokens without gradients.
///
/// One step: cut the batch into micro-batches; for each, a packed forward pass, the objective's loss with denominators of
/// the whole batch, a backward pass; then clip, check, AdamW. Only one micro-batch's activations exist at a time.
@TensorActor
package final class PolicyUpdater {
    package let objective: Objective
    package let settings: UpdaterSettings
    /// Calls of ``train(_:stop:)`` that came to an end: the place in the learning-rate schedule.
    package internal(set) var schedulePosition = 0
    /// Steps left out because the loss or a gradient was not finite.
    package internal(set) var skippedSteps = 0

    let policy: ReallocatingActor
    let reference: Transformer?
    /// Its moments are part of what a checkpoint holds.
    package let optimizer: AdamW
    private let configuration: ModelConfiguration
    private let scorer: TokenScorer
    private let clock = ContinuousClock()

    /// - Parameters:
    ///   - policy: the parameters to train, under their published names.
    ///   - configuration: the architecture they belong to.
    ///   - reference: a frozen model of its own tensors; `nil` when the objective has no use for one.
    /// - Throws: ``UpdateError/missingReference`` when the objective needs a reference, and the engine's refusal when the
    ///   moments do not fit in memory.
    package init(
        policy: ReallocatingActor, configuration: ModelConfiguration, reference: Transformer? = nil,
        objective: Objective, settings: UpdaterSettings
    ) throws {
        guard reference != nil || !objective.needsReference else { throw UpdateError.missingReference }
        self.policy = policy
        self.configuration = configuration
        self.reference = reference
        self.objective = objective
        self.settings = settings
        optimizer = try AdamW(
            firstMoments: policy.zeros(), secondMoments: policy.zeros(), settings: settings.optimizer)
        scorer = TokenScorer(
            temperature: settings.temperature, checkpointsBlocks: settings.checkpointsBlocks,
            soft: objective.softSettings)
    }

    /// Takes one optimizer step on the batch; none when every completion is masked or empty.
    ///
    /// When the completions have no `oldLogProbabilities`, the policy that produced them is taken to be the present one:
    /// right for exactly one step per rollout, and a pass cheaper.
    ///
    /// - Parameter stop: polled between micro-batches; a stopped step leaves no gradient and the weights untouched.
    /// - Returns: `loss`, `grad_norm`, `learning_rate`, `entropy`, the objective's own numbers, the sampler's distance
    ///   (`sampling/…`) where the batch has rollout log-probs, `skipped_steps`, `timing_s/update_actor`, `realloc/…`.
    /// - Throws: ``UpdateError`` for a batch that does not fit, `StopRequested`, or what the engine refuses.
    package func train(_ batch: UpdateBatch, stop: StopSignal? = nil) async throws -> Metrics {
        try batch.check(
            requiring: objective.requiredFields, vocabularySize: configuration.vocabularySize,
            takesSoftTokens: objective.softSettings != nil)
        let plan = MicroBatchPlan(batch, maxTokens: settings.maxTokensPerMicroBatch)
        let started = clock.now
        let trained = try await policy.train { lease in
            let parameters = lease.parameters
            let model = try Transformer(configuration: configuration, parameters: lease.computed())
            var (loss, metrics) = try accumulateGradients(of: batch, plan, model, stop)
            let gradients = try StepGradients(of: parameters)
            let learningRate =
                settings.optimizer.learningRate * settings.optimizer.schedule.factor(step: schedulePosition)
            schedulePosition += 1
            let isFinite = loss.isFinite && gradients.norm.isFinite
            if !isFinite { skippedSteps += 1 }
            metrics["loss"] = loss
            metrics["grad_norm"] = gradients.norm
            metrics["learning_rate"] = learningRate
            metrics["skipped_steps"] = Double(skippedSteps)
            // A batch that trains nothing is no step: momentum and decay would move the weights all the same.
            guard isFinite, !plan.microBatches.isEmpty else { return .skipped(metrics) }
            if let maxNorm = settings.optimizer.maxGradientNorm { try gradients.clip(to: maxNorm) }
            return .step(metrics) {
                try self.optimizer.step(
                    parameters: parameters, gradients: gradients.gradients, learningRate: learningRate)
                try self.syncReference(with: parameters)
            }
        }
        var metrics = trained.value
        metrics["timing_s/update_actor"] = (clock.now - started) / .seconds(1)
        metrics.merge(trained.reallocation.metrics)
        return metrics
    }

    /// Scores every completion token of the batch without gradients, masked completions included.
    ///
    /// - Parameter role: `oldPolicy` are the policy's weights as they are now; `reference` the frozen reference's. A critic
    ///   is an owner of its own, ``Critic``.
    /// - Returns: `[group][completion][token]`, in nats, at the sampling temperature.
    /// - Throws: ``UpdateError/missingReference`` without a reference, ``UpdateError`` for a batch that does not fit.
    package func logProbabilities(_ batch: UpdateBatch, under role: ScoringRole) async throws -> [[[Float]]] {
        try await scores(batch, under: role).logProbabilities
    }

    /// The same, and what the densities of soft tokens are made of under the named weights.
    package func scores(_ batch: UpdateBatch, under role: ScoringRole) async throws -> CompletionScores {
        let batch = batch.unmasked
        try batch.check(
            requiring: [], vocabularySize: configuration.vocabularySize,
            takesSoftTokens: objective.softSettings != nil)
        switch role {
        case .oldPolicy, .sampler:
            return try await policy.infer { lease in
                try score(batch, under: Transformer(configuration: configuration, parameters: lease.parameters))
            }.value
        case .critic: throw UpdateError.missingCritic
        case .reference:
            guard let reference else { throw UpdateError.missingReference }
            return try score(batch, under: reference)
        }
    }

    private func score(_ batch: UpdateBatch, under model: Transformer) throws -> CompletionScores {
        var all = CompletionScores(logProbabilities: batch.groups.map { $0.completions.map { _ in [] } })
        for pieces in MicroBatchPlan(batch, maxTokens: settings.maxTokensPerMicroBatch).microBatches {
            let packed = try PackedMicroBatch(pieces, of: batch)
            let scores = try Tensor.withoutGradients { try scorer.scores(packed, under: model) }
            let values = packed.scattered(try scores.logProbabilities(packed).map(Float.init))
            for (owner, values) in zip(packed.owners, values) {
                all.logProbabilities[owner.group][owner.completion] = values
            }
            guard let softTokens = packed.softTokens, let soft = scores.soft else { continue }
            let parameters = softTokens.scattered(try soft.parameters.floats(), over: packed.completions)
            for (owner, values) in zip(packed.owners, parameters) {
                all.softParameters[owner.group][owner.completion] = values
            }
        }
        return all
    }

    /// Runs every micro-batch forward and backward; the parameters then hold the gradient of the whole batch.
    ///
    /// - Returns: the loss of the batch and its numbers.
    private func accumulateGradients(
        of batch: UpdateBatch, _ plan: MicroBatchPlan, _ model: Transformer, _ stop: StopSignal?
    ) throws -> (loss: Double, metrics: Metrics) {
        let denominators = Denominators(batch, maxCompletionLength: settings.maxCompletionLength)
        var loss = 0.0
        var metrics = LossMetrics()
        for pieces in plan.microBatches {
            try stop?.check()
            let pass = try backward(PackedMicroBatch(pieces, of: batch), model, denominators)
            loss += pass.loss
            metrics.combine(pass.metrics)
        }
        try stop?.check()
        return (loss, metrics.metrics)
    }

    /// One micro-batch forward and backward. Its activations are gone when this returns.
    private func backward(
        _ packed: PackedMicroBatch, _ model: Transformer, _ denominators: Denominators
    ) throws -> (loss: Double, metrics: LossMetrics) {
        let scores = try scorer.scores(packed, under: model)
        let result = try objective.loss(packed.inputs(scores, denominators))
        try result.loss.backward()
        var metrics = result.metrics
        if let sampler = packed.values(\.rolloutLogProbabilities) {
            let trainer =
                try packed.values(\.oldLogProbabilities)?.map(Double.init) ?? scores.logProbabilities(packed)
            SamplingGap.note(trainer: trainer, sampler: sampler.map(Double.init), in: &metrics)
        }
        return (try result.loss.item(), metrics)
    }

    /// Moves the reference towards the policy when the step's number says so.
    private func syncReference(with parameters: [String: Tensor]) throws {
        guard let sync = settings.referenceSync, let reference, optimizer.stepCount % sync.everySteps == 0 else {
            return
        }
        for (name, tensor) in reference.parameters {
            try tensor.multiplyInPlace(1 - sync.mixupAlpha)
            try tensor.addInPlace(parameters[name]!, scaledBy: sync.mixupAlpha)
        }
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
