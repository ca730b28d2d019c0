internal import Records
internal import Tensors

/// Settings of ``REINFORCEPlusPlus``.
package struct REINFORCEPlusPlusSettings: Sendable, Equatable {
    package let clip: ClippedSurrogate
    /// λ, the weight of the k2 term in the loss (the form with a group mean); 0 for the plain form, whose KL is in the
    /// reward.
    package let klCoefficient: Double

    package init(clip: ClippedSurrogate = ClippedSurrogate(), klCoefficient: Double = 0) {
        self.clip = clip
        self.klCoefficient = klCoefficient
    }
}

extension REINFORCEPlusPlusSettings: Objective {
    package var aggregation: LossAggregation { .sequenceMeanTokenMean }
    package var needsReference: Bool { klCoefficient > 0 }
    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult { try REINFORCEPlusPlus.loss(inputs, self) }
}

/// REINFORCE++ (Hu et al. 2025, arXiv:2501.03262v9, Eq. 1): PPO's clipped loss without a critic.
///
///     l_t = −min(ρ_t·A_t, clip(ρ_t, 1 − ε, 1 + ε)·A_t) + λ·k2_t
///     L   = (1/N_seq) Σ_i (1/n_i) Σ_t l_t
///
/// A comes from `BatchWhitening` in Credit: normalized over all tokens of the batch, with or without a group mean.
package enum REINFORCEPlusPlus {
    /// This micro-batch's share of the loss.
    ///
    /// Metrics: `policy_loss` (the loss without the KL term), `kl`, `entropy`, `clip_ratio/*`, `approx_kl`.
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`, ``LossError`` without a reference that
    ///   λ needs.
    package static func loss(
        _ inputs: PolicyLossInputs, _ settings: REINFORCEPlusPlusSettings
    ) throws -> LossResult {
        try inputs.requireShapes("reinforce++")
        var report = LossReport()
        let perToken = try settings.clip.tokenLoss(inputs, &report)
        var loss = try settings.aggregation.total(perToken, inputs.spans, inputs.denominators)
        try report.note("policy_loss", loss, .total)
        if settings.klCoefficient > 0 {
            let divergence = try KLEstimator.k2.estimate(
                policy: inputs.logProbabilities, reference: inputs.requireReference("reinforce++"))
            try report.note("kl", divergence, .mean)
            let weighted = try inputs.klWeights.map { try divergence * $0 } ?? divergence
            let total = try settings.aggregation.total(weighted, inputs.spans, inputs.denominators)
            loss = try loss + total * settings.klCoefficient
        }
        try inputs.noteEntropy(in: &report)
        return LossResult(loss: loss, report: report)
    }
}
