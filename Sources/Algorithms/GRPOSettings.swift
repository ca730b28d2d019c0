package import Records

/// Settings of ``GRPO``. A value that exists is a value that passed its checks. The defaults are TRL's.
package struct GRPOSettings: Sendable, Equatable {
    /// How tokens' losses are aggregated, and with `cispo` what a token's loss is. Spelled as TRL's `loss_type`.
    package enum LossType: String, Sendable, Equatable, CaseIterable {
        /// First over each completion, then over completions: the paper's.
        case grpo
        /// A sum over tokens divided by a constant (Liu et al. 2025, arXiv:2503.20783).
        case drGRPO = "dr_grpo"
        /// Over all tokens of the step (Yu et al. 2025, arXiv:2503.14476, Eq. 8).
        case dapo
        /// Clipped weights instead of clipped updates, over all tokens of the step. `epsilonHigh` is the largest weight.
        case cispo

        package var aggregation: LossAggregation {
            switch self {
            case .grpo: .sequenceMeanTokenMean
            case .drGRPO: .sequenceMeanTokenSumOverLimit
            case .dapo, .cispo: .tokenMean
            }
        }
    }

    package let lossType: LossType
    package let importanceLevel: ImportanceRatio
    package let clip: ClippedSurrogate
    /// β, the weight of the KL term in the loss; 0 needs no reference policy.
    package let klCoefficient: Double
    package let klEstimator: KLEstimator
    /// Whether the KL term is KL(π‖π_ref) at each token's place, summed over the whole vocabulary, in place of an estimate from
    /// the token that was sampled.
    package let usesExactKL: Bool
    /// Whether an estimated KL term is multiplied by ρ, gradient included. Without effect where ρ is one ratio per completion.
    package let correctsKLBias: Bool
    /// The weight of the entropy bonus; 0 for none.
    package let entropyCoefficient: Double
    /// `nil` leaves the sampler's own log-probs out of the loss.
    package let mismatchCorrection: MismatchCorrection?
    /// Nats per token beyond which a completion with a negative advantage is left out; `nil` for never.
    package let offPolicyThreshold: Double?

    /// - Throws: `SettingsError` with every problem.
    package init(
        lossType: LossType = .dapo, importanceLevel: ImportanceRatio = .token, clip: ClippedSurrogate? = nil,
        klCoefficient: Double = 0, klEstimator: KLEstimator = .k3, usesExactKL: Bool = false,
        correctsKLBias: Bool = true, entropyCoefficient: Double = 0, mismatchCorrection: MismatchCorrection? = nil,
        offPolicyThreshold: Double? = nil
    ) throws(SettingsError) {
        let clip = if let clip { clip } else { try ClippedSurrogate() }
        var problems = Problems("grpo")
        problems.require(
            klCoefficient >= 0 && klCoefficient.isFinite, "klCoefficient", klCoefficient, "a number from 0 on")
        problems.require(
            klCoefficient == 0 || klEstimator != .k1 || correctsKLBias || usesExactKL, "klEstimator",
            klEstimator.rawValue,
            "k2 or k3, or correctsKLBias: k1 alone in a loss has no gradient on average")
        problems.require(entropyCoefficient.isFinite, "entropyCoefficient", entropyCoefficient, "a finite number")
        problems.require(
            offPolicyThreshold.map { $0 > 0 } ?? true, "offPolicyThreshold", offPolicyThreshold ?? 0, "above 0")
        problems.require(
            importanceLevel == .token || lossType == .grpo, "lossType", lossType.rawValue,
            "grpo with sequence-level ratios: summing one ratio over tokens weighs completions by their length")
        problems.require(
            lossType != .cispo || clip.upperBound == .none, "clip.upperBound", clip.upperBound,
            "none with cispo, whose weights epsilon_high already bounds")
        try problems.throwIfAny()
        self.lossType = lossType
        self.importanceLevel = importanceLevel
        self.clip = clip
        self.klCoefficient = klCoefficient
        self.klEstimator = klEstimator
        self.usesExactKL = usesExactKL
        self.correctsKLBias = correctsKLBias
        self.entropyCoefficient = entropyCoefficient
        self.mismatchCorrection = mismatchCorrection
        self.offPolicyThreshold = offPolicyThreshold
    }
}
