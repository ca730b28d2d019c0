internal import Algorithms
internal import Models
internal import Tensors

/// Log-probs and entropies of a micro-batch's generated tokens under a model, at the sampling temperature.
struct TokenScorer {
    let temperature: Double
    let checkpointsBlocks: Bool
    /// How soft tokens were made; `nil` for a method without them.
    let soft: SofTGRPOSettings?

    /// - Returns: `[generated tokens]` each, in nats; log-probs with a gradient when the model's parameters have one. At soft tokens the
    ///   log-prob is 0 and the entropy the sampler's, and `soft` has their parameters.
    func scores(_ packed: PackedMicroBatch, under model: Transformer) throws -> PackedScores {
        guard let softTokens = packed.softTokens, let soft, let density = soft.noise.density else {
            let hidden = try states(packed, model)
            return PackedScores(states: hidden, tokens: try wordScores(packed, hidden, model), soft: nil)
        }
        let hidden = try states(packed, model, replacing: softTokens, soft)
        let parameters = try softParameters(softTokens, hidden.rows(at: softTokens.positions), model, soft)
        let filled = try softTokens.filled(like: parameters)
        guard let values = try softTokens.tensor(\.values, like: parameters) else {
            preconditionFailure("a record has a value for every component")
        }
        let logDensities = try Tensor.withoutGradients {
            try density.logDensity(values, parameters, filled: filled).doubles()
        }
        return PackedScores(
            states: hidden, tokens: try ordinaryScores(packed, softTokens, hidden, model),
            soft: SoftScores(values: values, filled: filled, parameters: parameters, logDensities: logDensities))
    }

    /// The states at packed indices; those that predict the generated tokens unless given.
    func states(_ packed: PackedMicroBatch, _ model: Transformer, at places: [Int]? = nil) throws -> Tensor {
        try model.hiddenStates(
            tokens: Tensor(packed.tokens, device: model.device), layout: packed.layout,
            checkpointsBlocks: checkpointsBlocks
        ).rows(at: places ?? packed.layout.predictionIndices)
    }

    private func wordScores(_ packed: PackedMicroBatch, _ hidden: Tensor, _ model: Transformer) throws
        -> PackedTokenScores
    {
        let scores = try Tensor.tokenScores(
            hidden: hidden, head: model.head, targets: Tensor(packed.targets, device: model.device),
            temperature: temperature)
        return PackedTokenScores(logProbabilities: scores.logProbabilities, entropies: scores.entropies)
    }

    // MARK: Soft tokens

    private func states(
        _ packed: PackedMicroBatch, _ model: Transformer, replacing softTokens: PackedSoftTokens,
        _ soft: SofTGRPOSettings
    ) throws -> Tensor {
        let embeddings = try model.embeddings(
            tokens: packed.tokens,
            replacing: softTokens.positions.map { packed.layout.completionTokenIndices[$0] },
            with: softTokens.inputs(of: model, soft.noise))
        return try model.hiddenStates(
            embeddings: soft.detachesInputs ? embeddings.detached() : embeddings, layout: packed.layout,
            checkpointsBlocks: checkpointsBlocks
        ).rows(at: packed.layout.predictionIndices)
    }

    /// What each soft token's density is made of, under the model. Only the supports' words are scored, not the vocabulary.
    private func softParameters(
        _ softTokens: PackedSoftTokens, _ hidden: Tensor, _ model: Transformer, _ soft: SofTGRPOSettings
    ) throws -> Tensor {
        let ids = try softTokens.ids(on: model.device)
        let isFilled = try softTokens.isFilled(on: model.device)
        let logits = try Tensor.supportLogits(hidden: hidden, head: model.head, support: ids) / soft.temperature
        let logProbabilities = try SoftSupport.logProbabilities(logits, isFilled: isFilled)
        guard soft.noise.perturbsEmbedding else { return logProbabilities }
        let weights = try logProbabilities.exp().filled(where: isFilled.logicalNot(), with: 0)
        return try model.mixtures(ids: ids, weights: weights.to(model.elementType)).to(logits.elementType)
    }

    private func ordinaryScores(
        _ packed: PackedMicroBatch, _ softTokens: PackedSoftTokens, _ hidden: Tensor, _ model: Transformer
    ) throws -> PackedTokenScores {
        let type: ElementType = hidden.elementType == .float64 ? .float64 : .float32
        let nothing = try Tensor.zeros([packed.targets.count], type, device: model.device)
        let entropies = try nothing.indexAdded(
            axis: 0, index: Tensor(softTokens.positions, device: model.device),
            source: Tensor(softTokens.entropies.map(Double.init)).to(type).to(model.device))
        guard !softTokens.ordinary.isEmpty else {
            return PackedTokenScores(logProbabilities: nothing, entropies: entropies)
        }
        let places = try Tensor(softTokens.ordinary, device: model.device)
        let scores = try Tensor.tokenScores(
            hidden: hidden.rows(at: places), head: model.head,
            targets: Tensor(softTokens.ordinary.map { packed.targets[$0] }, device: model.device),
            temperature: temperature)
        return PackedTokenScores(
            logProbabilities: try nothing.indexAdded(axis: 0, index: places, source: scores.logProbabilities),
            entropies: try entropies.indexAdded(axis: 0, index: places, source: scores.entropies))
    }
}

/// What a pass says of each of its generated tokens, `[generated tokens]` each.
struct PackedTokenScores {
    let logProbabilities: Tensor
    let entropies: Tensor
}

/// What a pass says of its soft tokens; tensors are `[soft tokens, components]`.
struct SoftScores {
    let values: Tensor
    let filled: Tensor
    /// Under the scored model, with a gradient when its parameters have one.
    let parameters: Tensor
    /// Log-density of each soft token, in nats.
    let logDensities: [Double]
}

/// The scores of a pass.
struct PackedScores {
    /// The states that the generated tokens were predicted from, `[generated tokens, hidden]`.
    let states: Tensor
    let tokens: PackedTokenScores
    let soft: SoftScores?

    /// Each token's log-prob, or log-density where it is soft.
    func logProbabilities(_ packed: PackedMicroBatch) throws -> [Double] {
        var values = try tokens.logProbabilities.doubles()
        for (position, value) in zip(packed.softTokens?.positions ?? [], soft?.logDensities ?? []) {
            values[position] = value
        }
        return values
    }
}
