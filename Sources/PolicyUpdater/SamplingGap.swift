internal import Algorithms
internal import Foundation
internal import Records

/// How far the sampler's log-probs are from the trainer's for the same tokens.
enum SamplingGap {
    /// Notes ``note(trainer:sampler:in:)`` of a pass; nothing for a batch without the sampler's log-probs, and nothing
    /// where the trainer's own are known with dropout alone, which says no more of the sampler.
    static func note(
        _ scores: PackedScores, _ packed: PackedMicroBatch, in report: inout LossReport
    ) throws {
        guard let sampler = packed.values(\.rolloutLogProbabilities) else { return }
        // What the policy did not write has no sampler.
        let isForeign = packed.demonstrationMask?.map { $0 != 0 }
        func own(_ values: [Double]) -> [Double] {
            isForeign.map { zip(values, $0).filter { !$1 }.map(\.0) } ?? values
        }
        // Old log-probs that are the sampler's own would say nothing of the trainer.
        let old = packed.oldAreSamplers ? nil : packed.values(\.oldLogProbabilities)?.map(Double.init)
        guard old != nil || packed.dropout == nil else { return }
        let positions = scores.payload?.positions ?? []
        try report.note(old == nil ? scores.columns : []) { columns, metrics in
            let trainer = old ?? PackedScores.joined(columns, at: positions)
            note(trainer: own(trainer), sampler: own(sampler.map(Double.init)), in: &metrics)
        }
    }

    /// TRL's `sampling/sampling_logp_difference/mean|max` (absolute, in nats); `mismatch/kl`, the KL of the sampler's
    /// policy to the trainer's, estimated by k3 of sampler − trainer, which no token makes negative; and, where the
    /// objective has not noted its own, `sampling/importance_sampling_ratio/min|mean|max`: exp(trainer − sampler) of
    /// each token.
    ///
    /// - Parameters:
    ///   - trainer: log-probs as the trainer scored them.
    ///   - sampler: log-probs as the sampler recorded them, for the same tokens, at least one.
    static func note(trainer: [Double], sampler: [Double], in metrics: inout LossMetrics) {
        let differences = zip(trainer, sampler).map { $0 - $1 }
        let distances = differences.map(abs)
        metrics.set("sampling/sampling_logp_difference/mean", distances, .mean)
        metrics.set("sampling/sampling_logp_difference/max", distances, .maximum)
        metrics.set("mismatch/kl", differences.map { KLEstimator.k3.estimate(-$0) }, .mean)
        guard metrics["sampling/importance_sampling_ratio/mean"] == nil else { return }
        let ratios = differences.map { exp(min(max($0, -20), 20)) }
        metrics.set("sampling/importance_sampling_ratio/mean", ratios, .mean)
        metrics.set("sampling/importance_sampling_ratio/max", ratios, .maximum)
        metrics.set("sampling/importance_sampling_ratio/min", ratios, .minimum)
    }
}
