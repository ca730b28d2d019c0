internal import Algorithms
internal import Credit
package import Records

/// Distributional control (arXiv:2012.11635, 2205.11275): the forward KL to p·exp(r/β)/Z in place of the reverse one
/// that a reward with a KL penalty descends (``Credit/DistributionalControl``), with the loss −A log π over whole
/// completions. Rewards may have means to be held (``Credit/MomentConstraints``).
package struct GDCMethod: Method {
    package static let name = "gdc"
    package static let title =
        "Distributional control (arXiv:2012.11635, 2205.11275): the forward KL to the reference policy reweighted by exp(reward/beta)"
    package static let defaults = MethodDefaults(
        batches: .init(least: (2, "the normalizer of a prompt's target is their mean")))

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        var settings = DistributionalControlSettings(reading: &job)
        settings.moments = shared.control?.moments(settings.moments, reading: &job) ?? []
        let loss = ReMaxSettings(reading: &job, reduction: .sequenceSum)
        let learning = RolloutLearning(
            reading: &job, shared, of: Self.name, kl: nil, hasRatio: false, streams: .none, comparesReference: true)
        var plan = learning.plan(
            loss,
            credit: DistributionalControl(
                rewards: learning.rewards, settings: settings, overlong: learning.overlong))
        if !settings.moments.isEmpty {
            if job.entry("dynamic_sampling")?.value == true.yaml {
                job.refuse(
                    "dynamic_sampling",
                    "dynamic_sampling is true, and gdc.moments are means over all completions; expected false")
            }
            plan.controllers.append(
                MomentConstraints(settings.moments, coefficient: settings.coefficient, window: settings.momentWindow))
        }
        plan.controllers.append(TargetWatch(completions: shared.batches.generations))
        self.plan = plan
    }
}
