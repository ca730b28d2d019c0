/// How many prompts a rollout step takes and how often its rollouts are learned from, as ``BatchArithmetic`` says, and
/// when the run is evaluated and saved. Evaluation and saving wait for the end of the rollout step they fall into.
package struct StepSchedule: Sendable, Equatable {
    package var promptsPerStep: Int
    package var completionsPerOptimizerStep: Int
    /// Passes over the same rollouts (`num_iterations`, μ).
    package var iterations: Int
    /// Optimizer steps of a rollout step with all its completions.
    package var optimizerStepsPerRollout: Int
    /// Rollout steps that a batch may be behind the weights that learn from it; see ``Staleness``.
    package var maxStaleness: Int
    /// Optimizer steps of the whole run.
    package var maxSteps: Int
    /// Optimizer steps between checkpoints; `nil` saves only at the end.
    package var saveSteps: Int?
    /// Optimizer steps between evaluations, one interval for each kind of them.
    package var evaluationSteps: [Int]
    /// Keeps sampling until the step has groups that differ; `nil` takes every group.
    package var dynamicSampling: DynamicSampling?
    /// Draws which completions an optimizer step takes, anew in every pass over the rollouts; `nil` takes them in
    /// order.
    package var shuffleSeed: UInt64?

    package init(
        promptsPerStep: Int, completionsPerOptimizerStep: Int, iterations: Int = 1, maxSteps: Int,
        saveSteps: Int? = nil, evaluationSteps: [Int] = [], dynamicSampling: DynamicSampling? = nil,
        shuffleSeed: UInt64? = nil, optimizerStepsPerRollout: Int = 1, maxStaleness: Int = 0
    ) {
        self.optimizerStepsPerRollout = optimizerStepsPerRollout
        self.maxStaleness = maxStaleness
        self.dynamicSampling = dynamicSampling
        self.shuffleSeed = shuffleSeed
        self.promptsPerStep = promptsPerStep
        self.completionsPerOptimizerStep = completionsPerOptimizerStep
        self.iterations = iterations
        self.maxSteps = maxSteps
        self.saveSteps = saveSteps
        self.evaluationSteps = evaluationSteps
    }

    /// Whether an evaluation is due after a step that went from `before` to `after` optimizer steps.
    package func evaluates(from before: Int, to after: Int) -> Bool {
        evaluationSteps.contains { Self.passes($0, before: before, after: after) }
    }

    /// Whether a checkpoint is due: on its interval and after the last step.
    package func saves(from before: Int, to after: Int) -> Bool {
        after >= maxSteps || Self.passes(saveSteps, before: before, after: after)
    }

    /// Whether a multiple of `interval` lies in `(before, after]`.
    package static func passes(_ interval: Int?, before: Int, after: Int) -> Bool {
        guard let interval, interval > 0 else { return false }
        return after / interval > before / interval
    }
}
