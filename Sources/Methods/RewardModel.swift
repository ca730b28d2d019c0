internal import Algorithms
internal import PolicyUpdater
package import Records

/// A reward model fitted to preferences (``Algorithms/BradleyTerry``): a trunk with one or several linear heads, saved
/// as a sequence classifier.
package struct RewardModelMethod: Method {
    package static let name = "reward_model"
    package static let title =
        "A reward model on preferences (Bradley–Terry, arXiv:2203.02155), with TRL's defaults; per_device_train_batch_size counts pairs"
    package static let defaults = MethodDefaults(learningRate: 1e-4, batches: nil, comparesPairs: true)

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let heads: [String] = job.read(
            "reward_heads", default: ["reward"],
            "Names of the heads on the shared trunk, the labels of the saved classifier. With several, a pair's column `head` names the one that learns from it; its `margin`, if any, is m in the loss."
        )
        job.check(
            !heads.isEmpty && Set(heads).count == heads.count && !heads.contains(""), "reward_heads",
            "one name or several different ones")
        let loss = BradleyTerrySettings(reading: &job, headCount: heads.count)
        let pairs = PairPlan(reading: &job, needsReference: false, truncation: .drop)
        plan = MethodPlan(
            recipe: StepRecipe(method: Self.name, calls: [.compare, .train]), parts: [PartPlan(loss, on: .pairs)],
            pairs: pairs, heads: heads)
    }
}
