internal import Algorithms
internal import Models
package import Records
internal import Tensors

// Gradients apart from steps: both are worked out while the weights are lent, and neither writes them.
extension PolicyUpdater {
    /// The gradient of one part's loss at given weights, without the part's weight. Other gradients are not touched.
    ///
    /// Costs a set of gradients.
    ///
    /// - Parameters:
    ///   - plan: What is minimized on it.
    ///   - term: Which of the objective's terms alone; `nil` for the whole loss.
    ///   - stop: polled between micro-batches.
    /// - Throws: ``UpdateError`` for a part that does not fit, `StopRequested`, or what the engine refuses.
    package func gradients(
        of part: UpdatePart, by plan: PartPlan, at point: UpdatePoint, term: Int? = nil, stop: StopSignal? = nil
    ) throws -> PartGradients {
        try check(part, plan)
        let apart = try point.moved(to: point.policy.leaves)
        let pass = try backward(part, plan, networks(at: apart, [plan]), weight: 1, term: term, stop)
        return PartGradients(
            loss: pass.loss, metrics: pass.metrics,
            gradients: try StepGradients(of: apart.policy.leaves, over: replicas, shards: policy.shards))
    }

    /// The loss of one part at the policy's weights as they are, and its numbers. No gradient is taken.
    ///
    /// Of several ranks each that calls this makes every pass itself: evaluations are the first rank's alone.
    ///
    /// - Parameter stop: polled between micro-batches.
    /// - Throws: As ``gradients(of:by:at:term:stop:)``.
    package func measure(
        _ part: UpdatePart, by plan: PartPlan, stop: StopSignal? = nil
    ) async throws -> (loss: Double, metrics: Metrics) {
        try check(part, plan)
        precondition(!plan.objective.needsExactDivergence, "a loss that reads the reference's logits is not measured")
        return try await policy.infer { lease in
            let networks = Networks(
                model: try Transformer(configuration: configuration, parameters: lease.parameters),
                valueHead: lease.heads[ValueHead.name], reference: nil, dropout: nil)
            let batch = UpdateBatch(parts: [part])
            let denominators = part.denominators(settings)
            var (loss, metrics) = (0.0, LossMetrics())
            for pieces in MicroBatchPlan(batch, maxTokens: settings.maxTokensPerMicroBatch).microBatches {
                try stop?.check()
                let found = try Tensor.withoutGradients {
                    try forward(PackedMicroBatch(pieces, of: batch), plan, networks, denominators).read()
                }
                loss += found.loss
                metrics.combine(found.metrics)
                await Task.yield()  // ranks that wait hear that this one is still there
            }
            return (loss, metrics.metrics)
        }.value
    }

    /// The step that gradients of the policy come to, clipped in place.
    ///
    /// - Parameter isEmpty: whether nothing was learned from.
    package func propose(
        _ gradients: StepGradients, loss: Double, isEmpty: Bool = false, at point: UpdatePoint
    ) throws -> ProposedStep {
        try ProposedStep(gradients, loss: loss, isEmpty: isEmpty, of: point.policy, by: optimizer)
    }

    /// The policy's step on all parts: the gradients of their weighted losses add up in place.
    func proposed(
        _ batch: UpdateBatch, at point: UpdatePoint, _ stop: StopSignal?
    ) throws -> (ProposedStep, Metrics) {
        var networks = try networks(at: point, parts)
        networks.forwardCache = settings.checkpointsBlocks ? nil : forwardCache
        forwardCache?.keep(
            only: batch.groups.map { ($0.promptTokenIDs, $0.completions.filter(\.isTrained).map(\.tokenIDs)) })
        var loss = 0.0
        var metrics = Metrics()
        var isEmpty = true
        for (part, plan) in zip(batch.parts, parts) {
            let weight = plan.weight * part.weight
            guard weight != 0 else { continue }
            let pass = try backward(part, plan, networks, weight: weight, stop)
            loss += weight * pass.loss
            metrics.merge(pass.metrics(of: plan))
            isEmpty = isEmpty && pass.isEmpty
        }
        try stop?.check()
        metrics["loss"] = loss
        let gradients = try StepGradients(of: point.policy.leaves, over: replicas, shards: policy.shards)
        return (try propose(gradients, loss: loss, isEmpty: isEmpty, at: point), metrics)
    }

    // MARK: Passes

    /// What passes run through.
    private struct Networks {
        let model: Transformer
        /// w `[1, hidden]`
        let valueHead: Tensor?
        let reference: Transformer?
        /// `nil` for passes that train nothing.
        let dropout: StepDropout?
        /// What sampling has computed at the policy's weights; `nil` for passes that do not use it up.
        var forwardCache: ForwardCache?
    }

    /// What the passes over a part came to, without its weight.
    private struct Pass {
        var loss = 0.0
        var metrics = Metrics()
        var isEmpty = true

        /// Its numbers under the names of their family.
        func metrics(of plan: PartPlan) -> Metrics {
            guard let name = plan.name else { return metrics }
            var named = Metrics()
            for entry in metrics.entries { named["\(name)/\(entry.name)"] = entry.value }
            named["\(name)/loss"] = loss
            return named
        }
    }

    private func networks(at point: UpdatePoint, _ plans: [PartPlan]) throws -> Networks {
        let readsReference = plans.contains(where: \.objective.needsExactDivergence)
        return Networks(
            model: try Transformer(
                configuration: configuration, parameters: point.policy.computed(), shards: policy.shards),
            valueHead: point.policy.heads[ValueHead.name],
            reference: try readsReference
                ? point.reference.map { try Transformer(configuration: referenceConfiguration, parameters: $0) } : nil,
            dropout: point.dropout)
    }

    /// Runs every micro-batch of a part forward and backward: the gradient of its loss, or of one term of it, times
    /// `weight` is added to the leaves'.
    private func backward(
        _ part: UpdatePart, _ plan: PartPlan, _ networks: Networks, weight: Double, term: Int? = nil,
        _ stop: StopSignal?
    ) throws -> Pass {
        let meanEntropy = try meanEntropy(of: part, plan, networks, stop)
        return try over(part, stop, replicas) { packed, denominators in
            try reachingRanks {
                let packed = try packed.dropping(networks.dropout).taking(
                    from: networks.forwardCache, at: policy.version)
                let result = try forward(packed, plan, networks, denominators, meanEntropy: meanEntropy)
                let loss = try term.map { try result.terms[$0]() } ?? result.loss
                try (weight == 1 ? loss : loss * weight).backward()
                return try result.read()
            }
        }
    }

    /// Runs passes over layers that several ranks may share.
    private func reachingRanks<Result>(_ body: () throws -> Result) throws -> Result {
        guard let group = policy.shards?.group else { return try body() }
        return try group.reaching(body)
    }

    /// Runs every micro-batch of a part, the longest first.
    ///
    /// - Parameter ranks: Who divides them; `nil` for this process alone.
    private func over(
        _ part: UpdatePart, _ stop: StopSignal?, _ ranks: ProcessGroup?,
        _ body: (PackedMicroBatch, Denominators) throws -> (loss: Double, metrics: LossMetrics)
    ) throws -> Pass {
        let batch = UpdateBatch(parts: [part])
        let denominators = part.denominators(settings)
        var pass = Pass()
        var metrics = LossMetrics()
        let plan = MicroBatchPlan(batch, maxTokens: settings.maxTokensPerMicroBatch, ranks: ranks?.size ?? 1)
        for pieces in plan.microBatches(of: ranks?.rank ?? 0) {
            try stop?.check()
            let result = try body(PackedMicroBatch(pieces, of: batch), denominators)
            pass.loss += result.loss
            metrics.combine(result.metrics)
        }
        (pass.loss, metrics) = try ranks.combined(pass.loss, metrics)
        pass.isEmpty = plan.microBatches.isEmpty
        pass.metrics = metrics.metrics
        return pass
    }

    /// The entropy of the policy averaged over a part's actions, a scalar; `nil` where the objective has no use for it,
    /// and of a single micro-batch, where the loss has the mean itself.
    private func meanEntropy(
        of part: UpdatePart, _ plan: PartPlan, _ networks: Networks, _ stop: StopSignal?
    ) throws -> Tensor? {
        let batch = UpdateBatch(parts: [part])
        let cut = MicroBatchPlan(batch, maxTokens: settings.maxTokensPerMicroBatch, ranks: replicas?.size ?? 1)
        guard plan.objective.needsMeanEntropy, cut.microBatches.count > 1 else { return nil }
        let scorer = plan.scorer(settings)
        var (sum, count) = (0.0, 0)
        for pieces in cut.microBatches(of: replicas?.rank ?? 0) {
            try stop?.check()
            let packed = try PackedMicroBatch(pieces, of: batch).dropping(networks.dropout)
            sum += try reachingRanks {
                try Tensor.withoutGradients {
                    try scorer.scores(packed, under: networks.model).entropies.to(.float64).sum().item()
                }
            }
            count += packed.targets.count
        }
        if let shares = try replicas?.exchange([sum, Double(count)]) {
            (sum, count) = (shares.reduce(0) { $0 + $1[0] }, shares.reduce(0) { $0 + Int($1[1]) })
        }
        return try Tensor([sum / Double(max(count, 1))], shape: []).to(networks.model.elementType).to(
            networks.model.device)
    }

    /// One micro-batch's share of the loss, with the sampler's distance among its numbers.
    private func forward(
        _ packed: PackedMicroBatch, _ plan: PartPlan, _ networks: Networks, _ denominators: Denominators,
        meanEntropy: Tensor? = nil
    ) throws -> LossResult {
        if let objective = plan.objective as? any ScoreObjective, let head = networks.valueHead {
            return try objective.loss(
                PairScores(
                    scores: scores(packed, plan, networks.model, head), margins: packed.pairs.map(\.margin),
                    denominators: denominators))
        }
        let scores = try plan.scorer(settings).scores(packed, under: networks.model)
        var inputs = try packed.inputs(scores, denominators)
        inputs.meanEntropy = try meanEntropy?.to(inputs.logProbabilities.elementType)
        inputs.exactDivergences = try exactDivergences(packed, scores.states, plan, networks)
        var result = try plan.objective.loss(inputs)
        if let valueHead = networks.valueHead, let settings = plan.objective.ppoSettings {
            result = try result.adding(
                packed.valueLoss(ValueHead.values(scores.states, valueHead), denominators, settings))
        }
        try packed.noteFreshEntropy(scores, in: &result.report)
        try SamplingGap.note(scores, packed, in: &result.report)
        return result
    }

    /// The divergence from the reference at each action, `[actions]`; `nil` where the loss has no use for it.
    ///
    /// Embeddings padded to different sizes are compared over the rows that both have.
    private func exactDivergences(
        _ packed: PackedMicroBatch, _ states: Tensor, _ plan: PartPlan, _ networks: Networks
    ) throws -> Tensor? {
        guard plan.objective.needsExactDivergence else { return nil }
        guard let reference = networks.reference else { throw UpdateError.missingReference }
        let rows = min(networks.model.head.shape[0], reference.head.shape[0])
        func common(_ head: Tensor) throws -> Tensor {
            head.shape[0] == rows ? head : try head.narrow(axis: 0, start: 0, count: rows)
        }
        return try Tensor.divergence(
            hidden: states, head: common(networks.model.head),
            referenceHidden: Tensor.withoutGradients {
                try plan.scorer(settings).states(packed.undropped, reference)
            },
            referenceHead: common(reference.head), temperature: plan.temperature,
            beta: plan.objective.divergenceBeta)
    }
}
