/// A method's step as an ordered list of calls: what the Coordinator runs and what a planner draws as a graph.
///
///     GRPO    generate(8) → infer(reference)? → credit → train
///     PPO     generate(1) → infer(oldPolicy) → infer(reference)? → infer(critic) → credit → train
///     ReMax   generate(1, greedy) → infer(reference)? → credit → train
///     SFT     demonstrate → train
///     DPO     compare → infer(reference)? → train
///     BVPO    compare → weigh → train, or  generate(4, thinking and empty) → credit → infer(reference) → weigh → train
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
    /// Takes pairs of completions, one of them preferred, from the prompt set instead of sampling.
    case compare
    /// Samples completions of every prompt of the step, in every variant, and asks every reward for every completion while others still
    /// decode; with `greedy`, one greedy completion beside them.
    case generate(samplesPerPrompt: Int, greedy: Bool, variants: [PromptVariant] = [.plain])
    /// Computes the log-probs of the completions' tokens, or their values, under another set of weights, without gradients.
    case infer(InferenceRole)
    /// Turns scores into advantages, a stream for each objective.
    case credit
    /// Says how much each part of the batch counts in this step.
    case weigh
    /// Takes optimizer steps on the batch.
    case train
}

extension StepCall {
    /// The call in words, for plans: `generate(8 + greedy) → score`.
    package var word: String {
        switch self {
        case .demonstrate: "demonstrate"
        case .compare: "compare"
        case .generate(let samples, let greedy, let variants):
            "generate(\(samples)\(greedy ? " + greedy" : "")\(Self.word(of: variants))) → score"
        case .infer(let role): "infer(\(role.rawValue))"
        case .credit: "credit"
        case .weigh: "weigh"
        case .train: "train"
        }
    }

    private static func word(of variants: [PromptVariant]) -> String {
        variants == [.plain] ? "" : ", " + variants.map(\.name).joined(separator: " and ")
    }
}

/// Whose log-probs an `infer` call computes.
package enum InferenceRole: String, Sendable, Equatable {
    /// The policy as it was when the step began.
    case oldPolicy
    /// The policy that sampled, by the log-probs it left: nothing is computed.
    case sampler
    /// The frozen reference policy.
    case reference
    /// The critic: values instead of log-probs, one before each token.
    case critic
}

/// What a step needs the log-probs of the policy that wrote its completions for.
package struct OldPolicyUses: OptionSet, Sendable {
    package let rawValue: Int
    package init(rawValue: Int) { self.rawValue = rawValue }

    /// The loss has a ratio to them: rollouts are learned from in several optimizer steps, or replayed ones stand among them.
    package static let ratio = OldPolicyUses(rawValue: 1)
    /// A KL penalty in the reward compares them with the reference policy's.
    package static let rewardPenalty = OldPolicyUses(rawValue: 2)
}

extension StepRecipe {
    /// The call that brings a step the log-probs of the policy that wrote its completions; `nil` where none is needed.
    ///
    /// A ratio always asks the trainer. A penalty in the reward may take what the sampler noted, a pass cheaper, only where the sampler is
    /// exact: otherwise d = log π_old − log π_ref has the sampler's rounding in it beside the distance, since the reference is
    /// always the trainer's own number.
    ///
    /// - Parameters:
    ///   - samplerIsExact: Whether the sampler's log-probs equal the trainer's but for the order of float32 sums; false in bfloat16.
    package static func oldPolicyCall(for uses: OldPolicyUses, samplerIsExact: Bool) -> StepCall? {
        if uses.contains(.ratio) { return .infer(.oldPolicy) }
        return uses.contains(.rewardPenalty) && !samplerIsExact ? .infer(.oldPolicy) : nil
    }
}
