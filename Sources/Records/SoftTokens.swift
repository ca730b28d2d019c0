/// Which of a completion's tokens are soft, and what each of those was made of: enough to build the same input again and to score it under
/// any policy.
///
/// A soft token is a mixture of the words of its support. The completion's token ids hold its leading word. The arrays are flat, one soft
/// token after the other, so that ordinary tokens take no room: a support of K words takes 12·K bytes.
package struct SoftTokens: Sendable, Equatable, Codable {
    /// Numbers a soft token has in `values` and `parameters`: `nil` for one a word of its support.
    package let componentCount: Int?
    /// Words of each token's support, one element a token; 0 for an ordinary token.
    package private(set) var supportSizes: [Int] = []
    /// The supports' words, the likeliest first.
    package private(set) var ids: [Int32] = []
    /// What the noise drew: perturbed log-probs, Gamma logarithms, perturbed probabilities or an embedding.
    package private(set) var values: [Float] = []
    /// What the draw came from, under the policy that sampled: the log-probs of the support's words among themselves, or the mean embedding.
    package private(set) var parameters: [Float] = []
    /// The same under the policy that produced the data, scored again by the trainer; empty when the step scores it itself.
    package var oldParameters: [Float] = []
    /// The same under the reference policy; empty without a reference.
    package var referenceParameters: [Float] = []
    /// The policy's entropy over all words where each soft token was drawn, in nats; one element a soft token.
    package private(set) var entropies: [Float] = []
    /// The largest weight in each soft token's mixture.
    package private(set) var largestWeights: [Float] = []

    /// - Parameter componentCount: Numbers of every soft token where that is not its words' count.
    package init(componentCount: Int? = nil) { self.componentCount = componentCount }

    /// Soft tokens.
    package var count: Int { entropies.count }
    /// The places of the soft tokens among the completion's.
    package var positions: [Int] { supportSizes.indices.filter { supportSizes[$0] > 0 } }
    /// Numbers of each soft token in `values`.
    package var componentCounts: [Int] { supportSizes.filter { $0 > 0 }.map { componentCount ?? $0 } }

    /// Notes that the next token is an ordinary one.
    package mutating func appendOrdinary() { supportSizes.append(0) }

    /// Notes that the next token is soft.
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
