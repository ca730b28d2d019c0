package import Records

/// Settings of the optimizer: AdamW with the defaults of TRL's GRPO trainer.
package struct OptimizerSettings: Sendable, Equatable {
    /// The peak, before the schedule's factor.
    package let learningRate: Double
    /// Decay of the running mean of the gradients.
    package let beta1: Double
    /// Decay of the running mean of their squares.
    package let beta2: Double
    /// Added to the root of the second moment.
    package let epsilon: Double
    /// Decoupled weight decay; biases and norm weights are left out, as in the Hugging Face trainer.
    package let weightDecay: Double
    /// The global norm above which gradients are scaled down; `nil` leaves them as they are.
    package let maxGradientNorm: Double?
    package let schedule: LearningRateSchedule

    /// - Throws: `SettingsError` with everything that is wrong.
    package init(
        learningRate: Double = 1e-6, beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8,
        weightDecay: Double = 0, maxGradientNorm: Double? = 1, schedule: LearningRateSchedule
    ) throws(SettingsError) {
        var problems = Problems("optimizer")
        problems.require(
            learningRate >= 0 && learningRate.isFinite, "learningRate", learningRate, "a finite number, 0 or more")
        problems.require(0 <= beta1 && beta1 < 1, "beta1", beta1, "at least 0 and below 1")
        problems.require(0 <= beta2 && beta2 < 1, "beta2", beta2, "at least 0 and below 1")
        problems.require(epsilon > 0 && epsilon.isFinite, "epsilon", epsilon, "a finite number above 0")
        problems.require(
            weightDecay >= 0 && weightDecay.isFinite, "weightDecay", weightDecay, "a finite number, 0 or more")
        if let maxGradientNorm {
            problems.require(
                maxGradientNorm > 0 && maxGradientNorm.isFinite, "maxGradientNorm", maxGradientNorm,
                "a finite number above 0, or none to leave gradients as they are")
        }
        try problems.throwIfAny()
        self.learningRate = learningRate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
        self.maxGradientNorm = maxGradientNorm
        self.schedule = schedule
    }

    /// Whether weight decay acts on a parameter: not on biases and not on norms, told by their published names.
    ///
    /// The rule of the Hugging Face trainer: no part of the name is a `bias`, and none names a norm (`norm`, `…_norm`,
    /// `…layernorm`, `…rmsnorm`).
    package static func decays(_ name: String) -> Bool {
        let lowered = name.lowercased()
        if ["bias", "layernorm", "rmsnorm"].contains(where: lowered.contains) { return false }
        return !lowered.split(separator: ".").contains { $0 == "norm" || $0.hasSuffix("_norm") }
    }
}
