internal import Algorithms
internal import Credit
package import Records

/// REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv:2402.14740): ``Credit/LeaveOneOut`` and ``Algorithms/RLOO``.
package struct RLOOMethod: Method {
    package static let name = "rloo"
    package static let title = "REINFORCE leave-one-out (arXiv:2402.14740), with TRL's defaults"
    package static let defaults = MethodDefaults(
        batches: .init(generations: 2, least: (2, "one completion has no baseline")))

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let kl = KLTerm(reading: &job, .init(method: Self.name, placement: .reward, beta: 0.05))
        let isClipped = job.read(
            "ratio_clip", default: true,
            "Clips the ratio to the old policy, so that a rollout can serve several optimizer steps: per completion for rloo, as in TRL; per token for remax, whose paper has no clip. false is the papers' estimator (arXiv:1707.06347)."
        )
        let loss = RLOOSettings(ratioClip: isClipped ? ClippedSurrogate(reading: &job, takesDelta: false) : nil)
        let learning = RolloutLearning(reading: &job, shared, of: Self.name, kl: kl, hasRatio: isClipped)
        let baseline = LeaveOneOutSettings(
            reading: &job, penalty: kl.penalty(.completion), keepsApart: learning.rewards.form == .apart)
        plan = learning.plan(
            loss,
            credit: LeaveOneOut(
                rewards: learning.rewards, settings: baseline, overlong: learning.overlong, mixer: learning.mixer()))
    }
}
