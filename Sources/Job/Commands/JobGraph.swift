internal import Coordinator
internal import Methods
package import Planning
internal import RolloutEngine

extension ResolvedJob {
    /// What the job says of its graph beside the recipe.
    ///
    /// - Parameters:
    ///   - rewardModels: Roles of reward and cost models; `nil` for the job's own.
    ///   - promptTokens: Of a prompt.
    ///   - newTokens: Of a completion; `nil` for the longest that may be sampled.
    ///   - optimizers: What each trained role steps with.
    package func graphSettings(
        rewardModels: [String]? = nil, promptTokens: Int, newTokens: Int? = nil,
        optimizers: [String: CallSpec.Work.Optimizer] = [:]
    ) -> GraphSettings {
        GraphSettings(
            plan, batches, newTokens: newTokens ?? sampling.maxCompletionLength, recomputes: checkpointsBlocks,
            rewardModels: rewardModels ?? rewards?.modelRoles.map(\.role) ?? [],
            hasPrograms: rewardModels?.isEmpty ?? rewards?.hasPrograms ?? true, promptTokens: promptTokens,
            optimizers: optimizers)
    }
}

extension Reading {
    /// The graph of the job's own step.
    func graph(promptTokens: Int) -> DataflowGraph {
        DataflowGraph(
            plan.recipe,
            GraphSettings(
                plan, batches, newTokens: sampling.maxCompletionLength, recomputes: checkpointsBlocks,
                rewardModels: rewards?.modelRoles.map(\.role) ?? [], hasPrograms: rewards?.hasPrograms ?? true,
                promptTokens: promptTokens))
    }
}

extension GraphSettings {
    /// - Parameter hasPrograms: Whether some reward is none of the models.
    fileprivate init(
        _ plan: MethodPlan, _ batches: BatchArithmetic, newTokens: Int, recomputes: Bool, rewardModels: [String],
        hasPrograms: Bool, promptTokens: Int, optimizers: [String: CallSpec.Work.Optimizer] = [:]
    ) {
        let critic: GraphSettings.Critic =
            switch plan.critic?.form {
            case nil: .none
            case .sharedTrunk: .shared
            case .separate: .separate
            }
        let passes = max(1, batches.iterations)
        self.init(
            rewardModels: plan.recipe.generates ? rewardModels : [],
            rewardMilliseconds: plan.recipe.generates && hasPrograms ? 0 : nil, critic: critic,
            prompts: batches.promptsPerStep, promptTokens: promptTokens, newTokens: newTokens,
            miniBatches: max(1, batches.optimizerStepsPerRollout / passes), passes: passes, recomputes: recomputes,
            optimizers: optimizers)
    }
}

extension RewardEntries {
    /// The roles that its reward models have in a plan, and what the job calls each.
    var modelRoles: [(role: String, reference: String)] {
        let models = entries.compactMap(\.modelReference)
        return models.enumerated().map { (models.count == 1 ? "reward" : "reward_\($0 + 1)", $1) }
    }

    /// Whether some reward is no model.
    var hasPrograms: Bool { entries.contains { $0.modelReference == nil } }
}

/// What `--graph` may name.
enum MethodCatalogueNames {
    static var all: [String] { MethodCatalogue().names }

    static func needsRewards(_ name: String) -> Bool {
        MethodCatalogue().method(named: name).map { $0.method.defaults.batches != nil } ?? true
    }
}
