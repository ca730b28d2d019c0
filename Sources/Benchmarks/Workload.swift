package import Records

/// What one step does: so many prompts, completions and tokens, all of full length.
package struct Workload: Sendable, Equatable {
    /// The part of a step that is repeated.
    package enum Part: String, Sendable, CaseIterable {
        /// A rollout, its credit and one optimizer step.
        case step
        /// Sampling alone.
        case rollout
        /// Optimizer steps on one rollout.
        case update
    }

    package let part: Part
    package let prompts: Int
    /// Of each prompt.
    package let completions: Int
    package let promptTokens: Int
    package let completionTokens: Int
    /// Measured repetitions; one more comes first to warm up.
    package let steps: Int

    /// - Throws: `SettingsError` with every number below its least.
    package init(
        _ part: Part, prompts: Int, completions: Int, promptTokens: Int, completionTokens: Int, steps: Int
    ) throws(SettingsError) {
        let least = [
            ("--prompts", prompts, 1, ""), ("--completions", completions, 2, ": a group is compared with itself"),
            ("--prompt-tokens", promptTokens, 1, ""), ("--completion-tokens", completionTokens, 1, ""),
            ("--steps", steps, 1, ""),
        ]
        let problems = least.filter { $0.1 < $0.2 }.map { flag, found, least, reason in
            SettingsProblem(place: flag, message: "\(found); expected at least \(least)\(reason)")
        }
        guard problems.isEmpty else { throw SettingsError(problems) }
        self.part = part
        self.prompts = prompts
        self.completions = completions
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
        self.steps = steps
    }

    /// Sampled tokens of one repetition.
    package var newTokens: Int { prompts * completions * completionTokens }

    /// Tokens that must be read: each prompt once, each completion once.
    package var distinctTokens: Int { prompts * promptTokens + newTokens }

    /// Operations that one repetition cannot do without.
    ///
    ///     generation = 2·P·tokens,  update = 6·P·tokens     (P parameters; attention's own products are left out)
    package func usefulOperations(parameters: Int) -> Double {
        let perParameterAndToken =
            switch part {
            case .step: 8.0
            case .rollout: 2.0
            case .update: 6.0
            }
        return perParameterAndToken * Double(parameters) * Double(distinctTokens)
    }
}
