internal import Algorithms
internal import Records
internal import Tensors

extension PackedMicroBatch {
    /// What a loss reads: this micro-batch's scores beside the batch's own numbers, in the scores' type and on their
    /// device.
    func inputs(_ scores: PackedScores, _ denominators: Denominators) throws -> PolicyLossInputs {
        let positions = scores.payload?.positions ?? []
        func tensor(_ values: [Double]) throws -> Tensor {
            try Tensor(values).to(scores.logProbabilities.elementType).to(scores.logProbabilities.device)
        }
        func tensor(_ field: KeyPath<UpdateCompletion, [Float]>) throws -> Tensor? {
            guard var values = values(field)?.map(Double.init) else { return nil }
            for position in positions { values[position] = 0 }
            return try tensor(values)
        }
        return PolicyLossInputs(
            logProbabilities: scores.logProbabilities,
            oldLogProbabilities: try tensor(\.oldLogProbabilities),
            rolloutLogProbabilities: try tensor(\.rolloutLogProbabilities),
            samplingLogProbabilities: try samplingLogProbabilities(without: positions).map(tensor),
            referenceLogProbabilities: try tensor(\.referenceLogProbabilities),
            klWeights: try klWeights.map(tensor),
            advantages: try tensor(mixedAdvantages ?? targets.map { _ in 0 }),
            demonstrationMask: try demonstrationMask.map(tensor),
            entropies: scores.entropies,
            spans: try CompletionSpans(lengths: completionCounts, device: scores.logProbabilities.device),
            denominators: denominators, payload: try scores.payload?.lossInputs())
    }

    /// Notes `replay/fresh_entropy`, the entropy averaged over what the step itself sampled; nothing for a batch that
    /// is all of that.
    func noteFreshEntropy(_ scores: PackedScores, in report: inout LossReport) throws {
        guard standsBesideReplayed else { return }
        let isFresh = zip(completions, completionCounts).flatMap { [Bool](repeating: !$0.isReplayed, count: $1) }
        try report.note([scores.entropies]) { columns, metrics in
            metrics.set("replay/fresh_entropy", zip(columns[0], isFresh).filter(\.1).map(\.0), .mean)
        }
    }

    /// The streams of advantages added up, in Double; `nil` when the completions have none.
    private var mixedAdvantages: [Double]? {
        let mixed = completions.flatMap { $0.mixedAdvantages(streamWeights) }
        return mixed.count == targets.count ? mixed : nil
    }

    /// Of the distribution that was sampled from, 0 at some actions; `nil` where no completion's differ from the
    /// policy's own.
    private func samplingLogProbabilities(without positions: [Int]) -> [Double]? {
        guard completions.contains(where: { $0.samplingLogProbabilities != nil }) else { return nil }
        var values = completions.flatMap { $0.samplingLogProbabilities ?? $0.rolloutLogProbabilities }.map(Double.init)
        for position in positions { values[position] = 0 }
        return values
    }

    /// 1 at the actions of demonstrations, 0 elsewhere; `nil` where there are none.
    var demonstrationMask: [Double]? {
        let isDemonstration = completions.map(\.isDemonstration)
        guard isDemonstration.contains(true) else { return nil }
        return zip(isDemonstration, completionCounts).flatMap { [Double](repeating: $0 ? 1 : 0, count: $1) }
    }

    /// The part's weight of the KL term, 0 at the actions of completions that take none; `nil` when all take it with
    /// the weight 1.
    private var klWeights: [Double]? {
        let taking = completions.map(\.takesKL)
        guard taking.contains(false) || klWeight != 1 else { return nil }
        return zip(taking, completionCounts).flatMap { [Double](repeating: $0 ? klWeight : 0, count: $1) }
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

    /// PPO's settings; `nil` for another method.
    var ppoSettings: PPOSettings? { self as? PPOSettings }
}
