internal import Tensors

/// Supervised fine-tuning: the likelihood of given completions.
///
///     L = −(1/N_tok) Σ log π(y_t)      over the completions' tokens; prompts are read and not learned
///
/// The mean runs over all tokens of the optimizer step, so a cut into micro-batches changes nothing.
package struct SupervisedFineTuning: Objective, Equatable {
    package init() {}

    package var needsAdvantages: Bool { false }
    package var aggregation: LossAggregation { .tokenMean }

    /// This micro-batch's share of the loss. Advantages are not read.
    ///
    /// Metrics: `entropy`.
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`.
    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult {
        for tensor in [inputs.logProbabilities, inputs.entropies].compactMap(\.self) {
            try inputs.spans.requireTokens(tensor, in: "sft")
        }
        var report = LossReport()
        if let entropies = inputs.entropies { try report.note("entropy", entropies, .mean) }
        let loss = try LossAggregation.tokenMean.total(-inputs.logProbabilities, inputs.spans, inputs.denominators)
        return LossResult(loss: loss, report: report)
    }
}
