package import Coordinator
internal import Foundation
import JSON
internal import Models
package import Placement
package import Records
package import Runs
internal import Tensors

/// Writes checkpoints and the final model of a run, and keeps the best.
package actor CheckpointSaver: Saving {
    private let folder: RunFolder
    private let model: ModelSource
    private let policy: ReallocatingActor
    private let states: [any Checkpointable]
    private let progress: ProgressState
    private let settings: RunSettings
    private let maxSteps: Int
    private let phases: PhaseLog?
    /// Of a reward model, which is saved as a sequence classifier.
    private let heads: [String]?
    /// Of the plan that the run carries out.
    private let planHash: String?
    private var best: (step: Int, value: Double)?
    /// At the last save of this start.
    private var skippedSteps = 0.0

    /// - Parameter states: Every owner of state but the run's own progress.
    package init(
        folder: RunFolder, model: ModelSource, policy: ReallocatingActor, states: [any Checkpointable],
        progress: ProgressState, settings: RunSettings, maxSteps: Int, heads: [String]? = nil, planHash: String? = nil,
        phases: PhaseLog? = nil
    ) {
        self.phases = phases
        self.heads = heads
        self.planHash = planHash
        self.folder = folder
        self.model = model
        self.policy = policy
        self.states = states
        self.progress = progress
        self.settings = settings
        self.maxSteps = maxSteps
        best = progress.best
    }

    package func save(_ progress: RunProgress, metrics: Metrics) async throws {
        guard let phases else { return try await write(progress, metrics) }
        try await phases.noting(.saving, "checkpoint-\(progress.step)") { try await write(progress, metrics) }
    }

    private func write(_ progress: RunProgress, _ metrics: Metrics) async throws {
        let misspelling = rank(metrics, step: progress.step)
        self.progress.take(progress, best: best)
        _ = try await folder.saveCheckpoint(
            step: progress.step, planHash: planHash, states: states + [self.progress], contents: modelFiles(progress))
        try folder.removeSuperseded()
        // The newest may turn out to be broken at the next step: the one before is kept until the run ends. When a step
        // was skipped since the last save it may be broken already, and older ones too: then all stay until a save
        // without that.
        let skipped = metrics["skipped_steps"]
        if let limit = settings.saveTotalLimit, let skipped, skipped == skippedSteps {
            try folder.prune(keeping: max(limit, 2), best: best?.step)
        }
        skippedSteps = skipped ?? skippedSteps
        if let misspelling { throw misspelling }  // only now: the step is saved
    }

    /// Puts the model at the top of the run folder: the newest, or the best where the job asks for it.
    package func placeFinalModel(_ progress: RunProgress) async throws {
        if settings.placesBest, let best, best.step != progress.step, folder.holdsCheckpoint(of: best.step) {
            let source = folder.url.appending(path: CheckpointFolder.name(step: best.step))
            try await folder.placeFinalModel(step: best.step, planHash: planHash) { url in
                for name in try FileManager.default.contentsOfDirectory(atPath: source.path).sorted()
                where name != "plumbline_state" && name != CheckpointManifest.fileName {
                    try FileManager.default.copyItem(
                        at: source.appending(path: name), to: url.appending(path: name))
                }
            }
            return
        }
        try await folder.placeFinalModel(step: progress.step, planHash: planHash, contents: modelFiles(progress))
        if let limit = settings.saveTotalLimit { try folder.prune(keeping: limit, best: best?.step) }
    }

    /// Writes the model's folder: weights, tokenizer, `trainer_state.json`.
    private func modelFiles(_ progress: RunProgress) -> @Sendable (URL) async throws -> Void {
        let state = JSONValue.object([
            "global_step": .number(progress.step), "num_input_tokens_seen": .number(progress.tokens),
            "max_steps": .number(maxSteps),
            "best_metric": best.map { .number($0.value) } ?? .null,
            "best_global_step": best.map { .number($0.step) } ?? .null,
        ])
        return { [model, policy, heads] url in
            try await Self.writeWeights(of: policy, model, heads, to: url)
            try model.tokenizer.save(to: url)
            try FileOperations.system.replaceFile(
                url.appending(path: "trainer_state.json"), with: Array((state.serialized + "\n").utf8))
        }
    }

    @TensorActor
    private static func writeWeights(
        of policy: ReallocatingActor, _ model: ModelSource, _ heads: [String]?, to url: URL
    ) async throws {
        let generation = try ModelFolder.readGenerationConfiguration(model.folder)
        let configuration = try heads == nil ? model.configuration : model.configuration.withoutHead
        _ = try await policy.infer { lease in
            guard try lease.masters.values.allSatisfy({ try $0.allFinite() }) else {
                throw NotFinite("the policy's weights")
            }
            let parameters = heads == nil ? lease.masters : lease.masters.merging(lease.heads) { $1 }
            if let adapter = configuration.adapterShapes.first {
                return try ModelFolder.saveAdapters(
                    configuration: configuration, parameters: parameters, baseName: model.baseName, to: url,
                    elementType: parameters[adapter.name]?.elementType ?? .float32, labels: heads)
            }
            try await ModelFolder.saveInTurns(
                configuration: configuration, parameters: parameters, to: url,
                elementType: lease.masters.values.first?.elementType ?? .float32, generation: generation,
                labels: heads)
        }
    }

    /// Takes the step for the best one if it is; returns an error when the metric seems to be misspelt. Of an evaluation's
    /// the names are checked where it is made.
    private func rank(_ metrics: Metrics, step: Int) -> JobError? {
        guard let name = settings.bestMetric else { return nil }
        guard let value = metrics[name] else {
            let names = metrics.names.filter { !$0.hasPrefix("eval_") }
            guard best == nil, !names.isEmpty, !name.hasPrefix("eval_") else { return nil }
            // A reward may log a metric of its own, a later step may have what this one lacks: only a misspelling is sure.
            guard !nearestNames(to: name, among: names).isEmpty else { return nil }
            return .noMetric(name, of: "step \(step)", among: metrics.names)
        }
        guard value.isFinite else { return nil }  // nothing would be better than NaN
        let isBetter = best.map { settings.bestIsGreater ? value > $0.value : value < $0.value } ?? true
        if isBetter { best = (step, value) }
        return nil
    }
}

extension JobError {
    /// Checkpoints cannot be ranked by a metric that is not there.
    ///
    /// - Parameters:
    ///   - owner: What should have it: `step 4`.
    ///   - names: Those it has; evaluations' and members of no family (`a/b`) are listed.
    static func noMetric(_ metric: String, of owner: String, among names: [String]) -> JobError {
        let near = nearestNames(to: metric, among: names)
        let hint = near.isEmpty ? "; there are" : "; did you mean \(near.joined(separator: ", "))? There are"
        let listed = names.filter { $0.hasPrefix("eval_") || !$0.contains("/") }.joined(separator: ", ")
        return JobError(
            place: "metric_for_best_model", message: "no metric '\(metric)' in \(owner)\(hint) \(listed)")
    }
}
