/// A method's step as an ordered list of calls: what the Coordinator runs and what a planner draws as a graph.
///
///     GRPO    generate(8) → infer(reference)? → credit → train
///     PPO     generate(1) → infer(oldPolicy) → infer(reference)? → infer(critic) → credit → train
///     ReMax   generate(1, greedy) → infer(reference)? → credit → train
///     SFT     demonstrate → train
///     DPO     compare → infer(reference)? → train
///     AMFT    demonstrate → train, and after the warm-up  generate(8) → demonstrate → credit → weigh → train
///     BVPO    compare → weigh → train, or  generate(4, thinking and empty) → credit → infer(reference) → weigh → train
package struct StepRecipe: Sendable, Equatable {
    /// The method's name as `algorithm:` spells it.
    package var method: String
    package var calls: [StepCall]
    /// How a run begins; `nil` where its first step is like all others.
    package var warmup: Warmup?
    /// Other calls for a share of the steps; `nil` for none.
    package var interlude: Interlude?

    /// Other calls for some of the steps, as evenly among the others as can be.
    package struct Interlude: Sendable, Equatable {
        /// Share of all steps, above 0 and at most 1.
        package var share: Double
        package var calls: [StepCall]

        package init(share: Double, calls: [StepCall]) {
            self.share = share
            self.calls = calls
        }

        /// Whether the step with this number is one of them.
        func includes(_ number: Int) -> Bool {
            (Double(number + 1) * share).rounded(.down) > (Double(number) * share).rounded(.down)
        }
    }

    /// Other calls for a run's first steps.
    package struct Warmup: Sendable, Equatable {
        /// Optimizer steps, at least 1.
        package var steps: Int
        package var calls: [StepCall]

        package init(steps: Int, calls: [StepCall]) {
            self.steps = steps
            self.calls = calls
        }
    }

    package init(method: String, calls: [StepCall], warmup: Warmup? = nil, interlude: Interlude? = nil) {
        self.method = method
        self.calls = calls
        self.warmup = warmup
        self.interlude = interlude
    }

    /// Whether the step samples completions.
    package var generates: Bool {
        calls.contains { if case .generate = $0 { true } else { false } }
    }

    /// Whether every step begins with its sampling and could find it done: it samples once, and what it makes of the
    /// completions is the same whichever weights wrote them.
    package var samplesFirst: Bool {
        guard warmup == nil, interlude == nil, case .generate = calls.first else { return false }
        return calls.dropFirst().allSatisfy { call in
            switch call {
            case .demonstrate, .infer, .credit, .train: true
            case .compare, .generate, .rethink, .weigh: false
            }
        }
    }

    /// Whether a step after so many optimizer steps is one of the warm-up.
    package func isWarmingUp(at step: Int) -> Bool { warmup.map { step < $0.steps } ?? false }

    /// The calls of a step after so many optimizer steps.
    ///
    /// - Parameter number: Which step of the recipe it is, from 0.
    package func calls(at step: Int, number: Int) -> [StepCall] {
        if let warmup, isWarmingUp(at: step) { return warmup.calls }
        if let interlude, interlude.includes(number) { return interlude.calls }
        return calls
    }

    /// The calls in words, for plans.
    package var words: String {
        func words(_ calls: [StepCall]) -> String { calls.map(\.word).joined(separator: " → ") }
        let begin = warmup.map { "\(words($0.calls)) for \($0.steps) optimizer steps, then " } ?? ""
        let other = interlude.map { "; in \(($0.share * 1000).rounded() / 10) % of the steps \(words($0.calls))" } ?? ""
        return begin + words(calls) + other
    }
}

/// One call of a step.
package enum StepCall: Sendable, Equatable {
    /// Takes demonstrations (prompt and given completion): those of the prompts that were sampled before, else of the
    /// next ones.
    case demonstrate
    /// Takes pairs of completions, one of them preferred, from the prompt set instead of sampling.
    case compare
    /// Samples completions of every prompt of the step, in every variant, and asks every reward for every completion
    /// while others still decode; with `greedy`, one greedy completion beside them.
    case generate(samplesPerPrompt: Int, greedy: Bool, variants: [PromptVariant] = [.plain])
    /// Makes some completions go on with a doubt, and keeps what comes to a right answer.
    case rethink
    /// Computes the log-probs of the completions' tokens, or their values, under another set of weights, without
    /// gradients.
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
        case .rethink: "rethink"
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

    /// The loss has a ratio to them: rollouts are learned from in several optimizer steps, or replayed ones stand among
    /// them.
    package static let ratio = OldPolicyUses(rawValue: 1)
    /// A KL penalty in the reward compares them with the reference policy's.
    package static let rewardPenalty = OldPolicyUses(rawValue: 2)
}

extension StepRecipe {
    /// The call that brings a step the log-probs of the policy that wrote its completions; `nil` where none is needed.
    ///
    /// A ratio always asks the trainer. A penalty in the reward may take what the sampler noted, a pass cheaper, only
    /// where the sampler is exact: otherwise d = log π_old − log π_ref has the sampler's rounding in it beside the
    /// distance, since the reference is always the trainer's own number.
    ///
    /// - Parameters:
    ///   - samplerIsExact: Whether the sampler's log-probs equal the trainer's but for the order of float32 sums; false
    ///     in bfloat16.
    package static func oldPolicyCall(for uses: OldPolicyUses, samplerIsExact: Bool) -> StepCall? {
        if uses.contains(.ratio) { return .infer(.oldPolicy) }
        return uses.contains(.rewardPenalty) && !samplerIsExact ? .infer(.oldPolicy) : nil
    }
}
