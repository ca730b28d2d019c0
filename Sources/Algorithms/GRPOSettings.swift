package import Records

/// Settings of ``GRPO``. The defaults are TRL's.
package struct GRPOSettings: Sendable, Equatable {
    /// How tokens' losses are aggregated, and with `cispo` what a token's loss is: `loss_type:`.
    package enum LossType: String, SettingsChoice {
        /// First over each completion, then over completions: the paper's.
        case grpo
        /// A sum over tokens divided by a constant (Liu et al. 2025, arXiv:2503.20783).
        case drGRPO = "dr_grpo"
        /// Over all tokens of the step (Yu et al. 2025, arXiv:2503.14476, Eq. 8).
        case dapo
        /// Clipped weights instead of clipped updates, over all tokens of the step. `epsilonHigh` is the largest
        /// weight.
        case cispo

        package static var expectation: String { "one of grpo, dr_grpo, dapo, cispo, or bnpo, which is taken as dapo" }

        package static func read(_ node: SettingsNode) -> Self? {
            String.read(node).flatMap { $0 == "bnpo" ? .dapo : Self(rawValue: $0) }
        }

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
    /// Whether the KL term is KL(π‖π_ref) at each token's position, summed over the whole vocabulary, in place of an
    /// estimate from the token that was sampled.
    package let usesExactKL: Bool
    /// Whether an estimated KL term is multiplied by ρ, gradient included but for k2. Without effect where ρ is one
    /// ratio per completion.
    package let correctsKLBias: Bool
    /// What k3 of a token is clamped to; `nil` for nothing. verl has 10. Not with ``correctsKLBias``: ρ's own gradient,
    /// k3·∇log π, stands against that of k3, and alone it would take π farther down where it is far below π_ref.
    package let largestK3: Double?
    /// The weight of the entropy bonus; 0 for none.
    package let entropyCoefficient: Double
    /// `nil` leaves the sampler's own log-probs out of the loss.
    package let mismatchCorrection: MismatchCorrection?
    /// Nats per token beyond which a completion with a negative advantage is left out; `nil` for never.
    package let offPolicyThreshold: Double?

    package init(
        lossType: LossType = .dapo, importanceLevel: ImportanceRatio = .token,
        clip: ClippedSurrogate = ClippedSurrogate(),
        klCoefficient: Double = 0, klEstimator: KLEstimator = .k3, usesExactKL: Bool = false,
        correctsKLBias: Bool = true, largestK3: Double? = nil, entropyCoefficient: Double = 0,
        mismatchCorrection: MismatchCorrection? = nil, offPolicyThreshold: Double? = nil
    ) {
        self.lossType = lossType
        self.importanceLevel = importanceLevel
        self.clip = clip
        self.klCoefficient = klCoefficient
        self.klEstimator = klEstimator
        self.usesExactKL = usesExactKL
        self.correctsKLBias = correctsKLBias
        self.largestK3 = largestK3
        self.entropyCoefficient = entropyCoefficient
        self.mismatchCorrection = mismatchCorrection
        self.offPolicyThreshold = offPolicyThreshold
    }

    /// - Parameters:
    ///   - lossType: The method's default.
    ///   - delta: The method's default of the two-sided clip.
    ///   - klCoefficient: β of a KL term in the loss; 0 for none.
    ///   - usesExactKL: Whether that term runs over the whole vocabulary.
    ///   - mayCorrectKLBias: Whether the method knows the correction of a KL term by the ratio.
    package init(
        reading job: inout SettingsReader, lossType fallback: LossType = .dapo, delta: Double? = nil,
        klCoefficient: Double, klEstimator: KLEstimator, usesExactKL: Bool, mayCorrectKLBias: Bool = true
    ) {
        lossType = job.read(
            "loss_type", default: fallback,
            "Denominator of the loss. grpo: mean over each completion's tokens, then over completions. dapo: mean over all tokens of the optimizer step. dr_grpo: sum / (completions × max_completion_length). cispo: clipped weights, dapo's denominator. Fixed before the first backward, whatever the micro-batches (arXiv:2402.03300, 2503.14476, 2503.20783, 2506.13585)."
        )
        importanceLevel = job.read(
            "importance_sampling_level", default: .token,
            "token: one ratio per token. sequence: the geometric mean over the completion (GSPO, arXiv:2507.18071).")
        clip = ClippedSurrogate(reading: &job, delta: delta)
        self.klCoefficient = klCoefficient
        self.klEstimator = klEstimator
        self.usesExactKL = usesExactKL
        correctsKLBias =
            mayCorrectKLBias
            ? job.read(
                "use_bias_correction_kl", default: importanceLevel == .token,
                "Multiplies the KL term by the token's ratio π/π_old (DeepSeek-V3.2, arXiv:2512.02556), detached for k2. The gradient is then that of the next-token KL(π‖π_ref) at each visited state, off policy too. Not for sequence ratios: their product has neither KL's gradient."
            ) : false
        largestK3 = job.read(
            "k3_clamp", optional: nil, .above(0),
            "Caps one token's k3 in the loss's KL term at this many nats; a token above the cap has no gradient there, and the metric kl shows the cap. Only without use_bias_correction_kl. Off unless set; verl's low_var_kl uses 10."
        )
        entropyCoefficient = job.read(
            "entropy_coef", default: 0.0, .atLeast(0),
            "Weight of the policy's entropy, subtracted from the loss (arXiv:1602.01783).")
        mismatchCorrection = MismatchCorrection(reading: &job)
        offPolicyThreshold = job.read(
            "off_policy_mask_threshold", optional: nil, .above(0),
            "Leaves out completions with a negative advantage whose mean log π_sampler − log π exceeds this many nats (DeepSeek-V3.2, arXiv:2512.02556). Off unless set."
        )
        check(&job)
    }

    private func check(_ job: inout SettingsReader) {
        if case .scalar("bnpo", _) = job.node("loss_type")?.content {
            job.notice("loss_type bnpo depends on the micro-batch; taken as dapo, its limit for one micro-batch")
        }
        if importanceLevel == .sequence, lossType != .grpo {
            job.refuse(
                "importance_sampling_level",
                "importance_sampling_level sequence with loss_type \(lossType.rawValue) would weight completions by their length; expected loss_type grpo (GSPO)"
            )
        }
        job.check(
            klCoefficient == 0 || importanceLevel == .token || !correctsKLBias, "use_bias_correction_kl",
            "false with importance_sampling_level sequence: a completion's ratio times a token's estimate is no KL's gradient"
        )
        job.check(
            lossType != .cispo || clip.upperBound == .none, "delta",
            "none with cispo, whose weights epsilon_high already bounds")
        job.check(
            klCoefficient == 0 || klEstimator != .k1 || correctsKLBias || usesExactKL, "kl_estimator",
            "k2 or k3, or use_bias_correction_kl: k1 alone in a loss has no gradient on average")
        let hasK3 = klCoefficient > 0 && !usesExactKL && klEstimator == .k3
        job.check(
            largestK3 == nil || !hasK3 || !correctsKLBias, "k3_clamp",
            "none, or use_bias_correction_kl: false: where k3 is clamped, the ratio's gradient remains and drives a policy far below the reference even lower"
        )
        job.ignore("use_bias_correction_kl", when: klCoefficient == 0 || usesExactKL)
        job.ignore("k3_clamp", when: !hasK3)
        // cispo clips above alone, at epsilon where epsilon_high is not given.
        job.ignore("epsilon", when: lossType == .cispo && clip.epsilonHigh != clip.epsilon)
        if lossType == .cispo, clip.epsilonHigh < 1 {
            job.notice(
                "epsilon_high is \(clip.epsilonHigh): with loss_type cispo it is the largest weight of a token, and below 1 it caps all of them; the paper uses 5"
            )
        }
    }
}

extension GRPOSettings: Objective {
    package var aggregation: LossAggregation { lossType.aggregation }
    package var needsReference: Bool { klCoefficient > 0 && !usesExactKL }
    package var needsExactDivergence: Bool { klCoefficient > 0 && usesExactKL }
    package var needsRolloutLogProbabilities: Bool { mismatchCorrection != nil || offPolicyThreshold != nil }
    package var weighsSampler: Bool { mismatchCorrection != nil }
    package var drivenByAdvantages: any Objective {
        GRPOSettings(
            lossType: lossType, importanceLevel: importanceLevel, clip: clip, klCoefficient: klCoefficient,
            klEstimator: klEstimator, usesExactKL: usesExactKL, correctsKLBias: correctsKLBias, largestK3: largestK3,
            mismatchCorrection: mismatchCorrection, offPolicyThreshold: offPolicyThreshold)
    }
    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult { try GRPO.loss(inputs, self) }
}
