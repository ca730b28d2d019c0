internal import Algorithms
internal import Credit
package import Records

/// SRFT (Fu et al. 2025, arXiv:2506.19767): imitation, off-policy reward on demonstrations and reward on the policy's
/// own completions in one step, weighed by the policy's entropy (``Algorithms/SRFT``).
package struct SRFTMethod: Method {
    package static let name = "srft"
    package static let title =
        "SRFT (arXiv:2506.19767): one of a prompt's num_generations completions is its demonstration, imitated and rewarded with weights that follow the entropy"
    package static let defaults = MethodDefaults(
        batches: .init(least: (2, "one of them is the demonstration")))

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let loss = SRFTSettings(reading: &job)
        let demonstrations = DemonstrationSettings(reading: &job, mayHaveOwnOrder: false)
        let learning = RolloutLearning(
            reading: &job, shared, of: Self.name, kl: nil, hasRatio: false, streams: .none, demonstrates: true,
            takesSumApart: false)
        // Of its own completions' advantages its loss reads the sign alone.
        shared.refuseGuidance(of: Self.name, &job)
        let baseline = GroupBaseline(
            rewards: learning.rewards, settings: GroupBaselineSettings(), overlong: learning.overlong)
        plan = learning.plan(loss, credit: DemonstratedGroups(baseline, own: .sign), demonstrations: demonstrations)
    }
}
