internal import Tensors

/// Settings of ``RLOO``.
package struct RLOOSettings: Sendable, Equatable {
    /// The clip on a completion's ratio, TRL's default 0.2; `nil` for the paper's estimator, without ratio and clip.
    package let ratioClip: ClippedSurrogate?

    package init(ratioClip: ClippedSurrogate? = ClippedSurrogate()) { self.ratioClip = ratioClip }
}

extension RLOOSettings: Objective {
    package var aggregation: LossAggregation { .sequenceMeanTokenSum }
    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult { try RLOO.loss(inputs, self) }
}

/// REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv:2402.14740).
///
///     without a clip    L = −(1/N_seq) Σ_i A_i · Σ_t log π(y_t)
///     with a clip       ρ_i = Π_t π(y_t) / π_old(y_t)
///                       L = −(1/N_seq) Σ_i min(ρ_i·A_i, clip(ρ_i, 1 − ε, 1 + ε)·A_i)
///
/// The action is the whole completion. A comes from `LeaveOneOut` in Credit, equal on all tokens of a completion, KL
/// included. The clip is TRL's, so that a rollout can serve several optimizer steps; the paper has none.
package enum RLOO {
    /// This micro-batch's share of the loss.
    ///
    /// Metrics: `policy_loss`, `entropy`; with a clip `clip_ratio/*` over completions, `approx_kl` over tokens.
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`.
    package static func loss(_ inputs: PolicyLossInputs, _ settings: RLOOSettings) throws -> LossResult {
        try inputs.requireShapes("rloo")
        var report = LossReport()
        let loss: Tensor
        if let clip = settings.ratioClip {
            loss = try clippedLoss(inputs, clip, &report)
        } else {
            let perToken = try -(inputs.advantages * inputs.logProbabilities)
            loss = try LossAggregation.sequenceMeanTokenSum.total(perToken, inputs.spans, inputs.denominators)
        }
        try report.note("policy_loss", loss, .total)
        try inputs.noteEntropy(in: &report)
        return LossResult(loss: loss, report: report)
    }

    private static func clippedLoss(
        _ inputs: PolicyLossInputs, _ clip: ClippedSurrogate, _ report: inout LossReport
    ) throws -> Tensor {
        let spans = inputs.spans
        let limit = ImportanceRatio.largestLogRatio
        let old = try inputs.oldOrCurrent
        let logRatios = try spans.segmentSum(inputs.logProbabilities - old)
        let ratios = try logRatios.clamped(to: -limit...limit).exp()
        // An empty completion has no token to carry an advantage: its mean is 0 and so is its loss.
        let advantages = try spans.segmentMean(inputs.advantages)
        try ClipMetrics.note(
            ratios: spans.spread(ratios), advantages: inputs.advantages, clip: clip, level: .sequence, spans,
            in: &report)
        try inputs.noteDrift(from: old, in: &report)
        let perCompletion = try clip.loss(ratios: ratios, advantages: advantages)
        return try perCompletion.sum() * (1 / Double(max(inputs.denominators.sequences, 1)))
    }
}
