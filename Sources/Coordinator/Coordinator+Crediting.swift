internal import Credit
internal import Records

// How scored completions become what is learned from.

extension Coordinator {
    func infer(_ role: InferenceRole, into work: inout StepWork) async throws {
        try stop.check()
        guard role != .sampler else {
            work.keepSamplersLogProbabilities()
            return
        }
        await parts.observer.began(.inferring, step: progress.step)
        let clock = ContinuousClock()
        let start = clock.now
        if role == .oldPolicy { try await parts.updater.gatherWeights() }
        if !work.parts.isEmpty {
            try await inferOfParts(role, into: &work)
        } else if role == .critic {
            work.values = try await parts.updater.values(work.batchToRead)
        } else {
            work.keep(try await parts.updater.logProbabilities(work.batchToRead, under: role), of: role)
        }
        let names: [InferenceRole: String] = [.reference: "timing_s/ref", .critic: "timing_s/values"]
        work.metrics[names[role] ?? "timing_s/old_log_prob"] = seconds(clock.now - start)
    }

    /// The log-probs of what the step learns from, where that is known before: of pairs.
    private func inferOfParts(_ role: InferenceRole, into work: inout StepWork) async throws {
        for slot in work.parts.indices {
            let found = try await parts.updater.logProbabilities(UpdateBatch(parts: [work.parts[slot]]), under: role)
            switch role {
            case .reference: work.parts[slot].takeReference(found.tokens)
            case .oldPolicy, .sampler, .critic: preconditionFailure("pairs are compared under a reference alone")
            }
        }
    }

    func credit(_ work: inout StepWork) async throws {
        guard let rule = parts.creditRule else { return }  // checked in init
        var batch = work.creditBatch
        if rule.takesDemonstrations {
            try await told {
                batch.demonstrations = try await scoredDemonstrations(of: work)
                return true
            }
            for (group, demonstration) in batch.demonstrations.enumerated() {
                work.groups[group].demonstrationScores = demonstration?.scores
                work.asScored?[group].demonstrationScores = demonstration?.scores
            }
        }
        batch.weights = weights(&work)
        control(&work) { [batch] in $0.prepare(for: batch, rule.rewards) }
        batch.weights = weights(&work)
        if controllers.readsGradients { try await compareStreams(&batch, by: rule, &work) }
        let credited = try rule.credit(batch)
        work.metrics.merge(batch.weights.metrics(of: rule.rewards))
        work.parts = credited.update.parts
        if parts.demonstrations != nil, !rule.takesDemonstrations {
            work.parts.append(
                UpdatePart(
                    .demonstrations, work.demonstrations.map(\.updateGroup), weight: batch.weights.imitationFactor))
        }
        if let rethought = work.rethought { work.parts.append(UpdatePart(.demonstrations, rethought)) }
        work.credits = credited.credits
        work.metrics.merge(credited.metrics)
        let observed = ObservedStep(
            rewardNames: rule.rewards.names, groups: work.observedGroups,
            creditedCompletions: work.groups.reduce(0) { $0 + $1.group.rollouts.count },
            meanKL: credited.metrics["kl"])
        control(&work) { $0.observe(observed) }
        if let replay = parts.replay {
            for index in work.parts.indices where work.parts[index].kind == .rollouts {
                let exchanged = await replay.exchange(work.parts[index], step: progress.step, age: work.age)
                work.parts[index] = exchanged.part
                work.metrics.merge(exchanged.metrics)
            }
        }
    }

    /// Lets controllers compare the gradients of the batch's streams, and takes the weights they come to.
    private func compareStreams(
        _ batch: inout CreditBatch, by rule: any CreditRule, _ work: inout StepWork
    ) async throws {
        let credited = rule.apart(try rule.credit(batch), of: batch)
        guard credited.update.actionTokenCount > 0 else { return }
        await parts.observer.began(.inferring, step: progress.step)
        let clock = ContinuousClock()
        let start = clock.now
        let products = try await parts.updater.streamProducts(credited.update, stop: stop)
        work.metrics["timing_s/stream_gradients"] = seconds(clock.now - start)
        control(&work) { $0.weigh(products, of: credited.streams) }
        batch.weights = weights(&work)
    }

    /// What the controllers make of the weights now.
    private func weights(_ work: inout StepWork) -> StreamWeights {
        let step = progress.step
        return timed(&work) { $0.weights(at: step) }
    }

    /// Shows the controllers something, and keeps what they say.
    func control(_ work: inout StepWork, _ look: (inout ControllerBank) -> (metrics: Metrics, notes: [String])) {
        let seen = timed(&work, look)
        work.metrics.merge(seen.metrics)
        work.notes += seen.notes
    }

    /// Adds what the controllers themselves take to `timing_s/controllers`: not the gradients that are taken for them,
    /// which are `timing_s/stream_gradients`.
    private func timed<Result>(_ work: inout StepWork, _ body: (inout ControllerBank) -> Result) -> Result {
        let clock = ContinuousClock()
        let start = clock.now
        defer { work.metrics["timing_s/controllers", default: 0] += seconds(clock.now - start) }
        return body(&controllers)
    }

    /// The step's demonstrations with their scores, beside the groups of their prompts.
    private func scoredDemonstrations(of work: StepWork) async throws -> [ScoredDemonstration?] {
        guard let scorer = parts.scorer else { return [] }  // checked in init
        let groups = Dictionary(
            work.groups.map { ($0.group.prompt.prompt.row, $0) }, uniquingKeysWith: { first, _ in first })
        var found: [Int: ScoredDemonstration] = [:]
        for demonstration in work.demonstrations {
            let row = demonstration.prompt.prompt.row
            guard let beside = groups[row] else { continue }
            var scores = beside.demonstrationScores
            if scores == nil { scores = try await demonstration.scores(beside: beside.group, by: scorer) }
            found[row] = scores.map { ScoredDemonstration(completion: demonstration.completion, scores: $0) }
        }
        return work.groups.map { found[$0.group.prompt.prompt.row] }
    }
}

extension DemonstratedPrompt {
    /// One score per reward for the demonstration.
    ///
    /// - Parameters:
    ///   - group: What was sampled of its prompt.
    ///   - isCounted: Whether a failure stands in the error budgets.
    func scores(
        beside group: RolloutGroup, by scorer: any Scoring, isCounted: Bool = true
    ) async throws -> [RewardScore] {
        let zeros = [Float](repeating: 0, count: completion.tokenIDs.count)
        let rollout = Rollout(
            completion: completion, samplingLogProbabilities: zeros, policyLogProbabilities: zeros, sample: 0)
        // An address of its own: what rewards remark on it stands beside no completion of the policy's.
        let alone = RolloutGroup(
            prompt: prompt, rollouts: [rollout], policyVersion: group.policyVersion, variant: -1)
        return try await (isCounted ? scorer.score(alone) : scorer.scoreUncounted(alone)).scores[0]
    }
}
