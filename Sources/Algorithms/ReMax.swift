internal import Records
internal import Tensors

/// Settings of ``ReMax``. A value that exists is a value that passed its checks.
package struct ReMaxSettings: Sendable, Equatable {
    /// How tokens' losses become one number.
    package enum Reduction: String, Sendable, Equatable, CaseIterable {
        /// Over all tokens of the step: the authors' code.
        case tokenMean = "token_mean"
        /// A sum over each completion, then the mean: the paper's estimator, the unbiased gradient of the expected reward.
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
}

/// ReMax (Li et al. 2024, arXiv:2310.10505, ICML 2024): REINFORCE with the greedy completion's reward as baseline.
///
///     A_t = r(x, y) − r(x, ȳ) − β·Σ_{s ≥ t} k1_s        ȳ = argmax decoding; from `GreedyBaseline` in Credit
///     l_t = −A_t · log π(y_t)
///
/// No critic, no ratio, no clip, one optimizer step per rollout. Departs from the authors' code, which clips r − r̄ to ±5,
/// charges a token only its own KL and discounts the terminal reward: none of the three is in the paper.
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
