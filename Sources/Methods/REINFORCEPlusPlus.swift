internal import Algorithms
internal import Credit
package import Records

/// REINFORCE++ (Hu et al. 2025, arXiv:2501.03262): advantages whitened over the batch (``Credit/BatchWhitening``),
/// PPO's clipped loss (``Algorithms/REINFORCEPlusPlus``).
package struct REINFORCEPlusPlusMethod: Method {
    /// `reinforce_pp_baseline:`.
    private enum Baseline: String, SettingsChoice { case group, none }

    package static let name = "reinforce_pp"
    package static let title = "REINFORCE++ (arXiv:2501.03262)"
    package static let presets = [
        Preset("reinforce_pp", [("learning_rate", "1e-6"), ("epsilon", "0.2")], source: "arXiv:2501.03262")
    ]

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let baseline = job.read(
            "reinforce_pp_baseline", default: shared.batches.generations > 1 ? Baseline.group : .none,
            "group: each prompt's mean reward is subtracted before the batch is whitened, and the KL is in the loss as k2. none, the paper's plain form: the reward with its KL to go. group unless num_generations is 1 (arXiv:2501.03262)."
        )
        let hasGroup = baseline == .group
        let kl = KLTerm(
            reading: &job,
            .init(method: Self.name, placement: hasGroup ? .loss : .reward, estimator: hasGroup ? .k2 : .k3))
        let loss = REINFORCEPlusPlusSettings(clip: ClippedSurrogate(reading: &job), klCoefficient: kl.inLoss)
        let learning = RolloutLearning(reading: &job, shared, of: Self.name, kl: kl, hasRatio: true)
        if hasGroup, shared.batches.generations < 2 {
            job.refuse(
                "reinforce_pp_baseline", "reinforce_pp_baseline is group; one completion has no mean, expected none")
        }
        plan = learning.plan(
            loss,
            credit: BatchWhitening(
                rewards: learning.rewards, form: hasGroup ? .groupMean : .plain(penalty: kl.penalty(.toGo)),
                overlong: learning.overlong, mixer: learning.mixer(Mixer(.mix))))
    }
}
