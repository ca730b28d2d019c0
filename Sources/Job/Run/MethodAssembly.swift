internal import Algorithms
internal import Credit
internal import PolicyUpdater
internal import Records

/// Turns the method's settings into its three parts: loss, credit rule and (in ``ResolvedJob``) recipe.
struct MethodAssembly {
    let settings: JobSettings

    /// The loss.
    func objective() throws(SettingsError) -> Objective {
        let beta = settings.beta ?? 0
        switch settings.algorithm {
        case .sft: return .supervisedFineTuning
        case .grpo: return .grpo(try grpo(beta))
        case .bestOfK: return .supervisedFineTuning
        case .ppo: return .ppo(try ppo())
        case .remax, .reinforce:
            return .reMax(
                ReMaxSettings(reduction: settings.remaxReduction == .sequenceSum ? .sequenceSum : .tokenMean))
        case .rloo:
            return .rloo(try RLOOSettings(epsilon: settings.epsilon, epsilonHigh: settings.epsilonHigh))
        case .reinforcePlusPlus:
            return .reinforcePlusPlus(
                try REINFORCEPlusPlusSettings(
                    clip: try clip(), klCoefficient: settings.klPlacement == .reward ? 0 : beta))
        case .softGRPO:
            return .softGRPO(
                try settings.softThinking.lossSettings(try grpo(beta), temperature: settings.temperature))
        }
    }

    /// PPO's settings, of the policy's loss and the critic's alike.
    func ppo() throws(SettingsError) -> PPOSettings {
        try PPOSettings(
            clip: try clip(), valueEpsilon: settings.valueClip, valueCoefficient: settings.valueCoefficient,
            entropyCoefficient: settings.entropyCoefficient)
    }

    private func grpo(_ beta: Double) throws(SettingsError) -> GRPOSettings {
        let lossType: GRPOSettings.LossType =
            switch settings.lossType ?? .dapo {
            case .grpo: .grpo
            case .drGRPO: .drGRPO
            case .dapo, .bnpo: .dapo
            case .cispo: .cispo
            }
        return try GRPOSettings(
            lossType: lossType, importanceLevel: settings.importanceSamplingLevel == .token ? .token : .sequence,
            clip: try clip(), klCoefficient: settings.klPlacement == .reward ? 0 : beta,
            klEstimator: settings.klPlacement == .reward ? .k3 : estimator,
            usesExactKL: settings.klEstimator == .full,
            correctsKLBias: settings.algorithm == .grpo && settings.usesBiasCorrectedKL,
            entropyCoefficient: settings.entropyCoefficient, mismatchCorrection: try mismatchCorrection(),
            offPolicyThreshold: settings.offPolicyMaskThreshold)
    }

    private func mismatchCorrection() throws(SettingsError) -> MismatchCorrection? {
        let form: (MismatchCorrection.Granularity, MismatchCorrection.Constraint)? =
            switch settings.importanceCorrection {
            case .none: nil
            case .tokenTruncate: (.token, .truncate)
            case .tokenMask: (.token, .mask)
            case .sequenceTruncate: (.sequence, .truncate)
            case .sequenceMask: (.sequence, .mask)
            }
        guard let form else { return nil }
        return try MismatchCorrection(
            granularity: form.0, constraint: form.1, minimum: settings.importanceMinimum,
            maximum: settings.importanceMaximum)
    }

    private func clip() throws(SettingsError) -> ClippedSurrogate {
        let bound: ClippedSurrogate.UpperBound = if let delta = settings.delta { .delta(delta) } else { .none }
        return try ClippedSurrogate(epsilon: settings.epsilon, epsilonHigh: settings.epsilonHigh, upperBound: bound)
    }

    /// The credit rule.
    func creditRule(rewardNames: [String]) throws(SettingsError) -> any CreditRule {
        let rewards = try RewardCombination(names: rewardNames, weights: settings.rewardWeights)
        let overlong: OverlongHandling = settings.maskTruncatedCompletions ? .mask : .keep
        switch settings.algorithm {
        case .grpo, .softGRPO, .sft:
            return GroupBaseline(rewards: rewards, settings: try groupBaseline(), overlong: overlong)
        case .ppo:
            return try ActorCritic(
                rewards: rewards,
                estimator: try GeneralizedAdvantage(discount: settings.discount, lambda: settings.gaeLambda),
                penalty: try penalty(.oneStep), missingEndPenalty: settings.missingEndPenalty,
                bootstrapsTruncated: settings.bootstrapsTruncated, overlong: overlong)
        case .bestOfK:
            return BestOfGroup(rewards: rewards, threshold: settings.bestOfKThreshold, overlong: overlong)
        case .reinforce:
            return PlainReward(rewards: rewards, penalty: try penalty(reach: settings.remaxKL), overlong: overlong)
        case .remax:
            let penalty = try penalty(reach: settings.remaxKL)
            return GreedyBaseline(
                rewards: rewards,
                settings: try GreedyBaselineSettings(
                    differenceClip: settings.remaxRewardClip, penalty: penalty, discount: settings.discount,
                    discountsLastToken: settings.remaxCompatibility == .release),
                overlong: overlong)
        case .rloo:
            let penalty = try penalty(.completion)
            return LeaveOneOut(
                rewards: rewards,
                settings: try LeaveOneOutSettings(
                    penalty: penalty, normalizesAdvantages: settings.normalizesAdvantages),
                overlong: overlong)
        case .reinforcePlusPlus:
            return BatchWhitening(
                rewards: rewards,
                form: settings.numGenerations ?? 1 > 1 ? .groupMean : .plain(penalty: try penalty(.toGo)),
                overlong: overlong)
        }
    }

    private func groupBaseline() throws(SettingsError) -> GroupBaselineSettings {
        let scaling: GroupBaselineSettings.Scaling =
            switch settings.scaleRewards {
            case .group: .group
            case .batch: .batch
            case .none: .none
            }
        return try GroupBaselineSettings(
            scaling: scaling,
            aggregation: settings.aggregation == .sumThenNormalize ? .sumThenNormalize : .normalizeThenSum,
            penalty: settings.klPlacement == .reward ? try penalty(.completion) : nil,
            deadGroupsTakeKL: settings.deadGroupsTakeKL)
    }

    /// Moves the coefficient of the penalty, where `kl_target` is set.
    func klController() throws(SettingsError) -> AdaptiveKL? {
        guard let target = settings.klTarget, let beta = settings.beta, beta > 0 else { return nil }
        return try AdaptiveKL(initial: beta, target: target, horizon: settings.klHorizon)
    }

    private func penalty(reach: JobKLReach) throws(SettingsError) -> KLToGo? {
        switch reach {
        case .toGo: try penalty(.toGo)
        case .oneStep: try penalty(.oneStep)
        case .none: nil
        }
    }

    private func penalty(_ reach: KLToGo.Reach) throws(SettingsError) -> KLToGo? {
        guard let beta = settings.beta, beta > 0 else { return nil }
        return try KLToGo(coefficient: beta, estimator: estimator, reach: reach)
    }

    private var estimator: KLEstimator {
        switch settings.klEstimator ?? .k3 {
        case .k1: .k1
        case .k2: .k2
        case .k3, .full: .k3  // an exact KL is no estimate: see usesExactKL
        }
    }
}

extension MethodAssembly {
    /// The critic's own optimizer; everything else as the policy's.
    func criticSettings(maxSteps: Int) throws(SettingsError) -> UpdaterSettings {
        var own = settings
        own.learningRate = settings.criticLearningRate
        own.syncReferenceModel = false
        return try MethodAssembly(settings: own).updaterSettings(maxSteps: maxSteps)
    }

    /// The optimizer, its schedule, and how a batch is cut.
    func updaterSettings(maxSteps: Int) throws(SettingsError) -> UpdaterSettings {
        let sync =
            settings.syncReferenceModel
            ? try ReferenceSync(mixupAlpha: settings.referenceMixup, everySteps: settings.referenceSyncSteps) : nil
        return try UpdaterSettings(
            optimizer: try optimizer(maxSteps: maxSteps),
            maxCompletionLength: settings.maxCompletionLength, maxTokensPerMicroBatch: settings.maxTokensPerMicroBatch,
            checkpointsBlocks: settings.gradientCheckpointing, referenceSync: sync)
    }

    private func optimizer(maxSteps: Int) throws(SettingsError) -> OptimizerSettings {
        try OptimizerSettings(
            learningRate: settings.learningRate ?? 1e-6, beta1: settings.adamBeta1, beta2: settings.adamBeta2,
            epsilon: settings.adamEpsilon, weightDecay: settings.weightDecay,
            maxGradientNorm: settings.maxGradNorm > 0 ? settings.maxGradNorm : nil,
            schedule: try schedule(maxSteps: maxSteps))
    }

    private func schedule(maxSteps: Int) throws(SettingsError) -> LearningRateSchedule {
        let warmup: LearningRateSchedule.Warmup =
            if settings.warmupSteps >= 1 {
                .steps(Int(settings.warmupSteps))
            } else {
                .ratio(settings.warmupSteps > 0 ? settings.warmupSteps : settings.warmupRatio ?? 0)
            }
        let shape: LearningRateSchedule.Shape =
            switch settings.schedule {
            case .constant: .constant
            case .constantWithWarmup: .constantWithWarmup
            case .linear: .linear
            case .cosine: .cosine
            case .warmupStableDecay: .warmupStableDecay(decaySteps: max(1, maxSteps / 10))
            }
        return try LearningRateSchedule(shape, warmup: warmup, totalSteps: maxSteps)
    }
}
