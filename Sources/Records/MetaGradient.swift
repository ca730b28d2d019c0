/// How a utility on held-out rows answers to the weight of imitation, μ, in the step that is about to be taken.
///
///     θ'(μ) = θ − η·u(μ·g_S + (1 − μ)·g_R)      u: what the optimizer makes of a gradient
///     slope = dU(θ')/dμ = η·⟨∇L_U, du/dμ⟩        L_U = −U
///
/// AMFT (arXiv:2508.06944) raises μ along the slope: where it is positive, more imitation raises the utility.
package struct MetaGradient: Sendable, Equatable {
    /// dU(θ')/dμ.
    package var slope: Double
    /// The slope over the lengths of its two factors, in −1 ... 1.
    package var cosine: Double
    /// Cosine of the two parts' gradients, g_S and g_R.
    package var partsCosine: Double
    /// ‖g_S‖, of the demonstrations.
    package var demonstrationNorm: Double
    /// ‖g_R‖, of the rollouts.
    package var rolloutNorm: Double
    /// ‖∇U‖.
    package var utilityNorm: Double
    /// What the held-out rows were worth: the mean reward, or minus the mean loss of their demonstrations.
    package var utility: Double?

    package init(
        slope: Double, cosine: Double, partsCosine: Double = 0, demonstrationNorm: Double = 0, rolloutNorm: Double = 0,
        utilityNorm: Double = 0, utility: Double? = nil
    ) {
        self.slope = slope
        self.cosine = cosine
        self.partsCosine = partsCosine
        self.demonstrationNorm = demonstrationNorm
        self.rolloutNorm = rolloutNorm
        self.utilityNorm = utilityNorm
        self.utility = utility
    }

    /// For a step's record.
    package var metrics: Metrics {
        var metrics = Metrics()
        metrics["amft/slope"] = slope
        metrics["amft/cosine"] = cosine
        metrics["amft/parts_cosine"] = partsCosine
        metrics["amft/demonstration_grad_norm"] = demonstrationNorm
        metrics["amft/rollout_grad_norm"] = rolloutNorm
        metrics["amft/utility_grad_norm"] = utilityNorm
        metrics["amft/utility"] = utility
        return metrics
    }
}
