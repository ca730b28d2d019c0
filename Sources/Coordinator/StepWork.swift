import Credit
import Records

/// What one step gathers on its way from prompts to an update.
struct StepWork {
    var groups: [ScoredGroup] = []
    var oldLogProbabilities: [[[Float]]]?
    var referenceLogProbabilities: [[[Float]]]?
    var values: CriticValues?
    var update: [UpdateGroup] = []
    var credits: [[CompletionCredit]] = []
    var metrics = Metrics()

    /// The rollouts as plain tokens, for scoring under other weights; every completion, also the unscorable.
    var batchToScore: UpdateBatch {
        UpdateBatch(
            groups: groups.map { scored in
                UpdateGroup(
                    promptTokenIDs: scored.group.prompt.tokenIDs,
                    completions: scored.group.rollouts.map { rollout in
                        UpdateCompletion(
                            tokenIDs: rollout.completion.tokenIDs,
                            rolloutLogProbabilities: rollout.policyLogProbabilities, softTokens: rollout.softTokens)
                    })
            })
    }

    var creditBatch: CreditBatch {
        CreditBatch(
            groups: groups, oldLogProbabilities: oldLogProbabilities,
            referenceLogProbabilities: referenceLogProbabilities, values: values)
    }

    /// Keeps the scores of a role; what belongs to soft tokens goes into their records.
    mutating func keep(_ scores: CompletionScores, of role: ScoringRole) {
        switch role {
        case .oldPolicy, .sampler: oldLogProbabilities = scores.logProbabilities
        case .reference: referenceLogProbabilities = scores.logProbabilities
        case .critic: preconditionFailure("a critic has values, see CriticValues")
        }
        for (group, completions) in scores.softParameters.enumerated() {
            for (index, parameters) in completions.enumerated() where !parameters.isEmpty {
                switch role {
                case .oldPolicy, .sampler:
                    groups[group].group.rollouts[index].softTokens?.oldParameters = parameters
                case .reference: groups[group].group.rollouts[index].softTokens?.referenceParameters = parameters
                case .critic: break
                }
            }
        }
    }

    /// Takes what the sampler noted for the old policy's scores.
    mutating func keepTheSamplersScores() {
        let rollouts = groups.map(\.group.rollouts)
        keep(
            CompletionScores(
                logProbabilities: rollouts.map { $0.map(\.policyLogProbabilities) },
                softParameters: rollouts.map { $0.map { $0.softTokens?.parameters ?? [] } }),
            of: .sampler)
    }

    func report(step: Int) -> StepReport {
        StepReport(step: step, metrics: metrics, groups: groups, credits: credits)
    }
}

/// Numbers about the completions of a step, by TRL's names.
enum GenerationMetrics {
    static func of(_ groups: [ScoredGroup]) -> Metrics {
        let completions = groups.flatMap { $0.group.rollouts.map(\.completion) }
        var metrics = Metrics()
        guard !completions.isEmpty else { return metrics }
        lengths(completions.map(\.tokenIDs.count), "", into: &metrics)
        let ended = completions.filter { !$0.isTruncated }.map(\.tokenIDs.count)
        if !ended.isEmpty { lengths(ended, "terminated_", into: &metrics) }
        metrics["completions/clipped_ratio"] = 1 - Double(ended.count) / Double(completions.count)
        return metrics
    }

    private static func lengths(_ counts: [Int], _ kind: String, into metrics: inout Metrics) {
        metrics["completions/mean_\(kind)length"] = Double(counts.reduce(0, +)) / Double(counts.count)
        metrics["completions/min_\(kind)length"] = counts.min().map(Double.init)
        metrics["completions/max_\(kind)length"] = counts.max().map(Double.init)
    }
}

/// Brings the metrics of several optimizer steps to one row: extrema stay extrema, what is a state of the optimizer is taken
/// from the last step, the rest is averaged.
struct MetricSummary {
    private var values: [(name: String, numbers: [Double])] = []

    mutating func add(_ metrics: Metrics) {
        for (name, value) in metrics.entries {
            if let place = values.firstIndex(where: { $0.name == name }) {
                values[place].numbers.append(value)
            } else {
                values.append((name, [value]))
            }
        }
    }

    var metrics: Metrics {
        var metrics = Metrics()
        for (name, numbers) in values { metrics[name] = Self.combined(name, numbers) }
        return metrics
    }

    private static func combined(_ name: String, _ numbers: [Double]) -> Double? {
        switch name.split(whereSeparator: { $0 == "/" || $0 == "_" }).last {
        case "min": numbers.min()
        case "max": numbers.max()
        default: isState(name) ? numbers.last : numbers.reduce(0, +) / Double(numbers.count)
        }
    }

    private static func isState(_ name: String) -> Bool { name == "learning_rate" || name == "skipped_steps" }
}

extension UpdateBatch {
    /// Tokens the update reads: every prompt once, every completion.
    var tokenCount: Int {
        groups.reduce(0) { sum, group in
            sum + group.promptTokenIDs.count + group.completions.reduce(0) { $0 + $1.tokenIDs.count }
        }
    }
}
