internal import Records
internal import Tensors

/// Group Relative Policy Optimization (Shao et al. 2024, arXiv:2402.03300v3, §4.1, Eqs. 3 and 4) and its variants.
///
///     ρ_t = π(y_t) / π_old(y_t)
///     l_t = −min(ρ_t·A, clip(ρ_t, 1 − ε_low, 1 + ε_high)·A) + β·k3_t        k3 between π and π_ref
///     L   = l_t, aggregated as ``GRPOSettings/LossType`` says
///
///     cispo (MiniMax-M1, arXiv:2506.13585):  l_t = −sg(min(ρ_t, ε_high))·A·log π(y_t)
///     GSPO  (arXiv:2507.18071v2):            ρ is one ratio per completion, ``ImportanceRatio/sequence``
///
/// A comes from `GroupBaseline` in Credit. Departs from the paper, each where TRL does: the default loss type averages
/// over all tokens of the step instead of first over each completion; denominators span the whole optimizer step, so a
/// cut into micro-batches changes nothing; by default the KL term is multiplied by ρ (DeepSeek-V3.2, arXiv:2512.02556),
/// with which k3 descends KL(π‖π_ref) of the next token instead of KL(π_ref‖π). k2 does so by itself, on policy; its
/// factor is sg(ρ), which makes the same true off policy, where ρ's own gradient would add k2·∇log π.
/// ``GRPOSettings/usesExactKL`` puts Σ_v π(v)·(log π(v) − log π_ref(v)) in its place: the same divergence without the
/// noise of the sampled token, and nothing for ρ to correct.
///
/// All of these are divergences of the next-token distributions at the states that were visited. None has the gradient
/// of the KL between whole completions: a token is not charged for the states it leads to. The KL in the reward,
/// `KLToGo` with k1, has.
///
/// ρ corrects with *token* ratios only. One ratio per completion times k3 descends neither direction (three words, two
/// tokens: 19 % away from ∇KL(π‖π_ref)), so with ``ImportanceRatio/sequence`` the KL term stays as it is. TRL
/// multiplies there, too.
package enum GRPO {
    /// This micro-batch's share of the loss.
    ///
    /// Metrics: `policy_loss` (the loss without the KL term and the entropy bonus), `kl`, `entropy`, `clip_ratio/*`
    /// or with `cispo` `cispo_clip_ratio`, `ratio/*`, `sampling/importance_sampling_ratio/*`, `approx_kl` between π_old
    /// and π.
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`, ``LossError`` for an input that the
    ///   settings need and that is absent.
    package static func loss(_ inputs: PolicyLossInputs, _ settings: GRPOSettings) throws -> LossResult {
        try inputs.requireShapes("grpo")
        let old = try inputs.oldOrCurrent
        let ratios = try settings.importanceLevel.ratios(
            policy: inputs.logProbabilities, old: old, inputs.spans)
        var report = LossReport()
        var perToken = try policyTerm(inputs, ratios, settings)
        perToken = try corrected(perToken, inputs, old, settings, &report)
        var loss = try settings.lossType.aggregation.total(perToken, inputs.spans, inputs.denominators)
        try report.note("policy_loss", loss, .total)
        if settings.klCoefficient > 0 {
            let divergence = try divergence(inputs, ratios, settings)
            try report.note("kl", divergence, .mean)
            let weighted = try inputs.klWeights.map { try divergence * $0 } ?? divergence
            let total = try settings.lossType.aggregation.total(weighted, inputs.spans, inputs.denominators)
            loss = try loss + total * settings.klCoefficient
        }
        if settings.entropyCoefficient != 0 {
            loss = try loss - EntropyBonus.meanEntropy(inputs, "grpo") * settings.entropyCoefficient
        }
        try note(inputs, ratios, old, settings, &report)
        return LossResult(loss: loss, report: report)
    }

    /// The part of each token's loss that advantages drive.
    private static func policyTerm(
        _ inputs: PolicyLossInputs, _ ratios: Tensor, _ settings: GRPOSettings
    ) throws -> Tensor {
        guard settings.lossType == .cispo else {
            return try settings.clip.loss(ratios: ratios, advantages: inputs.advantages)
        }
        let weights = try ratios.detached().clamped(to: 0...settings.clip.epsilonHigh)
        return try -(weights * inputs.advantages * inputs.logProbabilities)
    }

    /// Weighs or drops tokens whose sampler or old policy disagrees with the trainer.
    private static func corrected(
        _ perToken: Tensor, _ inputs: PolicyLossInputs, _ old: Tensor, _ settings: GRPOSettings,
        _ report: inout LossReport
    ) throws -> Tensor {
        var perToken = perToken
        if let threshold = settings.offPolicyThreshold {
            let rollout = inputs.rolloutLogProbabilities ?? old
            perToken = try perToken * OffPolicyMask.mask(inputs, rollout: rollout, threshold: threshold)
        }
        if let correction = settings.mismatchCorrection {
            guard let rollout = inputs.samplingLogProbabilities ?? inputs.rolloutLogProbabilities else {
                throw LossError.missing("the sampler's log-probs", method: "grpo")
            }
            let weights = try correction.weights(old: old, rollout: rollout, inputs.spans)
            try correction.noteWeights(weights, inputs.spans, in: &report)
            perToken = try perToken * weights
        }
        return perToken
    }

    private static func divergence(
        _ inputs: PolicyLossInputs, _ ratios: Tensor, _ settings: GRPOSettings
    ) throws -> Tensor {
        if settings.usesExactKL {
            guard let exact = inputs.exactDivergences else {
                throw LossError.missing("the divergences from the reference policy", method: "grpo")
            }
            return exact
        }
        let estimate = try settings.klEstimator.estimate(
            policy: inputs.logProbabilities, reference: inputs.requireReference("grpo"), largestK3: settings.largestK3)
        guard settings.correctsKLBias, settings.importanceLevel == .token else { return estimate }
        // The gradient of k2 is the KL's as it stands and takes a weight; those of k1 and k3 need the ratio's own.
        return try estimate * (settings.klEstimator == .k2 ? ratios.detached() : ratios)
    }

    private static func note(
        _ inputs: PolicyLossInputs, _ ratios: Tensor, _ old: Tensor, _ settings: GRPOSettings,
        _ report: inout LossReport
    ) throws {
        try inputs.noteEntropy(in: &report)
        try inputs.noteDrift(from: old, in: &report)
        guard settings.lossType == .cispo else {
            return try ClipMetrics.note(
                ratios: ratios, advantages: inputs.advantages, clip: settings.clip, level: settings.importanceLevel,
                inputs.spans, in: &report)
        }
        // Compared in double, as the bound is given.
        let isClipped = try ratios.detached().to(.float64).greater(than: settings.clip.epsilonHigh)
            .logicalAnd(inputs.advantages.greater(than: 0))
        let unit = settings.importanceLevel == .token ? nil : inputs.spans
        try report.note("cispo_clip_ratio", isClipped, .mean, over: unit)
        try report.note("ratio/mean", ratios, .mean, over: unit)
        try report.note("ratio/max", ratios, .maximum)
    }
}
