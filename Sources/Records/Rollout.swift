/// Counts the optimizer steps behind a set of weights; 0 is the model as loaded.
package struct PolicyVersion: Sendable, Hashable, Comparable, Codable {
    package var number: Int
    package init(_ number: Int) { self.number = number }
    package static func < (left: Self, right: Self) -> Bool { left.number < right.number }
}

/// A completion with what the sampler knew while writing it.
///
/// The two arrays of log-probs have one element per action, in nats: for each token that the policy chose. Where an
/// action is more than its word, both are the log-density of what was drawn.
package struct Rollout: Sendable, Equatable, ActionRow, Codable {
    package var completion: Completion
    /// Whether the policy chose each token, one element a token; `nil` when it chose all of them.
    package var isAction: [Bool]?
    /// Log-prob under the distribution that was sampled from: after temperature, penalties and filters.
    package var samplingLogProbabilities: [Float]
    /// Log-prob under the policy at the sampling temperature, before penalties and filters: what the updater scores
    /// again.
    package var policyLogProbabilities: [Float]
    /// Which of the prompt's completions this is, from 0; addresses its draws.
    package var sample: Int
    /// What the actions were made of; `nil` when each is its token's word.
    @HeldPayload package var payload: (any RolloutPayload)?

    package init(
        completion: Completion, samplingLogProbabilities: [Float], policyLogProbabilities: [Float], sample: Int,
        isAction: [Bool]? = nil, payload: (any RolloutPayload)? = nil
    ) {
        self.completion = completion
        self.isAction = isAction
        self.samplingLogProbabilities = samplingLogProbabilities
        self.policyLogProbabilities = policyLogProbabilities
        self.sample = sample
        self.payload = payload
    }
}

extension Rollout {
    package var tokenCount: Int { completion.tokenIDs.count }

    /// Whether its payload says that nothing is there for a reward to judge.
    package var lacksAnswer: Bool { payload?.lacksAnswer(completion) ?? false }
}

/// All completions of one prompt in one variant.
package struct RolloutGroup: Sendable, Equatable {
    package var prompt: TokenizedPrompt
    package var rollouts: [Rollout]
    /// The greedy completion, when the method's recipe asks for one. It never enters training data or reward metrics.
    package var greedy: Rollout?
    package var policyVersion: PolicyVersion
    /// Which of the step's variants of the prompt this is; see ``PromptVariant``.
    package var variant: Int

    package init(
        prompt: TokenizedPrompt, rollouts: [Rollout], greedy: Rollout? = nil, policyVersion: PolicyVersion,
        variant: Int = 0
    ) {
        self.variant = variant
        self.prompt = prompt
        self.rollouts = rollouts
        self.greedy = greedy
        self.policyVersion = policyVersion
    }
}

/// What generation is asked to do for one prompt.
package struct RolloutRequest: Sendable, Equatable {
    package var prompt: TokenizedPrompt
    /// Sampled completions wanted, at least 1 unless `includesGreedy`.
    package var samples: Int
    /// Whether a greedy completion is decoded in the same batch.
    package var includesGreedy: Bool
    /// Which of the step's variants of the prompt this is; addresses the draws beside the prompt's row.
    package var variant: Int

    package init(prompt: TokenizedPrompt, samples: Int, includesGreedy: Bool = false, variant: Int = 0) {
        self.variant = variant
        self.prompt = prompt
        self.samples = samples
        self.includesGreedy = includesGreedy
    }
}

/// Which of a step's groups one is: a step may ask a prompt in several variants.
package struct GroupAddress: Hashable, Sendable {
    /// The prompt's row in its set.
    package var row: Int
    package var variant: Int

    package init(row: Int, variant: Int) {
        self.row = row
        self.variant = variant
    }
}

extension RolloutGroup {
    package var address: GroupAddress { GroupAddress(row: prompt.prompt.row, variant: variant) }
}

extension RolloutRequest {
    package var address: GroupAddress { GroupAddress(row: prompt.prompt.row, variant: variant) }
}
