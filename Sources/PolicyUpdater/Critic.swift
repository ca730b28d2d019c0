package import Algorithms
package import Models
package import Placement
package import Records
package import Tensors

/// PPO's critic: a transformer with a linear head that says what a completion is still worth before each of its tokens.
///
///     V_t = w · h_t       h_t: the hidden state that predicts token t, after the final norm; w `[1, hidden]`
///
/// The other form is a head on the policy's own trunk, see ``PolicyUpdater``. Here weights, gradients and moments are
/// the critic's own: nothing is shared with the policy, beside which ``PolicyUpdater`` trains it. With w = 0 to start
/// with, values are 0 and the first advantages are those of no critic.
@TensorActor
package final class Critic {
    /// The head's name among the parameters, as transformers' sequence classifiers have it.
    package static let headName = ValueHead.name

    package let owner: ReallocatingActor
    /// Its state is part of what a checkpoint holds.
    package let optimizer: Optimizer
    private let configuration: ModelConfiguration
    private let settings: UpdaterSettings
    private let objective: PPOSettings
    private let ranks: ProcessGroup?

    /// - Parameters:
    ///   - trunk: A language model's parameters by name, not shared with anyone; its own head is never read.
    ///   - head: w `[1, hidden]` to start from; zeros unless given.
    ///   - settings: The critic's own optimizer and schedule; its micro-batches are the policy's.
    ///   - verification: As ``ReallocatingActor``'s.
    ///   - ranks: As ``PolicyUpdater``'s.
    /// - Throws: The engine's refusal when the moments do not fit in memory.
    package init(
        trunk: Transformer, head: Tensor? = nil, objective: PPOSettings, settings: UpdaterSettings,
        layout: ParameterLayout = .shared, verification: WeightVerification = .never,
        residency: Residency = .release, ranks: ProcessGroup? = nil
    ) throws {
        self.ranks = ranks
        configuration = trunk.configuration
        self.objective = objective
        self.settings = settings
        var parameters = trunk.parametersByName
        parameters[Self.headName] =
            try head ?? Tensor.zeros([1, trunk.configuration.hiddenSize], trunk.elementType, device: trunk.device)
        // The head is read in the type of the trunk, as every other parameter of the critic.
        owner = try ReallocatingActor(
            role: "critic", parameters: ParameterSet(trainable: parameters), layout: layout, verification: verification,
            residency: residency)
        optimizer = try Optimizer(
            of: owner, settings: settings.optimizer, ranks: ranks, spillingTo: settings.stateFolder)
    }

    /// What the completions are still worth before each of their tokens and behind the last, masked completions
    /// included.
    package func values(_ batch: UpdateBatch) async throws -> CriticValues {
        let batch = batch.unmasked
        try batch.check(requiring: [], vocabularySize: configuration.vocabularySize)
        return try await owner.infer { lease in
            let (model, head) = try parts(lease.parameters)
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
        let (model, head) = try parts(parameters.computed())
        var loss = 0.0
        var noted = LossMetrics()
        for pieces in plan.microBatches(of: ranks?.rank ?? 0) {
            try stop?.check()
            let pass = try backward(PackedMicroBatch(pieces, of: batch), model, head, denominators)
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

    private func parts(_ parameters: [String: Tensor]) throws -> (model: Transformer, head: Tensor) {
        var trunk = parameters
        guard let head = trunk.removeValue(forKey: Self.headName) else {
            throw PlacementError.unknownParameter(role: "critic", name: Self.headName)
        }
        return (try Transformer(configuration: configuration, parameters: trunk), head)
    }

    /// At packed indices, `[indices]`.
    private func values(
        _ packed: PackedMicroBatch, _ model: Transformer, _ head: Tensor, at indices: [Int]
    ) throws -> Tensor {
        let hidden = try model.hiddenStates(
            tokens: Tensor(packed.tokens, device: model.device), layout: packed.layout,
            checkpointsBlocks: settings.checkpointsBlocks)
        return try ValueHead.values(hidden.rows(at: indices), head)
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
