package import Algorithms
package import Models
package import Placement
package import Records
package import Tensors

/// PPO's critic: a transformer with a linear head that says what a completion is still worth before each of its tokens.
///
///     V_t = w · h_t       h_t: the hidden state that predicts token t, after the final norm; w `[1, hidden]`
///
/// The other form is a head on the policy's own trunk, see ``PolicyUpdater``. Here what is trained is the critic's own,
/// with its gradients and moments: the head and the trunk, whole or in part, or adapters over a base that may be the
/// policy's, too. With w = 0 to start with, values are 0 and the first advantages are those of no critic.
@TensorActor
package final class Critic {
    /// The head's name among the parameters, as transformers' sequence classifiers have it.
    package static let headName = ValueHead.name

    package let owner: ReallocatingActor
    /// Its state is part of what a checkpoint holds.
    package let optimizer: Optimizer
    let configuration: ModelConfiguration
    private let settings: UpdaterSettings
    private let objective: PPOSettings
    private let ranks: ProcessGroup?

    /// - Parameters:
    ///   - trunk: A language model, whose own head is never read. Its parameters are not shared with anyone; of one with
    ///     adapters only these are trained, and the others may be another role's frozen ones.
    ///   - trainedNames: Which parameters of a trunk without adapters are trained; all for `nil`.
    ///   - head: w `[streams, hidden]` to start from, in the type that is trained; one stream of zeros unless given.
    ///   - settings: The critic's own optimizer and schedule; its micro-batches are the policy's.
    ///   - verification: As ``ReallocatingActor``'s.
    ///   - ranks: As ``PolicyUpdater``'s.
    /// - Throws: The engine's refusal when the moments do not fit in memory.
    package init(
        trunk: Transformer, training trainedNames: Set<String>? = nil, head: Tensor? = nil, objective: PPOSettings,
        settings: UpdaterSettings,
        layout: ParameterLayout = .shared, verification: WeightVerification = .never,
        residency: Residency = .release, ranks: ProcessGroup? = nil
    ) throws {
        self.ranks = ranks
        configuration = trunk.configuration
        self.objective = objective
        self.settings = settings
        let adapters = Set(trunk.configuration.adapterShapes.map(\.name))
        let parameters = trunk.parametersByName
        let trained = parameters.filter {
            adapters.isEmpty ? trainedNames?.contains($0.key) ?? true : adapters.contains($0.key)
        }
        let type = trained.values.first?.elementType ?? trunk.elementType
        let head = try head ?? Tensor.zeros([1, trunk.configuration.hiddenSize], type, device: trunk.device)
        owner = try ReallocatingActor(
            role: "critic",
            parameters: ParameterSet(
                trainable: trained, frozen: parameters.filter { trained[$0.key] == nil },
                heads: [Self.headName: head], adapters: trunk.configuration.lowRankUpdates),
            layout: layout, verification: verification, residency: residency)
        optimizer = try Optimizer(
            of: owner, settings: settings.optimizer, ranks: ranks, spillingTo: settings.stateFolder)
    }

    /// What the completions are still worth before each of their tokens and behind the last, masked completions
    /// included.
    package func values(_ batch: UpdateBatch) async throws -> CriticValues {
        let batch = batch.unmasked
        try batch.check(requiring: [], vocabularySize: configuration.vocabularySize)
        return try await owner.infer { lease in
            let (model, head) = try parts(lease.parameters, lease.heads)
            return try ValueHead.values(of: batch, maxTokens: settings.maxTokensPerMicroBatch, ranks) {
                packed, indices in
                try values(packed, model, head, at: indices)
            }
        }.value
    }

    /// Checks that the batch's rollouts can be learned from.
    ///
    /// - Throws: ``UpdateError`` for a batch without returns or old values.
    func check(_ batch: UpdateBatch) throws(UpdateError) {
        try batch.rollouts.check(requiring: [.returns], vocabularySize: configuration.vocabularySize)
    }

    /// The step towards the returns of the batch's rollouts.
    ///
    /// - Parameters:
    ///   - batch: One that passed ``check(_:)``.
    ///   - parameters: The critic's, which have no gradient yet.
    ///   - stop: Polled between micro-batches.
    /// - Returns: the step with `value_loss` and `value_clip_ratio`.
    func proposed(
        _ batch: UpdateBatch, at parameters: TrainableParameters, _ stop: StopSignal?
    ) throws -> (step: ProposedStep, metrics: Metrics) {
        let batch = batch.rollouts
        let plan = MicroBatchPlan(batch, maxTokens: settings.maxTokensPerMicroBatch, ranks: ranks?.size ?? 1)
        let denominators = Denominators(batch, maxCompletionLength: settings.maxCompletionLength)
        let (model, head) = try parts(parameters.computed(), parameters.heads)
        let dropout = StepDropout(configuration.adapters, seed: settings.dropoutSeed, of: optimizer)
        var loss = 0.0
        var noted = LossMetrics()
        for pieces in plan.microBatches(of: ranks?.rank ?? 0) {
            try stop?.check()
            let pass = try backward(
                PackedMicroBatch(pieces, of: batch).dropping(dropout), model, head, denominators)
            loss += pass.loss
            noted.combine(pass.metrics)
        }
        (loss, noted) = try ranks.combined(loss, noted)
        try stop?.check()
        let step = try ProposedStep(
            StepGradients(of: parameters.leaves, over: ranks), loss: loss, isEmpty: plan.microBatches.isEmpty,
            of: parameters,
            by: optimizer)
        return (step, noted.metrics)
    }

    private func parts(
        _ parameters: [String: Tensor], _ heads: [String: Tensor]
    ) throws -> (model: Transformer, head: Tensor) {
        (try Transformer(configuration: configuration, parameters: parameters), heads[Self.headName]!)
    }

    /// At packed indices, `[indices]`.
    private func values(
        _ packed: PackedMicroBatch, _ model: Transformer, _ head: Tensor, at indices: [Int]
    ) throws -> Tensor {
        let hidden = try model.hiddenStates(
            tokens: Tensor(packed.tokens, device: model.device), layout: packed.layout,
            at: indices, checkpointsBlocks: settings.checkpointsBlocks, dropout: packed.dropout)
        return try ValueHead.values(hidden, head)
    }

    private func backward(
        _ packed: PackedMicroBatch, _ model: Transformer, _ head: Tensor, _ denominators: Denominators
    ) throws -> (loss: Double, metrics: LossMetrics) {
        let result = try packed.valueLoss(
            values(packed, model, head, at: packed.predictionIndices), denominators, objective)
        try result.loss.backward()
        return try result.read()
    }
}

extension UpdateBatch {
    /// What a critic learns from: the policy's own completions.
    fileprivate var rollouts: UpdateBatch { UpdateBatch(parts: parts.filter { $0.kind == .rollouts }) }
}
