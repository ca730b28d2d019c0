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
    let configuration: ModelConfiguration
    let scorer: any TokenScoring
    /// PPO's critic as a head on the policy's own trunk, w `[1, hidden]`; `nil` without one.
    let valueHead: Tensor?
    private let clock = ContinuousClock()

    /// - Parameters:
    ///   - policy: the parameters to train, under their published names.
    ///   - configuration: the architecture they belong to.
    ///   - reference: a frozen model of its own tensors; `nil` when the objective has no use for one.
    ///   - valueHead: w `[1, hidden]` of a critic that shares the policy's trunk (``ValueHead``), for PPO: the loss is then that of
    ///     policy and values together, and the head one of the parameters that the optimizer moves. Not shared with anyone.
    /// - Throws: ``UpdateError/missingReference`` when the objective needs a reference, and the engine's refusal when the
    ///   moments do not fit in memory.
    package init(
        policy: ReallocatingActor, configuration: ModelConfiguration, reference: Transformer? = nil,
        objective: Objective, settings: UpdaterSettings, valueHead: Tensor? = nil
    ) throws {
        precondition(valueHead == nil || objective.ppoSettings != nil, "a value head is PPO's")
        guard reference != nil || !(objective.needsReference || objective.needsExactDivergence) else {
            throw UpdateError.missingReference
        }
        self.policy = policy
        self.configuration = configuration
        self.reference = reference
        self.objective = objective
        self.settings = settings
        self.valueHead = valueHead
        func moments() throws -> [String: Tensor] {
            var moments = try policy.zeros()
            moments[ValueHead.name] = try valueHead.map {
                try Tensor.zeros($0.shape, $0.elementType, device: $0.device)
            }
            return moments
        }
        optimizer = try AdamW(firstMoments: moments(), secondMoments: moments(), settings: settings.optimizer)
        scorer = objective.tokenScorer(
            TokenScorer(temperature: settings.temperature, checkpointsBlocks: settings.checkpointsBlocks))
    }

    /// Takes one optimizer step on the batch; none when every completion is masked or empty.
    ///
    /// When the completions have no `oldLogProbabilities`, the policy that produced them is taken to be the present one:
    /// right for exactly one step per rollout, and a pass cheaper.
    ///
    /// - Parameter stop: polled between micro-batches; a stopped step leaves no gradient and the weights untouched.
    /// - Returns: `loss`, `grad_norm`, `learning_rate`, `entropy`, the objective's own numbers, with a value head `value_loss` and
    ///   `value_clip_ratio`, the sampler's distance (`sampling/…`) where the batch has rollout log-probs, `skipped_steps`,
    ///   `timing_s/update_actor`, `realloc/…`.
    /// - Throws: ``UpdateError`` for a batch that does not fit, `StopRequested`, or what the engine refuses.
    package func train(_ batch: UpdateBatch, stop: StopSignal? = nil) async throws -> Metrics {
        var fields = objective.requiredFields
        if valueHead != nil { fields.insert(.returns) }
        try batch.check(requiring: fields, vocabularySize: configuration.vocabularySize, scorer: scorer)
        let plan = MicroBatchPlan(batch, maxTokens: settings.maxTokensPerMicroBatch)
        let started = clock.now
        let trained = try await policy.train { lease in
            var parameters = lease.parameters
            let model = try Transformer(configuration: configuration, parameters: lease.computed())
            parameters[ValueHead.name] = try valueHead?.detached().requiringGradient()
            var (loss, metrics) = try accumulateGradients(
                of: batch, plan, model, valueHead: parameters[ValueHead.name], stop)
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
            let moved = parameters
            return .step(metrics) {
                try self.optimizer.step(
                    parameters: moved, gradients: gradients.gradients, learningRate: learningRate)
                try self.syncReference(with: moved)
            }
        }
        var metrics = trained.value
        metrics["timing_s/update_actor"] = (clock.now - started) / .seconds(1)
        metrics.merge(trained.reallocation.metrics)
        return metrics
    }

    /// Runs every micro-batch forward and backward; the parameters then hold the gradient of the whole batch.
    ///
    /// - Returns: the loss of the batch and its numbers.
    private func accumulateGradients(
        of batch: UpdateBatch, _ plan: MicroBatchPlan, _ model: Transformer, valueHead: Tensor?, _ stop: StopSignal?
    ) throws -> (loss: Double, metrics: Metrics) {
        let denominators = Denominators(batch, maxCompletionLength: settings.maxCompletionLength)
        var loss = 0.0
        var metrics = LossMetrics()
        for pieces in plan.microBatches {
            try stop?.check()
            let pass = try backward(PackedMicroBatch(pieces, of: batch), model, valueHead, denominators)
            loss += pass.loss
            metrics.combine(pass.metrics)
        }
        try stop?.check()
        return (loss, metrics.metrics)
    }

    /// One micro-batch forward and backward. Its activations are gone when this returns.
    private func backward(
        _ packed: PackedMicroBatch, _ model: Transformer, _ valueHead: Tensor?, _ denominators: Denominators
    ) throws -> (loss: Double, metrics: LossMetrics) {
        let scores = try scorer.scores(packed, under: model)
        var inputs = try packed.inputs(scores, denominators)
        inputs.exactDivergences = try exactDivergences(packed, scores.states, model)
        var result = try objective.loss(inputs)
        if let valueHead, let settings = objective.ppoSettings {
            result = try result.adding(
                packed.valueLoss(ValueHead.values(scores.states, valueHead), denominators, settings))
        }
        try result.loss.backward()
        try SamplingGap.note(scores, packed, in: &result.report)
        return try result.read()
    }

    /// KL from the reference at each action, `[actions]`; `nil` where the loss has no use for it.
    private func exactDivergences(
        _ packed: PackedMicroBatch, _ states: Tensor, _ model: Transformer
    ) throws -> Tensor? {
        guard objective.needsExactDivergence else { return nil }
        guard let reference else { throw UpdateError.missingReference }
        return try Tensor.divergence(
            hidden: states, head: model.head,
            referenceHidden: Tensor.withoutGradients { try scorer.states(packed, reference) },
            referenceHead: reference.head, temperature: settings.temperature)
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
