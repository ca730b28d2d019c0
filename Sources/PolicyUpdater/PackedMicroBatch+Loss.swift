internal import Algorithms
internal import Records
internal import Tensors

extension PackedMicroBatch {
    /// What a loss reads: this micro-batch's scores beside the batch's own numbers, in the scores' type and place.
    func inputs(_ scores: TokenScores, _ denominators: Denominators) throws -> PolicyLossInputs {
        func tensor(_ values: [Double]) throws -> Tensor {
            try Tensor(values).to(scores.logProbabilities.elementType).to(scores.logProbabilities.device)
        }
        func tensor(_ field: KeyPath<UpdateCompletion, [Float]>) throws -> Tensor? {
            try values(field).map { try tensor($0.map(Double.init)) }
        }
        return PolicyLossInputs(
            logProbabilities: scores.logProbabilities,
            oldLogProbabilities: try tensor(\.oldLogProbabilities),
            rolloutLogProbabilities: try tensor(\.rolloutLogProbabilities),
            referenceLogProbabilities: try tensor(\.referenceLogProbabilities),
            advantages: try tensor(values(\.advantages) ?? targets.map { _ in 0 }),
            entropies: scores.entropies,
            spans: try CompletionSpans(lengths: completionCounts, device: scores.logProbabilities.device),
            denominators: denominators)
    }
}

extension Objective {
    /// The arrays a batch must bring for this loss.
    var requiredFields: BatchFields {
        var fields: BatchFields = self == .supervisedFineTuning ? [] : .advantages
        if needsReference { fields.insert(.referenceLogProbabilities) }
        if needsRolloutLogProbabilities { fields.insert(.rolloutLogProbabilities) }
        return fields
    }
}
