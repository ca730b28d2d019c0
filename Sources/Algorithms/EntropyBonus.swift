internal import Tensors

/// The mean entropy that a loss may be lowered by, to keep the policy exploring.
enum EntropyBonus {
    /// This micro-batch's share of H averaged over the step's action tokens, whatever the loss's own aggregation, as in
    /// TRL.
    ///
    /// - Throws: ``LossError`` when the entropies are absent or carry no gradient.
    static func meanEntropy(_ inputs: PolicyLossInputs, _ method: String) throws -> Tensor {
        guard let entropies = inputs.entropies else { throw LossError.missing("the entropies", method: method) }
        guard entropies.requiresGradient || inputs.spans.tokenCount == 0 else {
            throw LossError.entropyWithoutGradient(method: method)
        }
        return try LossAggregation.tokenMean.total(entropies, inputs.spans, inputs.denominators)
    }
}
