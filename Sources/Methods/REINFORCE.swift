internal import Algorithms
internal import Credit
package import Records

/// REINFORCE (Williams 1992): the reward itself as advantage (``Credit/PlainReward``), what the other methods are
/// measured against.
package struct REINFORCEMethod: Method {
    package static let name = "reinforce"
    package static let title = "REINFORCE (Williams 1992), without a baseline"
    package static let defaults = MethodDefaults(batches: .init(generations: 1))

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let reach = KLReach(reading: &job)
        let kl = KLTerm(reading: &job, reach.form(of: Self.name))
        let loss = ReMaxSettings(reading: &job, reduction: .sequenceSum)
        let learning = RolloutLearning(reading: &job, shared, of: Self.name, kl: kl, hasRatio: false)
        plan = learning.plan(
            loss,
            credit: PlainReward(
                rewards: learning.rewards, penalty: reach.penalty(of: kl), overlong: learning.overlong,
                mixer: learning.mixer()))
    }
}
