/// Which of a completion's actions are soft, and what each of those was made of: enough to build the same input again
/// and to score it under any policy.
///
/// A soft token is a mixture of the words of its support. The completion's token ids hold its leading word. The arrays
/// are flat, one soft token after the other, so that ordinary tokens take no room: a support of K words takes 12·K
/// bytes.
///
/// The soft token that ends the thinking was drawn as the others were and is scored as they are; what goes in behind it
/// is its leading word alone, not the mixture.
package struct SoftTokens: RolloutPayload {
    package static let kind = "soft tokens"

    /// Numbers a soft token has in `values` and `parameters`: `nil` for one a word of its support.
    package let componentCount: Int?
    /// Words of each action's support, one element an action; 0 for an ordinary token.
    package private(set) var supportSizes: [Int] = []
    /// The supports' words, the likeliest first.
    package private(set) var ids: [Int32] = []
    /// What the noise drew: perturbed log-probs, Gamma logarithms, perturbed probabilities or an embedding.
    package private(set) var values: [Float] = []
    /// What the draw came from, under the policy that sampled: the log-probs of the support's words among themselves,
    /// or the mean embedding.
    package private(set) var parameters: [Float] = []
    /// The same under the policy that produced the data, scored again by the trainer; empty when the step scores it
    /// itself.
    package var oldParameters: [Float] = []
    /// The same under the reference policy; empty without a reference.
    package var referenceParameters: [Float] = []
    /// The policy's entropy over all words where each soft token was drawn, in nats; one element a soft token.
    package private(set) var entropies: [Float] = []
    /// The largest weight in each soft token's mixture.
    package private(set) var largestWeights: [Float] = []
    /// The soft token that ended the thinking, by its index among the actions; `nil` when a word or a rule ended it, or
    /// nothing did.
    package private(set) var boundary: Int?
    /// The action that the answer begins with, by its index among the actions; `nil` while the thinking has not ended.
    package private(set) var answerStart: Int?

    /// - Parameter componentCount: Numbers of every soft token where that is not its words' count.
    package init(componentCount: Int? = nil) { self.componentCount = componentCount }

    /// Soft tokens.
    package var count: Int { entropies.count }
    package var actionCount: Int { supportSizes.count }
    /// The positions of the soft tokens among the completion's actions.
    package var positions: [Int] { supportSizes.indices.filter { supportSizes[$0] > 0 } }
    /// Numbers of each soft token in `values`.
    package var componentCounts: [Int] { supportSizes.filter { $0 > 0 }.map { componentCount ?? $0 } }

    /// Notes that the next action is an ordinary token.
    package mutating func appendOrdinary() { supportSizes.append(0) }

    /// Notes that the thinking has ended with the last action, or with a token behind it that was no action.
    ///
    /// - Parameter entersAsWord: Whether it is the last action that ended it, a soft token whose leading word is the
    ///   next input.
    package mutating func endThinking(entersAsWord: Bool = false) {
        answerStart = supportSizes.count
        if entersAsWord { boundary = supportSizes.count - 1 }
    }

    /// Notes that the next action is soft.
    ///
    /// - Parameters:
    ///   - ids: At least one word.
    ///   - values: As many numbers as `parameters`.
    package mutating func append(
        ids: [Int32], values: [Float], parameters: [Float], entropy: Float, largestWeight: Float
    ) {
        precondition(!ids.isEmpty && values.count == parameters.count, "a soft token has a word and both arrays")
        precondition(values.count == componentCount ?? ids.count, "one number a component")
        supportSizes.append(ids.count)
        self.ids += ids
        self.values += values
        self.parameters += parameters
        entropies.append(entropy)
        largestWeights.append(largestWeight)
    }

    /// A flat array with one piece a soft token, cut into the pieces.
    ///
    /// - Parameter counts: Elements of each piece.
    package static func pieces<Element>(_ flat: [Element], _ counts: [Int]) -> [ArraySlice<Element>] {
        var start = 0
        return counts.map { count in
            defer { start += count }
            return flat[start..<start + count]
        }
    }
}

extension SoftTokens {
    /// - Parameter scores: The numbers that ``parameters`` names, under the role's weights.
    package mutating func keep(_ scores: [Float], of role: InferenceRole) {
        switch role {
        case .oldPolicy, .sampler: oldParameters = scores
        case .reference: referenceParameters = scores
        case .critic: preconditionFailure("a critic has values, see CriticValues")
        }
    }

    package mutating func keepSamplersScores() { oldParameters = parameters }

    /// Whether nothing stands behind the thinking: the length limit or a stop token came first. A stop token is no
    /// answer.
    package func lacksAnswer(_ completion: Completion) -> Bool {
        guard let answerStart else { return true }
        return actionCount - answerStart - (completion.finishReason == .stopToken ? 1 : 0) <= 0
    }

    /// Numbers about the soft tokens of a step: whether thinking still mixes words, and whether it comes to an end.
    /// Empty without soft tokens.
    ///
    /// - `soft/multi_ratio`: share of thinking steps with more than one word in their support. Near 0 thinking has
    ///   collapsed to single words.
    /// - `soft/max_weight`: largest weight of a mixture, averaged; 1 is one word alone.
    /// - `soft/entropy`: of the policy over all words, averaged over thinking steps, in nats.
    /// - `soft/mean_length`: thinking steps of a completion.
    /// - `soft/unended_ratio`: share of completions without an answer behind their thinking.
    package static func metrics(of rollouts: [Rollout]) -> Metrics {
        let records = rollouts.compactMap { $0.payload as? SoftTokens }
        let steps = Double(records.reduce(0) { $0 + $1.count })
        var metrics = Metrics()
        guard steps > 0 else { return metrics }
        func mean(_ values: (SoftTokens) -> [Float]) -> Double {
            records.reduce(0) { sum, record in values(record).reduce(sum) { $0 + Double($1) } } / steps
        }
        metrics["soft/multi_ratio"] =
            Double(records.reduce(0) { $0 + $1.supportSizes.filter { $0 > 1 }.count }) / steps
        metrics["soft/max_weight"] = mean(\.largestWeights)
        metrics["soft/entropy"] = mean(\.entropies)
        metrics["soft/mean_length"] = steps / Double(records.count)
        metrics["soft/unended_ratio"] =
            Double(rollouts.filter(\.lacksAnswer).count) / Double(records.count)
        return metrics
    }
}
