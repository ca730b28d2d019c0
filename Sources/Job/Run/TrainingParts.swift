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
    let controllers: RewardControllers
    let replay: ReplayBuffer?
    /// Every owner of state but the run's own progress.
    let states: [any Checkpointable]

    /// - Parameters:
    ///   - scorer: The open rewards; `nil` for a method without any.
    ///   - weights: The folder the policy's weights come from: the model's, or a checkpoint's.
    init(
        _ job: ResolvedJob, model: ModelSource, prompts: RunPrompts, scorer: PanelScorer?, weights: URL, maxSteps: Int
    ) async throws {
        let settings = job.settings
        self.model = model
        self.scorer = scorer
        let cursor = PromptCursor(
            prompts.rows, seed: UInt64(settings.seed), shuffles: settings.shufflesDataset)
        feed = PromptFeed(cursor, encoder: prompts.encoder)
        let method = MethodAssembly(settings: settings)
        creditRule = try scorer.map { try method.creditRule(rewardNames: $0.rewardNames) }
        let built = try await Self.tensorParts(job, method, model, weights: weights, maxSteps: maxSteps)
        policy = built.policy
        updater = built.updater
        generator = built.generator
        controllers = RewardControllers(try [method.klController()].compactMap { $0 })
        replay =
            settings.replayCapacity > 0
            ? ReplayBuffer(
                capacity: settings.replayCapacity, maxAge: settings.replayMaxAge, alpha: settings.replayAlpha,
                seed: UInt64(settings.seed)) : nil
        let critic = built.updater.critic.map { [$0] } ?? []
        states =
            [cursor, built.updater.updater] + [replay].compactMap { $0 } + critic
            + (controllers.bank.controllers.isEmpty ? [] : [controllers])
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
        let type = settings.dtype
        let loaded = try ModelFolder.load(weights, elementType: type.masterType)
        let policy = try ReallocatingActor(
            role: "actor", parameters: loaded.parametersByName, layout: type.layout)
        let updater = try PolicyUpdater(
            policy: policy, configuration: model.configuration,
            reference: settings.usesReference ? model.load(type) : nil,
            objective: method.objective(), settings: method.updaterSettings(maxSteps: maxSteps),
            valueHead: settings.algorithm == .ppo && settings.criticSharesTrunk
                ? Tensor.zeros([1, model.configuration.hiddenSize], type.masterType, device: loaded.device) : nil)
        let generator =
            job.recipe.generates
            ? try EngineGenerator(
                policy: policy, model: model, sampling: SamplingRequest(settings),
                rows: settings.maxConcurrentCompletions ?? min(job.batches.completionsPerRolloutStep * 2, 256)) : nil
        let critic =
            try settings.algorithm == .ppo && !settings.criticSharesTrunk
            ? Self.critic(job, method, model, maxSteps: maxSteps) : nil
        return TensorParts(policy: policy, updater: UpdaterSeam(updater: updater, critic: critic), generator: generator)
    }

    /// A critic of its own weights, as new; a checkpoint's are restored into it.
    @TensorActor
    private static func critic(
        _ job: ResolvedJob, _ method: MethodAssembly, _ model: ModelSource, maxSteps: Int
    ) throws -> Critic {
        let settings = job.settings
        let folder = try settings.criticPath.map { try ModelSource($0).folder } ?? model.folder
        let trunk = try ModelFolder.load(folder, elementType: settings.dtype.masterType)
        guard trunk.configuration.vocabularySize == model.configuration.vocabularySize else {
            throw JobError(
                place: "critic_model_name_or_path",
                message: "its embedding has \(trunk.configuration.vocabularySize) rows, the policy's "
                    + "\(model.configuration.vocabularySize); a critic reads the policy's token ids")
        }
        return try Critic(
            trunk: trunk, objective: method.ppo(), settings: method.criticSettings(maxSteps: maxSteps),
            layout: settings.dtype.layout)
    }
}

extension JobElementType {
    /// Masters in one type are read as they are, else through copies.
    var layout: ParameterLayout { masterType == elementType ? .shared : .copies(elementType) }
}

/// The updater behind the Coordinator's seam, and the critic where the method has one of its own weights.
struct UpdaterSeam: Updating {
    let updater: PolicyUpdater
    let critic: Critic?

    func logProbabilities(
        _ batch: UpdateBatch, under role: InferenceRole
    ) async throws -> CompletionLogProbabilities {
        try await updater.logProbabilities(batch, under: role)
    }

    func values(_ batch: UpdateBatch) async throws -> CriticValues {
        if let critic { return try await critic.values(batch) }
        return try await updater.values(batch)
    }

    /// Only the policy's part can be stopped: once it has moved, the critic follows.
    func train(_ batch: UpdateBatch, stop: StopSignal?) async throws -> Metrics {
        var metrics = try await updater.train(batch, stop: stop)
        if let critic { metrics.merge(try await critic.train(batch)) }
        return metrics
    }
}
