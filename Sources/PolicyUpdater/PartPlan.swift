package import Algorithms
package import Records

/// What is minimized on one part of an update batch.
package struct PartPlan: Sendable {
    /// What the part holds.
    package let kind: UpdatePart.Kind
    package let objective: any Objective
    /// What the part's loss counts in the sum that a step minimizes.
    package let weight: Double
    /// The temperature its completions were sampled at: log-probs are taken at the same one. 1 for demonstrations.
    package let temperature: Double
    /// The family its numbers are reported in, as `name/loss`; `nil` reports them as they are.
    package let name: String?

    package init(
        _ objective: any Objective, on kind: UpdatePart.Kind = .rollouts, weight: Double = 1, temperature: Double = 1,
        name: String? = nil
    ) {
        self.kind = kind
        self.objective = objective
        self.weight = weight
        self.temperature = temperature
        self.name = name
    }

    /// Log-probs as the part's objective reads them.
    func scorer(_ settings: UpdaterSettings) -> any TokenScoring {
        objective.tokenScorer(TokenScorer(temperature: temperature, checkpointsBlocks: settings.checkpointsBlocks))
    }
}

extension UpdatePart {
    /// What the part's losses are divided by, however it is cut. Pairs count as one each.
    func denominators(_ settings: UpdaterSettings) -> Denominators {
        Denominators(
            tokens: actionTokenCount, sequences: kind == .pairs ? groups.count : completionCount,
            maxCompletionLength: settings.maxCompletionLength,
            demonstrationTokens: groups.lazy.flatMap(\.completions).reduce(0) {
                $0 + ($1.isDemonstration && !$1.isMasked ? $1.actionCount : 0)
            })
    }
}
