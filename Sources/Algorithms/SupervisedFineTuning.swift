package import Tensors

/// Supervised fine-tuning: the likelihood of given completions.
///
///     L = −(1/N_tok) Σ log π(y_t)      over the completions' tokens; prompts are read and not learned
///
/// The mean runs over all tokens of the optimizer step, so a cut into micro-batches changes nothing.
package enum SupervisedFineTuning {
    /// What the loss reads. Every tensor is `[actionTokens]`.
    package struct Inputs {
        /// log π of each given token, in nats, differentiable.
        package var logProbabilities: Tensor
        /// The policy's entropy at each token, in nats; reported when present.
        package var entropies: Tensor?
        package var spans: CompletionSpans
        package var denominators: Denominators

        package init(
            logProbabilities: Tensor, entropies: Tensor? = nil, spans: CompletionSpans, denominators: Denominators
        ) {
            self.logProbabilities = logProbabilities
            self.entropies = entropies
            self.spans = spans
            self.denominators = denominators
        }
    }

    /// This micro-batch's share of the loss.
    ///
    /// Metrics: `entropy`.
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`.
    package static func loss(_ inputs: Inputs) throws -> LossResult {
        for tensor in [inputs.logProbabilities, inputs.entropies].compactMap(\.self) {
            try inputs.spans.requireTokens(tensor, in: "sft")
        }
        var report = LossReport()
        if let entropies = inputs.entropies { try report.note("entropy", entropies, .mean) }
        let loss = try LossAggregation.tokenMean.total(-inputs.logProbabilities, inputs.spans, inputs.denominators)
        return LossResult(loss: loss, report: report)
    }
}
