internal import Foundation
internal import Records

/// What learning with a KL penalty tends to, estimated from samples (Korbak et al. 2022, arXiv:2205.11275).
///
///     p*(y) = p(y)·exp(r(y)/β)/Z         p: the reference policy
///     E_π r − β·KL(π‖p) = β·log Z − β·KL(π‖p*)
///
/// With completions drawn from π, w = p·exp(r/β)/π is a weight whose mean is Z; all sums are in log space. Z belongs to
/// a prompt, so the completions are those of one.
package struct TargetDistribution: Sendable, Equatable {
    /// log w of each completion.
    package let logWeights: [Double]

    /// - Parameters:
    ///   - rewards: r of each completion.
    ///   - policy: log π of each whole completion, the policy it was drawn from.
    ///   - reference: log p of each.
    ///   - coefficient: β, above 0.
    package init(rewards: [Double], policy: [Double], reference: [Double], coefficient: Double) {
        precondition(coefficient > 0 && rewards.count == policy.count && rewards.count == reference.count)
        logWeights = rewards.indices.map { reference[$0] - policy[$0] + rewards[$0] / coefficient }
    }

    private static func logSum(_ values: [Double]) -> Double {
        guard let largest = values.max(), largest.isFinite else { return -.infinity }
        return largest + log(values.reduce(0) { $0 + exp($1 - largest) })
    }

    /// log Z; −∞ of no completions.
    package var logPartition: Double { Self.logSum(logWeights) - log(Double(logWeights.count)) }

    /// KL(π‖p*), what is still to go: log Z − mean log w, never below 0. By Jensen it is too small where few
    /// completions carry the weight.
    package var divergence: Double {
        logPartition - logWeights.reduce(0, +) / Double(max(logWeights.count, 1))
    }

    /// KL(p*‖π), what distributional control descends: Σ w̄·log w − log Z with weights w̄ of sum 1.
    package var forwardDivergence: Double {
        let total = Self.logSum(logWeights)
        return logWeights.reduce(0) { $0 + exp($1 - total) * $1 } - logPartition
    }

    /// (Σw)²/Σw²: how many completions of equal weight would tell as much. Between 1 and their number.
    package var effectiveCount: Double { exp(2 * Self.logSum(logWeights) - Self.logSum(logWeights.map { 2 * $0 })) }

    /// w/Z of each completion, at most `cap`, and how many were above it.
    package func shares(cap: Double) -> (values: [Double], truncated: Int) {
        let normal = logPartition
        let shares = logWeights.map { exp($0 - normal) }
        return (shares.map { min($0, cap) }, shares.count { $0 > cap })
    }
}

extension TargetDistribution {
    /// The estimates of each group with at least two rewarded completions; `nil` for the others, and without a
    /// reference.
    ///
    /// - Parameters:
    ///   - combined: The rewards, `[group][completion]`.
    ///   - coefficient: β; no estimates of 0.
    /// - Returns: Beside the estimates the indices of the completions they are of.
    static func estimates(
        of batch: CreditBatch, _ combined: [[Double?]], coefficient: Double
    ) -> [(indices: [Int], target: TargetDistribution)?] {
        guard let references = batch.referenceLogProbabilities, coefficient > 0 else {
            return combined.map { _ in nil }
        }
        func sum(_ values: [Float]) -> Double { values.reduce(0) { $0 + Double($1) } }
        return combined.enumerated().map { group, rewards in
            let indices = rewards.indices.filter { rewards[$0] != nil }
            guard indices.count > 1 else { return nil }
            return (
                indices,
                TargetDistribution(
                    rewards: indices.map { rewards[$0] ?? 0 },
                    policy: indices.map { sum(batch.oldLogProbabilities(group: group, completion: $0)) },
                    reference: indices.map { sum(references[group][$0]) }, coefficient: coefficient)
            )
        }
    }

    /// Where the policy stands on its way to the target, averaged over the prompts: `kl_control/log_partition` (log Z),
    /// `kl_control/distance` (KL(π‖p*)), `kl_control/forward_distance` (KL(p*‖π)), in nats, and
    /// `kl_control/effective_share`, the share of a prompt's completions that the estimates rest on.
    static func metrics(of batch: CreditBatch, _ combined: [[Double?]], coefficient: Double) -> Metrics {
        let found = estimates(of: batch, combined, coefficient: coefficient).compactMap { $0?.target }
        var metrics = Metrics()
        guard !found.isEmpty else { return metrics }
        metrics["kl_control/log_partition"] = Moments(found.map(\.logPartition)).mean
        metrics["kl_control/distance"] = Moments(found.map(\.divergence)).mean
        metrics["kl_control/forward_distance"] = Moments(found.map(\.forwardDivergence)).mean
        metrics["kl_control/effective_share"] =
            Moments(found.map { $0.effectiveCount / Double($0.logWeights.count) }).mean
        return metrics
    }
}
