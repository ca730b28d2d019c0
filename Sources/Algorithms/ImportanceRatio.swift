internal import Records
package import Tensors

/// The ratio ρ between the current policy and the one that produced the data: `importance_sampling_level:`.
package enum ImportanceRatio: String, SettingsChoice {
    /// ρ_t = π(y_t) / π_old(y_t), each token its own (PPO, GRPO).
    case token
    /// s_i = (Π_t π(y_t) / π_old(y_t))^(1/n_i), one for the whole completion (GSPO, Zheng et al. 2025,
    /// arXiv:2507.18071v2). Lies near 1: its clips are a thousand times smaller.
    case sequence

    /// Log-ratios are clamped to ± this many nats before the exponential.
    static let largestLogRatio = 20.0

    /// The ratio at each token; with `sequence` a completion's tokens all have its one ratio.
    ///
    /// - Parameters:
    ///   - policy: log π, `[actionTokens]`, differentiable.
    ///   - old: log π_old, `[actionTokens]`.
    /// - Returns: `[actionTokens]`.
    package func ratios(policy: Tensor, old: Tensor, _ spans: CompletionSpans) throws -> Tensor {
        let limit = Self.largestLogRatio
        let logRatio = try policy - old.detached()
        switch self {
        case .token: return try logRatio.clamped(to: -limit...limit).exp()
        case .sequence: return try spans.spread(spans.segmentMean(logRatio).clamped(to: -limit...limit).exp())
        }
    }
}
