internal import Algorithms
internal import Coordinator
internal import Credit
internal import Foundation
internal import Methods
internal import Models
internal import Placement
internal import PolicyUpdater
internal import PromptSets
internal import Records
internal import RewardInterface
internal import RolloutEngine
internal import Runs
internal import Tensors

/// The concrete parts of a training run.
struct TrainingParts: Sendable {
    let plan: MethodPlan
    let model: ModelSource
    let feed: PromptFeed
    let policy: ReallocatingActor
    /// Every owner of weights, the policy first.
    let roles: [ReallocatingActor]
    /// See ``PolicyStart/cutWholes``.
    private let cutWholes: WeightFingerprint?
    let updater: PolicyUpdater
    let generator: EngineGenerator?
    let scorer: PanelScorer?
    let demonstrations: (any DemonstrationSource)?
    let rethinking: Rethinker?
    let controllers: RewardControllers
    /// `nil` where no batch is sampled ahead.
    let ahead: RolloutsAhead?
    let replay: ReplayBuffer?
    let weighing: (any PartWeighing & Checkpointable)?
    /// Every owner of state but the run's own progress.
    let states: [any Checkpointable]
    /// Notes the phases of all roles.
    let phases: PhaseLog
    /// Has the weights of the reference that pairs are compared with, until the first step of this start: the base of the
    /// adapters that are trained, or the policy itself where the run begins, for it begins as its reference. `nil` where
    /// nobody has them in memory: of a run without adapters that goes on, or whose passes read narrower copies.
    let startingReference: ReallocatingActor?

    /// - Parameters:
    ///   - scorer: The open rewards; `nil` for a method without any.
    ///   - weights: The folder the policy's weights come from: the model's, or a checkpoint's.
    ///   - team: The run's other processes.
    init(
        _ job: ResolvedJob, model: ModelSource, prompts: RunPrompts, scorer: PanelScorer?, weights: URL, maxSteps: Int,
        team: RankTeam? = nil
    ) async throws {
        let named = try scorer.map { scorer throws in try job.naming(rewards: scorer.rewardNames) } ?? job
        plan = named.plan
        self.model = model
        self.scorer = scorer
        let seed = UInt64(job.model.seed)
        let cursor = PromptCursor(prompts.rows, seed: seed, shuffles: job.data.shuffles)
        let precomputes = plan.pairs?.precomputesReference ?? false
        let pairs = prompts.pairs.map { PairFeed($0, precomputesReference: precomputes) }
        feed = PromptFeed(cursor, encoder: prompts.encoder, pairs: pairs)
        let built = try await Self.tensorParts(named, model, weights: weights, maxSteps: maxSteps, team)
        (policy, roles, cutWholes) = (built.policy, built.roles, built.cutWholes)
        updater = built.updater
        generator = built.generator
        startingReference = built.startingReference
        phases = PhaseLog(isKept: job.run.timelineSteps > 0)
        await phases.follow(built.roles)
        scorer?.follow(in: phases)
        demonstrations =
            built.teacherGenerator.map { TeacherFeed(generator: $0, generations: job.batches.generations) }
            ?? prompts.demonstrations
        let utility = prompts.heldOut.map { held in
            HeldOutUtility(
                held, encoder: prompts.encoder, generator: built.heldOutGenerator, scorer: scorer,
                updater: built.updater, seed: seed)
        }
        rethinking = try plan.rethinking.flatMap { settings in
            guard let generator = built.rethinkingGenerator, let scorer else { return nil }
            return try Rethinker(
                settings, generator: generator, score: { try await scorer.scoreUnremarked($0) },
                tokenizer: model.tokenizer, rewardNames: scorer.rewardNames,
                maxCompletionLength: job.sampling.maxCompletionLength,
                contextLength: model.configuration.contextLength, seed: seed)
        }
        let constrained =
            plan.controllers.flatMap { controller -> [Constraint] in
                if let search = controller as? ThresholdSearch { return search.constraints }
                return (controller as? LagrangianConstraints)?.constraints ?? []
            } + ((plan.credit as? PairsOfGroups)?.limits ?? [])
        var costs = Set(constrained.filter { $0.kind != .atLeast }.map(\.reward))
        if let rewards = plan.credit?.rewards {
            for (name, weight) in zip(rewards.names, rewards.weights) where weight < 0 { costs.insert(name) }
        }
        scorer?.keepScores(of: costs)
        let fitted = plan.controllers.compactMap { $0 as? MomentConstraints }.flatMap(\.moments)
        let held = constrained.map(\.reward) + fitted.map(\.reward)
        let watch = plan.credit.map { [RewardWatch($0.rewards, constrained: held)] } ?? []
        let guards = job.run.guards.isEmpty ? [] : [EvaluationGuard(job.run.guards)]
        controllers = RewardControllers(plan.controllers + watch + guards)
        ahead = job.staleness.maxSteps > 0 ? RolloutsAhead() : nil
        replay = plan.replay.map {
            ReplayBuffer(capacity: $0.capacity, maxAge: $0.maxAge, alpha: $0.alpha, seed: seed)
        }
        switch plan.weighing {
        case .imitationBalance(let balance): weighing = ImitationBalanceWeighing(balance.controller, utility)
        case .thinkingBalance(let balance): weighing = try await Self.weighing(balance, named, pairs, model, built)
        case nil: weighing = nil
        }
        let critic = built.critic.map { [$0] } ?? []
        states =
            [cursor, built.updater] + [replay].compactMap { $0 } + [weighing].compactMap { $0 } + critic
            + [prompts.demonstrations?.cursor, utility?.cursor].compactMap { $0 }
            + (controllers.bank.isEmpty ? [] : [controllers]) + [ahead].compactMap { $0 }
    }

    /// Of the weights of every role that this rank has.
    @TensorActor
    func fingerprints() throws -> [String: WeightFingerprint] {
        var found: [String: WeightFingerprint] = [:]
        for role in roles { found[role.role] = try role.fingerprintOfWholes(role === policy ? cutWholes : nil) }
        return found
    }

    @TensorActor
    private static func weighing(
        _ balance: ThinkingBalancePlan, _ job: ResolvedJob, _ pairs: PairFeed?, _ model: ModelSource,
        _ built: TensorParts
    ) throws -> ThinkingBalanceWeighing {
        var calibrator: ThinkingBalanceCalibrator?
        if let calibration = balance.calibration, let thinking = job.plan.pairs?.thinking, let pairs {
            calibrator = try ThinkingBalanceCalibrator(
                balance, calibration, thinking, pairs, model, policy: built.policy, updater: built.updater,
                seed: job.model.seed, limits: BatchLimits(job))
        }
        return ThinkingBalanceWeighing(balance, calibrator)
    }

    private struct TensorParts: Sendable {
        let policy: ReallocatingActor
        let updater: PolicyUpdater
        let critic: Critic?
        let startingReference: ReallocatingActor?
        let roles: [ReallocatingActor]
        let cutWholes: WeightFingerprint?
        let generator: EngineGenerator?
        /// Of completions that go on: as many as there are on every rank, each for itself.
        let rethinkingGenerator: EngineGenerator?
        /// Of held-out completions: their draws are no draws of training.
        let heldOutGenerator: EngineGenerator?
        /// Of completions that the teacher writes.
        let teacherGenerator: EngineGenerator?
    }

    @TensorActor
    private static func tensorParts(
        _ job: ResolvedJob, _ model: ModelSource, weights: URL, maxSteps: Int, _ team: RankTeam?
    ) throws -> TensorParts {
        let (plan, type) = (job.plan, job.model.dtype)
        let onlySamples = team?.side == .sampling
        let ranks = onlySamples ? nil : team?.peers as? ProcessGroup
        let sharing = (team?.isSplit == true ? team?.ranks as? ProcessGroup : nil).map {
            WeightSharing(over: $0, receives: onlySamples)
        }
        let layers = team?.tensorPeers as? ProcessGroup
        let trained = Set(model.trainedNames)
        let gathering = try layers.map {
            try ParameterReallocation(of: model.configuration, training: trained, from: $0, to: nil, over: $0)
        }
        let reallocating = team?.reallocatingPeers as? ProcessGroup
        let reallocation = try reallocating.map {
            try ParameterReallocation(
                of: model.configuration, training: trained, from: layers, to: team?.decodingPeers as? ProcessGroup,
                over: $0)
        }
        let criticHeads = plan.critic?.form == .sharedTrunk ? plan.critic?.heads : nil
        let start = try PolicyStart(
            model, weights: weights, heads: plan.heads, criticHeads: criticHeads, type, seed: UInt64(job.model.seed),
            shards: gathering?.source)
        if let problem = job.optimizer.rule.problem(training: start.parameters.trained.mapValues(\.shape)) {
            throw JobError(place: "low_rank.rank", message: problem)
        }
        let packing = start.configuration.packing(plan.recipe.generates ? job.model.generationLayout : .shared)
        let policy = try ReallocatingActor(
            role: "actor", parameters: start.parameters, layout: type.layout, packing: packing,
            verification: job.model.verification, residency: job.model.residency, gathering: gathering,
            sampling: reallocation)
        let teacher = try plan.reference?.model.map { try TeacherSource($0, of: model) }
        func referenceRole(_ weights: FrozenWeights) throws -> ReallocatingActor {
            try ReallocatingActor(
                role: "reference", parameters: weights.parameters, verification: job.model.verification,
                residency: job.model.residency, files: weights.files)
        }
        let reference = try (onlySamples ? nil : plan.reference).map { plan in
            try referenceRole(
                teacher.map { try $0.model.loadFrozen(type) } ?? start.reference(moves: plan.sync != nil))
        }
        let precomputes = plan.pairs?.precomputesReference ?? false
        let sharedReference =
            try precomputes && model.isAdapted ? referenceRole(start.reference(moves: false)) : nil
        // A policy of a checkpoint is no reference any more; parts of one are brought together by all ranks at a time.
        let isReference = weights == model.folder && type.layout == .shared && gathering == nil
        let settings = try UpdaterSettings(job, maxSteps: maxSteps)
        let critic = try (onlySamples ? nil : plan.critic).flatMap {
            try Self.critic($0, job, model, base: start.parameters.frozen, settings, maxSteps: maxSteps, ranks)
        }
        let updater = try PolicyUpdater(
            policy: policy, configuration: start.configuration, reference: reference,
            referenceConfiguration: teacher?.model.configuration, critic: critic, parts: plan.parts,
            bringsReference: precomputes, settings: settings, ranks: ranks,
            replicas: team?.replicas as? ProcessGroup, sharing: sharing)
        func generator(
            seed: Int, of role: ReallocatingActor? = nil, _ source: ModelSource? = nil, together: Bool = false
        ) throws -> EngineGenerator {
            try EngineGenerator(
                policy: role ?? policy, model: source ?? model, sampling: job.sampling, softThinking: plan.softThinking,
                seed: seed, limits: BatchLimits(job), together: together)
        }
        let ownGenerator =
            plan.recipe.generates ? try generator(seed: job.model.seed, together: reallocation != nil) : nil
        if job.forwardCacheBytes > 0, team == nil {
            let cache = ForwardCache(
                start.configuration, limit: job.forwardCacheBytes, type: type.elementType, device: job.model.device)
            ownGenerator?.keepProducts(in: cache)
            updater.forwardCache = cache
        }
        return TensorParts(
            policy: policy, updater: updater, critic: critic,
            startingReference: precomputes ? sharedReference ?? (isReference ? policy : nil) : nil,
            roles: [policy, critic?.owner, reference, sharedReference].compactMap(\.self), cutWholes: start.cutWholes,
            generator: ownGenerator,
            rethinkingGenerator: plan.rethinking == nil ? nil : try generator(seed: job.model.seed),
            heldOutGenerator: plan.weighing?.utility?.utility == .reward
                ? try generator(seed: Int(truncatingIfNeeded: mix64(UInt64(job.model.seed) ^ 0x4E1D))) : nil,
            teacherGenerator: plan.teacherWrites
                ? try generator(
                    seed: Int(truncatingIfNeeded: mix64(UInt64(job.model.seed) ^ 0x7EAC)), of: reference,
                    teacher?.model) : nil)
    }

    /// A critic of its own weights, as new; a checkpoint's are restored into it. `nil` for one on the policy's trunk.
    ///
    /// - Parameter base: The policy's parameters that nobody writes.
    @TensorActor
    private static func critic(
        _ plan: CriticPlan, _ job: ResolvedJob, _ model: ModelSource, base: [String: Tensor],
        _ settings: UpdaterSettings, maxSteps: Int, _ ranks: ProcessGroup?
    ) throws -> Critic? {
        guard case .separate(let name, let learningRate) = plan.form else { return nil }
        let seed = mix64(UInt64(job.model.seed) ^ 0xC417)  // its adapters are not the policy's, nor what they drop
        let start = try CriticStart(name, of: model, heads: plan.heads, job.model.dtype, base: base, seed: seed)
        return try Critic(
            trunk: start.trunk, training: start.trainedNames, head: start.head, objective: plan.settings,
            settings: UpdaterSettings(
                optimizer: job.optimizer.with(learningRate: learningRate, totalSteps: maxSteps),
                maxCompletionLength: settings.maxCompletionLength,
                maxTokensPerMicroBatch: settings.maxTokensPerMicroBatch, checkpointsBlocks: settings.checkpointsBlocks,
                dropoutSeed: seed, stateFolder: settings.stateFolder),
            layout: job.model.dtype.layout, verification: job.model.verification,
            residency: job.model.residency, ranks: ranks)
    }
}

extension UpdaterSettings {
    /// - Parameter maxSteps: Optimizer steps of the run.
    init(_ job: ResolvedJob, maxSteps: Int) throws {
        self.init(
            optimizer: try job.optimizer.with(totalSteps: maxSteps),
            maxCompletionLength: job.sampling.maxCompletionLength, maxTokensPerMicroBatch: job.maxTokensPerMicroBatch,
            checkpointsBlocks: job.checkpointsBlocks, referenceSync: job.plan.reference?.sync,
            partGradientSteps: job.partGradientSteps, dropoutSeed: UInt64(job.model.seed),
            stateFolder: job.optimizerOffload.folder, scratchFolder: URL(filePath: job.run.outputDirectory))
    }
}

extension JobElementType {
    /// Masters in one type are read as they are, else through copies.
    var layout: ParameterLayout { masterType == elementType ? .shared : .copies(elementType) }
}

extension PolicyUpdater: Updating {}
