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
                            tokenIDs: rollout.completion.tokenIDs, isAction: rollout.isAction,
                            rolloutLogProbabilities: rollout.policyLogProbabilities, payload: rollout.payload)
                    })
            })
    }

    var creditBatch: CreditBatch {
        CreditBatch(
            groups: groups, oldLogProbabilities: oldLogProbabilities,
            referenceLogProbabilities: referenceLogProbabilities, values: values)
    }

    /// Keeps the scores of a role; what belongs to payloads is in them.
    mutating func keep(_ scores: CompletionScores, of role: ScoringRole) {
        switch role {
        case .oldPolicy, .sampler: oldLogProbabilities = scores.logProbabilities
        case .reference: referenceLogProbabilities = scores.logProbabilities
        case .critic: preconditionFailure("a critic has values, see CriticValues")
        }
        for (group, payloads) in scores.payloads.enumerated() {
            for (index, payload) in payloads.enumerated() where payload != nil {
                groups[group].group.rollouts[index].payload = payload
            }
        }
    }

    /// Takes what the sampler noted for the old policy's scores.
    mutating func keepTheSamplersScores() {
        oldLogProbabilities = groups.map { $0.group.rollouts.map(\.policyLogProbabilities) }
        for group in groups.indices {
            for index in groups[group].group.rollouts.indices {
                groups[group].group.rollouts[index].payload?.keepSamplersScores()
            }
        }
    }

    func report(step: Int) -> StepReport {
        StepReport(step: step, metrics: metrics, groups: groups, credits: credits)
    }
}

/// Numbers about the completions of a step, by TRL's names. Lengths count actions.
enum GenerationMetrics {
    static func of(_ groups: [ScoredGroup]) -> Metrics {
        let rollouts = groups.flatMap(\.group.rollouts)
        var metrics = Metrics()
        guard !rollouts.isEmpty else { return metrics }
        lengths(rollouts.map(\.actionCount), "", into: &metrics)
        let ended = rollouts.filter { !$0.completion.isTruncated }.map(\.actionCount)
        if !ended.isEmpty { lengths(ended, "terminated_", into: &metrics) }
        metrics["completions/clipped_ratio"] = 1 - Double(ended.count) / Double(rollouts.count)
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
