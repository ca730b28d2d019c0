internal import Coordinator
internal import Credit
internal import Evaluation
internal import Foundation
internal import PromptSets
internal import Records
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

/// Evaluates the policy between two steps, on the prompts of the test split.
///
/// Its draws come from a seed of their own: evaluating or not changes no draw of training.
struct PeriodicEvaluation: Evaluating {
    private let requests: [RolloutRequest]
    private let generator: EngineGenerator
    private let scorer: PanelScorer
    private let recorder: RunRecorder
    private let display: any RunDisplay
    private let setName: String
    /// One per reward, as in training.
    private let rewards: RewardCombination

    init(
        _ job: ResolvedJob, _ prompts: EvaluationPrompts, _ parts: TrainingParts, _ scorer: PanelScorer,
        recorder: RunRecorder, display: any RunDisplay
    ) async throws {
        requests = prompts.prompts.map {
            RolloutRequest(prompt: $0, samples: job.run.evaluation?.generations ?? 1)
        }
        generator = try await Self.generator(parts, job)
        self.scorer = scorer
        self.recorder = recorder
        self.display = display
        setName = prompts.name
        rewards = parts.plan.credit?.rewards ?? RewardCombination(names: scorer.rewardNames)
    }

    @TensorActor
    private static func generator(_ parts: TrainingParts, _ job: ResolvedJob) throws -> EngineGenerator {
        try EngineGenerator(
            policy: parts.policy, model: parts.model, sampling: job.sampling, softThinking: job.plan.softThinking,
            seed: ~job.model.seed, rows: 128)
    }

    func evaluate(step: Int, stop: StopSignal) async throws -> Metrics {
        let groups = try await PolicyEvaluation.scored(generator.generate(requests, step: step, stop: stop), scorer)
        try stop.check()
        _ = scorer.takeRemarks()  // they belong to evaluation, not to the next step
        let result = EvaluationResult(
            promptSet: setName, groups: groups.map { EvaluatedGroup($0) }, rewardNames: scorer.rewardNames, ks: [1])
        var metrics = Metrics()
        let combined = groups.flatMap { $0.scores.compactMap { rewards.combined($0) } }
        metrics["eval_reward"] = combined.isEmpty ? nil : combined.reduce(0, +) / Double(combined.count)
        for (name, value) in result.metrics.entries { metrics["eval_\(name)"] = value }
        try await recorder.write(metrics, step: step)
        let shown = metrics["eval_reward"].map(NumberText.short) ?? "none"
        await display.notice("step \(step): eval_reward \(shown) on \(requests.count) prompts of \(setName)")
        return metrics
    }
}
