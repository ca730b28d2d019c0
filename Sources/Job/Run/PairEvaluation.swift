internal import Coordinator
internal import Foundation
internal import Methods
internal import PolicyUpdater
internal import PromptSets
internal import Records
internal import Tensors

/// The pairs a run measures its policy on: those of the test split.
struct EvaluationPairs: Sendable {
    let feed: PairFeed
    let identity: String
    private let limit: Int?

    /// `nil` when the job has no `eval_steps`, or no pairs.
    ///
    /// - Throws: As ``PairRows``.
    init?(_ job: ResolvedJob, _ model: ModelSource, base: URL) throws {
        guard let evaluation = job.run.evaluation, let plan = job.plan.pairs, !job.recipe.generates else { return nil }
        let set = try RunPromptSets.evaluation(job.data, base: base)
        identity = set.identity
        feed = PairFeed(
            try PairRows(set, plan, model), precomputesReference: plan.precomputesReference)
        limit = evaluation.limit
    }

    /// The parts of all pairs that are measured.
    func parts() throws -> [UpdatePart] {
        try feed.parts(at: RunPromptSets.places(feed.rows, limit: limit))
    }
}

/// Measures loss and accuracy on held-out pairs between two steps.
struct PairEvaluation: Evaluating {
    let pairs: EvaluationPairs
    let updater: PolicyUpdater
    let recorder: RunRecorder
    let display: any RunDisplay

    func evaluate(step: Int, stop: StopSignal) async throws -> Metrics {
        var parts = try pairs.parts()
        if pairs.feed.reference == nil, updater.parts.contains(where: \.objective.needsReference) {
            for place in parts.indices {
                let found = try await updater.logProbabilities(UpdateBatch(parts: [parts[place]]), under: .reference)
                parts[place].takeReference(found.tokens)
            }
        }
        var metrics = Metrics()
        var loss = 0.0
        for (part, plan) in zip(parts, updater.parts) {
            let measured = try await updater.measure(part, by: plan, stop: stop)
            loss += plan.weight * measured.loss
            let family = plan.name.map { "\($0)/" } ?? ""
            for (name, value) in measured.metrics.entries { metrics["eval_\(family)\(name)"] = value }
            if plan.name != nil { metrics["eval_\(family)loss"] = measured.loss }
        }
        metrics["eval_loss"] = loss
        try await recorder.write(metrics, step: step)
        let count = parts.map(\.groups.count).max() ?? 0
        let accuracy = metrics["eval_rewards/accuracies"].map { String(format: ", accuracy %.3f", $0) } ?? ""
        await display.notice("step \(step): eval_loss \(String(format: "%.4f", loss))\(accuracy) on \(count) pairs")
        return metrics
    }
}

extension PairRows {
    /// The pairs of a set as a job's plan takes them.
    convenience init(_ set: any PromptRows, _ plan: PairPlan, _ model: ModelSource) throws {
        let limit = min(plan.maxLength, model.configuration.contextLength)
        try self.init(
            set, encoder: model.encoder(maxPromptLength: limit), maxLength: limit, truncation: plan.truncation,
            forms: plan.thinking.map { PairForms($0) })
    }
}
