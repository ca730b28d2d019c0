internal import Algorithms
internal import Foundation

/// How far the sampler's log-probs are from the trainer's for the same tokens.
enum SamplingGap {
    /// TRL's `sampling/sampling_logp_difference/mean|max` (absolute, in nats) and, where the objective has not noted its own,
    /// `sampling/importance_sampling_ratio/min|mean|max`: exp(trainer − sampler) of each token.
    ///
    /// - Parameters:
    ///   - trainer: log-probs as the trainer scored them.
    ///   - sampler: log-probs as the sampler recorded them, for the same tokens, at least one.
    static func note(trainer: [Double], sampler: [Double], in metrics: inout LossMetrics) {
        let differences = zip(trainer, sampler).map { $0 - $1 }
        note(differences.map(abs), as: "sampling/sampling_logp_difference", in: &metrics)
        guard metrics["sampling/importance_sampling_ratio/mean"] == nil else { return }
        let ratios = differences.map { exp(min(max($0, -20), 20)) }
        note(ratios, as: "sampling/importance_sampling_ratio", in: &metrics)
        if let smallest = ratios.min() { metrics["sampling/importance_sampling_ratio/min"] = .minimum(smallest) }
    }

    private static func note(_ values: [Double], as name: String, in metrics: inout LossMetrics) {
        metrics[name + "/mean"] = .mean(sum: values.reduce(0, +), count: Double(values.count))
        if let largest = values.max() { metrics[name + "/max"] = .maximum(largest) }
    }
}
