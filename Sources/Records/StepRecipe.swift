/// A method's step as an ordered list of calls: what the Coordinator runs and what a planner draws as a graph.
///
///     GRPO    generate(8) → score → infer(reference)? → credit → train
///     PPO     generate(1) → score → infer(oldPolicy) → infer(reference)? → infer(critic) → credit → train
///     ReMax   generate(1, greedy) → score → infer(reference)? → credit → train
///     SFT     demonstrate → train
package struct StepRecipe: Sendable, Equatable {
    /// The method's name as `algorithm:` spells it.
    package var method: String
    package var calls: [StepCall]

    package init(method: String, calls: [StepCall]) {
        self.method = method
        self.calls = calls
    }

    /// Whether the step samples completions.
    package var generates: Bool {
        calls.contains { if case .generate = $0 { true } else { false } }
    }
}

/// One call of a step.
package enum StepCall: Sendable, Equatable {
    /// Takes demonstrations (prompt and given completion) from the prompt set instead of sampling.
    case demonstrate
    /// Samples completions of every prompt of the step; with `greedy`, one greedy completion beside them.
    case generate(samplesPerPrompt: Int, greedy: Bool)
    /// Asks every reward for every completion; runs while generation still decodes.
    case score
    /// Scores the completions' tokens under another set of weights, without gradients.
    case infer(ScoringRole)
    /// Turns scores into one advantage per token.
    case credit
    /// Takes optimizer steps on the batch.
    case train
}

extension StepCall {
    /// The call in words, for plans: `generate(8, greedy)`.
    package var word: String {
        switch self {
        case .demonstrate: "demonstrate"
        case .generate(let samples, let greedy): "generate(\(samples)\(greedy ? " + greedy" : ""))"
        case .score: "score"
        case .infer(let role): "infer(\(role.rawValue))"
        case .credit: "credit"
        case .train: "train"
        }
    }
}

/// Whose log-probs an `infer` call computes.
package enum ScoringRole: String, Sendable, Equatable {
    /// The policy as it was when the step began.
    case oldPolicy
    /// The policy that sampled, by the log-probs it left: nothing is computed.
    case sampler
    /// The frozen reference policy.
    case reference
    /// The critic: values instead of log-probs, one before each token.
    case critic
}
