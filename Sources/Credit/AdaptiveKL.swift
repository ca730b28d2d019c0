package import Records

/// Moves the coefficient of a KL penalty so that the policy stays near a wanted distance from the reference (Ziegler et al.
/// 2019, arXiv:1909.08593, §2.2; the rule as verl has it).
///
///     β ← β·(1 + clip(KL / target − 1, −0.2, 0.2) · n / horizon)      n completions in the step
package struct AdaptiveKL: Sendable, Equatable {
    /// β of the first step.
    package let initial: Double
    /// In nats per token, as the metric `kl`.
    package let target: Double
    /// Completions over which a full deviation is made up for.
    package let horizon: Double

    /// - Throws: `SettingsError` for numbers that are not above 0.
    package init(initial: Double, target: Double, horizon: Double = 10_000) throws(SettingsError) {
        var problems = Problems("adaptive_kl")
        problems.require(initial > 0 && initial.isFinite, "initial", initial, "a number above 0")
        problems.require(target > 0 && target.isFinite, "target", target, "a number above 0")
        problems.require(horizon > 0 && horizon.isFinite, "horizon", horizon, "a number above 0")
        try problems.throwIfAny()
        self.initial = initial
        self.target = target
        self.horizon = horizon
    }

    /// The coefficient after a step.
    ///
    /// - Parameters:
    ///   - kl: The step's mean estimate, in nats per token.
    ///   - completions: How many were sampled.
    package func next(_ coefficient: Double, kl: Double, completions: Int) -> Double {
        let error = min(max(kl / target - 1, -0.2), 0.2)
        return coefficient * (1 + error * Double(completions) / horizon)
    }
}
