internal import Records

/// The run folder of a job: where it begins, what it writes, and when.
package struct RunSettings: Sendable {
    package let outputDirectory: String
    package let overwrites: Bool
    /// A checkpoint folder, or `true` for the newest one; `nil` begins anew.
    package let resumes: String?
    package let loggingSteps: Int
    package let logsCompletions: Bool
    package let completionsToPrint: Int
    package let saveSteps: Int
    /// `nil` keeps every checkpoint.
    package let saveTotalLimit: Int?
    /// `nil` where nothing is evaluated on the test split.
    package let evaluation: Evaluation?
    /// Completions per prompt that is evaluated.
    package let generations: Int
    /// What must not be lost on the way.
    package let guards: [GuardSettings]
    /// The metric that names the best checkpoint; `nil` for none.
    package let bestMetric: String?
    package let bestIsGreater: Bool
    /// Whether the final model is the best one and not the newest.
    package let placesBest: Bool
    /// `nil` for none.
    package let gapLimit: Double?
    /// Rollout steps in a row whose completions were all cut off and unrewarded, at which the run ends; 0 for never.
    package let clippedLimit: Int
    /// Metrics that are to stay within bounds.
    package let metricGuards: [MetricGuard]
    package let reports: ReportSettings
    /// Steps of a start that `timeline.json` shows.
    package let timelineSteps: Int
    /// Seconds that the processes of a run wait for one another.
    package let rankTimeout: Double

    /// What is evaluated on the way.
    package struct Evaluation: Sendable {
        /// Optimizer steps between two.
        package let steps: Int
        /// Prompts; `nil` for all.
        package let limit: Int?
    }

    /// - Parameters:
    ///   - isEvaluated: Whether the method has something to evaluate with: rewards, or pairs.
    ///   - samples: Whether the method samples completions.
    ///   - hasRewards: Whether the job has rewards.
    ///   - learnsTexts: Whether what it trains gives texts a likelihood.
    ///   - method: For messages.
    ///   - maxSteps: Optimizer steps of the run; `nil` where the epochs say.
    ///   - samplesAhead: Whether the weights move between sampling and learning.
    ///   - gold: The reward by whose evaluations a search chooses, so that the run ends with the policy that was best
    ///     in it; `nil` for none.
    init(
        reading job: inout SettingsReader, method: String, isEvaluated: Bool, samples: Bool, hasRewards: Bool,
        learnsTexts: Bool, maxSteps: Int?, gold: String? = nil, samplesAhead: Bool = false
    ) {
        outputDirectory = job.read(
            "output_dir", required: "name the run's folder", standIn: ".",
            meaning:
                "The run folder: config.yaml, metrics.jsonl, completions/, checkpoint-<step>/ and the final model. Relative to the working directory."
        )
        overwrites = job.read(
            "overwrite_output_dir", default: false,
            "Starts afresh, or from another run's checkpoint, in a folder that holds an earlier run. That run's metrics and final model are deleted; its checkpoints are set aside, and go once the new run has saved one."
        )
        resumes =
            job.read(
                "resume_from_checkpoint", default: ResumeChoice(),
                "A checkpoint folder, or true for the newest complete one in output_dir. The continued run equals an uninterrupted one to the bit."
            ).from
        loggingSteps = job.read(
            "logging_steps", default: StepInterval.steps(10),
            "Optimizer steps between two rows of metrics on the terminal; below 1 a share of max_steps. metrics.jsonl has every step."
        ).resolved("logging_steps", of: maxSteps, &job)
        logsCompletions = job.read(
            "log_completions", default: true, "Writes every step's completions to completions/.")
        let printed: Int? = job.read(
            "num_completions_to_print", optional: nil, .atLeast(0), "Completions shown on the terminal with each row.")
        completionsToPrint = printed ?? 0
        let saves = job.read(
            "save_steps", default: StepInterval.steps(500),
            "Optimizer steps between two checkpoints, below 1 a share of max_steps; one more is written at the end. Defaults to eval_steps if the run ends with its best model."
        ).resolved("save_steps", of: maxSteps, &job)
        saveTotalLimit = job.read(
            "save_total_limit", optional: nil, .atLeast(1),
            "Checkpoints to keep; the best and the newest are never removed, nor, until the run ends, is the one before the newest."
        )
        let strategy: EvaluationStrategy? = job.read(
            "eval_strategy", optional: nil,
            "steps evaluates every eval_steps, by default logging_steps; no never does, whatever eval_steps says. Unless set, steps if eval_steps is set. evaluation_strategy is an alias."
        )
        let interval: StepInterval? = job.read(
            "eval_steps", optional: nil,
            "Optimizer steps between two evaluations on the test split, below 1 a share of max_steps; off unless set or requested by eval_strategy."
        )
        // A share that is not used needs no max_steps.
        var steps = strategy == .no ? nil : interval?.resolved("eval_steps", of: maxSteps, &job)
        switch strategy {
        case .no: job.ignore("eval_steps", "num_generations_eval", "eval_limit")
        case .steps: steps = steps ?? loggingSteps
        case .epoch: job.notice("eval_strategy: epoch is not taken: evaluation runs every eval_steps, if that is set")
        case nil: break
        }
        job.resolve("eval_strategy", to: steps == nil ? EvaluationStrategy.no : .steps)
        job.resolve("eval_steps", to: steps)
        let asked: Int? = job.read(
            "num_generations_eval", optional: nil, .from(1, to: 65_535),
            "Completions per prompt in evaluation; 1 unless set.")
        generations = asked ?? 1
        if asked == nil, steps != nil, samples, isEvaluated, job.entry("num_generations")?.value != "1" {
            job.notice(
                "evaluation samples one completion a prompt; num_generations_eval asks for more (TRL's default is num_generations)"
            )
        }
        job.resolve("num_generations_eval", to: generations)
        let limit: Int? = job.read(
            "eval_limit", optional: nil, .atLeast(1), "Prompts per evaluation during training; all unless set.")
        evaluation = steps.map { Evaluation(steps: $0, limit: limit) }
        guards = GuardSettings.all(
            reading: &job, method: method, samples: samples, hasRewards: hasRewards, learnsTexts: learnsTexts,
            every: steps ?? loggingSteps, limit: limit)
        placesBest = job.read(
            "load_best_model_at_end", default: gold != nil,
            "Whether the run ends with the model of its best checkpoint (by metric_for_best_model) instead of the newest; continued in another output_dir, it gets a copy there. On by default with threshold_search."
        )
        saveSteps = placesBest && !job.isGiven("save_steps") ? steps ?? saves : saves
        job.resolve("save_steps", to: saveSteps)
        let best: String? = job.read(
            "metric_for_best_model", optional: nil,
            "The metric that selects the best checkpoint; those that a reward logs will do. With eval_steps it is the evaluation's, with or without the eval_ prefix, else a training step's. With load_best_model_at_end by default eval_reward, or eval_loss without rewards."
        )
        let ranking = gold.map { "eval_rewards/\($0)/mean" } ?? (hasRewards ? "eval_reward" : "eval_loss")
        // As in transformers, whose trainer ranks by evaluations alone.
        let named = best.map { steps == nil || $0.hasPrefix("eval_") ? $0 : "eval_\($0)" }
        if let best, let named, named != best {
            job.notice("metric_for_best_model is \(named), the evaluation's \(best), because eval_steps is set")
        }
        bestMetric = named ?? (placesBest || gold != nil ? ranking : nil)
        job.resolve("metric_for_best_model", to: bestMetric)
        bestIsGreater = job.read(
            "greater_is_better", default: !(bestMetric?.hasSuffix("loss") ?? false),
            "Whether a larger metric_for_best_model is better; by default it is, except for a loss.")
        gapLimit = job.read(
            "logprob_gap_limit", optional: samplesAhead ? nil : 0.01, .above(0),
            "The run stops when the mean difference between sampled and re-scored log-probs exceeds this many nats. Off by default with max_staleness above 0, where the gap includes the update in between."
        )
        clippedLimit = job.read(
            "clipped_steps_limit", default: 20, .from(0, to: 1_000_000_000),
            "The run stops, with a checkpoint, after so many rollout steps in a row in which every completion hit max_completion_length and none was rewarded above 0 or learned from. Where these were scored, the steps must have had 8 prompts each on average, or the run goes on until as many were lost. 0 never stops it. Does not count where demonstrations, forced_rethinking or replayed groups teach too."
        )
        job.ignore("clipped_steps_limit", when: !samples)
        metricGuards = job.read(
            "metric_guard", default: [MetricGuard](),
            "Metrics of training steps that are to stay within bounds, a list: {metric: kl, above: 0.5, steps: 10} warns once when kl was above 0.5 in ten rollout steps in a row; below is a lower bound, and stop: true ends the run, with a checkpoint. steps is 1 unless set; each start counts anew, and a step without the metric is passed over, or of alarms/… and empty_steps has 0. Evaluations have eval_guard."
        )
        reports = ReportSettings(reading: &job, outputDirectory: outputDirectory)
        timelineSteps =
            job.read(
                "timeline", default: TimelineChoice(steps: 0),
                "Writes timeline.json into the run folder, for chrome://tracing, Perfetto and plumbline report --html: what each step was doing and what was in memory, with several processes in the first. true shows the first 20 steps after a start, a number that many; a resumed run begins anew."
            ).steps
        rankTimeout = job.read(
            "ddp_timeout", default: 1800, .from(1, to: 604_800),
            "Seconds that a run's processes wait for one another. One that has ended is noticed at once; evaluations and saves, done by the first process, may take longer."
        )
        check(&job, method, isEvaluated: isEvaluated)
    }

    private func check(_ job: inout SettingsReader, _ method: String, isEvaluated: Bool) {
        if let metric = bestMetric, metric.hasPrefix("eval_") {
            if let evaluation, saveSteps % evaluation.steps != 0 {
                job.refuse(
                    job.isGiven("save_steps") ? "save_steps" : "metric_for_best_model",
                    "metric_for_best_model ranks checkpoints by their evaluation, and save_steps is \(saveSteps); expected a multiple of eval_steps, \(evaluation.steps)"
                )
            } else if evaluation == nil {
                job.refuse(
                    job.isGiven("metric_for_best_model") ? "metric_for_best_model" : "load_best_model_at_end",
                    "metric_for_best_model is \(metric), and nothing is evaluated; set eval_steps")
            } else if let evaluation, placesBest, saveSteps > evaluation.steps {
                job.notice(
                    "the final model is the best of the checkpoints, one every \(saveSteps) steps; evaluations in between do not count (save_steps: \(evaluation.steps) keeps a checkpoint for each)"
                )
            }
        }
        if evaluation != nil, !isEvaluated {
            let key = job.isGiven("eval_steps") ? "eval_steps" : "eval_strategy"
            job.refuse(key, "\(key) is set; \(method) has no reward to evaluate with, leave it out")
        }
    }
}

/// `eval_strategy:`.
enum EvaluationStrategy: String, SettingsChoice {
    case no, steps
    /// Known from TRL, and not taken.
    case epoch

    /// Also as YAML reads a bare `no`.
    static func read(_ node: SettingsNode) -> EvaluationStrategy? {
        guard case .scalar(let text, _) = node.content else { return nil }
        return Bool.read(node) == false ? .no : EvaluationStrategy(rawValue: text)
    }
}

/// Optimizer steps between two of something; below 1 a share of the run, as in transformers.
enum StepInterval: SettingsValue {
    case steps(Int)
    case share(Double)

    static var expectation: String { "a whole number of at least 1, or a share of max_steps below 1" }

    static func read(_ node: SettingsNode) -> StepInterval? {
        if let steps = Int.read(node) { return steps > 0 ? .steps(steps) : nil }
        guard let share = Double.read(node), share > 0, share < 1 else { return nil }
        return .share(share)
    }

    var yaml: String {
        switch self {
        case .steps(let steps): steps.yaml
        case .share(let share): share.yaml
        }
    }

    /// The whole number, which is then the setting's value. A share is rounded up.
    ///
    /// - Parameters:
    ///   - key: The setting.
    ///   - maxSteps: Optimizer steps of the run; without them a share is refused.
    func resolved(_ key: String, of maxSteps: Int?, _ job: inout SettingsReader) -> Int {
        switch self {
        case .steps(let steps): return steps
        case .share(let share):
            guard let maxSteps else {
                job.refuse(
                    key, "\(key) is \(yaml), a share of max_steps, which is not set; set it, or give a number of steps")
                return 1
            }
            let steps = max(1, Int((Double(maxSteps) * share).rounded(.up)))
            job.resolve(key, to: steps)
            return steps
        }
    }
}

/// `timeline:`, a number of steps, or true for the usual one.
struct TimelineChoice: SettingsValue {
    var steps: Int

    private static let usual = 20
    private static let most = 10_000

    static var expectation: String { "true, false or a number of steps from 1 to \(most)" }

    static func read(_ node: SettingsNode) -> TimelineChoice? {
        if let truth = Bool.read(node) { return TimelineChoice(steps: truth ? usual : 0) }
        guard let steps = Int.read(node), (1...most).contains(steps) else { return nil }
        return TimelineChoice(steps: steps)
    }

    var yaml: String { steps == 0 ? "false" : steps.yaml }
}

/// `resume_from_checkpoint:`, a path, or true for the newest checkpoint.
struct ResumeChoice: SettingsValue {
    var from: String?

    static var expectation: String { "a folder, true, false or nothing" }

    static func read(_ node: SettingsNode) -> ResumeChoice? {
        if let truth = Bool.read(node) { return ResumeChoice(from: truth ? "true" : nil) }
        if node.content == .null { return ResumeChoice() }
        return String.read(node).map { ResumeChoice(from: $0) }
    }

    var yaml: String { from.yaml }
}
