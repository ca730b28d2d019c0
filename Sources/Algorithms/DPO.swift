package import Records
internal import Tensors

/// Settings of ``DPO``, with TRL's names and defaults.
package struct DPOSettings: Sendable, Equatable {
    /// What is minimized of a pair: `loss_type:`.
    package enum LossType: String, SettingsChoice {
        /// −(1 − ε) log σ(βΔ) − ε log σ(−βΔ); ε above 0 is conservative DPO.
        case sigmoid
        /// [−(1 − ε) log σ(βΔ) + ε log σ(−βΔ)] / (1 − 2ε): unbiased when a share ε of the labels is flipped
        /// (arXiv:2403.00409).
        case robust
        /// (d − 1/(2β))², d the difference of log-ratios per token (arXiv:2310.12036).
        case ipo
        /// −log σ(βd − γ) with log-probs per token and no reference (arXiv:2405.14734).
        case simpo

        package static var expectation: String { "one of sigmoid, robust, ipo, simpo" }

        /// TRL's list of one is its element.
        package static func read(_ node: SettingsNode) -> Self? {
            if case .list(let items) = node.content { return items.count == 1 ? read(items[0]) : nil }
            return String.read(node).flatMap(Self.init(rawValue:))
        }

        /// Whether completions are compared per token, and not as a whole.
        var isPerToken: Bool { self == .ipo || self == .simpo }
    }

    package let lossType: LossType
    /// β: how dear it is to leave the reference; of IPO its regularization τ.
    package let beta: Double
    /// ε, the share of labels taken to be wrong.
    package let labelSmoothing: Double
    /// γ of SimPO, the margin aimed at.
    package let simpoGamma: Double
    /// Takes the reference for uniform: its log-ratio is 0.
    package let isReferenceFree: Bool

    package init(
        lossType: LossType = .sigmoid, beta: Double = 0.1, labelSmoothing: Double = 0, simpoGamma: Double = 0.5,
        isReferenceFree: Bool = false
    ) {
        self.lossType = lossType
        self.beta = beta
        self.labelSmoothing = labelSmoothing
        self.simpoGamma = simpoGamma
        self.isReferenceFree = isReferenceFree
    }

    package init(reading job: inout SettingsReader) {
        lossType = job.read(
            "loss_type", default: .sigmoid,
            "The loss of a pair, with Δ the log-ratio log π − log π_ref of chosen minus rejected. sigmoid: −(1−ε) log σ(βΔ) − ε log σ(−βΔ) (DPO, arXiv:2305.18290). robust: [−(1−ε) log σ(βΔ) + ε log σ(−βΔ)]/(1−2ε) (arXiv:2403.00409). ipo: (Δ per token − 1/(2β))² (arXiv:2310.12036). simpo: −log σ(β·(log π per token, chosen − rejected) − γ) (arXiv:2405.14734). Averaged over the step's prompts."
        )
        beta = job.read(
            "beta", default: 0.1, .above(0),
            "β: how strongly leaving the reference is penalized; ipo's τ, simpo's reward scale.")
        labelSmoothing = job.read(
            "label_smoothing", default: 0.0, .from(0, to: 1),
            "ε, the assumed share of flipped preferences: 0 ≤ ε < ½. Conservative DPO with sigmoid, unbiased with robust."
        )
        simpoGamma = job.read(
            "simpo_gamma", default: 0.5, .atLeast(0), "γ, the reward margin that simpo aims for.")
        isReferenceFree = job.read(
            "reference_free", default: false, "Assumes a uniform reference policy; no reference is loaded.")
        job.check(labelSmoothing < 0.5, "label_smoothing", "a share below 0.5: beyond it the labels say the opposite")
        job.ignore("label_smoothing", when: lossType.isPerToken)
        job.ignore("simpo_gamma", when: lossType != .simpo)
        job.ignore("reference_free", when: lossType == .simpo)
    }
}

extension DPOSettings: Objective {
    package var needsReference: Bool { lossType != .simpo && !isReferenceFree }
    package var needsAdvantages: Bool { false }
    package var aggregation: LossAggregation { .sequenceMeanTokenSum }

    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult { try DPO.loss(inputs, self) }
}

/// Direct Preference Optimization (Rafailov et al. 2023, arXiv:2305.18290, Eq. 7) and its kin: fits the policy to
/// preferences without a reward model.
///
///     s = Σ_t [log π(y_t) − log π_ref(y_t)]      over the completion's actions, the stop token included
///     Δ = s⁺ − s⁻
///     L = (1/prompts) Σ over pairs of −log σ(βΔ),  ∂L/∂s⁺ = −β σ(−βΔ)/prompts = −∂L/∂s⁻
///
/// The ratio is summed token by token, so that a policy that is its reference has Δ = 0 exactly. Δ is never
/// exponentiated.
package enum DPO {
    /// This micro-batch's share of the loss.
    ///
    /// The completions are pairs, the chosen one first. Metrics by TRL's names: `rewards/chosen|rejected` (β·s, per
    /// token for simpo as in TRL's CPO), `rewards/accuracies` (the share of Δ above 0; a tie is none),
    /// `rewards/margins`, `logps/chosen|rejected`, `entropy`. Beside them `logps/variance` and `lengths/variance`: of a
    /// prompt's two completions, half the squared difference.
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`, ``LossError`` without the reference's
    ///   log-probs or with an odd number of completions.
    package static func loss(_ inputs: PolicyLossInputs, _ settings: DPOSettings) throws -> LossResult {
        try inputs.requireShapes("dpo")
        let spans = inputs.spans
        guard spans.count.isMultiple(of: 2) else { throw LossError.missing("the other sides of pairs", method: "dpo") }
        let perToken =
            settings.needsReference
            ? try inputs.logProbabilities - inputs.requireReference("dpo") : inputs.logProbabilities
        let sums = try spans.segmentSum(perToken)
        let scores = settings.lossType.isPerToken ? try sums * spans.inverseLengths(like: sums) : sums
        let (chosen, rejected) = try sides(scores)
        let perPair = try pairLoss(chosen - rejected, settings)
        let loss = try perPair.sum() * (1 / Double(max(inputs.denominators.sequences, 1)))

        var report = LossReport()
        let rewards = try sides((settings.lossType == .simpo ? scores : sums).detached() * settings.beta)
        let margins = try rewards.chosen - rewards.rejected
        try report.note("rewards/chosen", rewards.chosen, .mean)
        try report.note("rewards/rejected", rewards.rejected, .mean)
        try report.note("rewards/accuracies", margins.greater(than: 0), .mean)
        try report.note("rewards/margins", margins, .mean)
        let logProbabilities = try sides(spans.segmentSum(inputs.logProbabilities.detached()))
        try report.note("logps/chosen", logProbabilities.chosen, .mean)
        try report.note("logps/rejected", logProbabilities.rejected, .mean)
        let gap = try logProbabilities.chosen - logProbabilities.rejected
        try report.note("logps/variance", gap.square() * 0.5, .mean)
        let lengths = spans.lengths
        let variances = stride(from: 0, to: lengths.count, by: 2).map { index -> Double in
            let gap = Double(lengths[index] - lengths[index + 1])
            return gap * gap / 2
        }
        try report.note([]) { _, metrics in metrics.set("lengths/variance", variances, .mean) }
        try inputs.noteEntropy(in: &report)
        return LossResult(loss: loss, report: report)
    }

    /// The loss of each pair, `[pairs]`, of Δ or of the difference per token, `[pairs]`.
    private static func pairLoss(_ difference: Tensor, _ settings: DPOSettings) throws -> Tensor {
        let smoothing = settings.labelSmoothing
        switch settings.lossType {
        case .sigmoid, .robust:
            let scaled = try difference * settings.beta
            if smoothing == 0 { return try -scaled.logSigmoid() }
            let asLabelled = try scaled.logSigmoid() * (smoothing - 1)
            let flipped = try (-scaled).logSigmoid() * smoothing
            if settings.lossType == .sigmoid { return try asLabelled - flipped }
            return try (asLabelled + flipped) * (1 / (1 - 2 * smoothing))
        case .ipo:
            let target = 1 / (2 * settings.beta)
            return try (difference - target).square()
        case .simpo: return try -(difference * settings.beta - settings.simpoGamma).logSigmoid()
        }
    }

    /// The chosen and the rejected completions' numbers, `[pairs]` each, of `[completions]`.
    private static func sides(_ values: Tensor) throws -> (chosen: Tensor, rejected: Tensor) {
        let pairs = try values.reshaped([values.count / 2, 2])
        return (try pairs.selected(axis: 1, at: 0), try pairs.selected(axis: 1, at: 1))
    }
}
