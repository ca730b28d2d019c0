internal import Coordinator
internal import Evaluation
internal import Foundation
internal import PromptSets
internal import Records
internal import Tensors

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
    private let weights: [Double]

    init(_ settings: JobSettings, _ parts: TrainingParts, recorder: RunRecorder, display: any RunDisplay, base: URL)
        async throws
    {
        guard let scorer = parts.scorer else {
            throw JobError(
                place: "eval_steps",
                message: "\(settings.algorithm.rawValue) has no reward to evaluate with; leave eval_steps out")
        }
        let set = try RunPromptSets.evaluation(settings, base: base)
        let encoder = parts.model.encoder(
            maxPromptLength: try parts.model.promptLimit(asked: nil, completion: settings.maxCompletionLength))
        requests = try RunPromptSets.places(set, limit: settings.evaluationLimit).map { row in
            RolloutRequest(
                prompt: try encoder.encode(set.prompt(at: row)), samples: settings.evaluationGenerations ?? 1)
        }
        var sampling = SamplingRequest(settings)
        sampling.seed = ~settings.seed
        generator = try await Self.generator(parts, sampling)
        self.scorer = scorer
        self.recorder = recorder
        self.display = display
        setName = set.name
        weights = settings.rewardWeights ?? scorer.rewardNames.map { _ in 1 }
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
        let terms = zip(result.rewards, weights).compactMap { reward, weight in reward.mean.map { $0 * weight } }
        metrics["eval_reward"] = terms.isEmpty ? nil : terms.reduce(0, +)
        for (name, value) in result.metrics.entries { metrics["eval_\(name)"] = value }
        try await recorder.record(metrics, step: step)
        let shown = metrics["eval_reward"].map { String(format: "%.3f", $0) } ?? "none"
        await display.notice("step \(step): eval_reward \(shown) on \(requests.count) prompts of \(setName)")
        return metrics
    }
}
