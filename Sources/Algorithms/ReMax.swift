package import Records
internal import Tensors

/// Settings of ``ReMax``.
package struct ReMaxSettings: Sendable, Equatable {
    /// How tokens' losses become one number: `remax_reduction:`.
    package enum Reduction: String, SettingsChoice {
        /// Over all tokens of the step: the authors' code.
        case tokenMean = "token_mean"
        /// A sum over each completion, then the mean: the paper's estimator, the unbiased gradient of the expected
        /// reward.
        case sequenceSum = "sequence_sum"

        var aggregation: LossAggregation {
            switch self {
            case .tokenMean: .tokenMean
            case .sequenceSum: .sequenceMeanTokenSum
            }
        }
    }

    package let reduction: Reduction
    /// A clipped surrogate in place of the plain score, for several optimizer steps per rollout. Not in the paper.
    package let ratioClip: ClippedSurrogate?

    package init(reduction: Reduction = .tokenMean, ratioClip: ClippedSurrogate? = nil) {
        self.reduction = reduction
        self.ratioClip = ratioClip
    }

    /// - Parameter reduction: The method's default.
    package init(reading job: inout SettingsReader, reduction: Reduction, ratioClip: ClippedSurrogate? = nil) {
        self.reduction = job.read(
            "remax_reduction", default: reduction,
            "token_mean: Σ −A log π / tokens (ReMax's published code). sequence_sum: each completion's sum, averaged over completions, the unbiased estimator (arXiv:2310.10505)."
        )
        self.ratioClip = ratioClip
    }
}

extension ReMaxSettings: Objective {
    package var aggregation: LossAggregation { reduction.aggregation }
    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult { try ReMax.loss(inputs, self) }
}

/// ReMax (Li et al. 2024, arXiv:2310.10505, ICML 2024): REINFORCE with the greedy completion's reward as baseline.
///
///     A_t = r(x, y) − r(x, ȳ) − β·Σ_{s ≥ t} k1_s        ȳ = argmax decoding; from `GreedyBaseline` in Credit
///     l_t = −A_t · log π(y_t)
///
/// No critic, no ratio, no clip, one optimizer step per rollout. Departs from the authors' code, which clips r − r̄ to
/// ±5, charges a token only its own KL and discounts the terminal reward: none of the three is in the paper.
package enum ReMax {
    /// This micro-batch's share of the loss.
    ///
    /// Metrics: `policy_loss`, `entropy`; with a ratio clip `clip_ratio/*` and `approx_kl`.
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`.
    package static func loss(_ inputs: PolicyLossInputs, _ settings: ReMaxSettings) throws -> LossResult {
        try inputs.requireShapes("remax")
        var report = LossReport()
        let perToken: Tensor
        if let clip = settings.ratioClip {
            perToken = try clip.tokenLoss(inputs, &report)
        } else {
            perToken = try -(inputs.advantages * inputs.logProbabilities)
        }
        let loss = try settings.reduction.aggregation.total(perToken, inputs.spans, inputs.denominators)
        try report.note("policy_loss", loss, .total)
        try inputs.noteEntropy(in: &report)
        return LossResult(loss: loss, report: report)
    }
}
