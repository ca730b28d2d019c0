package import Records
internal import Tensors

/// Settings of ``Distillation``.
package struct DistillationSettings: Sendable, Equatable {
    /// `distill.form:`.
    package enum Form: String, SettingsChoice {
        /// The divergence over the whole vocabulary at each token's position.
        case full
        /// The reverse KL by the sampled tokens alone: −(log π − log π_T) is each token's reward.
        case sampled
    }

    package let form: Form
    /// GKD's β: 1 is KL(π‖π_T), 0 KL(π_T‖π), between them lies the generalized Jensen–Shannon divergence.
    package let beta: Double
    /// Whether advantages drive the loss, too.
    package let usesAdvantages: Bool
    /// The clip of the ratio that advantages are multiplied by.
    package let clip: ClippedSurrogate

    package init(
        form: Form = .full, beta: Double = 1, usesAdvantages: Bool = false, clip: ClippedSurrogate = ClippedSurrogate()
    ) {
        self.form = form
        self.beta = beta
        self.usesAdvantages = usesAdvantages
        self.clip = clip
    }

    /// - Parameter hasRewards: Whether the job has rewards beside the teacher.
    package init(reading job: inout SettingsReader, hasRewards: Bool) {
        form = job.read(
            "distill.form", default: Form.full,
            "full: the divergence from the teacher over the whole vocabulary; every update includes a teacher pass. sampled: the reverse KL from the sampled tokens alone, each with the advantage log π_T − log π."
        )
        beta = job.read(
            "beta", default: 1.0, .from(0, to: 1),
            "GKD's interpolation (TRL's name): 1 is the reverse KL, KL(π‖π_T), 0 the forward KL, KL(π_T‖π), in between the generalized Jensen–Shannon divergence (arXiv:2306.13649)."
        )
        clip = ClippedSurrogate(reading: &job)
        usesAdvantages = hasRewards || form == .sampled
        job.ignore("epsilon", "epsilon_high", "delta", when: !usesAdvantages)
        if form == .sampled, beta != 1 {
            job.refuse(
                "beta", "beta is \(beta); sampled tokens estimate the reverse KL, expected 1 with distill.form sampled")
        }
    }

    /// The same for completions that the policy did not write.
    package var onDemonstrations: DistillationSettings { DistillationSettings(form: .full, beta: beta) }
}

extension DistillationSettings: Objective {
    package var needsExactDivergence: Bool { form == .full }
    package var divergenceBeta: Double { beta }
    package var needsAdvantages: Bool { usesAdvantages }
    package var terms: [String] { usesAdvantages && form == .full ? ["rewards", "teacher"] : [] }
    package var drivenByAdvantages: any Objective {
        usesAdvantages ? DistillationSettings(form: .sampled, usesAdvantages: true, clip: clip) : self
    }
    package var aggregation: LossAggregation { .tokenMean }
    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult { try Distillation.loss(inputs, self) }
}

/// Distillation of a teacher into the policy (GKD, Agarwal et al. 2024, arXiv:2306.13649; Gu et al. 2024,
/// arXiv:2306.08543).
///
///     L = (1/N_tok) Σ_t [ k·D_t − min(ρ_t·A_t, clip(ρ_t)·A_t) ]
///     D_t   divergence of π and the teacher π_T at token t;  k   1, or what multipliers of the rewards leave it
///
/// On completions that the policy samples itself no gradient flows through the sampling, as in GKD. The second term is
/// there where rewards are, and in the form `sampled`, where A_t has log π_T(y_t) − log π(y_t) in it and there is no D.
package enum Distillation {
    /// This micro-batch's share of the loss.
    ///
    /// Metrics: `distill/divergence` in nats, `policy_loss` where there are advantages, `clip_ratio/*`, `approx_kl`,
    /// `entropy`.
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`, ``LossError`` without divergences.
    package static func loss(_ inputs: PolicyLossInputs, _ settings: DistillationSettings) throws -> LossResult {
        try inputs.requireShapes("distill")
        var report = LossReport()
        func total(_ perToken: Tensor) throws -> Tensor {
            try settings.aggregation.total(perToken, inputs.spans, inputs.denominators)
        }
        var perToken = try inputs.logProbabilities * 0
        var terms: [() throws -> Tensor] = []
        if settings.usesAdvantages {
            perToken = try settings.clip.tokenLoss(inputs, &report)
            try report.note("policy_loss", total(perToken), .total)
        }
        if settings.form == .full {
            guard let divergences = inputs.exactDivergences else {
                throw LossError.missing("the divergences from the teacher", method: "distill")
            }
            try report.note("distill/divergence", divergences, .mean)
            let weighted = try inputs.klWeights.map { try divergences * $0 } ?? divergences
            if settings.usesAdvantages {
                let rewarded = perToken
                terms = [{ try total(rewarded) }, { try total(weighted) }]
            }
            perToken = try perToken + weighted
        }
        try inputs.noteEntropy(in: &report)
        return LossResult(loss: try total(perToken), report: report, terms: terms)
    }
}
