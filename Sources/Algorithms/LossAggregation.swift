package import Records
package import Tensors

/// What the losses of an optimizer step are divided by: fixed before its first backward, over all micro-batches and
/// ranks.
///
/// Each micro-batch divides its sum by these, so the losses of the micro-batches add up to the step's loss however the
/// step is cut.
package struct Denominators: Sendable, Equatable {
    /// Action tokens that are trained; masked completions' are not.
    package let tokens: Int
    /// Completions, fully masked ones included.
    package let sequences: Int
    /// The job's limit on a completion's tokens.
    package let maxCompletionLength: Int
    /// How many of `tokens` are demonstrations'.
    package let demonstrationTokens: Int

    package init(tokens: Int, sequences: Int, maxCompletionLength: Int, demonstrationTokens: Int = 0) {
        self.tokens = tokens
        self.demonstrationTokens = demonstrationTokens
        self.sequences = sequences
        self.maxCompletionLength = maxCompletionLength
    }

    /// The denominators of a whole step in one process.
    package init(_ batch: UpdateBatch, maxCompletionLength: Int) {
        self.init(
            tokens: batch.actionTokenCount, sequences: batch.completionCount, maxCompletionLength: maxCompletionLength)
    }
}

/// How the losses of single tokens become one number. N_tok, N_seq and L are ``Denominators``, n_i a completion's
/// length.
package enum LossAggregation: String, Sendable, Equatable, CaseIterable {
    /// Σ l / N_tok: every token weighs the same (DAPO, PPO, ReMax).
    case tokenMean = "token_mean"
    /// (1/N_seq) Σ_i Σ_t l / n_i: every completion weighs the same (GRPO, GSPO).
    case sequenceMeanTokenMean = "sequence_mean"
    /// (1/N_seq) Σ_i Σ_t l: the score of whole completions (RLOO, plain REINFORCE).
    case sequenceMeanTokenSum = "sequence_sum"
    /// Σ l / (N_seq · L): no weight on length, in the scale of a mean (Dr. GRPO).
    case sequenceMeanTokenSumOverLimit = "sequence_sum_over_limit"

    /// This micro-batch's share of the step's loss.
    ///
    /// - Parameter perToken: `[actionTokens]`.
    /// - Returns: A scalar; 0 of no tokens. Differentiable in `perToken`.
    package func total(_ perToken: Tensor, _ spans: CompletionSpans, _ denominators: Denominators) throws -> Tensor {
        let tokens = Double(max(denominators.tokens, 1))
        let sequences = Double(max(denominators.sequences, 1))
        switch self {
        case .tokenMean:
            return try perToken.sum() * (1 / tokens)
        case .sequenceMeanTokenMean:
            return try spans.segmentMean(perToken).sum() * (1 / sequences)
        case .sequenceMeanTokenSum:
            return try perToken.sum() * (1 / sequences)
        case .sequenceMeanTokenSumOverLimit:
            return try perToken.sum() * (1 / (sequences * Double(max(denominators.maxCompletionLength, 1))))
        }
    }
}
