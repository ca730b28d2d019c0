internal import Credit
internal import Records

// A step: the calls of its recipe in order, from prompts to optimizer steps.

extension Coordinator {
    /// Runs the recipe once and reports it.
    ///
    /// - Returns: The step's numbers as they are recorded.
    func takeStep() async throws -> Metrics {
        let clock = ContinuousClock()
        let start = clock.now
        let tokensBefore = progress.tokens
        var work = StepWork()
        _ = try await parts.team?.together(stop) { true }
        let calls = recipe.calls(at: progress.step, number: progress.rolloutStep)
        if let team = parts.team, team.isSplit {
            try await takeSides(calls, of: team, into: &work)
        } else {
            for call in calls { try await take(call, into: &work) }
        }
        let stepTime = seconds(clock.now - start)
        work.metrics["step_time"] = stepTime
        work.metrics["perf/throughput"] = Double(progress.tokens - tokensBefore) / stepTime
        work.metrics["epoch"] = await parts.prompts.epoch
        work.metrics["num_tokens"] = Double(progress.tokens)
        let report = work.report(step: progress.step)
        guard let team = parts.team else { return try await parts.observer.completed(report) }
        return try await team.untilDone { try await parts.observer.completed(report) }[team.ranks.rank]
    }

    /// Does one call of the recipe.
    func take(_ call: StepCall, into work: inout StepWork) async throws {
        switch call {
        case .demonstrate:
            try await demonstrate(into: &work)
        case .compare:
            try stop.check()
            work.parts = try await parts.prompts.nextPairs(schedule.promptsPerStep)
        case .generate(let samples, let greedy, let variants):
            try await generate(Sampling(samples: samples, greedy: greedy, variants: variants), into: &work)
        case .rethink:
            try await rethink(&work)
        case .infer(let role):
            try await infer(role, into: &work)
        case .credit:
            try await credit(&work)
        case .weigh:
            try await weigh(&work)
        case .train:
            try await train(&work)
        }
    }

    /// Takes the step's demonstrations. A method that samples, too, has them as its second part.
    private func demonstrate(into work: inout StepWork) async throws {
        guard let source = parts.demonstrations else {
            let groups = try await parts.prompts.nextDemonstrations(schedule.promptsPerStep)
            work.parts = [UpdatePart(.demonstrations, groups)]
            return
        }
        guard work.waves == 0 else {  // where it has sampled, though nothing of it may be left
            work.demonstrations = try await source.demonstrations(of: work.groups.map(\.group.prompt))
            return
        }
        try await told {
            let own = try await source.next(
                schedule.promptsPerStep, from: parts.prompts, step: progress.rolloutStep, stop: stop)
            work.parts = [UpdatePart(.rollouts, []), UpdatePart(.demonstrations, own.map(\.updateGroup))]
            return true
        }
    }

    /// Does what every rank does by itself, and all alike: what breaks on one is told to the others.
    func told(_ work: () async throws -> Bool) async throws {
        if let team = parts.team { _ = try await team.amongPeers(nil, work) } else { _ = try await work() }
    }

    private func weigh(_ work: inout StepWork) async throws {
        guard let weighing = parts.weighing else { return }  // checked in init
        try await parts.updater.gatherWeights()
        let first = schedule.optimizerBatches(work.parts, rolloutStep: progress.rolloutStep).first
        let found = try await weighing.weigh(first ?? UpdateBatch(parts: work.parts), at: progress, stop: stop)
        for (index, weight) in zip(work.parts.indices, found.weights) { work.parts[index].weight = weight }
        work.metrics.merge(found.metrics)
    }

    /// Takes the optimizer steps of the rollout step. Only the first can be abandoned: after it the weights have moved,
    /// and the rollouts are learned from to the end.
    private func train(_ work: inout StepWork) async throws {
        await parts.observer.began(.updating, step: progress.step)
        let clock = ContinuousClock()
        let start = clock.now
        var taken: [Metrics] = []
        let before = progress.step
        let rolloutStep = progress.rolloutStep
        // Without scores of its own the trainer compares the sampler with its present policy, which has then moved. The
        // weights of a loss that corrects for the sampler are the old policy's all the same.
        let bypasses = recipe.calls.contains(.infer(.sampler))
        let weighsSampler = await parts.updater.weighsSampler
        for pass in 0..<schedule.iterations {
            let batches = schedule.optimizerBatches(work.parts, rolloutStep: rolloutStep, pass: pass)
            for mini in batches where progress.step < schedule.maxSteps {
                try checkCancellation(since: before)
                // Kept completions stand in it as far as there were any.
                let batch = parts.replay != nil && mini.teachesNothing ? UpdateBatch(groups: []) : mini
                // Masked completions are no more to learn from than none: the updater takes no step then.
                if batch.actionTokenCount == 0 { work.metrics["empty_steps", default: 0] += 1 }
                var metrics = try await takeOptimizerStep(on: batch, stop: progress.step == before ? stop : nil)
                if parts.replay != nil, !batch.hasReplayed { metrics["replay/fresh_entropy"] = metrics["entropy"] }
                if bypasses, progress.step > before || parts.replay != nil {
                    metrics.removeAll(in: "sampling/sampling_logp_difference")
                    metrics.removeAll(in: "mismatch")
                    if !weighsSampler { metrics.removeAll(in: "sampling/importance_sampling_ratio") }
                }
                taken.append(metrics)
                progress.tokens += batch.tokenCount
                countStep(on: rolloutStep, since: before)  // the weights have moved: these rollouts never come again
            }
        }
        if progress.step == before {
            // Nothing to learn from. It is a step all the same, also of the schedule: else such a run would never end.
            try checkCancellation(since: before)
            taken.append(try await takeOptimizerStep(on: UpdateBatch(groups: []), stop: stop))
            work.metrics["empty_steps"] = 1
            countStep(on: rolloutStep, since: before)
        }
        work.metrics.merge(Metrics.reduced(taken))
        let trained = work.metrics
        // What is replayed says nothing of the policy that sampled.
        var fresh = trained
        if parts.replay != nil { fresh["entropy"] = trained["replay/fresh_entropy"] }
        if !recipe.isWarmingUp(at: before), let note = await parts.weighing?.observe(fresh) {
            work.notes.append(note)
        }
        control(&work) { $0.observe(trained: trained) }
        work.metrics["timing_s/update_actor"] = seconds(clock.now - start)
    }

    /// Counts an optimizer step of the rollout step that began at `before`.
    private func countStep(on rolloutStep: Int, since before: Int) {
        progress.step += 1
        progress.rolloutStep = rolloutStep + 1
        if schedule.maxStaleness > 0 { progress.newestSince = before }
    }

    /// One optimizer step, whole or not at all.
    private func takeOptimizerStep(on batch: UpdateBatch, stop: StopSignal?) async throws -> Metrics {
        let updater = parts.updater
        try await parts.team?.requireSame(batch)
        do {
            return try await whole { try await updater.train(batch, stop: stop) }
        } catch let found as NotFinite {
            throw NotFinite(found.subject, since: found.step ?? progress.step + 1)
        }
    }

    /// Throws in a cancelled task as long as no optimizer step of the rollout step has been taken.
    private func checkCancellation(since before: Int) throws {
        if progress.step == before { try Task.checkCancellation() }
    }

    func seconds(_ duration: Duration) -> Double { duration / .seconds(1) }
}
