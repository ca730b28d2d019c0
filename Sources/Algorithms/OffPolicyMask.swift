internal import Tensors

/// Leaves out completions that the policy has moved away from and that would only be pushed down further (DeepSeek-V3.2,
/// arXiv:2512.02556, Eq. 9).
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
        let drift = try inputs.spans.segmentMean(rollout.detached() - policy.detached()).doubles()
        let advantages = try inputs.advantages.doubles()
        let keep = zip(inputs.spans.ranges, drift).flatMap { range, drift in
            range.map { advantages[$0] < 0 && drift > threshold ? 0.0 : 1 }
        }
        return try Tensor(keep).to(policy.elementType).to(policy.device)
    }
}
