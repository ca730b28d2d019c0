internal import Algorithms
internal import Models
internal import Records
internal import Tensors

extension Objective {
    /// Scores what the objective learns from: by words, unless it brings a scorer of its own.
    func tokenScorer(_ words: TokenScorer) -> any TokenScoring {
        if let settings = self as? SofTGRPOSettings { SoftTokenScorer(words: words, settings: settings) } else { words }
    }
}

/// Scores completions with soft tokens: mixtures go in where the rollout put them in, and are scored by their density.
struct SoftTokenScorer: TokenScoring {
    let words: TokenScorer
    let settings: SofTGRPOSettings

    /// At soft tokens the log-prob is 0 and the entropy the sampler's; what was found there is the payload's.
    func scores(_ packed: PackedMicroBatch, under model: Transformer) throws -> PackedScores {
        guard let softTokens = PackedSoftTokens(packed.completions), let density = settings.noise.density else {
            return try words.scores(packed, under: model)
        }
        let hidden = try states(packed, model, softTokens, at: packed.predictionIndices)
        let parameters = try parameters(softTokens, hidden.rows(at: softTokens.positions), model)
        let filled = try softTokens.filled(like: parameters)
        guard let values = try softTokens.tensor(\.values, like: parameters) else {
            preconditionFailure("a record has a value for every component")
        }
        let logDensities = try Tensor.withoutGradients {
            try density.logDensity(values, parameters, filled: filled)
        }
        let (logProbabilities, entropies) = try wordScores(packed, softTokens, hidden, model)
        return PackedScores(
            states: hidden, logProbabilities: logProbabilities, entropies: entropies,
            payload: SoftScores(
                softTokens: softTokens, values: values, filled: filled, parameters: parameters,
                logDensities: logDensities))
    }

    func states(_ packed: PackedMicroBatch, _ model: Transformer, at indices: [Int]?) throws -> Tensor {
        guard let softTokens = PackedSoftTokens(packed.completions) else {
            return try words.states(packed, model, at: indices)
        }
        return try states(packed, model, softTokens, at: indices ?? packed.predictionIndices)
    }

    private func states(
        _ packed: PackedMicroBatch, _ model: Transformer, _ softTokens: PackedSoftTokens, at indices: [Int]
    ) throws -> Tensor {
        let embeddings = try model.embeddings(
            tokens: packed.tokens, replacing: softTokens.mixedPositions.map { packed.actionIndices[$0] },
            with: softTokens.inputs(of: model, settings.noise))
        return try model.hiddenStates(
            embeddings: settings.detachesInputs ? embeddings.detached() : embeddings, layout: packed.layout,
            at: indices, checkpointsBlocks: words.checkpointsBlocks, dropout: packed.dropout)
    }

    /// What each soft token's density is made of, under the model. Only the supports' words are scored, not the
    /// vocabulary.
    private func parameters(
        _ softTokens: PackedSoftTokens, _ hidden: Tensor, _ model: Transformer
    ) throws -> Tensor {
        let ids = try softTokens.ids(on: model.device)
        let isFilled = try softTokens.isFilled(on: model.device)
        let logits = try Tensor.supportLogits(hidden: hidden, head: model.head, support: ids) / settings.temperature
        let logProbabilities = try SoftSupport.logProbabilities(logits, isFilled: isFilled)
        guard settings.noise.perturbsEmbedding else { return logProbabilities }
        let weights = try logProbabilities.exp().filled(where: isFilled.logicalNot(), with: 0)
        return try model.mixtures(ids: ids, weights: weights.to(model.elementType)).to(logits.elementType)
    }

    private func wordScores(
        _ packed: PackedMicroBatch, _ softTokens: PackedSoftTokens, _ hidden: Tensor, _ model: Transformer
    ) throws -> (logProbabilities: Tensor, entropies: Tensor) {
        let type: ElementType = hidden.elementType == .float64 ? .float64 : .float32
        let nothing = try Tensor.zeros([packed.targets.count], type, device: model.device)
        let entropies = try nothing.indexAdded(
            axis: 0, index: Tensor(softTokens.positions, device: model.device),
            source: Tensor(softTokens.entropies.map(Double.init)).to(type).to(model.device))
        guard !softTokens.ordinary.isEmpty else { return (nothing, entropies) }
        let indices = try Tensor(softTokens.ordinary, device: model.device)
        let scores = try Tensor.tokenScores(
            hidden: hidden.rows(at: indices), head: model.head,
            targets: Tensor(softTokens.ordinary.map { packed.targets[$0] }, device: model.device),
            temperature: words.temperature)
        return (
            try nothing.indexAdded(axis: 0, index: indices, source: scores.logProbabilities),
            try entropies.indexAdded(axis: 0, index: indices, source: scores.entropies)
        )
    }

    func problem(of payload: any RolloutPayload, requiring required: BatchFields, hasOld: Bool, vocabulary: Range<Int>)
        -> String?
    {
        guard let softTokens = payload as? SoftTokens else {
            return words.problem(of: payload, requiring: required, hasOld: hasOld, vocabulary: vocabulary)
        }
        if let id = softTokens.ids.first(where: { !vocabulary.contains(Int($0)) }) {
            return "word \(id) of a soft token is outside the vocabulary of \(vocabulary.upperBound)"
        }
        let arrays: [(name: String, values: [Float], isRequired: Bool)] = [
            ("values", softTokens.values, true), ("parameters", softTokens.parameters, true),
            ("oldParameters", softTokens.oldParameters, hasOld),
            ("referenceParameters", softTokens.referenceParameters, required.contains(.referenceLogProbabilities)),
        ]
        for (name, values, isRequired) in arrays where isRequired || !values.isEmpty {
            guard values.count == softTokens.values.count else {
                return "soft tokens with \(values.count) \(name) for \(softTokens.values.count) components"
            }
            if let value = values.first(where: { !$0.isFinite }) {
                return "soft tokens with \(value) among their \(name), not a finite number"
            }
        }
        return nil
    }
}

/// What a pass says of its soft tokens; tensors are `[soft tokens, components]` unless said otherwise.
private struct SoftScores: PayloadScores {
    let softTokens: PackedSoftTokens
    let values: Tensor
    let filled: Tensor
    /// Under the scored model, with a gradient when its parameters have one.
    let parameters: Tensor
    let logDensities: Tensor

    var positions: [Int] { softTokens.positions }

    func lossInputs() throws -> any PayloadLossInputs {
        guard let rollout = try softTokens.tensor(\.parameters, like: parameters) else {
            preconditionFailure("a record has the sampler's number for every component")
        }
        return SoftLossInputs(
            positions: positions, values: values, filled: filled, policy: parameters,
            old: try softTokens.tensor(\.oldParameters, like: parameters), rollout: rollout,
            reference: try softTokens.tensor(\.referenceParameters, like: parameters))
    }

    func payloads(keptFor role: InferenceRole) throws -> [(any RolloutPayload)?] {
        softTokens.records(keeping: try parameters.floats(), of: role)
    }
}
