package import Records
package import Tensors

/// Settings of ``SofTGRPO``.
package struct SofTGRPOSettings: Sendable, Equatable {
    /// How KL to the reference policy is taken at soft steps: `soft_thinking.kl:`.
    package enum Divergence: String, SettingsChoice {
        /// The two densities' own KL, in closed form.
        case analytic
        /// The estimator of the settings, on the step's log-densities, as at discrete steps.
        case sampled
    }

    /// Everything of the loss that soft and discrete steps share.
    package let surrogate: GRPOSettings
    /// One with a density.
    package let noise: SoftNoise
    /// τ of the thinking steps.
    package let temperature: Double
    package let divergence: Divergence
    /// Whether no gradient flows from inputs into the embedding, prompts and answers included: the published code's
    /// way.
    package let detachesInputs: Bool

    package init(
        surrogate: GRPOSettings, noise: SoftNoise, temperature: Double = 1, divergence: Divergence = .analytic,
        detachesInputs: Bool = false
    ) {
        self.surrogate = surrogate
        self.noise = noise
        self.temperature = temperature
        self.divergence = divergence
        self.detachesInputs = detachesInputs
    }

    /// Refuses what the loss cannot give soft steps.
    ///
    /// - Parameter temperature: The job's own, for where the section has none.
    package init(
        reading job: inout SettingsReader, surrogate: GRPOSettings, thinking: SoftThinking, temperature: Double
    ) {
        self.init(
            surrogate: surrogate, noise: thinking.noise, temperature: thinking.temperature ?? temperature,
            divergence: thinking.divergence, detachesInputs: thinking.followsRelease)
        job.ignore("soft_thinking.kl", when: surrogate.klCoefficient == 0)
        if noise.density == nil {
            job.refuse(
                "soft_thinking.noise",
                "soft_thinking.noise is none; without noise thinking has no density to learn from, expected gumbel, dirichlet, gaussian or embedding_gaussian"
            )
        }
        if surrogate.lossType == .cispo {
            job.refuse("loss_type", "loss_type is cispo, which weighs log-probs; soft_grpo takes grpo, dapo or dr_grpo")
        }
        if surrogate.klEstimator == .k1 {
            job.refuse(
                "kl_estimator", "kl_estimator is k1, which has no gradient on average in a loss; expected k2 or k3")
        }
        if surrogate.entropyCoefficient != 0 {
            job.refuse(
                "entropy_coef",
                "entropy_coef is \(surrogate.entropyCoefficient); soft_grpo has no entropy bonus, expected 0")
        }
        if surrogate.offPolicyThreshold != nil {
            job.refuse(
                "off_policy_mask_threshold",
                "off_policy_mask_threshold is in nats of a word; a soft step's density has another unit, expected none")
        }
    }
}

extension SofTGRPOSettings: Objective {
    package var aggregation: LossAggregation { surrogate.lossType.aggregation }
    package var needsReference: Bool { surrogate.klCoefficient > 0 }
    package var needsRolloutLogProbabilities: Bool { weighsSampler }
    package var weighsSampler: Bool { surrogate.weighsSampler }
    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult { try SofTGRPO.loss(inputs, self) }
}

/// The soft steps among a micro-batch's action tokens.
///
/// Tensors are `[soft steps, components]` of the losses' type, with zeros in empty slots; only `policy` carries a
/// gradient.
package struct SoftLossInputs: PayloadLossInputs {
    /// Which action tokens are soft, ascending.
    package var positions: [Int]
    /// What the rollout drew.
    package var values: Tensor
    /// 1 for a component, 0 for an empty slot.
    package var filled: Tensor
    /// θ under the current policy; see ``SoftDensity``.
    package var policy: Tensor
    /// θ under the policy that produced the data; `nil` when this is the first optimizer step on it.
    package var old: Tensor?
    /// θ as the sampler recorded it.
    package var rollout: Tensor
    /// θ under the reference policy.
    package var reference: Tensor?

    package init(
        positions: [Int], values: Tensor, filled: Tensor, policy: Tensor, old: Tensor? = nil, rollout: Tensor,
        reference: Tensor? = nil
    ) {
        self.positions = positions
        self.values = values
        self.filled = filled
        self.policy = policy
        self.old = old
        self.rollout = rollout
        self.reference = reference
    }
}

/// SofT-GRPO (arXiv:2511.06411v2, Eqs. 8 to 12, App. C to E): GRPO whose thinking steps are mixtures of tokens drawn
/// from a density.
///
///     ρ_t = f(values_t | θ) / f(values_t | θ_old)     at a soft step, on the support that the rollout recorded
///     ρ_t = π(y_t) / π_old(y_t)                    at a discrete step: the end of thinking, the answer, the stop token
///     L   = ``GRPO`` over all steps;  + β·KL(f(· | θ) ‖ f(· | θ_ref)) at soft steps, β·k3 at discrete ones
///
/// Log-probs enter ``GRPO`` as differences alone. At a soft step every policy's log-density is therefore given relative
/// to the old policy's, which ``SoftDensity/logRatio(_:policy:old:filled:)`` computes without cancellation. Without
/// soft steps this is GRPO to the bit.
package enum SofTGRPO {
    /// This micro-batch's share of the loss.
    ///
    /// Metrics: those of GRPO over all steps; `soft/kl` (to the reference, per soft step), `soft/approx_kl` (old to
    /// current), `soft/clamped` (log-probs in a support that had to be clamped).
    ///
    /// - Throws: what ``GRPO/loss(_:_:)`` throws; ``LossError`` when soft steps lack the reference that β needs.
    package static func loss(_ inputs: PolicyLossInputs, _ settings: SofTGRPOSettings) throws -> LossResult {
        guard let soft = inputs.payload as? SoftLossInputs, let density = settings.noise.density else {
            return try GRPO.loss(inputs, settings.surrogate)
        }
        let old = try (soft.old ?? soft.policy).detached()
        func ratio(_ parameters: Tensor) throws -> Tensor {
            try density.logRatio(soft.values, policy: parameters, old: old, filled: soft.filled)
        }
        let slots = try Tensor(soft.positions, device: soft.policy.device)
        let policyRatio = try ratio(soft.policy)
        var relative = inputs
        relative.logProbabilities = try inputs.logProbabilities.indexAdded(axis: 0, index: slots, source: policyRatio)
        relative.rolloutLogProbabilities = try inputs.rolloutLogProbabilities?
            .indexAdded(axis: 0, index: slots, source: ratio(soft.rollout))
        relative.samplingLogProbabilities = try inputs.samplingLogProbabilities?
            .indexAdded(axis: 0, index: slots, source: ratio(soft.rollout))
        let isAnalytic = settings.divergence == .analytic
        let needsReference = settings.surrogate.klCoefficient > 0
        let reference = needsReference ? try soft.requireReference() : nil
        if let reference {
            // With the closed form the estimator sees no difference at soft steps, so that it adds exactly 0 there.
            let source = isAnalytic ? try policyRatio.detached() : try ratio(reference).detached()
            relative.referenceLogProbabilities = try inputs.requireReference("soft_grpo")
                .indexAdded(axis: 0, index: slots, source: source)
        }
        var result = try GRPO.loss(relative, settings.surrogate)
        if let reference, isAnalytic {
            let divergence = try density.divergence(policy: soft.policy, reference: reference, filled: soft.filled)
            result = try adding(divergence, at: slots, to: result, inputs, settings)
        }
        let drift = try density.divergence(policy: old, reference: soft.policy.detached(), filled: soft.filled)
        try result.report.note("soft/approx_kl", drift, .mean)
        if !settings.noise.perturbsEmbedding {
            let atTheClamp = try soft.policy.detached().lessOrEqual(to: SoftSupport.lowestLogProbability)
            try result.report.note("soft/clamped", atTheClamp, .total)
        }
        return result
    }

    private static func adding(
        _ divergence: Tensor, at slots: Tensor, to result: LossResult, _ inputs: PolicyLossInputs,
        _ settings: SofTGRPOSettings
    ) throws -> LossResult {
        var perToken = try (inputs.advantages * 0).indexAdded(axis: 0, index: slots, source: divergence)
        if let weights = inputs.klWeights { perToken = try perToken * weights }
        let share =
            try settings.surrogate.lossType.aggregation
            .total(perToken, inputs.spans, inputs.denominators) * settings.surrogate.klCoefficient
        var report = result.report
        try report.note([divergence]) { columns, metrics in
            metrics.set("soft/kl", columns[0], .mean)
            if case .mean(let sum, let count) = metrics["kl"] {
                metrics["kl"] = .mean(sum: sum + columns[0].reduce(0, +), count: count)
            }
        }
        return LossResult(loss: try result.loss + share, report: report)
    }
}

extension SoftLossInputs {
    fileprivate func requireReference() throws -> Tensor {
        guard let reference else {
            throw LossError.missing("the reference policy's numbers of soft steps", method: "soft_grpo")
        }
        return reference
    }
}
