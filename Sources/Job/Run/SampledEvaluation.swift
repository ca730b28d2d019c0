internal import Coordinator
internal import Credit
internal import Evaluation
internal import Foundation
internal import PromptSets
internal import Records
internal import RolloutEngine
internal import Tensors

/// The prompts a run evaluates its policy on: those of the test split.
struct EvaluationPrompts {
    let name: String
    /// Says which files the rows come from.
    let identity: String
    let prompts: [TokenizedPrompt]

    /// `nil` when the job has no `eval_steps`, or evaluates pairs.
    ///
    /// - Throws: As `PromptSet` and ``PromptEncoder``, naming the row.
    init?(_ job: ResolvedJob, _ model: ModelSource, base: URL) throws {
        guard let evaluation = job.run.evaluation, job.recipe.generates else { return nil }
        let set = try RunPromptSets.evaluation(job.data, base: base)
        let encoder = model.encoder(
            maxPromptLength: try model.promptLimit(asked: nil, completion: job.sampling.maxCompletionLength))
        name = set.name
        identity = set.identity
        prompts = try RunPromptSets.indices(set, limit: evaluation.limit).map { row in
            try encoder.encode(set.prompt(at: row))
        }
    }
}

/// Samples the policy's answers to held-out prompts between two steps and scores them.
///
/// Its draws come from a seed of their own: evaluating or not changes no draw of training.
struct SampledEvaluation: Measuring {
    private let requests: [RolloutRequest]
    private let generator: EngineGenerator
    private let scorer: PanelScorer
    private let setName: String
    /// Before the names of its numbers: `eval_`, or a guard's family.
    private let prefix: String
    private let rewards: RewardCombination
    /// The metric that ranks checkpoints, where it is one of these numbers; `nil` where it is not.
    private let bestMetric: String?

    /// - Parameters:
    ///   - rewards: One per reward, as in training; by default their sum.
    ///   - seed: Of its draws.
    init(
        _ job: ResolvedJob, _ parts: TrainingParts, prompts: [TokenizedPrompt], of setName: String,
        _ scorer: PanelScorer, rewards: RewardCombination? = nil, prefix: String, seed: Int
    ) async throws {
        requests = prompts.map { RolloutRequest(prompt: $0, samples: job.run.generations) }
        generator = try await Self.generator(parts, job, seed: seed)
        self.scorer = scorer
        self.setName = setName
        self.prefix = prefix
        self.rewards = rewards ?? RewardCombination(names: scorer.rewardNames)
        let isGuard = prefix.hasPrefix(GuardSettings.prefix)
        bestMetric = job.run.bestMetric.flatMap { metric in
            metric.hasPrefix(prefix) && isGuard == metric.hasPrefix(GuardSettings.prefix) ? metric : nil
        }
    }

    /// The names of what is measured where every reward scores something.
    static func metricNames(rewards: [String], prefix: String) -> [String] {
        (["reward"] + EvaluationResult.metricNames(rewards: rewards)).map { prefix + $0 }
    }

    @TensorActor
    private static func generator(_ parts: TrainingParts, _ job: ResolvedJob, seed: Int) throws -> EngineGenerator {
        try EngineGenerator(
            policy: parts.policy, model: parts.model, sampling: job.sampling, softThinking: job.plan.softThinking,
            seed: seed, limits: BatchLimits(job))
    }

    func measured(step: Int, stop: StopSignal) async throws -> Measured {
        let groups = try await PolicyEvaluation.scored(generator.generate(requests, step: step, stop: stop), scorer)
        try stop.check()
        let remarks = scorer.takeRemarks()  // they belong to evaluation, not to the next step
        let result = EvaluationResult(
            promptSet: setName, groups: groups.map { EvaluatedGroup($0) }, rewardNames: scorer.rewardNames, ks: [1])
        var measured = Measured()
        let combined = groups.flatMap { $0.scores.compactMap { rewards.combined($0) } }
        let reward = combined.isEmpty ? nil : combined.reduce(0, +) / Double(combined.count)
        measured.metrics["\(prefix)reward"] = reward
        for (name, value) in result.metrics.entries { measured.metrics["\(prefix)\(name)"] = value }
        for (name, value) in remarks.metrics.sorted(by: { $0.key < $1.key }) {
            measured.metrics[free(name, in: measured.metrics)] = value
        }
        if let problem = lacksBest(measured.metrics.names, step: step) {
            measured.warnings.append((name: "best_metric", text: problem))
        }
        let shown = reward.map(NumberText.short) ?? "none"
        measured.lines = ["\(prefix)reward \(shown) on \(requests.count) prompts of \(setName)"]
        return measured
    }

    /// Where a number goes that a reward logs: under its own name behind the prefix, as in TRL, or behind `logged/` where
    /// evaluations have a number of that name.
    private func free(_ name: String, in metrics: Metrics) -> String {
        let own = Self.metricNames(rewards: scorer.rewardNames, prefix: prefix)
        let isGuard = prefix.hasPrefix(GuardSettings.prefix)
        let ofGuard = isGuard ? EvaluationGuard.parts.map { prefix + $0 } : []
        func isTaken(_ name: String) -> Bool {
            own.contains(name) || ofGuard.contains(name) || metrics[name] != nil || name.hasPrefix("\(prefix)rewards/")
                || !isGuard && name.hasPrefix(GuardSettings.prefix)
        }
        var free = name
        while isTaken(prefix + free) { free = "logged/" + free }
        return prefix + free
    }

    /// Says that an evaluation lacks the metric that ranks checkpoints. A reward may log it another time, so that the run
    /// goes on; one of whose scores there were none will be there when there are.
    private func lacksBest(_ names: [String], step: Int) -> String? {
        let own = Self.metricNames(rewards: scorer.rewardNames, prefix: prefix)
        guard let bestMetric, !names.contains(bestMetric), !own.contains(bestMetric) else { return nil }
        let problem = JobError.noMetric(bestMetric, of: "the evaluation of step \(step)", among: names)
        return "\(problem); ranking starts with the first checkpoint that has it"
    }
}
