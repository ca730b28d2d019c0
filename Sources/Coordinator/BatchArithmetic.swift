package import Records

/// How many completions a step takes, and how often they are learned from.
///
///     completions per optimizer step = per_device_train_batch_size × gradient_accumulation_steps
///     completions per rollout step   = per_device_train_batch_size × steps_per_generation (= generation_batch_size)
///     prompts per rollout step       = completions per rollout step / num_generations
///     optimizer steps per rollout    = steps_per_generation / gradient_accumulation_steps × num_iterations
///
/// as in TRL's GRPO trainer.
package struct BatchArithmetic: Sendable, Equatable {
    /// Completions of each prompt.
    package let generations: Int
    package let completionsPerOptimizerStep: Int
    package let completionsPerRolloutStep: Int
    package let promptsPerStep: Int
    package let optimizerStepsPerRollout: Int
    /// Passes over the same rollouts (`num_iterations`, μ).
    package let iterations: Int
    /// Whether each pass draws anew which completions an optimizer step takes.
    package let shuffles: Bool

    /// What decides these numbers beside the keys: a method's own defaults.
    package struct Defaults: Sendable {
        package var generations: Int
        package var iterations: Int
        package var shuffles: Bool
        /// The least completions of a prompt that the method can compare, and why; `nil` for any number.
        package var least: (count: Int, reason: String)?
        /// Completions of each prompt that are learned from; `nil` for all.
        package var learned: Int?

        package init(
            generations: Int = 8, iterations: Int = 1, shuffles: Bool = false,
            least: (count: Int, reason: String)? = nil, learned: Int? = nil
        ) {
            self.generations = generations
            self.iterations = iterations
            self.shuffles = shuffles
            self.least = least
            self.learned = learned
        }
    }

    /// - Parameters:
    ///   - defaults: `nil` for a method that does not generate: a step is so many rows of the prompt set.
    ///   - completionsPerRow: Of such a row: 1 of a demonstration, 2 of a pair.
    package init(reading job: inout SettingsReader, _ defaults: Defaults?, completionsPerRow: Int = 1) {
        let perDevice = job.read(
            "per_device_train_batch_size", default: 8, .from(1, to: 1_000_000),
            "Completions, not prompts, as in TRL; a pair counts as one. An optimizer step takes this × gradient_accumulation_steps."
        )
        let accumulation = job.read(
            "gradient_accumulation_steps", default: 1, .from(1, to: 1_000_000),
            "Multiplies the completions of an optimizer step. max_tokens_per_micro_batch cuts them into micro-batches, which never changes the result."
        )
        guard let defaults else {
            (generations, iterations, shuffles, optimizerStepsPerRollout) = (completionsPerRow, 1, false, 1)
            promptsPerStep = perDevice * accumulation
            completionsPerOptimizerStep = promptsPerStep * completionsPerRow
            completionsPerRolloutStep = completionsPerOptimizerStep
            return
        }
        completionsPerOptimizerStep = perDevice * accumulation
        generations = job.read(
            "num_generations", default: defaults.generations, .from(1, to: 65_535),
            "Completions per prompt, G. A group baseline needs at least 2 (arXiv:2402.03300).")
        let generationBatch: Int? = job.read(
            "generation_batch_size", optional: nil, .from(1, to: 1_000_000_000_000),
            "Completions of one rollout step; another way to set steps_per_generation.")
        let perGeneration: Int =
            job.read(
                "steps_per_generation", optional: nil, .from(1, to: 1_000_000),
                "Completions of one rollout step = per_device_train_batch_size × this. By default gradient_accumulation_steps: one optimizer step per rollout."
            ) ?? Self.steps(generationBatch, perDevice) ?? accumulation
        job.resolve("steps_per_generation", to: perGeneration)
        if let generationBatch, generationBatch != perDevice * perGeneration {
            job.refuse(
                "generation_batch_size",
                "generation_batch_size is \(generationBatch); expected per_device_train_batch_size × "
                    + (job.isGiven("steps_per_generation")
                        ? "steps_per_generation = \(perDevice * perGeneration), or one of the two left out"
                        : "a whole number, and per_device_train_batch_size is \(perDevice)"))
        }
        iterations = job.read(
            "num_iterations", default: defaults.iterations, .from(1, to: 1_000_000),
            "Passes over the same rollouts, μ. Above 1, the rollout policy's log-probs are scored again first (arXiv:2402.03300)."
        )
        shuffles = job.read(
            "shuffle_mini_batches", default: defaults.shuffles,
            "Draws the completions of each optimizer step by seed, anew in every pass over the rollouts; false takes them in order."
        )
        completionsPerRolloutStep = perDevice * perGeneration
        promptsPerStep = completionsPerRolloutStep / generations
        let learned = promptsPerStep * (defaults.learned ?? generations)
        let batches = (learned + completionsPerOptimizerStep - 1) / completionsPerOptimizerStep
        optimizerStepsPerRollout = max(batches, 1) * iterations
        if completionsPerRolloutStep % generations != 0 {
            let below = completionsPerRolloutStep / generations * generations
            let near = [below, below + generations].filter { $0 > 0 }.map(String.init).joined(separator: " or ")
            job.refuse(
                job.isGiven("per_device_train_batch_size") ? "per_device_train_batch_size" : "num_generations",
                "per_device_train_batch_size × steps_per_generation = \(completionsPerRolloutStep) completions cannot be shared out in groups of num_generations = \(generations); \(near) would do"
            )
        }
        if perGeneration % accumulation != 0 {
            job.refuse(
                "steps_per_generation",
                "steps_per_generation is \(perGeneration); expected a multiple of gradient_accumulation_steps = \(accumulation)"
            )
        }
        if let least = defaults.least, generations < least.count {
            job.refuse(
                "num_generations",
                "num_generations is \(generations); \(least.reason), expected at least \(least.count)")
        }
    }

    /// `steps_per_generation` of so many completions; `nil` where it is no whole number.
    private static func steps(_ completions: Int?, _ perDevice: Int) -> Int? {
        completions.flatMap { $0 % perDevice == 0 && $0 >= perDevice ? $0 / perDevice : nil }
    }

    /// Refuses several optimizer steps per rollout, for a method without a ratio to correct with.
    package func requireOneStepPerRollout(_ method: String, _ job: inout SettingsReader) {
        guard optimizerStepsPerRollout > 1 else { return }
        job.refuse(
            job.isGiven("num_iterations") ? "num_iterations" : "steps_per_generation",
            "\(method) takes one optimizer step per rollout (it has no ratio to correct with), found \(optimizerStepsPerRollout)"
        )
    }

    /// The arithmetic in one line, as `--dry-run` and the start of a run print it.
    package var line: String {
        "\(promptsPerStep) prompts × \(generations) completions = \(completionsPerRolloutStep) completions a "
            + "rollout step; \(completionsPerOptimizerStep) completions an optimizer step; "
            + "\(optimizerStepsPerRollout) optimizer "
            + (optimizerStepsPerRollout == 1 ? "step" : "steps") + " a rollout step"
    }
}
