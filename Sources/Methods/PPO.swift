internal import Algorithms
internal import Credit
package import Records

/// Proximal Policy Optimization (Schulman et al. 2017, arXiv:1707.06347) with a critic: ``Credit/ActorCritic`` and
/// ``Algorithms/PPO``.
package struct PPOMethod: Method {
    package static let name = "ppo"
    package static let title = "Proximal Policy Optimization (arXiv:1707.06347, 1506.02438), with TRL's defaults"
    package static let defaults = MethodDefaults(
        learningRate: 3e-6, temperature: 0.7, batches: .init(generations: 1, iterations: 4, shuffles: true))

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let kl = KLTerm(reading: &job, .init(method: Self.name, placement: .reward, beta: 0.05))
        var loss = PPOSettings(reading: &job)
        let learning = RolloutLearning(reading: &job, shared, of: Self.name, kl: kl, hasRatio: true)
        var credit = ActorCritic(
            reading: &job, rewards: learning.rewards, penalty: kl.penalty(.oneStep), overlong: learning.overlong)
        credit.mixer = learning.mixer(credit.mixer)
        let keepsApart = learning.rewards.form == .apart
        loss.hasKLHead = keepsApart && kl.penalty(.oneStep) != nil
        let sharesTrunk = job.read(
            "critic_shares_trunk", default: false,
            "Makes the critic a linear head on the policy's own trunk instead of a separate model. One optimizer, one loss: policy + vf_coef × value; saves the memory and the passes of a second model. The head starts at 0 (arXiv:1707.06347)."
        )
        let model: String? = job.read(
            "critic_model_name_or_path", optional: nil,
            "The model the critic starts from; model_name_or_path unless set. Its value head starts at 0, or as the reward model's head if this is a sequence classifier with one label (arXiv:1707.06347). With use_peft, the head and adapters are trained on it: those it names, or fresh ones; a base shared with the policy is in memory once."
        )
        let rate = job.read(
            "critic_learning_rate", default: 1e-5, .from(0, to: 1e6),
            "The critic's own learning rate; with use_peft, adapters need about ten times a whole model's, as the policy's do."
        )
        job.ignore("critic_learning_rate", when: sharesTrunk)
        if sharesTrunk, let model {
            job.refuse(
                "critic_model_name_or_path",
                "critic_model_name_or_path is \(model), and critic_shares_trunk makes the critic a head on the policy; leave one of them out"
            )
        }
        plan = learning.plan(
            loss, credit: credit,
            critic: CriticPlan(
                sharesTrunk ? .sharedTrunk : .separate(model: model, learningRate: rate),
                heads: keepsApart ? learning.streamCount : 1, loss))
    }
}
