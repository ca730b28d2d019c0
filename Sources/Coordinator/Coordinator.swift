package import Credit
package import Records

/// Runs a method's recipe, step after step: the order of work, its overlap, and what happens when it fails or is stopped.
///
/// It owns no tensor and no file. Between two steps every owner of state is consistent, and only there is a checkpoint
/// written; a step that is abandoned before its first optimizer step leaves no trace.
package actor Coordinator {
    /// The parts behind the seams.
    package struct Parts: Sendable {
        package var prompts: any PromptSource
        /// Where steps imitate beside sampling.
        package var demonstrations: (any DemonstrationSource)?
        /// What a mixture's meta-gradient comes from; `nil` takes none.
        package var balancing: (any Balancing)?
        /// Where completions are made to go on.
        package var rethinking: (any Rethinking)?
        package var generator: (any Generating)?
        package var scorer: (any Scoring)?
        package var creditRule: (any CreditRule)?
        /// Move weights of the credit rule's streams.
        package var controllers: RewardControllers
        /// Fills the places of completions that teach nothing; `nil` leaves them.
        package var replay: ReplayBuffer?
        /// Weighs the parts of a batch; `nil` where their weights stay those of the plan.
        package var weighing: (any PartWeighing)?
        package var updater: any Updating
        package var observer: any StepObserver
        package var evaluator: (any Evaluating)?
        package var saver: any Saving
        /// The other processes of the run; `nil` for one alone.
        package var team: RankTeam?

        package init(
            prompts: any PromptSource, demonstrations: (any DemonstrationSource)? = nil,
            balancing: (any Balancing)? = nil, rethinking: (any Rethinking)? = nil, generator: (any Generating)? = nil,
            scorer: (any Scoring)? = nil,
            creditRule: (any CreditRule)? = nil, controllers: RewardControllers = RewardControllers(),
            replay: ReplayBuffer? = nil, weighing: (any PartWeighing)? = nil, updater: any Updating,
            observer: any StepObserver,
            evaluator: (any Evaluating)? = nil, saver: any Saving, team: RankTeam? = nil
        ) {
            self.team = team
            self.controllers = controllers
            self.replay = replay
            self.weighing = weighing
            self.prompts = prompts
            self.demonstrations = demonstrations
            self.balancing = balancing
            self.rethinking = rethinking
            self.generator = generator
            self.scorer = scorer
            self.creditRule = creditRule
            self.updater = updater
            self.observer = observer
            self.evaluator = evaluator
            self.saver = saver
        }
    }

    package private(set) var progress: RunProgress
    /// As values: a step that is given up leaves no trace in them.
    private var controllers: ControllerBank
    private let recipe: StepRecipe
    private let schedule: StepSchedule
    private let parts: Parts
    private let stop: StopSignal
    /// The optimizer steps whose checkpoints this run has saved or begun from in its folder, the newest last.
    private var saved: [Int]
    private var lastSaved: Int? { saved.last }

    /// - Parameters:
    ///   - progress: where the run begins: the start, or what a checkpoint holds.
    ///   - isSaved: whether the output folder holds that checkpoint itself: then a stop before the next step needs no other.
    /// - Throws: ``CoordinatorError/missingPart(_:call:)`` when a call of the recipe has nobody to answer it.
    package init(
        recipe: StepRecipe, schedule: StepSchedule, parts: Parts, stop: StopSignal,
        progress: RunProgress = RunProgress(), isSaved: Bool = false
    ) throws(CoordinatorError) {
        try Self.requireParts(of: recipe, in: parts)
        self.recipe = recipe
        self.schedule = schedule
        self.parts = parts
        self.stop = stop
        self.progress = progress
        controllers = parts.controllers.bank
        saved = isSaved ? [progress.step] : []
    }

    /// Takes the steps that are left, evaluating and saving on the way; saves at the end and when stopped.
    package func run() async throws -> RunOutcome {
        if let before = progress.unconcludedSince,
            let outcome = try await conclude(from: before, Metrics())
        {
            return outcome
        }
        if controllers.needsEvaluation, parts.evaluator != nil, progress.step < schedule.maxSteps {
            do {
                try await observe(try await evaluate())
            } catch is StopRequested {
                return try await stopped()
            }
        }
        let firstStep = progress.step
        while progress.step < schedule.maxSteps {
            let start = (progress, controllers)
            let before = progress.step
            await parts.prompts.mark()
            await parts.demonstrations?.mark()
            await parts.balancing?.mark()
            await parts.replay?.mark()
            await parts.weighing?.mark()
            let metrics: Metrics
            do {
                metrics = try await takeStep()
            } catch let error as NotFinite {
                throw diverged(error)
            } catch let error as CoordinatorError where error.isDivergence {
                throw error
            } catch {
                // A step without an optimizer step has left no trace.
                if progress.step == before { await abandon(to: start) }
                // What breaks while a run is being stopped breaks for that reason: a reward that was cut off, for one.
                if mustStop, progress.step == before { return try await stopped() }
                // What was reached is worth keeping.
                if progress.step > lastSaved ?? firstStep { try await save(Metrics()) }
                throw error
            }
            if let outcome = try await conclude(from: before, metrics) { return outcome }
        }
        return .finished(progress)
    }

    /// Whether somebody asked the run to stop: by the signal, or by cancelling its task.
    private var mustStop: Bool { stop.isRequested || Task.isCancelled }

    /// Neither the weights behind a divergence nor those that led to it are worth saving.
    private func diverged(_ found: NotFinite) -> CoordinatorError {
        let first = found.step ?? progress.step
        return .diverged(step: first, found, lastGoodCheckpoint: saved.last { $0 < first })
    }

    /// Forgets a step that has taken no optimizer step.
    private func abandon(to start: (RunProgress, ControllerBank)) async {
        (progress, controllers) = start
        await parts.prompts.rewind()
        await parts.demonstrations?.rewind()
        await parts.balancing?.rewind()
        await parts.replay?.rewind()
        await parts.weighing?.rewind()
    }

    /// What comes after a recipe step that began at the optimizer step `before`: its evaluation and its checkpoint.
    ///
    /// When the evaluation is stopped or fails, what was reached is saved with a note that both are still owed.
    /// - Returns: the run's outcome when it was stopped.
    private func conclude(from before: Int, _ metrics: Metrics) async throws -> RunOutcome? {
        var metrics = metrics
        if schedule.evaluates(from: before, to: progress.step) {
            progress.unconcludedSince = before
            do {
                let evaluated = try await evaluate()
                metrics.merge(evaluated)
                try await observe(evaluated)
            } catch {
                try await save(schedule.saves(from: before, to: progress.step) ? metrics : Metrics())
                guard mustStop else { throw error }
                return .stopped(progress)
            }
            progress.unconcludedSince = nil
        }
        if schedule.saves(from: before, to: progress.step) {
            try await save(metrics)
        }
        guard mustStop, progress.step < schedule.maxSteps else { return nil }
        return try await stopped()
    }

    private func stopped() async throws -> RunOutcome {
        if lastSaved != progress.step { try await save(Metrics()) }
        return .stopped(progress)
    }

    private func evaluate() async throws -> Metrics {
        guard let evaluator = parts.evaluator else { return Metrics() }
        await parts.observer.began(.evaluating, step: progress.step)
        let (step, stop, team) = (progress.step, stop, parts.team)
        return try await unlessCancelled {
            guard let team else { return try await evaluator.evaluate(step: step, stop: stop) }
            return try await team.together(stop) {
                team.ranks.isFirst ? try await evaluator.evaluate(step: step, stop: team.asked) : Metrics()
            }[0]
        }
    }

    /// Shows an evaluation to the controllers.
    private func observe(_ evaluation: Metrics) async throws {
        let means = (parts.scorer?.rewardNames ?? []).compactMap { name in
            evaluation["eval_rewards/\(name)/mean"].map { (name, $0) }
        }
        let observed = controllers.observe(
            ObservedEvaluation(step: progress.step, means: Dictionary(uniqueKeysWithValues: means)))
        guard !observed.metrics.names.isEmpty || !observed.notes.isEmpty else { return }
        try await parts.observer.noted(observed.metrics, observed.notes, step: progress.step)
    }

    private func save(_ metrics: Metrics) async throws {
        await parts.observer.began(.saving, step: progress.step)
        parts.controllers.take(controllers)
        let (saver, progress, team) = (parts.saver, progress, parts.team)
        try await whole {
            guard let team else { return try await saver.save(progress, metrics: metrics) }
            try await team.untilDone {
                if team.ranks.isFirst { try await saver.save(progress, metrics: metrics) }
            }
        }
        saved.append(progress.step)
    }

    /// Does what must not be left half done: the cancellation of the run's task does not reach it.
    private func whole<Result: Sendable>(
        _ work: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        try await Task { try await work() }.value
    }

    // MARK: One step

    /// Runs the recipe once and reports it.
    private func takeStep() async throws -> Metrics {
        let clock = ContinuousClock()
        let start = clock.now
        let tokensBefore = progress.tokens
        var work = StepWork()
        _ = try await parts.team?.together(stop) { true }
        for call in recipe.calls(at: progress.step, number: progress.rolloutStep) {
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
            case .balance:
                try await balance(&work)
            case .weigh:
                if let found = try await parts.weighing?.weigh(progress.step, stop: stop) {
                    for (place, weight) in found.weights.enumerated() { work.parts[place].weight = weight }
                    work.metrics.merge(found.metrics)
                }
            case .train:
                try await train(&work)
            }
        }
        let stepTime = seconds(clock.now - start)
        work.metrics["step_time"] = stepTime
        work.metrics["perf/throughput"] = Double(progress.tokens - tokensBefore) / stepTime
        work.metrics["epoch"] = await parts.prompts.epoch
        work.metrics["num_tokens"] = Double(progress.tokens)
        do {
            try await parts.observer.completed(work.report(step: progress.step))
        } catch let error as NotFinite {
            throw diverged(error)
        }
        return work.metrics
    }

    /// Takes the step's demonstrations. A method that samples, too, has them as its second part.
    private func demonstrate(into work: inout StepWork) async throws {
        guard let source = parts.demonstrations else {
            let groups = try await parts.prompts.nextDemonstrations(schedule.promptsPerStep)
            work.parts = [UpdatePart(.demonstrations, groups)]
            return
        }
        guard work.groups.isEmpty else {
            work.demonstrations = try await source.demonstrations(of: work.groups.map(\.group.prompt))
            return
        }
        let own = try await source.next(
            schedule.promptsPerStep, from: parts.prompts, step: progress.rolloutStep, stop: stop)
        work.parts = [UpdatePart(.rollouts, []), UpdatePart(.demonstrations, own.map(\.updateGroup))]
    }

    private func rethink(_ work: inout StepWork) async throws {
        guard let rethinking = parts.rethinking else { return }  // checked in init
        let clock = ContinuousClock()
        let start = clock.now
        let rethought = try await rethinking.rethink(work.groups, step: progress.rolloutStep, stop: stop)
        work.groups = rethought.groups
        work.rethought = rethought.kept
        work.metrics.merge(rethought.metrics)
        work.metrics["timing_s/rethink"] = seconds(clock.now - start)
    }

    /// What a `generate` call asks of every prompt.
    private struct Sampling {
        let samples: Int
        let greedy: Bool
        let variants: [PromptVariant]
    }

    /// Samples the prompts of the step and scores the completions; with dynamic sampling, waves of them until enough groups differ.
    private func generate(_ sampling: Sampling, into work: inout StepWork) async throws {
        try await generateWave(sampling, into: &work)
        guard let dynamic = schedule.dynamicSampling else { return }
        let wanted = schedule.promptsPerStep * sampling.variants.count
        var waves = 1
        while work.groups.count(where: dynamic.keeps) < wanted, waves < dynamic.maxWaves {
            progress.rolloutStep += 1  // another wave has draws of its own, also for a prompt that comes again
            try await generateWave(sampling, into: &work)
            waves += 1
        }
        try keepLiveGroups(dynamic, waves, wanted, &work)
    }

    private func keepLiveGroups(
        _ dynamic: DynamicSampling, _ waves: Int, _ wanted: Int, _ work: inout StepWork
    ) throws(CoordinatorError) {
        let live = work.groups.filter(dynamic.keeps)
        if live.count < wanted, dynamic.exhausted == .fail {
            let reward = parts.scorer?.rewardNames[dynamic.reward] ?? "the reward"
            throw .tooFewLiveGroups(kept: live.count, wanted: wanted, waves: waves, reward: reward)
        }
        let scores = work.groups.flatMap { $0.scores.compactMap { $0[dynamic.reward].score } }
        work.metrics["dynamic_sampling/waves"] = Double(waves)
        work.metrics["dynamic_sampling/kept"] = Double(live.count) / Double(max(work.groups.count, 1))
        // The kept groups are the ones that differ: their mean says nothing of the policy, this one does.
        work.metrics["dynamic_sampling/reward"] = scores.isEmpty ? nil : scores.reduce(0, +) / Double(scores.count)
        let kept = Array(live.prefix(wanted))
        work.leftOut = work.groups.filter { !dynamic.keeps($0) } + live.dropFirst(wanted)
        work.groups = kept
    }

    /// Samples a step's number of prompts and scores each group as it arrives, while the others still decode.
    private func generateWave(_ sampling: Sampling, into work: inout StepWork) async throws {
        guard let generator = parts.generator, let scorer = parts.scorer else { return }  // checked in init
        await parts.observer.began(.generating, step: progress.step)
        let clock = ContinuousClock()
        let start = clock.now
        let prompts = try await parts.prompts.next(schedule.promptsPerStep, in: sampling.variants)
        let requests = prompts.flatMap { variants in
            variants.enumerated().map { variant, prompt in
                RolloutRequest(
                    prompt: prompt, samples: sampling.samples, includesGreedy: sampling.greedy, variant: variant)
            }
        }
        let scored: [ScoredGroup]
        let generated: ContinuousClock.Instant
        if let team = parts.team {
            let shares = try await team.together(stop) {
                let own = try await sampled(
                    team.ranks.share(of: requests), by: generator, scorer, stop: team.asked)
                return SampledShare(groups: own.groups.map(SharedGroup.init), seconds: seconds(own.generated - start))
            }
            let prompts = Dictionary(uniqueKeysWithValues: requests.map { ($0.address, $0.prompt) })
            scored = shares.flatMap(\.groups).compactMap { share in
                prompts[share.address].map { share.group(of: $0) }
            }
            generated = start + .seconds(shares.map(\.seconds).max() ?? 0)
        } else {
            (scored, generated) = try await sampled(requests, by: generator, scorer, stop: stop)
        }
        try stop.check()
        try Task.checkCancellation()
        work.groups += try inOrder(scored, of: requests)
        work.metrics["timing_s/gen", default: 0] += seconds(generated - start)
        // What scoring took beyond decoding; of several ranks, the slowest's.
        work.metrics["timing_s/reward", default: 0] += seconds(clock.now - generated)
        work.metrics.merge(GenerationMetrics.of(work.groups))
        work.metrics.merge(work.groups.flatMap(\.group.rollouts).payloadMetrics)
    }

    /// Samples and scores each request: the groups in the order in which they end, and when the last was decoded.
    private func sampled(
        _ requests: [RolloutRequest], by generator: any Generating, _ scorer: any Scoring, stop: StopSignal
    ) async throws -> (groups: [ScoredGroup], generated: ContinuousClock.Instant) {
        let stream = generator.generate(requests, step: progress.rolloutStep, stop: stop)
        let (observer, step) = (parts.observer, progress.step)
        return try await unlessCancelled {
            try await withThrowingTaskGroup(
                of: ScoredGroup.self, returning: ([ScoredGroup], ContinuousClock.Instant).self
            ) { tasks in
                for try await group in stream {
                    tasks.addTask { try await scorer.score(group) }
                }
                let generated = ContinuousClock.now
                await observer.began(.scoring, step: step)
                var scored: [ScoredGroup] = []
                for try await group in tasks { scored.append(group) }
                return (scored, generated)
            }
        }
    }

    /// Groups end in any order; learning takes them in the order of the prompts and their variants, so that a run repeats to the bit.
    private func inOrder(_ groups: [ScoredGroup], of requests: [RolloutRequest]) throws -> [ScoredGroup] {
        var found: [GroupAddress: ScoredGroup] = [:]
        for group in groups { found[group.group.address] = group }
        return try requests.map { request in
            guard let group = found[request.address] else {
                throw CoordinatorError.lostGroup(prompt: request.prompt.prompt.id)
            }
            return group
        }
    }

    private func infer(_ role: InferenceRole, into work: inout StepWork) async throws {
        try stop.check()
        guard role != .sampler else {
            work.keepSamplersLogProbabilities()
            return
        }
        await parts.observer.began(.inferring, step: progress.step)
        let clock = ContinuousClock()
        let start = clock.now
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
        for place in work.parts.indices {
            let found = try await parts.updater.logProbabilities(UpdateBatch(parts: [work.parts[place]]), under: role)
            switch role {
            case .reference: work.parts[place].takeReference(found.tokens)
            case .oldPolicy, .sampler, .critic: preconditionFailure("pairs are compared under a reference alone")
            }
        }
    }

    private func credit(_ work: inout StepWork) async throws {
        guard let rule = parts.creditRule else { return }  // checked in init
        var batch = work.creditBatch
        if rule.takesDemonstrations { batch.demonstrations = try await scoredDemonstrations(of: work) }
        batch.weights = controllers.weights(at: progress.step)
        if controllers.readsGradients { try await weigh(&batch, by: rule, &work) }
        let credited = try rule.credit(batch)
        work.metrics.merge(batch.weights.metrics(of: rule.rewards))
        work.parts = credited.update.parts
        if parts.demonstrations != nil, !rule.takesDemonstrations {
            work.parts.append(UpdatePart(.demonstrations, work.demonstrations.map(\.updateGroup)))
        }
        if let rethought = work.rethought { work.parts.append(UpdatePart(.demonstrations, rethought)) }
        work.credits = credited.credits
        work.metrics.merge(credited.metrics)
        let observed = controllers.observe(
            ObservedStep(
                rewardNames: rule.rewards.names, groups: work.groups + work.leftOut,
                creditedCompletions: work.groups.reduce(0) { $0 + $1.group.rollouts.count },
                meanKL: credited.metrics["kl"]))
        work.metrics.merge(observed.metrics)
        work.notes += observed.notes
        if let replay = parts.replay {
            for index in work.parts.indices where work.parts[index].kind == .rollouts {
                let exchanged = await replay.exchange(work.parts[index], step: progress.step)
                work.parts[index] = exchanged.part
                work.metrics.merge(exchanged.metrics)
            }
        }
    }

    /// Lets controllers compare the gradients of the batch's streams, and takes the weights they come to.
    private func weigh(_ batch: inout CreditBatch, by rule: any CreditRule, _ work: inout StepWork) async throws {
        let credited = try rule.credit(batch)
        guard credited.update.actionTokenCount > 0 else { return }
        await parts.observer.began(.inferring, step: progress.step)
        let clock = ContinuousClock()
        let start = clock.now
        let products = try await parts.updater.streamProducts(credited.update, stop: stop)
        let observed = controllers.weigh(products, of: credited.streams)
        work.metrics.merge(observed.metrics)
        work.notes += observed.notes
        work.metrics["timing_s/stream_gradients"] = seconds(clock.now - start)
        batch.weights = controllers.weights(at: progress.step)
    }

    /// The step's demonstrations with their scores, beside the groups of their prompts.
    private func scoredDemonstrations(of work: StepWork) async throws -> [ScoredDemonstration?] {
        guard let scorer = parts.scorer else { return [] }  // checked in init
        var found: [Int: ScoredDemonstration] = [:]
        for demonstration in work.demonstrations {
            let count = demonstration.completion.tokenIDs.count
            let rollout = Rollout(
                completion: demonstration.completion, samplingLogProbabilities: [Float](repeating: 0, count: count),
                policyLogProbabilities: [Float](repeating: 0, count: count), sample: 0)
            // An address of its own: what rewards remark on it stands beside no completion of the policy's.
            let group = RolloutGroup(
                prompt: demonstration.prompt, rollouts: [rollout],
                policyVersion: work.groups.first?.group.policyVersion ?? PolicyVersion(0), variant: -1)
            let scored = try await scorer.score(group)
            found[demonstration.prompt.prompt.row] = ScoredDemonstration(
                completion: demonstration.completion, scores: scored.scores[0])
        }
        return work.groups.map { found[$0.group.prompt.prompt.row] }
    }

    /// Weighs the parts of the step.
    private func balance(_ work: inout StepWork) async throws {
        guard let mixture = controllers.mixture else { return }  // checked in init
        var meta: MetaGradient?
        if mixture.wantsMetaGradient, let balancing = parts.balancing {
            let clock = ContinuousClock()
            let start = clock.now
            weigh(&work.parts, by: mixture)
            let first = schedule.optimizerBatches(work.parts, rolloutStep: progress.rolloutStep).first
            meta = try await balancing.metaGradient(
                of: first ?? UpdateBatch(parts: work.parts), step: progress.rolloutStep, stop: stop)
            work.metrics["timing_s/meta_gradient"] = seconds(clock.now - start)
        }
        work.metrics.merge(controllers.weigh(meta))
        if let weighed = controllers.mixture { weigh(&work.parts, by: weighed) }
    }

    private func weigh(_ parts: inout [UpdatePart], by mixture: MixtureController) {
        for place in parts.indices {
            parts[place].weight =
                parts[place].kind == .demonstrations ? mixture.demonstrationWeight : mixture.rolloutWeight
        }
    }

    /// Takes the optimizer steps of the recipe step. Only the first can be abandoned: after it the weights have moved, and
    /// the rollouts are learned from to the end.
    private func train(_ work: inout StepWork) async throws {
        await parts.observer.began(.updating, step: progress.step)
        let clock = ContinuousClock()
        let start = clock.now
        var taken: [Metrics] = []
        let before = progress.step
        let rolloutStep = progress.rolloutStep
        // Without scores of its own the trainer compares the sampler with its present policy, which has then moved.
        let bypasses = recipe.calls.contains(.infer(.sampler))
        for pass in 0..<schedule.iterations {
            let batches = schedule.optimizerBatches(work.parts, rolloutStep: rolloutStep, pass: pass)
            for batch in batches where progress.step < schedule.maxSteps {
                try checkCancellation(since: before)
                var metrics = try await takeOptimizerStep(on: batch, stop: progress.step == before ? stop : nil)
                if bypasses, progress.step > before || parts.replay != nil {
                    metrics.removeAll(in: "sampling/sampling_logp_difference")
                }
                taken.append(metrics)
                progress.tokens += batch.tokenCount
                progress.step += 1
                progress.rolloutStep = rolloutStep + 1  // the weights have moved: these rollouts never come again
            }
        }
        if progress.step == before {
            // Nothing to learn from. It is a step all the same, also of the schedule: else such a run would never end.
            try checkCancellation(since: before)
            taken.append(try await takeOptimizerStep(on: UpdateBatch(groups: []), stop: stop))
            work.metrics["empty_steps"] = 1
            progress.step += 1
            progress.rolloutStep = rolloutStep + 1
        }
        work.metrics.merge(Metrics.reduced(taken))
        if !recipe.isWarmingUp(at: before), let note = controllers.note(entropy: work.metrics["entropy"]) {
            work.notes.append(note)
        }
        work.metrics["timing_s/update_actor"] = seconds(clock.now - start)
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

    /// Throws in a cancelled task as long as no optimizer step of the recipe step has been taken.
    private func checkCancellation(since before: Int) throws {
        if progress.step == before { try Task.checkCancellation() }
    }

    private func seconds(_ duration: Duration) -> Double { duration / .seconds(1) }
}
