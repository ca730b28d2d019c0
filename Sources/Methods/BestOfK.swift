internal import Algorithms
internal import Credit
package import Records

/// Best-of-K, or rejection sampling, fine-tuning (RAFT, Dong et al. 2023, arXiv:2304.06767): imitates each prompt's
/// best completion (``Credit/BestOfGroup``).
package struct BestOfKMethod: Method {
    package static let name = "best_of_k"
    package static let title = "Best-of-K fine-tuning, RAFT (arXiv:2304.06767)"
    package static let defaults = MethodDefaults(
        batches: .init(least: (2, "best_of_k chooses among completions"), learned: 1))

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let learning = RolloutLearning(
            reading: &job, shared, of: Self.name, kl: nil, hasRatio: false, takesSeveralSteps: true, streams: .none,
            takesSumApart: false)
        // Its loss reads no advantages.
        shared.refuseGuidance(of: Self.name, &job)
        plan = learning.plan(
            SupervisedFineTuning(),
            credit: BestOfGroup(reading: &job, rewards: learning.rewards, overlong: learning.overlong))
    }
}
