internal import Algorithms
package import Coordinator
package import Foundation
internal import Methods
internal import Models
internal import Placement
internal import PolicyUpdater
internal import PromptSets
package import Records
internal import RewardInterface
internal import Runs
internal import Tensors

/// A run of a job: the one place that names the concrete parts and puts them behind the Coordinator's seams.
package final class TrainingRun: Sendable {
    /// Optimizer steps of the whole run.
    package let maxSteps: Int
    /// Where this start begins: 0, or the step of the checkpoint it resumes.
    package let firstStep: Int
    /// The checkpoint this start resumes; `nil` for none.
    package var checkpoint: String? { resumed?.url.path }
    /// What a person should read before the first step.
    package let opening: [String]
    /// The run folder.
    package var outputFolder: URL { folder.url }
    /// The newest checkpoint of the folder that is whole; `nil` for none.
    package var newestCheckpoint: String? {
        // A folder that cannot be read is told of by what reads it next.
        guard let newest = try? CheckpointFolder.latest(in: folder.url, check: .sizes).newest else { return nil }
        return "\(folder.url.relativePath)/\(newest.url.lastPathComponent)"
    }
    /// The best checkpoint so far and what it is best in; `nil` when none was chosen.
    package var bestCheckpoint: (path: String, metric: String, value: Double)? {
        guard let best = progress.best, let metric = job.run.bestMetric else { return nil }
        return ("\(folder.url.relativePath)/checkpoint-\(best.step)", metric, best.value)
    }

    private let job: ResolvedJob
    private let folder: RunFolder
    private let resumed: CheckpointFolder?
    private let record: MetricsRecord
    private let parts: TrainingParts
    private let evaluation: EvaluationPrompts?
    private let evaluationPairs: EvaluationPairs?
    private let guarded: GuardedSets
    /// Guarded sets' own rewards, by the set's name.
    private let guardScorers: [String: PanelScorer]
    private let progress: ProgressState
    private let stop: StopSignal
    private let team: RankTeam?

    /// Reads everything the run needs and checks it; nothing has been trained when this throws, and no folder is left
    /// behind.
    ///
    /// - Parameters:
    ///   - base: The job file's folder; prompt sets and rewards are found relative to it.
    ///   - stop: Ends the run between two steps of its work; cancelling the task it runs in does too.
    ///   - team: The run's other processes. The task is not to be cancelled then, and `stop` is the team's, not that of
    ///     a process.
    ///   - progress: Is told what is being read.
    ///   - note: Takes what the user should know of the rewards, for as long as they are asked.
    /// - Throws: An error that names the file, row or key and what would be right.
    package init(
        _ job: ResolvedJob, folder base: URL, stop: StopSignal, team: RankTeam? = nil,
        progress: @escaping ProgressNote = { _, _, _ in }, note: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws {
        if team == nil, job.staleness.generationRanks > 0 {
            throw JobError(
                place: "generation_ranks",
                message: "is \(job.staleness.generationRanks), and the run is one process; start it with plumbline "
                    + "launch -n \(job.staleness.generationRanks + 1) train, or leave the key out")
        }
        try job.tensorParallelism.require(ranks: team?.ranks.size ?? 1)
        self.job = job
        self.team = team
        self.stop = stop
        guard team == nil || job.model.device == .cpu else {
            throw JobError(
                place: "device",
                message:
                    "\(job.model.device.yaml) in a run of several processes; they share gradients on the CPU, so that "
                    + "each needs device: cpu")
        }
        let model = try ModelSource(
            job.model.path, job.model.reading, trained: job.model.trained, base: job.model.base,
            device: job.model.device)
        try job.require(model, base: base)
        try job.requireOwnOutput(model, base: base)
        let threads = try await model.useThreads(job.model.threads, processes: team?.localSize ?? 1)
        progress("opening the prompt sets", 0, 0)
        let sets = try RunPromptSets(job.data, base: base)
        evaluation = try EvaluationPrompts(job, model, base: base)
        evaluationPairs = try EvaluationPairs(job, model, base: base)
        guarded = try GuardedSets(job, model, base: base)
        let scorer = try await Self.scorer(job, base: base, note: note)
        var guardScorers: [String: PanelScorer] = [:]
        do {
            guardScorers = try await guarded.scorers(job, base: base, run: scorer, note: note)
            let measured = StepEvaluation.Sets(
                prompts: evaluation, pairs: evaluationPairs, guarded: guarded, guardScorers: guardScorers)
            try measured.requireBest(job.run.bestMetric, scorer)
            for prompt in evaluation?.prompts ?? [] { try scorer?.check(prompt.prompt) }
            let prompts = try RunPrompts(job, model, sets, check: { try scorer?.check($0) }, progress: progress)
            if job.searchesLimits, evaluation?.identity == prompts.identity {
                throw JobError(
                    place: "threshold_search",
                    message:
                        "the evaluation would be on the training rows, and threshold_search chooses limits by it; put an eval file beside them, or set dataset_test_split"
                )
            }
            maxSteps = try prompts.maxSteps(job)
            // The folder is made only now: a job that cannot run leaves nothing behind.
            folder = try RunFolder(URL(filePath: job.run.outputDirectory))
            do {
                try Task.checkCancellation()
                progress("loading the model", 0, 0)
                let begun = try await Self.begin(
                    job, model, prompts, scorer, folder, base: base, threads: threads, maxSteps: maxSteps, team)
                resumed = begun.checkpoint
                try Task.checkCancellation()
                (parts, self.progress, record) = (begun.parts, begun.progress, begun.record)
                opening =
                    begun.lines
                    + ((evaluation?.identity ?? evaluationPairs?.identity) == prompts.identity
                        ? [
                            "note: eval_steps evaluates on the training rows; put an eval file beside them, or set "
                                + "dataset_test_split"
                        ]
                        : [])
                    + guarded.all.filter { $0.identity == prompts.identity }.map {
                        "note: eval_guard \($0.settings.name) measures the training rows"
                    }
            } catch {
                folder.withdraw()
                throw error
            }
        } catch {
            for scorer in [scorer].compactMap({ $0 }) + guardScorers.values { await scorer.close() }
            throw error
        }
        self.guardScorers = guardScorers
        firstStep = self.progress.progress.step
    }

    /// Opens the rewards; `nil` for a method without any.
    private static func scorer(
        _ job: ResolvedJob, base: URL, note: @escaping @Sendable (String) -> Void
    ) async throws -> PanelScorer? {
        guard let rewards = job.rewards else { return nil }
        let assembly = RewardAssembly(
            folder: base, runFolder: URL(filePath: job.run.outputDirectory), timeoutSeconds: rewards.timeoutSeconds,
            note: note)
        return PanelScorer(try await assembly.panel(rewards.entries, errorRate: rewards.errorBudget))
    }

    /// Loads the weights and goes to where the run begins: its start, or a checkpoint.
    private static func begin(
        _ job: ResolvedJob, _ model: ModelSource, _ prompts: RunPrompts, _ scorer: PanelScorer?, _ folder: RunFolder,
        base: URL, threads: Int, maxSteps: Int, _ team: RankTeam?
    ) async throws -> (
        parts: TrainingParts, progress: ProgressState, record: MetricsRecord, lines: [String],
        checkpoint: CheckpointFolder?
    ) {
        var lines = folder.tidiedLeftovers.map { "tidied after a killed save: \($0)" }
        let resumed = try ResumePoint(job.run, folder)
        lines += resumed.notices + prompts.lines
        if let placement = job.placement { lines.append(placement.line) }
        if let checkpoint = resumed.checkpoint {
            lines += try PlacementSettings.notices(resuming: checkpoint, job.placement)
            lines += ResumePoint.notices(resuming: checkpoint, job)
        }
        let progress = ProgressState(
            threads: threads,
            ranking: job.run.bestMetric.map { ProgressState.Ranking(metric: $0, isGreater: job.run.bestIsGreater) })
        let parts = try await TrainingParts(
            job, model: model, prompts: prompts, scorer: scorer, weights: resumed.checkpoint?.url ?? model.folder,
            maxSteps: maxSteps, team: team)
        if let checkpoint = resumed.checkpoint {
            let controllers = try RewardControllers.names(in: checkpoint.stateFolder(parts.controllers.stateName))
            if parts.controllers.bank.isEmpty, !controllers.isEmpty {
                throw JobError(
                    place: checkpoint.url.path,
                    message:
                        "the checkpoint has the controllers \(controllers.joined(separator: ", ")); the job has "
                        + "none: it is another job's"
                )
            }
            // A run that has not sampled ahead until now has no such batch: its next step samples one.
            let batch = checkpoint.stateFolder(RolloutsAhead.stateName)
            let saved = parts.states.filter {
                $0.stateName != RolloutsAhead.stateName || FileManager.default.fileExists(atPath: batch.path)
            }
            try await folder.restore(saved + [progress], from: checkpoint)
            lines += progress.notices
            if progress.threads != threads {
                lines.append(
                    "the checkpoint was made with \(progress.threads) threads, this start has \(threads): equal to "
                        + "rounding, not to the bit"
                )
                progress.use(threads: threads)
            }
        }
        let step = progress.progress.step
        scorer?.advance(to: TrainingProgress(step: step, maxSteps: maxSteps, epoch: await parts.feed.epoch))
        // The record of a run that another folder's checkpoint begins is its own from there.
        let goesOn = resumed.checkpoint.map(folder.holds) == true
        try folder.rewind(to: goesOn ? step : -1, from: resumed.checkpoint)
        if !goesOn, job.run.overwrites { try folder.removeFinalModel() }
        if step == 0 || !goesOn { try TimelineFile.removeEarlier(in: folder.url) }
        let record = try await MetricsRecord(
            job.run.reports, folder: folder, config: job.values, resumes: goesOn && step > 0)
        lines += record.lines
        try folder.writeConfiguration("\(ResolvedJob.resolvedHeading)\(base.path).\n" + job.yaml)
        if job.run.bestMetric != nil, team?.ranks.isFirst ?? true {
            lines += [try await resumed.bringBest(of: progress, into: folder)].compactMap(\.self)
        }
        lines += model.trainedLines
        let left = step > 0 ? ", \(max(0, maxSteps - step)) of them left" : ""
        lines.append(job.batches.line + "; \(maxSteps) optimizer steps\(left)")
        if step >= maxSteps, progress.progress.unconcludedSince == nil {
            let key = job.data.maxSteps == nil ? "num_train_epochs" : "max_steps"
            lines.append(
                "note: checkpoint-\(step) is already at or past the last step, \(maxSteps): nothing to do; "
                    + "raise \(key)")
        }
        lines += [job.staleness.line].compactMap(\.self) + job.tensorParallelism.lines
        return (parts, progress, record, lines, resumed.checkpoint)
    }

    /// Compares the weights that this rank begins with, frozen ones included, with those of the others: from then on only
    /// batches are compared. Every rank calls it.
    ///
    /// - Throws: ``JobError`` on all of them, naming the first parameter that differs.
    package func requireOneModel() async throws {
        guard let team else { return }
        do {
            let all = try await team.ranks.exchange(parts.fingerprints())
            for (rank, own) in all.enumerated() {
                // Ranks that only sample have the policy alone.
                for (role, weights) in own.sorted(by: { $0.key < $1.key }) {
                    guard let name = all[0][role].flatMap({ weights.firstDifference(from: $0) }) else { continue }
                    throw JobError(
                        place: "model_name_or_path",
                        message: "rank \(rank) begins with other weights than rank 0: \(name) of the \(role) differs; "
                            + "expected one model for all")
                }
            }
        } catch {
            for scorer in [parts.scorer].compactMap({ $0 }) + guardScorers.values { await scorer.close() }
            _ = await record.close()
            throw error
        }
    }

    /// Trains to the end, or until a stop is asked for.
    package func run(display: any RunDisplay) async throws -> RunOutcome {
        let recorder = try RunRecorder(
            folder: folder, record: record, scorer: parts.scorer, display: display,
            logsCompletions: job.run.logsCompletions, firstStep: firstStep, maxSteps: maxSteps,
            watch: RunWatch(
                gapLimit: job.run.gapLimit, masksTruncated: job["mask_truncated_completions"] == "true",
                needsDifferences: parts.plan.credit?.needsDifferences ?? true,
                clippedLimit: learnsFromItsSamplesAlone ? job.run.clippedLimit : 0, guards: job.run.metricGuards),
            phases: parts.phases,
            timeline: TimelineFile(folder.url, steps: job.run.timelineSteps, ranks: team?.ranks.size ?? 1))
        let saver = CheckpointSaver(
            folder: folder, model: parts.model, policy: parts.policy, states: parts.states, progress: progress,
            settings: job.run, maxSteps: maxSteps, heads: parts.plan.heads, planHash: job.placement?.planHash,
            phases: parts.phases)
        if let team {
            // Those without the first one's folder work out what it may only read.
            try await team.patiently { try await self.prepareReference(display) }
        } else {
            try await prepareReference(display)
        }
        let sets = StepEvaluation.Sets(
            prompts: evaluation, pairs: evaluationPairs, guarded: guarded, guardScorers: guardScorers)
        let evaluator = try await StepEvaluation(sets, job, parts, recorder: recorder, display: display)
        let thinking = job.recipe.generates ? parts.plan.pairs?.thinking : nil
        var judge: (any Scoring)? = parts.scorer
        if let scorer = parts.scorer, let thinking {
            judge = AnswerScorer(scorer, thinking, parts.model.tokenizer)
        }
        let coordinator = try Coordinator(
            recipe: parts.plan.recipe, schedule: schedule,
            parts: Coordinator.Parts(
                prompts: parts.feed, demonstrations: parts.demonstrations, rethinking: parts.rethinking,
                generator: parts.generator, scorer: judge, creditRule: parts.plan.credit,
                controllers: parts.controllers, ahead: parts.ahead, replay: parts.replay, weighing: parts.weighing,
                updater: parts.updater, observer: recorder, evaluator: evaluator, saver: saver, team: team),
            stop: stop, progress: progress.progress,
            isSaved: team == nil && resumed.map(folder.holds) == true)
        let outcome: RunOutcome
        do {
            outcome = try await coordinator.run()
            switch outcome {
            case .finished(let progress), .ended(let progress, _):
                try await parts.updater.gatherWeights()  // the first rank alone writes them
                if let team {
                    try await team.byFirst { try await saver.placeFinalModel(progress) }
                } else {
                    // Also when the run is cancelled by now.
                    try await Task { try await saver.placeFinalModel(progress) }.value
                }
            case .stopped: break
            }
        } catch {
            // What was seen of a run that fails is worth keeping; why it failed says more than that it could not be.
            try? await recorder.endTimeline()
            await close(display)
            throw error
        }
        // None ends before the first has left everything where it belongs: the end of one is that of all.
        if let team {
            try await team.patiently { try await self.leave(recorder, display) }
        } else {
            try await leave(recorder, display)
        }
        return outcome
    }

    /// Whether nothing but the completions of a step and their rewards teaches: neither demonstrations nor kept groups
    /// can then bring a policy to end its texts.
    private var learnsFromItsSamplesAlone: Bool {
        let plan = parts.plan
        return plan.parts.count == 1 && plan.demonstrations == nil && plan.replay == nil && plan.rethinking == nil
    }

    private func leave(_ recorder: RunRecorder, _ display: any RunDisplay) async throws {
        try await recorder.endTimeline()
        await close(display)
    }

    /// Looks at the scores of a run that has ended and is saved. Every rank calls it: the first has counted those of all.
    ///
    /// - Throws: `RewardError` when more of a reward's failed than its budget allows, however few there were; on other
    ///   ranks what the first one says of it.
    package func checkScores() async throws {
        guard let team else { return try requireScores() }
        try await team.byFirst { try self.requireScores() }
    }

    private func requireScores() throws {
        for scorer in [parts.scorer].compactMap({ $0 }) + guardScorers.values {
            if let overspent = scorer.overspent { throw overspent }
        }
    }

    private func close(_ display: any RunDisplay) async {
        for scorer in [parts.scorer].compactMap({ $0 }) + guardScorers.values { await scorer.close() }
        for remark in await record.close() { await display.notice(remark) }
    }

    /// Works out what steps and evaluations read of the reference; a stop is left for the first step to find.
    private func prepareReference(_ display: any RunDisplay) async throws {
        let settings = try UpdaterSettings(job, maxSteps: maxSteps)
        for feed in [parts.feed.pairs, evaluationPairs?.feed].compactMap({ $0 }) {
            do {
                try await feed.reference?.prepare(
                    parts.model, job.model.dtype, parts.plan.parts[0], settings, in: folder.url, stop: stop,
                    reading: parts.startingReference
                ) { await display.notice($0) }
            } catch is StopRequested {
                return
            }
        }
    }

    private var schedule: StepSchedule {
        StepSchedule(
            promptsPerStep: job.batches.promptsPerStep,
            completionsPerOptimizerStep: job.batches.completionsPerOptimizerStep, iterations: job.batches.iterations,
            maxSteps: maxSteps, saveSteps: job.run.saveSteps,
            evaluationSteps: [job.run.evaluation?.steps].compactMap { $0 } + job.run.guards.map(\.every),
            dynamicSampling: job.dynamicSampling,
            shuffleSeed: job.batches.shuffles ? UInt64(job.model.seed) : nil,
            optimizerStepsPerRollout: job.batches.optimizerStepsPerRollout, maxStaleness: job.staleness.maxSteps)
    }
}
