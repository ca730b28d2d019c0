internal import Coordinator
internal import Placement
internal import Records

/// Something that is measured between two steps.
protocol Measuring: Sendable {
    func measured(step: Int, stop: StopSignal) async throws -> Measured
}

/// What came of a measurement.
struct Measured: Sendable {
    /// With the prefix `eval_`.
    var metrics = Metrics()
    /// What a person should read.
    var lines: [String] = []
    /// What looks wrong, by name; worth a line each, once.
    var warnings: [(name: String, text: String)] = []
}

/// All that a run measures between its steps, each on its interval: one row of the record for what falls on one step.
struct StepEvaluation: Evaluating {
    /// What a run has to measure with.
    struct Sets: Sendable {
        let prompts: EvaluationPrompts?
        let pairs: EvaluationPairs?
        let guarded: GuardedSets
        /// Guarded sets' own rewards, by the set's name.
        let guardScorers: [String: PanelScorer]

        /// Whether checkpoints can be ranked by a metric, as far as the names of what is measured are known before it
        /// is: those of pairs are not, and ``PairEvaluation`` looks at them; nor are those that rewards log, and
        /// ``SampledEvaluation`` does.
        ///
        /// - Parameter scorer: The run's rewards.
        /// - Throws: ``JobError`` with the names there are.
        func requireBest(_ metric: String?, _ scorer: PanelScorer?) throws(JobError) {
            guard let metric, metric.hasPrefix("eval_"), pairs == nil || metric.hasPrefix(GuardSettings.prefix) else {
                return
            }
            var names: [String] = []
            var mayBeLogged = false
            if prompts != nil, let scorer {
                names += SampledEvaluation.metricNames(rewards: scorer.rewardNames, prefix: "eval_")
                mayBeLogged = scorer.reportsMetrics && !metric.hasPrefix(GuardSettings.prefix)
            }
            for settings in guarded.all.map(\.settings) {
                switch settings.kind {
                case .texts: names.append(settings.metric)
                case .prompts:
                    guard let judge = guardScorers[settings.name] ?? scorer else { continue }
                    let family = "\(settings.family)/"
                    names += SampledEvaluation.metricNames(rewards: judge.rewardNames, prefix: family)
                    if metric.hasPrefix(family), judge.reportsMetrics { mayBeLogged = true }
                }
            }
            // A name that is nearly one of these is misspelt, whatever rewards may log.
            let isLogged = mayBeLogged && nearestNames(to: metric, among: names).isEmpty
            guard names.contains(metric) || isLogged else {
                throw .noMetric(metric, of: "the evaluations", among: names)
            }
        }
    }

    /// Each with the optimizer steps between two of it.
    private let measurements: [(every: Int, measurement: any Measuring)]
    private let recorder: RunRecorder
    private let display: any RunDisplay
    private let phases: PhaseLog

    /// `nil` when nothing is measured.
    init?(
        _ sets: Sets, _ job: ResolvedJob, _ parts: TrainingParts, recorder: RunRecorder, display: any RunDisplay
    ) async throws {
        var measurements: [(every: Int, measurement: any Measuring)] = []
        if let steps = job.run.evaluation?.steps, let one = try await Self.testSplit(sets, job, parts, recorder) {
            measurements.append((steps, one))
        }
        for guarded in sets.guarded.all {
            guard let one = try await Self.guarded(guarded, sets, job, parts) else { continue }
            measurements.append((guarded.settings.every, one))
        }
        guard !measurements.isEmpty else { return nil }
        self.measurements = measurements
        self.recorder = recorder
        self.display = display
        phases = parts.phases
    }

    private static func testSplit(
        _ sets: Sets, _ job: ResolvedJob, _ parts: TrainingParts, _ recorder: RunRecorder
    ) async throws -> (any Measuring)? {
        if let prompts = sets.prompts, let scorer = parts.scorer {
            return try await SampledEvaluation(
                job, parts, prompts: prompts.prompts, of: prompts.name, scorer, rewards: parts.plan.credit?.rewards,
                prefix: "eval_", seed: ~job.model.seed)
        }
        return sets.pairs.map { pairs in
            PairEvaluation(
                pairs: pairs, updater: parts.updater, balance: parts.weighing as? ThinkingBalanceWeighing,
                recorder: recorder,
                heads: parts.plan.heads, bestMetric: job.run.bestMetric)
        }
    }

    /// `nil` for prompts that no reward scores, which the job's settings refuse.
    private static func guarded(
        _ guarded: GuardedSets.Guarded, _ sets: Sets, _ job: ResolvedJob, _ parts: TrainingParts
    ) async throws -> (any Measuring)? {
        let settings = guarded.settings
        switch guarded.content {
        case .texts(let texts): return TextGuard(settings: settings, texts: texts, updater: parts.updater)
        case .prompts(let prompts):
            let own = sets.guardScorers[settings.name]
            guard let scorer = own ?? parts.scorer else { return nil }
            return try await SampledEvaluation(
                job, parts, prompts: prompts, of: settings.name, scorer,
                rewards: own == nil ? parts.plan.credit?.rewards : nil, prefix: "\(settings.family)/",
                seed: Int(truncatingIfNeeded: mix64(UInt64(job.model.seed) ^ 0x6A2D)))
        }
    }

    func evaluate(since before: Int?, step: Int, stop: StopSignal) async throws -> Metrics {
        var all = Measured()
        for (every, measurement) in measurements {
            guard before.map({ StepSchedule.passes(every, before: $0, after: step) }) ?? true else { continue }
            let found = try await phases.noting(.evaluating, "step \(step)") {
                try await measurement.measured(step: step, stop: stop)
            }
            try stop.check()
            all.metrics.merge(found.metrics)
            all.lines += found.lines
            all.warnings += found.warnings
        }
        try await recorder.write(all.metrics, step: step)
        for line in all.lines { await display.notice("step \(step): \(line)") }
        for (name, text) in all.warnings { try await recorder.warn(text, as: name, step: step) }
        return all.metrics
    }
}
