internal import Algorithms
internal import Credit
package import Records

/// LUFFY (Yan et al. 2025, arXiv:2504.14945): each group has a demonstration among its completions
/// (``Credit/DemonstratedGroups``), whose tokens weigh p/(p + γ) (``Algorithms/LUFFY``).
package struct LUFFYMethod: Method {
    package static let name = "luffy"
    package static let title =
        "LUFFY (arXiv:2504.14945): one of a prompt's num_generations completions is its demonstration, learned off-policy with shaped weights"
    package static let defaults = MethodDefaults(
        batches: .init(least: (2, "one of them is the demonstration")))
    package static let presets = [
        Preset(
            "luffy",
            [
                ("num_generations", "8"), ("learning_rate", "1e-6"), ("lr_scheduler_type", "constant"),
                ("temperature", "1.0"), ("max_completion_length", "8192"),
            ], source: "arXiv:2504.14945, the released run")
    ]

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let loss = LUFFYSettings(reading: &job)
        let demonstrations = DemonstrationSettings(reading: &job, mayHaveOwnOrder: false)
        let learning = RolloutLearning(
            reading: &job, shared, of: Self.name, kl: nil, hasRatio: true, streams: .scaled, demonstrates: true,
            takesSumApart: false)
        let baseline = GroupBaseline(
            rewards: learning.rewards, settings: GroupBaselineSettings(scaling: .none), overlong: learning.overlong)
        plan = learning.plan(loss, credit: DemonstratedGroups(baseline), demonstrations: demonstrations)
    }
}
