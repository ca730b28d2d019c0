package import Coordinator
import JSON
package import Records
internal import RewardInterface
internal import Placement
internal import Runs
internal import Tensors

/// Shows a run to a person.
package protocol RunDisplay: Sendable {
    /// A part of the step has begun.
    func began(_ phase: StepPhase, step: Int) async
    /// A step is done.
    func completed(_ report: StepReport) async
    /// Something worth a line.
    func notice(_ text: String) async
}

/// Writes every step to the run folder and passes it on to the display.
package actor RunRecorder: StepObserver {
    private let folder: RunFolder
    private let record: MetricsRecord
    private let scorer: PanelScorer?
    private let display: any RunDisplay
    private let logsCompletions: Bool
    private let maxSteps: Int
    /// Warnings of this start, so that each is shown once.
    private var shown: Set<String> = []
    /// Those in the record, where each stands once a run.
    private var recorded: Set<String>
    private var watch: RunWatch
    private var skips: SkippedSteps
    private let phases: PhaseLog
    private let timeline: TimelineFile?

    /// - Parameters:
    ///   - scorer: The scorer whose remarks belong into the record; `nil` for a method without rewards.
    ///   - firstStep: Where the run begins: 0, or the step of the checkpoint.
    init(
        folder: RunFolder, record: MetricsRecord, scorer: PanelScorer?, display: any RunDisplay, logsCompletions: Bool,
        firstStep: Int,
        maxSteps: Int, watch: RunWatch, phases: PhaseLog, timeline: TimelineFile?
    ) throws(RunError) {
        recorded = try folder.notedWarnings()
        (self.phases, self.timeline) = (phases, timeline)
        self.folder = folder
        self.record = record
        self.scorer = scorer
        self.display = display
        self.logsCompletions = logsCompletions
        self.maxSteps = maxSteps
        self.watch = watch
        skips = SkippedSteps(firstStep: firstStep)
    }

    package func began(_ phase: StepPhase, step: Int) async { await display.began(phase, step: step) }

    package func completed(_ report: StepReport) async throws -> Metrics {
        var report = report
        let remarks = scorer?.takeRemarks()
        for (name, value) in (remarks?.metrics ?? [:]).sorted(by: { $0.key < $1.key }) {
            report.metrics[free(name, in: report.metrics)] = value
        }
        report.metrics["memory/rss_gb"] = ProcessMemory.residentBytes.map { Double($0) / 1e9 }
        report.metrics.merge(phases.takeMetrics())
        try timeline?.add(phases.take(), step: report.step)
        try await write(report.metrics, step: report.step)
        if logsCompletions, !report.groups.isEmpty {
            try folder.writeCompletions(step: report.step, CompletionRows.of(report, scorer, remarks?.columns ?? [:]))
        }
        scorer?.advance(
            to: TrainingProgress(step: report.step, maxSteps: maxSteps, epoch: report.metrics["epoch"] ?? 0))
        await display.completed(report)
        watch.note(report.metrics, step: report.step, groups: report.groups.count)
        let rewards = scorer?.rewardNames ?? []
        let warnings =
            watch.warnings(report.metrics) + RunWatch.failures(of: rewards, in: report)
            + watch.silent(of: rewards, in: report)
        for (name, text) in warnings { try await warn(text, as: name, step: report.step) }
        try await noted(Metrics(), report.notes, step: report.step)
        try skips.note(report)
        try watch.check(report.metrics, step: report.step)
        return report.metrics
    }

    /// Says what looks wrong, once a start; in the record it stands once a run.
    func warn(_ text: String, as name: String, step: Int) async throws {
        guard shown.insert(name).inserted else { return }
        if recorded.insert(name).inserted { try folder.appendNote(step: step, text, warning: name) }
        await display.notice(text)
    }

    package func noted(_ metrics: Metrics, _ notes: [String], step: Int) async throws {
        if !metrics.names.isEmpty { try await write(metrics, step: step) }
        for note in notes {
            try folder.appendNote(step: step, note)
            await display.notice(note)
        }
    }

    /// Leaves a reward model's calibration in `calibration.json`, in place of an earlier one.
    nonisolated func keepCalibration(_ calibration: JSONValue) throws(RunError) {
        try FileOperations.system.replaceFile(
            folder.url.appending(path: "calibration.json"), with: Array(calibration.indented.utf8))
    }

    /// Writes what happened since the last step into the timeline.
    func endTimeline() throws(RunError) { try timeline?.end(phases.take()) }

    /// Adds a row to the record.
    func write(_ metrics: Metrics, step: Int) async throws {
        for complaint in try await record.append(metrics, step: step) { await display.notice(complaint) }
    }

    /// Where a number goes that a reward logs: under its own name, as in TRL, or behind `logged/` where runs have a
    /// number of that name, be it none of this step.
    private func free(_ name: String, in metrics: Metrics) -> String {
        // Those of caches come this way too.
        let ofCaches = (scorer?.rewardNames ?? []).map { "rewards/\($0)/cache_hit_rate" }
        var free = ofCaches.contains(name) || !Self.isOwn(name) ? name : "logged/" + name
        while metrics[free] != nil { free = "logged/" + free }
        return free
    }

    private static func isOwn(_ name: String) -> Bool {
        let family = name.prefix { $0 != "/" }
        let own = family.endIndex == name.endIndex ? ownNames : ownFamilies
        return name.hasPrefix("eval_") || own.contains(String(family))
    }

    private static let ownNames: Set = [
        "approx_kl", "cispo_clip_ratio", "empty_steps", "entropy", "epoch", "frac_reward_zero_std", "grad_norm", "kl",
        "kl_coefficient", "learning_rate", "loss", "num_tokens", "policy_loss", "reward", "reward_std", "reward_trend",
        "skipped_steps", "step", "step_time", "time", "value_clip_ratio", "value_loss",
    ]

    /// What stands before a name's first slash.
    private static let ownFamilies: Set = [
        "advantages", "alarms", "amft", "best_of_k", "bvpo", "clip_ratio", "completions", "constraints", "controllers",
        "critic", "demonstrations", "distill", "dynamic_sampling", "dynamic_weights", "frac_reward_zero_std", "gdc",
        "gradient_parts", "kl_coefficient", "kl_control", "lengths", "logps", "memory", "mismatch", "moments", "pairs",
        "perf", "ratio", "realloc", "recap", "remax", "replay", "rethinking", "returns", "reward", "reward_correlation",
        "reward_weights", "rewards", "rollout", "sampling", "soft", "srft", "staleness", "threshold_search", "timing_s",
        "values",
    ]
}

/// The rows of a completions file, with TRL's columns: step, prompt, completion, one per reward, extras, advantage.
enum CompletionRows {
    static func of(
        _ report: StepReport, _ scorer: PanelScorer?, _ columns: [GroupAddress: [String: [JSONValue]]]
    ) -> [JSONValue] {
        let names = scorer?.rewardNames ?? []
        return report.groups.enumerated().flatMap { slot, scored in
            let extras = (columns[scored.group.address] ?? [:]).sorted { $0.key < $1.key }
            return scored.group.rollouts.indices.map { index in
                var row = members(report.step, scored, index, names)
                row += extras.compactMap { name, values in
                    values.indices.contains(index) ? JSONValue.Member(name, values[index]) : nil
                }
                let credit = report.credits.indices.contains(slot) ? report.credits[slot][index] : nil
                row.append(JSONValue.Member("advantage", credit?.advantage.map(JSONValue.number) ?? .null))
                return JSONValue.object(row)
            }
        }
    }

    private static func members(_ step: Int, _ scored: ScoredGroup, _ index: Int, _ names: [String]) -> [JSONValue
        .Member]
    {
        let completion = scored.group.rollouts[index].completion
        var row = [
            JSONValue.Member("step", .number(step)),
            JSONValue.Member("row", .number(scored.group.prompt.prompt.row)),
        ]
        // Only where a step asks a prompt in several.
        if scored.group.variant > 0 { row.append(JSONValue.Member("variant", .number(scored.group.variant))) }
        row += [
            JSONValue.Member("prompt", .string(scored.group.prompt.prompt.text)),
            JSONValue.Member("completion", .string(completion.text)),
            JSONValue.Member("finish_reason", .string(completion.finishReason.name)),
            JSONValue.Member("length", .number(completion.tokenIDs.count)),
        ]
        for (name, score) in zip(names, scored.scores[index]) {
            row.append(JSONValue.Member(name, score.score.map(JSONValue.number) ?? .null))
            if score.score == nil { row.append(JSONValue.Member("\(name)/state", .string(score.state))) }
            if score.isFailure, let note = score.note {
                row.append(JSONValue.Member("\(name)/note", .string(note.shortened(to: 2_000))))
            }
        }
        return row
    }
}
