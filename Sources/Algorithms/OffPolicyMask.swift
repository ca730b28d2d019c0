internal import Tensors

/// Leaves out completions that the policy has moved away from and that would only be pushed down further
/// (DeepSeek-V3.2, arXiv:2512.02556, Eq. 9).
///
///     keep_i = 0 where A_i < 0 and mean_t(log π_rollout − log π) > threshold, else 1
enum OffPolicyMask {
    /// 1 or 0 at each token, without a gradient.
    ///
    /// - Parameters:
    ///   - rollout: log-probs under the policy that sampled, `[actionTokens]`.
    ///   - threshold: In nats per token.
    static func mask(_ inputs: PolicyLossInputs, rollout: Tensor, threshold: Double) throws -> Tensor {
        let policy = inputs.logProbabilities
        let drift = try inputs.spans.spread(inputs.spans.segmentMean(rollout.detached() - policy.detached()))
        // Compared in double, as the threshold is given.
        let isDropped = try drift.to(.float64).greater(than: threshold).logicalAnd(inputs.advantages.less(than: 0))
        return try isDropped.logicalNot().to(policy.elementType)
    }
}
