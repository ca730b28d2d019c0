package import Records

/// A job in which every choice is made: defaults that depend on the method are filled in, and values that contradict each
/// other have been refused.
package struct ResolvedJob: Sendable, Equatable {
    /// Every value; the optional ones that the method needs are set.
    package let settings: JobSettings
    package let recipe: StepRecipe
    package let batches: BatchArithmetic
    package let notices: [String]

    /// - Throws: ``JobError`` with every contradiction at once.
    package init(_ file: JobFile) throws(JobError) {
        var checks = JobChecks(file)
        let settings = Self.filled(file.settings)
        checks.run(settings)
        guard checks.problems.isEmpty else { throw JobError(checks.problems) }
        self.settings = settings
        recipe = Self.recipe(of: settings)
        batches = BatchArithmetic(settings)
        notices = file.notices + checks.notices
    }

    /// The job as YAML; read again from the same folder, it gives the same job.
    package var yaml: String {
        "# The resolved job: every value this run uses.\n"
            + JobFields.supported.map { "\($0.name): \($0.yaml(settings))\n" }.joined()
    }

    /// Fills in what the method decides.
    private static func filled(_ given: JobSettings) -> JobSettings {
        var settings = given
        let method = given.algorithm
        settings.numGenerations =
            given.numGenerations ?? [.sft: 1, .remax: 1, .rloo: 2, .reinforce: 1, .ppo: 1][method] ?? 8
        settings.beta = given.beta ?? [.rloo: 0.05, .ppo: 0.05, .softGRPO: 0.001][method] ?? 0
        settings.numIterations = given.numIterations ?? (method == .ppo ? 4 : 1)
        settings.shufflesMiniBatches = given.shufflesMiniBatches ?? (method == .ppo)
        settings.klPlacement = given.klPlacement ?? settings.ownKLPlacement
        settings.klEstimator =
            given.klEstimator ?? (settings.klPlacement == .reward ? .k1 : method == .reinforcePlusPlus ? .k2 : .k3)
        settings.remaxReduction = given.remaxReduction ?? (method == .reinforce ? .sequenceSum : .tokenMean)
        settings.lossType =
            given.lossType == .bnpo ? .dapo : given.lossType ?? (method == .softGRPO ? .grpo : .dapo)
        settings.delta = given.delta ?? (method == .softGRPO ? 3 : nil)  // the published runs' dual clip
        settings.learningRate = given.learningRate ?? ([.sft: 2e-5, .ppo: 3e-6][method] ?? 1e-6)
        settings.stepsPerGeneration =
            method == .sft
            ? given.gradientAccumulationSteps : given.stepsPerGeneration ?? given.gradientAccumulationSteps
        settings.rewardWeights = given.rewardWeights ?? given.rewards.map { _ in 1 }
        settings.evaluationGenerations = given.evaluationGenerations ?? 1
        if given.dynamicSampling, given.dynamicSamplingMetric == nil, given.rewards.count == 1 {
            settings.dynamicSamplingMetric = given.rewards[0].reference
        }
        return settings
    }

    private static func recipe(of settings: JobSettings) -> StepRecipe {
        if settings.algorithm == .sft { return StepRecipe(method: "sft", calls: [.demonstrate, .train]) }
        var calls: [StepCall] = [
            .generate(samplesPerPrompt: settings.numGenerations ?? 1, greedy: settings.algorithm == .remax)
        ]
        if settings.bypassesOldLogProbabilities {
            calls.append(.infer(.sampler))
        } else {
            var uses: OldPolicyUses = settings.needsOldLogProbabilities ? .ratio : []
            if settings.usesReference, settings.klPlacement == .reward { uses.insert(.rewardPenalty) }
            let call = StepRecipe.oldPolicyCall(for: uses, samplerIsExact: settings.dtype != .bfloat16)
            if let call { calls.append(call) }
        }
        // The exact KL needs the reference's logits beside the policy's own, in the update.
        if settings.usesReference, settings.klEstimator != .full { calls.append(.infer(.reference)) }
        if settings.algorithm == .ppo { calls.append(.infer(.critic)) }
        return StepRecipe(method: settings.algorithm.rawValue, calls: calls + [.credit, .train])
    }
}

extension JobSettings {
    /// Whether the policy that sampled must be scored before the first optimizer step: there are several, or replayed
    /// completions bring log-probs of their own, or weights compare it with the sampler.
    var needsOldLogProbabilities: Bool {
        BatchArithmetic(self).optimizerStepsPerRollout > 1 && algorithm != .bestOfK || replayCapacity > 0
    }
}

/// The three numbers of a batch and what follows from them.
package struct BatchArithmetic: Sendable, Equatable {
    package let completionsPerOptimizerStep: Int
    package let completionsPerRolloutStep: Int
    package let promptsPerStep: Int
    package let optimizerStepsPerRollout: Int

    /// - Parameter settings: With every optional value of the arithmetic filled in.
    init(_ settings: JobSettings) {
        let generations = max(settings.numGenerations ?? 1, 1)
        let perGeneration = settings.stepsPerGeneration ?? settings.gradientAccumulationSteps
        completionsPerOptimizerStep = settings.trainBatchSize * settings.gradientAccumulationSteps
        completionsPerRolloutStep = settings.trainBatchSize * perGeneration
        promptsPerStep = completionsPerRolloutStep / generations
        // best_of_k learns from one completion of each prompt.
        let learned = settings.algorithm == .bestOfK ? promptsPerStep : completionsPerRolloutStep
        let batches = (learned + completionsPerOptimizerStep - 1) / max(completionsPerOptimizerStep, 1)
        optimizerStepsPerRollout = max(batches, 1) * (settings.numIterations ?? 1)
    }

    /// The arithmetic in one line, as `--dry-run` and the start of a run print it.
    package func line(generations: Int) -> String {
        "\(promptsPerStep) prompts × \(generations) completions = \(completionsPerRolloutStep) completions a rollout step; "
            + "\(completionsPerOptimizerStep) completions an optimizer step; \(optimizerStepsPerRollout) optimizer "
            + (optimizerStepsPerRollout == 1 ? "step" : "steps") + " a rollout step"
    }
}
