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

    /// What is learned from: `--algorithm`.
    package enum Algorithm: String, Sendable, CaseIterable {
        /// Completions that the step samples, with a reward.
        case grpo
        /// Pairs of completions that are given, with the reference's log-probs worked out before the first step.
        case dpo
    }

    /// What moves the weights of the step's rewards: `--controllers`.
    package enum Controller: String, Sendable, CaseIterable {
        /// A Lagrange multiplier (`constraints:`).
        case constraints
        /// A factor that follows the Pareto front (`dynamic_weights.method: hypervolume`).
        case hypervolume
        /// Weights by the rewards' gradients (`dynamic_weights.method: gradient`).
        case gradient
    }

    package let part: Part
    package let algorithm: Algorithm
    package let prompts: Int
    /// Completions of each prompt. A rollout may have one, and an update learns from one by its reward alone.
    package let completions: Int
    package let promptTokens: Int
    package let completionTokens: Int
    /// Measured repetitions; one more comes first to warm up.
    package let steps: Int
    package let controllers: [Controller]

    /// - Throws: `SettingsError` with every number below its least.
    package init(
        _ part: Part, _ algorithm: Algorithm = .grpo, prompts: Int, completions: Int, promptTokens: Int,
        completionTokens: Int, steps: Int, controllers: [Controller] = []
    ) throws(SettingsError) {
        let least = [
            ("--prompts", prompts, 1, ""),
            part == .step
                ? ("--completions", completions, 2, ": a group is compared with itself")
                : ("--completions", completions, 1, ""),
            ("--prompt-tokens", promptTokens, 1, ""), ("--completion-tokens", completionTokens, 1, ""),
            ("--steps", steps, 1, ""),
        ]
        var problems = least.filter { $0.1 < $0.2 }.map { flag, found, least, reason in
            SettingsProblem(place: flag, message: "\(found); expected at least \(least)\(reason)")
        }
        if algorithm == .dpo, completions != 2 {
            problems.append(SettingsProblem(place: "--completions", message: "\(completions); a pair of dpo has 2"))
        }
        if algorithm == .dpo, part == .rollout {
            problems.append(SettingsProblem(place: "--algorithm", message: "dpo samples nothing; expected grpo"))
        }
        let named = controllers.map(\.rawValue).joined(separator: " ")
        if !controllers.isEmpty, algorithm != .grpo || part != .step {
            problems.append(
                SettingsProblem(place: "--controllers", message: "\(named); only a step of grpo has rewards to weigh"))
        }
        if Set(controllers).count != controllers.count || Set([.constraints, .gradient]).isSubset(of: controllers) {
            problems.append(
                SettingsProblem(
                    place: "--controllers",
                    message:
                        "\(named); expected each once, and not constraints beside gradient: a weight has one owner"))
        }
        guard problems.isEmpty else { throw SettingsError(problems) }
        self.part = part
        self.algorithm = algorithm
        self.prompts = prompts
        self.completions = completions
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
        self.steps = steps
        self.controllers = controllers
    }

    /// Whether a repetition samples what it learns from.
    package var samples: Bool { algorithm == .grpo && part != .update }

    /// Tokens of the completions of one repetition.
    package var newTokens: Int { prompts * completions * completionTokens }

    /// Tokens that must be read: each prompt once, each completion once.
    package var distinctTokens: Int { prompts * promptTokens + newTokens }

    /// Operations that one repetition cannot do without.
    ///
    ///     generation = 2·P·tokens,  update = 6·P·tokens     (P parameters; attention's own products are left out)
    ///
    /// A step of `dpo` is an update. With adapters a backward pass needs no gradients of the weights:
    ///
    ///     update = 4·P·tokens
    package func usefulOperations(parameters: Int, trainsAdapters: Bool = false) -> Double {
        let update = trainsAdapters ? 4.0 : 6.0
        let perParameterAndToken =
            switch part {
            case .step: samples ? 2 + update : update
            case .rollout: 2.0
            case .update: update
            }
        return perParameterAndToken * Double(parameters) * Double(distinctTokens)
    }
}
