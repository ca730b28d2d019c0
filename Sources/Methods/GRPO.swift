internal import Algorithms
internal import Credit
package import Records

/// Group Relative Policy Optimization (Shao et al. 2024, arXiv:2402.03300) and the variants that are other names of it:
/// its loss is ``Algorithms/GRPO``, its baseline ``Credit/GroupBaseline``.
package struct GRPOMethod: Method {
    package static let name = "grpo"
    package static let title = "Group Relative Policy Optimization (arXiv:2402.03300), with TRL's defaults"
    package static let defaults = MethodDefaults(
        batches: .init(least: (2, "one completion has no baseline")))

    /// Their mathematics alone; sizes and rates stay TRL's.
    package static let variants = [drGRPO, dapo, gspo, cispo]
    package static let presets = [
        Preset(
            "deepseek_math",
            [
                ("loss_type", "grpo"), ("beta", "0.04"), ("kl_estimator", "k3"), ("use_bias_correction_kl", "false"),
                ("num_generations", "64"), ("max_completion_length", "1024"), ("learning_rate", "1e-6"),
            ], source: "GRPO, arXiv:2402.03300"),
        Preset(
            "deepseek_r1",
            [
                ("loss_type", "grpo"), ("epsilon", "10"), ("beta", "0.001"), ("kl_estimator", "k3"),
                ("use_bias_correction_kl", "false"), ("num_generations", "16"),
            ], source: "arXiv:2501.12948, as TRL's notes give it"),
        drGRPO.with([("num_generations", "8"), ("max_completion_length", "3000")]),
        dapo.with([("num_generations", "16")]),
        gspo.with([("steps_per_generation", "4")]),
        cispo,
        Preset(
            "lite_ppo", [("scale_rewards", "batch"), ("loss_type", "dapo"), ("num_generations", "8")],
            source: "arXiv:2508.08221"),
    ]

    private static let drGRPO = Preset(
        "dr_grpo", [("loss_type", "dr_grpo"), ("scale_rewards", "none")], source: "arXiv:2503.20783")
    private static let dapo = Preset(
        "dapo",
        [("loss_type", "dapo"), ("epsilon", "0.2"), ("epsilon_high", "0.28"), ("dynamic_sampling", "true")],
        source: "arXiv:2503.14476; its overlong punishment is a reward, get_soft_overlong_punishment")
    private static let gspo = Preset(
        "gspo",
        [
            ("importance_sampling_level", "sequence"), ("loss_type", "grpo"), ("epsilon", "3e-4"),
            ("epsilon_high", "4e-4"),
        ], source: "arXiv:2507.18071v2")
    private static let cispo = Preset(
        "cispo", [("loss_type", "cispo"), ("scale_rewards", "batch"), ("epsilon_high", "5.0")],
        source: "arXiv:2506.13585")

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let kl = KLTerm(
            reading: &job, .init(method: Self.name, placement: .loss, mayMove: true, takesExact: true))
        let loss = GRPOSettings(
            reading: &job, klCoefficient: kl.inLoss, klEstimator: kl.estimator.sampled, usesExactKL: kl.isExact)
        let learning = RolloutLearning(
            reading: &job, shared, of: Self.name, kl: kl, hasRatio: true, takesReplay: true, streams: .scaled)
        let baseline = GroupBaselineSettings(
            reading: &job, penalty: kl.penalty(.completion), keepsApart: learning.rewards.form == .apart,
            hasKLInLoss: kl.inLoss > 0)
        plan = learning.plan(
            loss,
            credit: GroupBaseline(rewards: learning.rewards, settings: baseline, overlong: learning.overlong))
    }
}
