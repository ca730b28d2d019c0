internal import Algorithms
internal import Coordinator
internal import Credit
internal import Foundation
internal import Models
internal import Placement
internal import PolicyUpdater
internal import PromptSets
internal import Records
internal import RewardInterface
internal import Runs
internal import Tensors

/// The concrete parts of a training run.
struct TrainingParts: Sendable {
    let model: ModelSource
    let feed: PromptFeed
    let policy: ReallocatingActor
    let updater: UpdaterSeam
    let generator: EngineGenerator?
    let scorer: PanelScorer?
    let creditRule: (any CreditRule)?
    /// Every owner of state but the run's own progress.
    let states: [any Checkpointable]

    /// - Parameter weights: The folder the policy's weights come from: the model's, or a checkpoint's.
    init(
        _ job: ResolvedJob, model: ModelSource, prompts: RunPrompts, weights: URL, maxSteps: Int, base: URL
    ) async throws {
        let settings = job.settings
        self.model = model
        let cursor = PromptCursor(
            prompts.rows, seed: UInt64(settings.seed), shuffles: settings.shufflesDataset)
        feed = PromptFeed(cursor, encoder: prompts.encoder)
        let method = MethodAssembly(settings: settings)
        if job.recipe.generates {
            let panel = try await RewardAssembly(folder: base, timeoutSeconds: settings.rewardTimeoutSeconds)
                .panel(settings.rewards, errorRate: settings.rewardErrorBudget)
            scorer = PanelScorer(panel)
            creditRule = try method.creditRule(rewardNames: panel.names)
        } else {
            scorer = nil
            creditRule = nil
        }
        let built = try await Self.tensorParts(job, method, model, weights: weights, maxSteps: maxSteps)
        policy = built.policy
        updater = built.updater
        generator = built.generator
        states = [cursor, built.updater.updater]
    }

    private struct TensorParts: Sendable {
        let policy: ReallocatingActor
        let updater: UpdaterSeam
        let generator: EngineGenerator?
    }

    @TensorActor
    private static func tensorParts(
        _ job: ResolvedJob, _ method: MethodAssembly, _ model: ModelSource, weights: URL, maxSteps: Int
    ) throws -> TensorParts {
        let settings = job.settings
        let type = settings.dtype.elementType
        let policy = try ReallocatingActor(
            role: "actor", parameters: ModelFolder.load(weights, elementType: type).parametersByName)
        let needsReference = job.recipe.calls.contains(.infer(.reference))
        let updater = try PolicyUpdater(
            policy: policy, configuration: model.configuration,
            reference: needsReference ? model.load(settings.dtype) : nil,
            objective: method.objective(), settings: method.updaterSettings(maxSteps: maxSteps))
        let generator =
            job.recipe.generates
            ? try EngineGenerator(
                policy: policy, model: model, sampling: SamplingRequest(settings),
                rows: settings.maxConcurrentCompletions ?? min(job.batches.completionsPerRolloutStep * 2, 256)) : nil
        return TensorParts(policy: policy, updater: UpdaterSeam(updater: updater), generator: generator)
    }
}

/// The updater behind the Coordinator's seam.
struct UpdaterSeam: Updating {
    let updater: PolicyUpdater

    func logProbabilities(_ batch: UpdateBatch, under role: ScoringRole) async throws -> [[[Float]]] {
        try await updater.logProbabilities(batch, under: role)
    }

    func scores(_ batch: UpdateBatch, under role: ScoringRole) async throws -> CompletionScores {
        try await updater.scores(batch, under: role)
    }

    func train(_ batch: UpdateBatch, stop: StopSignal?) async throws -> Metrics {
        try await updater.train(batch, stop: stop)
    }
}
