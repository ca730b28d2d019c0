package import Records
internal import Tensors

/// Settings of ``SRFT``.
package struct SRFTSettings: Sendable, Equatable {
    /// The clip of a demonstration's ratio.
    package let clip: ClippedSurrogate
    /// w_SFT at an entropy of 0.
    package let imitationScale: Double
    /// w_RL at an entropy of 0.
    package let rewardScale: Double

    package init(
        clip: ClippedSurrogate = ClippedSurrogate(), imitationScale: Double = 0.5, rewardScale: Double = 0.1
    ) {
        self.clip = clip
        self.imitationScale = imitationScale
        self.rewardScale = rewardScale
    }

    package init(reading job: inout SettingsReader) {
        clip = ClippedSurrogate(reading: &job, takesDelta: false)
        imitationScale = job.read(
            "srft.sft_scale", default: 0.5, .atLeast(0),
            "w_SFT = this × exp(−H): imitation counts less where the policy is unsure (arXiv:2506.19767).")
        rewardScale = job.read(
            "srft.rl_scale", default: 0.1, .atLeast(0),
            "w_RL = this × exp(H): the policy's own right completions count more where it is unsure (arXiv:2506.19767)."
        )
    }
}

extension SRFTSettings: Objective {
    package var needsMeanEntropy: Bool { true }
    package var terms: [String] { ["imitation", "demonstrations", "rollouts"] }
    package var aggregation: LossAggregation { .tokenMean }
    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult { try SRFT.loss(inputs, self) }
}

/// SRFT (Fu et al. 2025, arXiv:2506.19767): imitation and reward in one step, both weighed by the policy's entropy.
///
///     demonstrations, means over their tokens      −w_SFT·log π  −  min(p·A, clip(p, 1 − ε, 1 + ε)·A)
///     the policy's own, means over their tokens    −w_RL·log π where A > 0,  +max(log π, −20) where A < 0
///     w_SFT = 0.5·exp(−H),  w_RL = 0.1·exp(H)
///     H   mean entropy of the step's tokens; no gradient flows into the weights
///
/// A demonstration's A is its standardized reward in the group, its writer's probability counts as 1, so that the ratio
/// is p = π. A of the policy's own is 1 for a right completion and −1 for another (`DemonstratedGroups` in Credit). The
/// last term has no lower end: beyond −20 nats a token is pushed no further. The paper writes expectations of whole
/// completions; means over tokens keep its terms in one scale whatever the lengths.
package enum SRFT {
    /// The log-prob below which a wrong completion's token is left alone, in nats.
    static let leastLogProbability = -20.0

    /// This micro-batch's share of the loss.
    ///
    /// Metrics: `policy_loss`, `entropy`, `srft/sft_weight`, `srft/rl_weight`.
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`, ``LossError`` without entropies.
    package static func loss(_ inputs: PolicyLossInputs, _ settings: SRFTSettings) throws -> LossResult {
        try inputs.requireShapes("srft")
        guard let entropies = inputs.entropies else { throw LossError.missing("the entropies", method: "srft") }
        let entropy = try (inputs.meanEntropy ?? entropies.mean()).detached()
        let (imitation, reward) = (
            try (-entropy).exp() * settings.imitationScale, try entropy.exp() * settings.rewardScale
        )
        let (logs, advantages) = (inputs.logProbabilities, inputs.advantages)
        let mask = try inputs.demonstrationMask ?? Tensor.zeros(logs.shape, logs.elementType, device: logs.device)
        let offPolicy = try settings.clip.loss(ratios: logs.exp(), advantages: advantages)
        let demonstrated = try offPolicy - logs * imitation
        let right = try advantages.greater(than: 0).to(logs.elementType)
        let wrong = try advantages.less(than: 0).to(logs.elementType)
        let own = try logs.clamped(to: leastLogProbability...1) * wrong - logs * reward * right
        let counts = (
            demonstrated: Double(max(inputs.denominators.demonstrationTokens, 1)),
            own: Double(max(inputs.denominators.tokens - inputs.denominators.demonstrationTokens, 1))
        )
        let loss = try (demonstrated * mask).sum() / counts.demonstrated + (own * (1 - mask)).sum() / counts.own
        var report = LossReport()
        try report.note("policy_loss", loss, .total)
        try report.note("srft/sft_weight", imitation, .mean)
        try report.note("srft/rl_weight", reward, .mean)
        try inputs.noteEntropy(in: &report)
        return LossResult(
            loss: loss, report: report,
            terms: [
                { try -(logs * imitation * mask).sum() / counts.demonstrated },
                { try (offPolicy * mask).sum() / counts.demonstrated },
                { try (own * (1 - mask)).sum() / counts.own },
            ])
    }
}
