import Credit
import Records

/// What one step gathers on its way from prompts to an update.
struct StepWork {
    /// What the step learns from.
    var groups: [ScoredGroup] = []
    /// What dynamic sampling left out.
    var leftOut: [ScoredGroup] = []
    var oldLogProbabilities: [[[Float]]]?
    var referenceLogProbabilities: [[[Float]]]?
    var values: CriticValues?
    var parts: [UpdatePart] = []
    var credits: [[CompletionCredit]] = []
    var notes: [String] = []
    var metrics = Metrics()

    /// The rollouts as plain tokens, for inference under other weights; every completion, also the unscorable.
    var batchToRead: UpdateBatch {
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

    /// Keeps the log-probs of a role; what belongs to soft tokens goes into their records.
    mutating func keep(_ logProbabilities: CompletionLogProbabilities, of role: InferenceRole) {
        switch role {
        case .oldPolicy, .sampler: oldLogProbabilities = logProbabilities.tokens
        case .reference: referenceLogProbabilities = logProbabilities.tokens
        case .critic: preconditionFailure("a critic has values, see CriticValues")
        }
        for (group, completions) in logProbabilities.softParameters.enumerated() {
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

    /// Takes what the sampler noted for the old policy's log-probs.
    mutating func keepSamplersLogProbabilities() {
        let rollouts = groups.map(\.group.rollouts)
        keep(
            CompletionLogProbabilities(
                rollouts.map { $0.map(\.policyLogProbabilities) },
                softParameters: rollouts.map { $0.map { $0.softTokens?.parameters ?? [] } }),
            of: .sampler)
    }

    func report(step: Int) -> StepReport {
        StepReport(step: step, metrics: metrics, groups: groups, credits: credits, notes: notes)
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

extension UpdateBatch {
    /// Tokens the update reads: every prompt once, every completion.
    var tokenCount: Int {
        groups.reduce(0) { sum, group in
            sum + group.promptTokenIDs.count + group.completions.reduce(0) { $0 + $1.tokenIDs.count }
        }
    }
}
