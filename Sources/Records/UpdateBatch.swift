/// The plain values one optimizer step learns from, in parts that differ in what they hold and in what is minimized on
/// them.
///
/// No tensor in it, so that it crosses actors and can be written to a file.
package struct UpdateBatch: Sendable, Equatable {
    /// In the order of the method's plan.
    package var parts: [UpdatePart]

    package init(parts: [UpdatePart]) { self.parts = parts }

    /// A batch of one part.
    package init(_ kind: UpdatePart.Kind = .rollouts, groups: [UpdateGroup]) { parts = [UpdatePart(kind, groups)] }

    /// The groups of all parts; setting them keeps the first part's kind.
    package var groups: [UpdateGroup] {
        get { parts.count == 1 ? parts[0].groups : parts.flatMap(\.groups) }
        set {
            let first = parts.first ?? UpdatePart(.rollouts, [])
            parts = [
                UpdatePart(
                    first.kind, newValue, streamWeights: first.streamWeights, klWeight: first.klWeight,
                    weight: first.weight)
            ]
        }
    }

    /// Completions of the batch, fully masked ones included.
    package var completionCount: Int { parts.reduce(0) { $0 + $1.completionCount } }
    /// Tokens that are trained: the actions of completions that are not masked.
    package var actionTokenCount: Int { parts.reduce(0) { $0 + $1.actionTokenCount } }
    /// Whether a completion of an earlier step stands in it.
    package var hasReplayed: Bool {
        parts.contains { $0.groups.contains { $0.completions.contains(where: \.isReplayed) } }
    }
}

/// The groups that one objective is minimized on: each prompt once, its completions behind it.
package struct UpdatePart: Sendable, Equatable, Codable {
    package enum Kind: String, Sendable, Equatable, Codable, CaseIterable {
        /// What the policy wrote, with advantages.
        case rollouts
        /// Completions to imitate.
        case demonstrations
        /// Two completions a prompt, the chosen one first. A pair is never cut; its denominator counts prompts.
        case pairs
    }

    package var kind: Kind
    package var groups: [UpdateGroup]
    /// What a unit of each stream of advantages counts where they are added, one weight a stream. They travel with the
    /// part because some methods weigh streams by their gradients.
    package var streamWeights: [Double]
    /// What a KL term in the loss is multiplied by beside its own coefficient.
    package var klWeight: Double
    /// What the part's loss counts in this step beside the weight of its plan. 0 leaves the part out: it is not even
    /// read.
    package var weight: Double

    package init(
        _ kind: Kind, _ groups: [UpdateGroup], streamWeights: [Double] = [1], klWeight: Double = 1, weight: Double = 1
    ) {
        self.klWeight = klWeight
        self.kind = kind
        self.groups = groups
        self.streamWeights = streamWeights
        self.weight = weight
    }

    /// Completions of the part, fully masked ones included.
    package var completionCount: Int { groups.reduce(0) { $0 + $1.completions.count } }
    /// Tokens that are trained: the actions of completions that are not masked.
    package var actionTokenCount: Int {
        groups.reduce(0) { $0 + $1.completions.reduce(0) { $0 + ($1.isMasked ? 0 : $1.actionCount) } }
    }
}

extension UpdatePart {
    /// Keeps the reference policy's log-probs.
    ///
    /// - Parameter logProbabilities: `[group][completion][action]`, in nats.
    package mutating func takeReference(_ logProbabilities: [[[Float]]]) {
        for (group, rows) in logProbabilities.enumerated() {
            for (index, values) in rows.enumerated() {
                groups[group].completions[index].referenceLogProbabilities = values
            }
        }
    }
}

/// A prompt and the completions learned from.
package struct UpdateGroup: Sendable, Equatable, Codable {
    package var promptTokenIDs: [Int]
    package var completions: [UpdateCompletion]
    /// By how much the chosen side of a pair is to be better, where a reward model learns from it.
    package var margin: Double
    /// Which of the reward model's heads is to say so.
    package var head: Int

    package init(promptTokenIDs: [Int], completions: [UpdateCompletion], margin: Double = 0, head: Int = 0) {
        self.margin = margin
        self.head = head
        self.promptTokenIDs = promptTokenIDs
        self.completions = completions
    }

    /// A prompt that counts in a part of pairs and has none there.
    package static func withoutPair(promptTokenIDs: [Int]) -> UpdateGroup {
        let none = UpdateCompletion(tokenIDs: [], isMasked: true)
        return UpdateGroup(promptTokenIDs: promptTokenIDs, completions: [none, none])
    }
}

/// One completion to learn from. The arrays have one element per action, or are empty where the method has no use for
/// them; those of streams have one such array a stream.
package struct UpdateCompletion: Sendable, Equatable, Codable, ActionRow {
    package var tokenIDs: [Int]
    /// Whether the policy chose each token, one element a token; `nil` when it chose all of them.
    package var isAction: [Bool]?
    /// `[stream][action]`: what each objective says of each action. The part's ``UpdatePart/streamWeights`` add them
    /// up.
    package var advantages: [[Double]]
    /// The sampler's own log-probs of the policy at the sampling temperature, before filters.
    package var rolloutLogProbabilities: [Float]
    /// The log-probs under the distribution that was sampled from, after penalties and filters; `nil` where they are
    /// ``rolloutLogProbabilities``.
    package var samplingLogProbabilities: [Float]?
    /// The log-probs of the policy that produced the data, scored again by the trainer; empty when the step scores them
    /// itself.
    package var oldLogProbabilities: [Float]
    /// The reference policy's log-probs; empty without a reference.
    package var referenceLogProbabilities: [Float]
    /// What each head of a critic is trained towards, `[stream][action]`; empty without a critic.
    package var returns: [[Double]]
    /// The critic's values when the step began, `[stream][action]`; empty without a critic.
    package var oldValues: [[Float]]
    /// Whether the completion is left out of the loss (its tokens still count as read, never as trained).
    package var isMasked: Bool
    /// Whether a KL term in the loss acts on it.
    package var takesKL: Bool
    /// Whether another than the policy wrote it, whose probability of every token counts as 1: its log-probs are zeros.
    package var isDemonstration: Bool
    /// Whether the policy of an earlier step wrote it, and it stands in for one that taught nothing.
    package var isReplayed: Bool {
        get { replayed == true }
        set { replayed = newValue ? true : nil }
    }
    /// `nil` for false: a file without the mark is one of completions that have none.
    private var replayed: Bool?
    /// What the actions were made of; `nil` when each is its token's word.
    @HeldPayload package var payload: (any RolloutPayload)?

    package init(
        tokenIDs: [Int], isAction: [Bool]? = nil, advantages: [[Double]] = [], rolloutLogProbabilities: [Float] = [],
        samplingLogProbabilities: [Float]? = nil, oldLogProbabilities: [Float] = [],
        referenceLogProbabilities: [Float] = [], returns: [[Double]] = [], oldValues: [[Float]] = [],
        isMasked: Bool = false, takesKL: Bool = true, isDemonstration: Bool = false,
        payload: (any RolloutPayload)? = nil
    ) {
        self.returns = returns
        self.oldValues = oldValues
        self.tokenIDs = tokenIDs
        self.isAction = isAction
        self.advantages = advantages
        self.rolloutLogProbabilities = rolloutLogProbabilities
        self.samplingLogProbabilities = samplingLogProbabilities
        self.oldLogProbabilities = oldLogProbabilities
        self.referenceLogProbabilities = referenceLogProbabilities
        self.isMasked = isMasked
        self.takesKL = takesKL
        self.isDemonstration = isDemonstration
        self.payload = payload
    }

    package var tokenCount: Int { tokenIDs.count }
}

extension UpdateCompletion {
    /// A = Σ_k w_k·A_k at each token, in Double. A single stream of weight 1 comes back as it is, to the bit.
    ///
    /// - Parameter streamWeights: One a stream.
    package func mixedAdvantages(_ streamWeights: [Double]) -> [Double] { Self.mixed(advantages, streamWeights) }

    /// The weighted sum of streams `[stream][token]` at each token.
    package static func mixed(_ streams: [[Double]], _ weights: [Double]) -> [Double] {
        precondition(streams.isEmpty || streams.count == weights.count, "one weight a stream")
        guard var sum = streams.first else { return [] }
        if weights[0] != 1 { sum = sum.map { weights[0] * $0 } }
        for (stream, weight) in zip(streams, weights).dropFirst() { sum = zip(sum, stream).map { $0 + weight * $1 } }
        return sum
    }
}
