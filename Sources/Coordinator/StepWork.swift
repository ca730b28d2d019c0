import Credit
import Records

/// What one step gathers on its way from prompts to an update.
struct StepWork {
    /// What the step learns from.
    var groups: [ScoredGroup] = []
    /// The groups as they were scored, where completions were made to go on since; `nil` where that is ``groups``. Those
    /// that take a beginning's place are right ones, and their scores may have been moved: they say nothing of the policy.
    var asScored: [ScoredGroup]?
    /// Times the step's number of prompts was drawn for them.
    var waves = 0
    /// Optimizer steps that the weights which sampled them are behind the present ones.
    var age = 0
    /// What dynamic sampling left out.
    var leftOut: [ScoredGroup] = []
    var oldLogProbabilities: [[[Float]]]?
    var referenceLogProbabilities: [[[Float]]]?
    var values: CriticValues?
    var parts: [UpdatePart] = []
    /// Completions that were made to go on, to be imitated; `nil` where none can be.
    var rethought: [UpdateGroup]?
    /// What the step imitates beside what it sampled.
    var demonstrations: [DemonstratedPrompt] = []
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

    /// Keeps the log-probs of a role; what belongs to payloads is in them.
    mutating func keep(_ logProbabilities: CompletionLogProbabilities, of role: InferenceRole) {
        switch role {
        case .oldPolicy, .sampler: oldLogProbabilities = logProbabilities.tokens
        case .reference: referenceLogProbabilities = logProbabilities.tokens
        case .critic: preconditionFailure("a critic has values, see CriticValues")
        }
        for (group, payloads) in logProbabilities.payloads.enumerated() {
            for (index, payload) in payloads.enumerated() where payload != nil {
                groups[group].group.rollouts[index].payload = payload
            }
        }
    }

    /// Takes what the sampler noted for the old policy's log-probs.
    mutating func keepSamplersLogProbabilities() {
        oldLogProbabilities = groups.map { $0.group.rollouts.map(\.policyLogProbabilities) }
        for group in groups.indices {
            for index in groups[group].group.rollouts.indices {
                groups[group].group.rollouts[index].payload?.keepSamplersScores()
            }
        }
    }

    /// Every group that the policy wrote in the step, with its raw scores: what controllers see.
    var observedGroups: [ScoredGroup] { (asScored ?? groups) + leftOut }

    func report(step: Int) -> StepReport {
        StepReport(step: step, metrics: metrics, groups: groups, credits: credits, notes: notes)
    }
}

/// Numbers about the completions of a step, by TRL's names. Lengths count actions; `rollout/empty` counts the
/// completions without any, which teach nothing.
enum GenerationMetrics {
    static func of(_ groups: [ScoredGroup]) -> Metrics {
        let rollouts = groups.flatMap(\.group.rollouts)
        var metrics = Metrics()
        guard !rollouts.isEmpty else { return metrics }
        lengths(rollouts.map(\.actionCount), "", into: &metrics)
        let ended = rollouts.filter { !$0.completion.isTruncated }.map(\.actionCount)
        if !ended.isEmpty { lengths(ended, "terminated_", into: &metrics) }
        metrics["completions/clipped_ratio"] = 1 - Double(ended.count) / Double(rollouts.count)
        metrics["rollout/empty"] = Double(rollouts.count { $0.actionCount == 0 })
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
