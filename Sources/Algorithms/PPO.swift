package import Records
package import Tensors

/// Settings of ``PPO``. The defaults are TRL's.
package struct PPOSettings: Sendable, Equatable {
    package let clip: ClippedSurrogate
    /// ε_V: how far a value may move from the old one before its loss goes flat; `nil` for no clip.
    package let valueEpsilon: Double?
    /// c_V, the weight of the value loss.
    package let valueCoefficient: Double
    /// c_H, the weight of the entropy bonus; 0 for none.
    package let entropyCoefficient: Double
    /// Whether the last of a critic's several heads values a KL in the reward.
    package var hasKLHead: Bool

    package init(
        clip: ClippedSurrogate = ClippedSurrogate(), valueEpsilon: Double? = 0.2, valueCoefficient: Double = 0.1,
        entropyCoefficient: Double = 0, hasKLHead: Bool = false
    ) {
        self.hasKLHead = hasKLHead
        self.clip = clip
        self.valueEpsilon = valueEpsilon
        self.valueCoefficient = valueCoefficient
        self.entropyCoefficient = entropyCoefficient
    }

    package init(reading job: inout SettingsReader) {
        hasKLHead = false
        clip = ClippedSurrogate(reading: &job)
        valueEpsilon = job.read(
            "cliprange_value", optional: 0.2, .above(0),
            "How far a value may move from the old one before its loss goes flat; null for no clip (arXiv:1707.06347).")
        valueCoefficient = job.read(
            "vf_coef", default: 0.1, .atLeast(0),
            "Weight of the value loss ½·mean (V − R)² (arXiv:1707.06347). With one head per stream, the mean also runs over the reward heads, and the KL head adds 0.2·mean (V − R)² (arXiv:2310.04373)."
        )
        entropyCoefficient = job.read(
            "entropy_coef", default: 0.0, .atLeast(0),
            "Weight of the policy's entropy, subtracted from the loss (arXiv:1602.01783).")
    }

    /// What the loss L_V of each of a critic's heads counts: the rewards' are averaged, and 0.4 of the KL's is
    /// 0.2·mean (V − R)², as in the code of Moskovitz et al. 2023 (arXiv:2310.04373). 1 of a single head.
    package func headWeights(_ count: Int) -> [Double] {
        let rewards = hasKLHead ? count - 1 : count
        return Array(repeating: 1 / Double(rewards), count: rewards) + (hasKLHead ? [0.4] : [])
    }
}

extension PPOSettings: Objective {
    package var aggregation: LossAggregation { .tokenMean }
    package var drivenByAdvantages: any Objective {
        PPOSettings(clip: clip, valueEpsilon: valueEpsilon, valueCoefficient: 0, hasKLHead: hasKLHead)
    }
    /// PPO's policy part; the value loss belongs to the critic.
    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult { try PPO.policyLoss(inputs, self) }
}

/// Proximal Policy Optimization (Schulman et al. 2017, arXiv:1707.06347v2, Eqs. 7 and 9), as used on language models.
///
///     L_π = mean over tokens of −min(ρ·A, clip(ρ, 1 − ε, 1 + ε)·A)
///     L_V = ½ · mean over tokens of max((V − R)², (clip(V, V_old − ε_V, V_old + ε_V) − R)²)
///     L   = L_π + c_V·L_V − c_H·H
///
/// A and R come from `GeneralizedAdvantage` in Credit, A whitened there over the whole batch: a micro-batch does not
/// know the batch's mean. Departs from the paper by the clip on values, which its authors' code and TRL have.
package enum PPO {
    /// What the value loss reads, beside ``PolicyLossInputs``. Each is `[actionTokens]`.
    package struct ValueInputs {
        /// V: the critic's value of the state before each token, differentiable.
        package var values: Tensor
        /// V_old: what it was when the data was scored.
        package var oldValues: Tensor
        /// R: what it is trained towards.
        package var returns: Tensor

        package init(values: Tensor, oldValues: Tensor, returns: Tensor) {
            self.values = values
            self.oldValues = oldValues
            self.returns = returns
        }
    }

    /// This micro-batch's share of the loss.
    ///
    /// Metrics: `policy_loss`, `value_loss`, `value_clip_ratio`, `entropy`, `clip_ratio/*`, `approx_kl`.
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`, ``LossError`` for an entropy bonus
    ///   without entropies.
    package static func loss(
        _ inputs: PolicyLossInputs, _ values: ValueInputs, _ settings: PPOSettings
    ) throws -> LossResult {
        try policyLoss(inputs, settings).adding(
            valueLoss(values, inputs.spans, inputs.denominators, settings))
    }

    /// L_π − c_H·H: what a policy of its own parameters minimizes. A mean over the micro-batch's share of the tokens.
    ///
    /// Metrics and errors as ``loss(_:_:_:)``'s.
    package static func policyLoss(_ inputs: PolicyLossInputs, _ settings: PPOSettings) throws -> LossResult {
        try inputs.requireShapes("ppo")
        var report = LossReport()
        var loss = try LossAggregation.tokenMean.total(
            settings.clip.tokenLoss(inputs, &report), inputs.spans, inputs.denominators)
        try report.note("policy_loss", loss, .total)
        if settings.entropyCoefficient != 0 {
            loss = try loss - EntropyBonus.meanEntropy(inputs, "ppo") * settings.entropyCoefficient
        }
        try inputs.noteEntropy(in: &report)
        return LossResult(loss: loss, report: report)
    }

    /// c_V·w·L_V: what a critic of its own parameters minimizes. The metric `value_loss` is w·L_V.
    ///
    /// - Parameter weight: w, what the loss of one of several heads counts.
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`.
    package static func valueLoss(
        _ values: ValueInputs, _ spans: CompletionSpans, _ denominators: Denominators, _ settings: PPOSettings,
        weight: Double = 1
    ) throws -> LossResult {
        for tensor in [values.values, values.oldValues, values.returns] { try spans.requireTokens(tensor, in: "ppo") }
        var report = LossReport()
        let returns = try values.returns.detached()
        var squares = try (values.values - returns).square()
        if let epsilon = settings.valueEpsilon {
            let old = try values.oldValues.detached()
            let moved = try values.values - old
            // Within the bounds V itself: old + (V − old) may be a rounding away from it, and count as clipped.
            let bounded = try Tensor.where(
                moved.detached().abs().greater(than: epsilon), old + moved.clamped(to: -epsilon...epsilon),
                values.values)
            let clipped = try (bounded - returns).square()
            try report.note("value_clip_ratio", clipped.greater(than: squares), .mean)
            squares = try maximum(squares, clipped)
        }
        let loss = try LossAggregation.tokenMean.total(squares, spans, denominators) * (0.5 * weight)
        try report.note("value_loss", loss, .total)
        return LossResult(loss: try loss * settings.valueCoefficient, report: report)
    }
}
