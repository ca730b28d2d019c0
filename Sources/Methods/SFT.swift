internal import Algorithms
internal import PolicyUpdater
package import Records

/// Supervised fine-tuning on demonstrations (``Algorithms/SupervisedFineTuning``).
package struct SFTMethod: Method {
    package static let name = "sft"
    package static let title = "Supervised fine-tuning, with TRL's defaults"
    package static let defaults = MethodDefaults(learningRate: 2e-5, batches: nil)

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        plan = MethodPlan(
            recipe: StepRecipe(method: Self.name, calls: [.demonstrate, .train]),
            parts: [PartPlan(SupervisedFineTuning(), on: .demonstrations)])
    }
}
