internal import Methods
package import Planning

extension ResolvedJob {
    /// What the job says of its graph beside the recipe.
    ///
    /// - Parameters:
    ///   - rewardModels: Roles of reward and cost models.
    ///   - promptTokens: Of a prompt.
    package func graphSettings(rewardModels: [String], promptTokens: Int) -> GraphSettings {
        let critic: GraphSettings.Critic =
            switch plan.critic?.form {
            case nil: .none
            case .sharedTrunk: .shared
            case .separate: .separate
            }
        let passes = max(1, batches.iterations)
        return GraphSettings(
            rewardModels: recipe.generates ? rewardModels : [],
            rewardMilliseconds: recipe.generates && rewardModels.isEmpty ? 0 : nil, critic: critic,
            prompts: batches.promptsPerStep, promptTokens: promptTokens, newTokens: sampling.maxCompletionLength,
            miniBatches: max(1, batches.optimizerStepsPerRollout / passes), passes: passes,
            recomputes: checkpointsBlocks)
    }
}

/// What `--graph` may name.
enum MethodCatalogueNames {
    static var all: [String] { MethodCatalogue().names }

    static func needsRewards(_ name: String) -> Bool {
        MethodCatalogue().method(named: name).map { $0.method.defaults.batches != nil } ?? true
    }
}
