internal import Credit
package import Records

/// Numbers about the soft tokens of a step: whether thinking still mixes words, and whether it comes to an end. Empty without soft tokens.
///
/// - `soft/multi_ratio`: share of thinking steps with more than one word in their support. Near 0 thinking has collapsed to single words.
/// - `soft/max_weight`: largest weight of a mixture, averaged; 1 is one word alone.
/// - `soft/entropy`: of the policy over all words, averaged over thinking steps, in nats.
/// - `soft/mean_length`: thinking steps of a completion.
/// - `soft/unended_ratio`: share of completions without an answer behind their thinking.
package enum SoftThinkingMetrics {
    package static func of(_ groups: [ScoredGroup]) -> Metrics {
        let rollouts = groups.flatMap(\.group.rollouts)
        let records = rollouts.compactMap(\.softTokens)
        let steps = Double(records.reduce(0) { $0 + $1.count })
        var metrics = Metrics()
        guard steps > 0 else { return metrics }
        func mean(_ values: (SoftTokens) -> [Float]) -> Double {
            records.reduce(0) { sum, record in values(record).reduce(sum) { $0 + Double($1) } } / steps
        }
        metrics["soft/multi_ratio"] =
            Double(records.reduce(0) { $0 + $1.supportSizes.filter { $0 > 1 }.count }) / steps
        metrics["soft/max_weight"] = mean(\.largestWeights)
        metrics["soft/entropy"] = mean(\.entropies)
        metrics["soft/mean_length"] = steps / Double(records.count)
        metrics["soft/unended_ratio"] =
            Double(rollouts.filter(\.lacksAnswer).count) / Double(records.count)
        return metrics
    }
}
