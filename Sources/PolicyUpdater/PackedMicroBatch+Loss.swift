internal import Algorithms
internal import Records
internal import Tensors

extension PackedMicroBatch {
    /// What a loss reads: this micro-batch's scores beside the batch's own numbers, in the scores' type and place.
    func inputs(_ packedScores: PackedScores, _ denominators: Denominators) throws -> PolicyLossInputs {
        let scores = packedScores.tokens
        func tensor(_ values: [Double]) throws -> Tensor {
            try Tensor(values).to(scores.logProbabilities.elementType).to(scores.logProbabilities.device)
        }
        func tensor(_ field: KeyPath<UpdateCompletion, [Float]>) throws -> Tensor? {
            guard var values = values(field)?.map(Double.init) else { return nil }
            for position in softTokens?.positions ?? [] { values[position] = 0 }
            return try tensor(values)
        }
        return PolicyLossInputs(
            logProbabilities: scores.logProbabilities,
            oldLogProbabilities: try tensor(\.oldLogProbabilities),
            rolloutLogProbabilities: try tensor(\.rolloutLogProbabilities),
            samplingLogProbabilities: try samplingLogProbabilities.map(tensor),
            referenceLogProbabilities: try tensor(\.referenceLogProbabilities),
            klWeights: try klWeights.map(tensor),
            advantages: try tensor(mixedAdvantages ?? targets.map { _ in 0 }),
            entropies: scores.entropies,
            spans: try CompletionSpans(lengths: completionCounts, device: scores.logProbabilities.device),
            denominators: denominators, soft: try packedScores.soft.map(softInputs))
    }

    /// The streams of advantages added up, in Double; `nil` when the completions have none.
    private var mixedAdvantages: [Double]? {
        let mixed = completions.flatMap { $0.mixedAdvantages(streamWeights) }
        return mixed.count == targets.count ? mixed : nil
    }

    /// Of the distribution that was sampled from; `nil` where no completion's differ from the policy's own.
    private var samplingLogProbabilities: [Double]? {
        guard completions.contains(where: { $0.samplingLogProbabilities != nil }) else { return nil }
        var values = completions.flatMap { $0.samplingLogProbabilities ?? $0.rolloutLogProbabilities }.map(Double.init)
        for position in softTokens?.positions ?? [] { values[position] = 0 }
        return values
    }

    /// 0 at the tokens of completions that take no KL term, 1 elsewhere; `nil` when all take it.
    private var klWeights: [Double]? {
        let taking = completions.map(\.takesKL)
        guard taking.contains(false) else { return nil }
        return zip(taking, completionCounts).flatMap { [Double](repeating: $0 ? 1 : 0, count: $1) }
    }

    private func softInputs(_ scores: SoftScores) throws -> SoftLossInputs {
        guard let softTokens, let rollout = try softTokens.tensor(\.parameters, like: scores.parameters) else {
            preconditionFailure("scores of soft tokens come from a pass with soft tokens")
        }
        return SoftLossInputs(
            positions: softTokens.positions, values: scores.values, filled: scores.filled, policy: scores.parameters,
            old: try softTokens.tensor(\.oldParameters, like: scores.parameters), rollout: rollout,
            reference: try softTokens.tensor(\.referenceParameters, like: scores.parameters))
    }
}

extension Objective {
    /// The arrays a batch must bring for this loss.
    var requiredFields: BatchFields {
        var fields: BatchFields = needsAdvantages ? .advantages : []
        if needsReference { fields.insert(.referenceLogProbabilities) }
        if needsRolloutLogProbabilities { fields.insert(.rolloutLogProbabilities) }
        return fields
    }

    /// How the method's soft tokens were made; `nil` for a method without them.
    var softSettings: SofTGRPOSettings? { self as? SofTGRPOSettings }

    /// PPO's settings; `nil` for another method.
    var ppoSettings: PPOSettings? { self as? PPOSettings }
}
