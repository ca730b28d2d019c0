/// A method's loss with its settings: what an updater minimizes without knowing which method it is.
package enum Objective: Sendable, Equatable {
    case supervisedFineTuning
    case grpo(GRPOSettings)
    case reMax(ReMaxSettings)
    case rloo(RLOOSettings)
    case reinforcePlusPlus(REINFORCEPlusPlusSettings)
    /// PPO's policy part; its critic has an updater of its own.
    case ppo(PPOSettings)
    case softGRPO(SofTGRPOSettings)

    /// Whether the loss reads the reference policy's log-probs of the tokens.
    package var needsReference: Bool {
        switch self {
        case .grpo(let settings): settings.klCoefficient > 0 && !settings.usesExactKL
        case .reinforcePlusPlus(let settings): settings.klCoefficient > 0
        case .softGRPO(let settings): settings.surrogate.klCoefficient > 0
        case .supervisedFineTuning, .reMax, .rloo, .ppo: false
        }
    }

    /// Whether the loss reads the divergence from the reference policy over the whole vocabulary.
    package var needsExactDivergence: Bool {
        if case .grpo(let settings) = self { settings.klCoefficient > 0 && settings.usesExactKL } else { false }
    }

    /// Whether the loss reads the sampler's own log-probs.
    package var needsRolloutLogProbabilities: Bool {
        switch self {
        case .grpo(let settings): settings.mismatchCorrection != nil || settings.offPolicyThreshold != nil
        case .softGRPO(let settings): settings.surrogate.mismatchCorrection != nil
        default: false
        }
    }

    /// Whether the entropies must carry a gradient.
    package var needsEntropyGradient: Bool {
        switch self {
        case .grpo(let settings): settings.entropyCoefficient != 0
        case .ppo(let settings): settings.entropyCoefficient != 0
        case .supervisedFineTuning, .reMax, .rloo, .reinforcePlusPlus, .softGRPO: false
        }
    }

    /// This micro-batch's share of the loss. Supervised fine-tuning reads no advantages.
    ///
    /// - Throws: What the method's own `loss` throws.
    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult {
        switch self {
        case .supervisedFineTuning:
            try SupervisedFineTuning.loss(
                .init(
                    logProbabilities: inputs.logProbabilities, entropies: inputs.entropies, spans: inputs.spans,
                    denominators: inputs.denominators))
        case .grpo(let settings): try GRPO.loss(inputs, settings)
        case .reMax(let settings): try ReMax.loss(inputs, settings)
        case .rloo(let settings): try RLOO.loss(inputs, settings)
        case .reinforcePlusPlus(let settings): try REINFORCEPlusPlus.loss(inputs, settings)
        case .ppo(let settings): try PPO.policyLoss(inputs, settings)
        case .softGRPO(let settings): try SofTGRPO.loss(inputs, settings)
        }
    }
}
