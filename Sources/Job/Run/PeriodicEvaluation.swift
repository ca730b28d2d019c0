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

    /// `nil` when the job has no `eval_steps`.
    ///
    /// - Throws: As `PromptSet` and ``PromptEncoder``, naming the row.
    init?(_ settings: JobSettings, _ model: ModelSource, base: URL) throws {
        guard settings.evaluationSteps != nil else { return nil }
        let set = try RunPromptSets.evaluation(settings, base: base)
        let encoder = model.encoder(
            maxPromptLength: try model.promptLimit(asked: nil, completion: settings.maxCompletionLength))
        name = set.name
        identity = set.identity
        prompts = try RunPromptSets.places(set, limit: settings.evaluationLimit).map { row in
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
        _ settings: JobSettings, _ prompts: EvaluationPrompts, _ parts: TrainingParts, _ scorer: PanelScorer,
        recorder: RunRecorder, display: any RunDisplay
    ) async throws {
        requests = prompts.prompts.map {
            RolloutRequest(prompt: $0, samples: settings.evaluationGenerations ?? 1)
        }
        var sampling = SamplingRequest(settings)
        sampling.seed = ~settings.seed
        generator = try await Self.generator(parts, sampling)
        self.scorer = scorer
        self.recorder = recorder
        self.display = display
        setName = prompts.name
        rewards = try RewardCombination(names: scorer.rewardNames, weights: settings.rewardWeights)
    }

    @TensorActor
    private static func generator(_ parts: TrainingParts, _ sampling: SamplingRequest) throws -> EngineGenerator {
        try EngineGenerator(policy: parts.policy, model: parts.model, sampling: sampling, rows: 128)
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
        try await recorder.record(metrics, step: step)
        let shown = metrics["eval_reward"].map { String(format: "%.3f", $0) } ?? "none"
        await display.notice("step \(step): eval_reward \(shown) on \(requests.count) prompts of \(setName)")
        return metrics
    }
}
