internal import Algorithms
package import Models
package import Placement
package import Records
package import Tensors

/// Turns update batches into optimizer steps on a policy, and scores tokens without gradients.
///
/// One step: cut each part of the batch into micro-batches; for each, a packed forward pass, the part's loss with
/// denominators of the whole part, a backward pass; then clip, check, step. Only one micro-batch's activations exist
/// at a time. With a critic the two take their steps together or not at all.
@TensorActor
package final class PolicyUpdater {
    /// What is minimized on the parts of a batch, in their order.
    package nonisolated let parts: [PartPlan]
    /// Whether a loss weighs tokens by the old policy over the one that sampled them, and notes the weights itself.
    package nonisolated var weighsSampler: Bool { parts.contains(where: \.objective.weighsSampler) }
    package let settings: UpdaterSettings

    let policy: ReallocatingActor
    let reference: ReallocatingActor?
    let critic: Critic?
    /// Who divides the passes that score; `nil` for one process.
    let ranks: ProcessGroup?
    /// Who divides the passes of a step: those that have the same parameters, or the same parts of them, as the policy's
    /// ``Placement/ReallocatingActor/shards`` say; `nil` for this process alone.
    let replicas: ProcessGroup?
    /// The way of the weights to ranks that only sample; `nil` where there are none.
    let sharing: WeightSharing?
    /// Its state is part of what a checkpoint holds.
    package let optimizer: Optimizer
    let configuration: ModelConfiguration
    /// The reference's architecture: another model's where it is a teacher.
    let referenceConfiguration: ModelConfiguration
    /// Scores are asked for of what the first part is made of.
    let scorer: any TokenScoring
    /// What sampling has computed of the completions of the next step, which uses it up; `nil` for nothing. With it a
    /// step at the weights that were sampled from makes no products a second time.
    package var forwardCache: ForwardCache?

    /// - Parameters:
    ///   - policy: the parameters to train, under their published names. A head named ``Critic/headName`` is PPO's
    ///     critic on the policy's own trunk: the loss is then that of policy and values together, and
    ///     one optimizer moves both.
    ///   - configuration: the architecture they belong to.
    ///   - reference: a role of frozen parameters; `nil` when no objective has a use for one.
    ///   - referenceConfiguration: its architecture; the policy's for `nil`. It reads the policy's token ids.
    ///   - critic: PPO's critic of its own weights.
    ///   - parts: One for each part of the batches to come, at least one, with different names.
    ///   - ranks: Processes with the same weights that are called with the same batches: they divide the passes, and
    ///     each has the whole result. The critic's are the same.
    ///   - replicas: Those among them that have the same parts of the policy, where `policy` has shards, which then
    ///     divide the passes of a step and keep shares of the optimizer's state; `nil` for one. Scoring reads whole
    ///     weights, and is divided among all.
    ///   - sharing: The way of the weights to ranks that only sample. On such a rank the updater trains nothing: it has
    ///     no moments and needs no reference.
    ///   - bringsReference: whether batches bring the reference's log-probs with them, so that none has to be loaded.
    /// - Throws: ``UpdateError/missingReference`` when an objective needs a reference, and the engine's refusal when
    ///   the moments do not fit in memory.
    package init(
        policy: ReallocatingActor, configuration: ModelConfiguration, reference: ReallocatingActor? = nil,
        referenceConfiguration: ModelConfiguration? = nil, critic: Critic? = nil, parts: [PartPlan],
        bringsReference: Bool = false, settings: UpdaterSettings, ranks: ProcessGroup? = nil,
        replicas: ProcessGroup? = nil, sharing: WeightSharing? = nil
    ) throws {
        precondition(!parts.isEmpty && Set(parts.map(\.name)).count == parts.count, "parts have different names")
        let heads = policy.headNames
        precondition(heads.isSubset(of: [ValueHead.name]), "the policy has a head that no loss reads")
        precondition(
            heads.isEmpty
                || critic == nil
                    && parts.contains { $0.objective.ppoSettings != nil || $0.objective is any ScoreObjective },
            "a head is a reward model's, or PPO's in place of a critic of its own weights")
        guard
            reference != nil || sharing?.receives == true
                || !parts.contains(where: \.objective.needsExactDivergence)
                    && (bringsReference || !parts.contains(where: \.objective.needsReference))
        else { throw UpdateError.missingReference }
        self.policy = policy
        self.configuration = configuration
        self.reference = reference
        self.referenceConfiguration = referenceConfiguration ?? configuration
        self.critic = critic
        self.ranks = ranks
        self.replicas = policy.shards == nil ? ranks : replicas
        self.sharing = sharing
        self.parts = parts
        self.settings = settings
        optimizer = try Optimizer(
            of: policy, settings: settings.optimizer, ranks: self.replicas, keepsState: sharing?.receives != true,
            spillingTo: settings.stateFolder, assemblingIn: settings.scratchFolder)
        scorer = parts[0].scorer(settings)
    }

    /// Takes one optimizer step on the batch; none when every completion is masked or empty.
    ///
    /// When the completions have no `oldLogProbabilities`, the policy that produced them is taken to be the present
    /// one: right for exactly one step per rollout, and a pass cheaper.
    ///
    /// - Parameter stop: polled between micro-batches; a stopped step leaves no gradient and the weights untouched.
    /// - Returns: `loss`, `grad_norm`, `learning_rate`, `entropy`, the objectives' own numbers, with a critic
    ///   `value_loss` and `value_clip_ratio`, with one of its own weights
    ///   `critic/grad_norm|learning_rate|skipped_steps`, the sampler's distance (`sampling/…`) where the batch has
    ///   rollout log-probs, `gradient_parts/…` where they are measured, `skipped_steps`, `realloc/…`.
    /// - Throws: ``UpdateError`` for a batch that does not fit, `StopRequested`, `NotFinite` for a step that left
    ///   weights which must not be saved, or what the engine refuses.
    package func train(_ batch: UpdateBatch, stop: StopSignal? = nil) async throws -> Metrics {
        try check(batch)
        defer { forwardCache?.removeAll() }
        var isFinite = true
        let trained = try await lend { point in
            if measuresParts { forwardCache?.removeAll() }  // whose passes have activations of their own
            let measured = try measuresParts ? partGradients(batch, at: point, stop) : Metrics()
            var (policy, metrics) = try proposed(batch, at: point, stop)
            metrics.merge(measured)
            let critic = try proposedByCritic(batch, at: point, stop)
            let steps = [policy] + (critic.map { [$0.step] } ?? [])
            let isSkipped = !steps.allSatisfy(\.isFinite)
            metrics.merge(policy.metrics(isSkipped: isSkipped))
            var criticMetrics = critic?.metrics ?? Metrics()
            if let critic { criticMetrics.merge(critic.step.metrics(isSkipped: isSkipped, family: "critic/")) }
            let value = (policy: metrics, critic: criticMetrics)
            guard !isSkipped, !steps.allSatisfy(\.isEmpty) else {
                for step in steps { step.pass(isCounted: isSkipped) }
                return .skipped(value)
            }
            return .step(value) {
                for step in steps { try step.commit() }
                try self.syncReference(at: point)
                isFinite = try self.areFinite(point)
            }
        }
        guard isFinite else { throw NotFinite("the weights after an optimizer step") }
        var metrics = trained.value.policy
        metrics.merge(trained.reallocation.metrics)
        metrics.merge(trained.value.critic)
        return metrics
    }

    /// Whether the step that was just taken left every weight finite. Reads each of them once.
    private func areFinite(_ point: UpdatePoint) throws -> Bool {
        let trained = [point.policy, point.critic].compactMap(\.self).flatMap(\.leaves.values)
        let isFinite = try trained.allSatisfy { try $0.allFinite() }
        guard let group = policy.shards?.group else { return isFinite }
        return try group.sum(isFinite ? 0 : 1) == 0
    }

    /// Lends the weights of all roles of a step; the body says which step they take together, or that they take none.
    ///
    /// - Returns: the body's value, stamped with the policy's version.
    /// - Throws: the body's error, `PlacementError`, or `CancellationError` while waiting.
    package func lend<R: Sendable>(
        _ body: @TensorActor (UpdatePoint) async throws -> Proposed<R>
    ) async throws -> Stamped<R> {
        let follower = isSyncDue ? reference : nil
        let read = follower == nil && parts.contains(where: \.objective.needsExactDivergence) ? reference : nil
        let roles = [policy, critic?.owner, follower].compactMap(\.self)
        return try await ReallocatingActor.train(roles, reading: [read].compactMap(\.self)) { leases in
            var point = UpdatePoint(policy: leases[policy])
            point.dropout = StepDropout(configuration.adapters, seed: settings.dropoutSeed, of: optimizer)
            if let critic { point.critic = leases[critic.owner] }
            if let follower { (point.reference, point.movesReference) = (leases[follower].frozen, true) }
            if let read { point.reference = leases.reading(read) }
            return try await body(point)
        }
    }

    private func proposedByCritic(
        _ batch: UpdateBatch, at point: UpdatePoint, _ stop: StopSignal?
    ) throws -> (step: ProposedStep, metrics: Metrics)? {
        guard let critic, let parameters = point.critic else { return nil }
        return try critic.proposed(batch, at: parameters, stop)
    }

    // MARK: Checks

    private func check(_ batch: UpdateBatch) throws {
        guard batch.parts.count == parts.count || batch.groups.isEmpty else {
            throw UpdateError.parts(found: batch.parts.count, expected: parts.count)
        }
        for (part, plan) in zip(batch.parts, parts) { try check(part, plan) }
        try critic?.check(batch)
    }

    func check(_ part: UpdatePart, _ plan: PartPlan) throws(UpdateError) {
        if part.kind == .pairs { try part.checkPairs() }
        if let objective = plan.objective as? any ScoreObjective { try part.checkHeads(objective.headCount) }
        var fields = plan.objective.requiredFields
        if hasValueHead, plan.objective.ppoSettings != nil { fields.insert(.returns) }
        try UpdateBatch(parts: [part]).check(
            requiring: fields, vocabularySize: configuration.vocabularySize,
            scorer: plan.scorer(settings))
    }

    /// Whether PPO's critic is a head on the policy's own trunk.
    var hasValueHead: Bool { policy.headNames.contains(ValueHead.name) }

    // MARK: The reference

    /// Whether the reference moves with the next step that is taken.
    private var isSyncDue: Bool {
        settings.referenceSync.map { (optimizer.counters.optimizerSteps + 1) % $0.everySteps == 0 } ?? false
    }

    /// Moves the reference towards the policy when the step that was just taken says so.
    private func syncReference(at point: UpdatePoint) throws {
        guard point.movesReference, let sync = settings.referenceSync, let reference = point.reference,
            optimizer.counters.optimizerSteps % sync.everySteps == 0
        else { return }
        for (name, weights) in try point.policy.moved() {
            try reference[name]!.multiplyInPlace(1 - sync.mixupAlpha)
            try reference[name]!.addInPlace(weights, scaledBy: sync.mixupAlpha)
        }
    }
}
