internal import Algorithms
internal import Credit
package import Records

/// SofT-GRPO (arXiv:2511.06411): GRPO whose thinking steps are mixtures of tokens drawn from a density
/// (``Algorithms/SofTGRPO``).
package struct SofTGRPOMethod: Method {
    package static let name = "soft_grpo"
    package static let title =
        "SofT-GRPO (arXiv:2511.06411v2): the paper's loss, noise, clip and β; sizes and rates are TRL's, the paper's are preset: soft_grpo"
    package static let defaults = MethodDefaults(
        batches: .init(least: (2, "one completion has no baseline")))
    package static let presets = [
        Preset(
            "soft_grpo",
            [
                ("num_generations", "8"), ("steps_per_generation", "2"), ("learning_rate", "1e-6"),
                ("lr_scheduler_type", "constant"), ("weight_decay", "0.01"), ("top_p", "0.95"),
                ("num_train_epochs", "1"),
                ("max_completion_length", "8192"),
            ], source: "arXiv:2511.06411v2, App. C")
    ]

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let kl = KLTerm(reading: &job, .init(method: Self.name, placement: .loss, beta: 0.001))
        let thinking = SoftThinking(reading: &job)
        let surrogate = GRPOSettings(
            reading: &job, lossType: .grpo, delta: 3,  // the published runs' dual clip
            klCoefficient: kl.inLoss, klEstimator: kl.estimator.sampled, usesExactKL: false, mayCorrectKLBias: false)
        let loss = SofTGRPOSettings(
            reading: &job, surrogate: surrogate, thinking: thinking,
            temperature: shared.sampling.distribution.temperature)
        let learning = RolloutLearning(reading: &job, shared, of: Self.name, kl: kl, hasRatio: true, streams: .scaled)
        let baseline = GroupBaselineSettings(
            reading: &job, penalty: nil, keepsApart: learning.rewards.form == .apart, hasKLInLoss: kl.inLoss > 0)
        plan = learning.plan(
            loss,
            credit: GroupBaseline(rewards: learning.rewards, settings: baseline, overlong: learning.overlong),
            softThinking: thinking)
        let penalty = shared.sampling.distribution.repetitionPenalty
        if penalty != 1 {
            job.refuse(
                "repetition_penalty",
                "repetition_penalty is \(penalty); a mixture of words is not a word already seen, expected 1")
        }
    }
}
