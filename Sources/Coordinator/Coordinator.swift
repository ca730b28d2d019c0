internal import Credit
package import Records

/// Runs a method's recipe, step after step: the order of work, its overlap, and what happens when it fails or is
/// stopped.
///
/// It owns no tensor and no file. Between two steps every owner of state is consistent, and only there is a checkpoint
/// written; a step that is abandoned before its first optimizer step leaves no trace.
package actor Coordinator {
    package internal(set) var progress: RunProgress
    /// As values: a step that is given up leaves no trace in them.
    var controllers: ControllerBank
    /// What the next step learns from, where it is sampled already; as a value, for the same reason.
    var ahead: AheadBatch?
    let recipe: StepRecipe
    let schedule: StepSchedule
    let parts: Parts
    let stop: StopSignal
    /// The optimizer steps whose checkpoints this run has saved or begun from in its folder, the newest last.
    private var saved: [Int]
    private var lastSaved: Int? { saved.last }

    /// - Parameters:
    ///   - progress: where the run begins: the start, or what a checkpoint holds.
    ///   - isSaved: whether the output folder holds that checkpoint itself: then a stop before the next step needs no
    ///     other.
    /// - Throws: ``CoordinatorError/missingPart(_:call:)`` when a call of the recipe has nobody to answer it,
    ///   ``CoordinatorError/cannotSampleAhead(recipe:)`` when it does not go with the schedule's staleness.
    package init(
        recipe: StepRecipe, schedule: StepSchedule, parts: Parts, stop: StopSignal,
        progress: RunProgress = RunProgress(), isSaved: Bool = false
    ) throws(CoordinatorError) {
        if schedule.maxStaleness > 0 || parts.team?.isSplit == true { try Self.requireAhead(recipe) }
        try Self.requireParts(of: recipe, in: parts)
        self.recipe = recipe
        self.schedule = schedule
        self.parts = parts
        self.stop = stop
        self.progress = progress
        controllers = parts.controllers.bank
        ahead = parts.ahead?.batch
        saved = isSaved ? [progress.step] : []
    }

    /// Takes the steps that are left, evaluating and saving on the way; saves at the end and when stopped, or ended by
    /// a controller.
    package func run() async throws -> RunOutcome {
        do {
            return try await takeSteps()
        } catch let failure as RankFailure {
            throw failure.error
        } catch let found as NotFinite {
            throw diverged(found)
        }
    }

    private func takeSteps() async throws -> RunOutcome {
        if let before = progress.unconcludedSince,
            let outcome = try await conclude(from: before, Metrics())
        {
            return outcome
        }
        if controllers.needsEvaluation, parts.evaluator != nil, progress.step < schedule.maxSteps {
            do {
                try await observe(try await evaluate(since: nil))
            } catch is StopRequested {
                return try await stopped()
            }
        }
        if let outcome = try await ended() { return outcome }
        let firstStep = progress.step
        while progress.step < schedule.maxSteps {
            let start = (progress, controllers, ahead)
            let before = progress.step
            await parts.prompts.mark()
            await parts.demonstrations?.mark()
            await parts.replay?.mark()
            await parts.weighing?.mark()
            let metrics: Metrics
            do {
                metrics = try await takeStep()
            } catch {
                guard canSave(before: error) else { throw error }
                // A step without an optimizer step has left no trace.
                if progress.step == before { await abandon(to: start) }
                // What breaks while a run is being stopped breaks for that reason: a reward that was cut off, for one.
                if mustStop, progress.step == before { return try await stopped() }
                // What was reached is worth keeping, with a note of the evaluation that was due behind it.
                if progress.step > lastSaved ?? firstStep {
                    if schedule.evaluates(from: before, to: progress.step) { progress.unconcludedSince = before }
                    try await save(Metrics())
                }
                throw error
            }
            if let outcome = try await conclude(from: before, metrics) { return outcome }
        }
        return .finished(progress)
    }

    /// Whether somebody asked the run to stop: by the signal, or by cancelling its task.
    private var mustStop: Bool { stop.isRequested || Task.isCancelled }

    /// Whether what was reached can be saved before the run ends with an error. Neither the weights after a divergence nor
    /// those that led to it are worth saving. And all ranks must end where this one does, so that they come to save, too;
    /// else this one goes at once and the last checkpoint stays as it was: the others wait for it where it broke, and the
    /// end of its process ends them.
    private func canSave(before error: any Error) -> Bool {
        !(error is NotFinite) && (parts.team == nil || RankFailure.isEverybodys(error))
    }

    private func diverged(_ found: NotFinite) -> CoordinatorError {
        let first = found.step ?? progress.step
        return .diverged(step: first, found, lastGoodCheckpoint: saved.last { $0 < first })
    }

    /// Forgets a step that has taken no optimizer step.
    private func abandon(to start: (RunProgress, ControllerBank, AheadBatch?)) async {
        (progress, controllers, ahead) = start
        await parts.prompts.rewind()
        await parts.demonstrations?.rewind()
        await parts.replay?.rewind()
        await parts.weighing?.rewind()
    }

    /// What comes after a rollout step that began at the optimizer step `before`: its evaluation and its checkpoint.
    ///
    /// When the evaluation is stopped or fails, what was reached is saved with a note that both are still owed.
    /// - Returns: the run's outcome when it was stopped.
    private func conclude(from before: Int, _ metrics: Metrics) async throws -> RunOutcome? {
        var metrics = metrics
        if schedule.evaluates(from: before, to: progress.step) {
            progress.unconcludedSince = before
            do {
                let evaluated = try await evaluate(since: before)
                metrics.merge(evaluated)
                try await observe(evaluated)
            } catch {
                guard canSave(before: error) else { throw error }
                try await save(schedule.saves(from: before, to: progress.step) ? metrics : Metrics())
                guard mustStop else { throw error }
                return .stopped(progress)
            }
            progress.unconcludedSince = nil
        }
        if schedule.saves(from: before, to: progress.step) {
            try await save(metrics)
        }
        if let outcome = try await ended() { return outcome }
        guard mustStop, progress.step < schedule.maxSteps else { return nil }
        return try await stopped()
    }

    /// The run's outcome where a controller ends it before its last step.
    private func ended() async throws -> RunOutcome? {
        guard progress.step < schedule.maxSteps, let reason = controllers.endsRun else { return nil }
        if lastSaved != progress.step { try await save(Metrics()) }
        return .ended(progress, reason: reason)
    }

    private func stopped() async throws -> RunOutcome {
        if lastSaved != progress.step { try await save(Metrics()) }
        return .stopped(progress)
    }

    private func evaluate(since before: Int?) async throws -> Metrics {
        guard let evaluator = parts.evaluator else { return Metrics() }
        try await parts.updater.gatherWeights()
        await parts.observer.began(.evaluating, step: progress.step)
        let (step, stop, team) = (progress.step, stop, parts.team)
        return try await unlessCancelled {
            guard let team else { return try await evaluator.evaluate(since: before, step: step, stop: stop) }
            return try await team.together(stop) {
                try await team.patiently {
                    team.ranks.isFirst
                        ? try await evaluator.evaluate(since: before, step: step, stop: team.asked) : Metrics()
                }
            }[0]
        }
    }

    /// Shows an evaluation to the controllers.
    private func observe(_ evaluation: Metrics) async throws {
        let means = (parts.scorer?.rewardNames ?? []).compactMap { name in
            evaluation["eval_rewards/\(name)/mean"].map { (name, $0) }
        }
        let observed = controllers.observe(
            ObservedEvaluation(
                step: progress.step, means: Dictionary(uniqueKeysWithValues: means), measured: evaluation))
        guard !observed.metrics.names.isEmpty || !observed.notes.isEmpty else { return }
        try await parts.observer.noted(observed.metrics, observed.notes, step: progress.step)
    }

    private func save(_ metrics: Metrics) async throws {
        await parts.observer.began(.saving, step: progress.step)
        parts.controllers.take(controllers)
        parts.ahead?.take(ahead)
        let (saver, updater, progress, team) = (parts.saver, parts.updater, progress, parts.team)
        try await whole {
            guard let team else { return try await saver.save(progress, metrics: metrics) }
            try await updater.assembleState()
            try await team.byFirst { try await saver.save(progress, metrics: metrics) }
        }
        saved.append(progress.step)
    }

    /// Does what must not be left half done: the cancellation of the run's task does not reach it.
    func whole<Result: Sendable>(
        _ work: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        try await Task { try await work() }.value
    }
}
