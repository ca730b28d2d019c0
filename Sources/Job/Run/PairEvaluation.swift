internal import Coordinator
internal import Evaluation
internal import Foundation
import JSON
internal import Methods
internal import PolicyUpdater
internal import PromptSets
internal import Records
internal import Runs
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
            try PairRows(set, plan, model, heads: job.plan.heads), precomputesReference: plan.precomputesReference)
        limit = evaluation.limit
    }

    /// The parts of all pairs that are measured.
    func parts() throws -> [UpdatePart] {
        try feed.parts(at: RunPromptSets.indices(feed.rows, limit: limit))
    }
}

/// Measures loss and accuracy on held-out pairs between two steps. The loss is the one that is trained, each part with
/// the weight that it has in the step.
struct PairEvaluation: Measuring {
    let pairs: EvaluationPairs
    let updater: PolicyUpdater
    /// Of thinking and empty pairs, whose weights move; `nil` where the plan's stay.
    let balance: ThinkingBalanceWeighing?
    let recorder: RunRecorder
    /// Of a reward model, whose calibration is measured too.
    let heads: [String]?
    /// The metric that ranks checkpoints; `nil` for none.
    let bestMetric: String?

    func measured(step: Int, stop: StopSignal) async throws -> Measured {
        var parts = try pairs.parts()
        if pairs.feed.reference == nil, updater.parts.contains(where: \.objective.needsReference) {
            for slot in parts.indices {
                let found = try await updater.ownLogProbabilities(
                    UpdateBatch(parts: [parts[slot]]), under: .reference)
                parts[slot].takeReference(found.tokens)
            }
        }
        let weights = await balance?.weights ?? parts.map { _ in 1.0 }
        var measured = Measured()
        var loss = 0.0
        for ((part, plan), weight) in zip(zip(parts, updater.parts), weights) {
            let found = try await updater.measure(part, by: plan, stop: stop)
            loss += plan.weight * weight * found.loss
            let family = plan.name.map { "\($0)/" } ?? ""
            for (name, value) in found.metrics.entries { measured.metrics["eval_\(family)\(name)"] = value }
            if plan.name != nil { measured.metrics["eval_\(family)loss"] = found.loss }
        }
        measured.metrics["eval_loss"] = loss
        if let heads { try await calibrate(parts[0], heads, step: step, stop, &measured) }
        try requireBest(among: measured.metrics.names)
        let count = parts.map(\.groups.count).max() ?? 0
        let accuracy =
            (measured.metrics["eval_rewards/accuracies"] ?? measured.metrics["eval_accuracy"]).map {
                String(format: ", accuracy %.3f", $0)
            } ?? ""
        measured.lines.append("eval_loss \(String(format: "%.4f", loss))\(accuracy) on \(count) pairs")
        return measured
    }

    /// - Throws: ``JobError`` when checkpoints are to be ranked by a metric that no evaluation of these pairs has.
    private func requireBest(among names: [String]) throws(JobError) {
        guard let bestMetric, bestMetric.hasPrefix("eval_"), !bestMetric.hasPrefix(GuardSettings.prefix) else { return }
        let heads = heads ?? []
        // Pairs that are all right or all wrong have no temperature, and a head without pairs nothing.
        let calibrated = heads.map { Self.family($0, of: heads) }.flatMap { family in
            ["accuracy", "calibration_error", "temperature", "calibrated_loss"].map { family + $0 }
        }
        let known = names + calibrated.filter { !names.contains($0) }
        guard known.contains(bestMetric) else {
            throw .noMetric(bestMetric, of: "the evaluations", among: known)
        }
    }

    /// Before the names of a head's numbers.
    private static func family(_ name: String, of heads: [String]) -> String {
        heads.count == 1 ? "eval_" : "eval_\(name)/"
    }

    /// Adds how well calibrated each head is, and leaves it in `calibration.json`.
    private func calibrate(
        _ part: UpdatePart, _ heads: [String], step: Int, _ stop: StopSignal, _ measured: inout Measured
    ) async throws {
        let scores = try await updater.scores(of: part, by: updater.parts[0], stop: stop)
        var found: [JSONValue.Member] = []
        for (head, name) in heads.enumerated() {
            let own = zip(part.groups, scores).filter { $0.0.head == head }.map { $1[0] - $1[1] }
            guard let calibration = Calibration(differences: own) else { continue }
            let family = Self.family(name, of: heads)
            if heads.count > 1 { measured.metrics["\(family)accuracy"] = calibration.accuracy }
            measured.metrics["\(family)calibration_error"] = calibration.error
            measured.metrics["\(family)temperature"] = calibration.temperature
            measured.metrics["\(family)calibrated_loss"] = calibration.calibratedLoss
            found.append(JSONValue.Member(name, calibration.json))
            measured.lines.append("\(name): \(calibration.sentence)")
        }
        try recorder.keepCalibration(.object([JSONValue.Member("step", .number(step))] + found))
    }
}

extension Calibration {
    fileprivate var sentence: String {
        func shown(_ number: Double) -> String { String(format: "%.3f", number) }
        let fit =
            temperature.map { ", temperature \(shown($0)) (loss \(shown(loss)) → \(shown(calibratedLoss ?? loss)))" }
            ?? ", no temperature is best: the pairs are all right or all wrong"
        return "accuracy \(shown(accuracy)) on \(pairs) pairs, calibration error \(shown(error))\(fit)"
    }

    fileprivate var json: JSONValue {
        .object([
            "pairs": .number(pairs), "accuracy": .number(accuracy), "loss": .number(loss),
            "calibration_error": .number(error), "temperature": temperature.map(JSONValue.number) ?? .null,
            "calibrated_loss": calibratedLoss.map(JSONValue.number) ?? .null,
            "bins": .array(
                bins.map { bin in
                    .object([
                        "from": .number(bin.lowerBound), "pairs": .number(bin.count),
                        "confidence": .number(bin.confidence), "accuracy": .number(bin.accuracy),
                    ])
                }),
        ])
    }
}

extension PairRows {
    /// The pairs of a set as a job's plan takes them.
    convenience init(_ set: any PromptRows, _ plan: PairPlan, _ model: ModelSource, heads: [String]?) throws {
        let limit = min(plan.maxLength, model.configuration.contextLength)
        try self.init(
            set, encoder: model.encoder(maxPromptLength: limit), maxLength: limit, truncation: plan.truncation,
            forms: plan.thinking.map { PairForms($0) }, heads: heads)
    }
}
