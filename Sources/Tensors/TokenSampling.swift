internal import CTorch

/// The distribution a token is drawn from, made from logits in the order of the fields. It means the same to whoever
/// samples and to whoever scores.
///
/// The order is that of transformers' logits processors: repetition penalty, temperature, top-k, top-p, min-p; each
/// filter works on what the one before it left.
package struct PolicyDistribution: Sendable, Equatable {
    /// Logits of tokens already in prompt or completion: positive ones are divided by it, negative ones multiplied. 1:
    /// off.
    package var repetitionPenalty: Double = 1
    /// Logits are divided by it. Above 0.
    package var temperature: Double = 1
    /// Keeps this many of the most likely tokens and what equals the last of them. 0: all.
    package var topK: Int = 0
    /// Keeps the most likely tokens until their mass reaches it. 1: all.
    package var topP: Double = 1
    /// Drops tokens less likely than this share of the most likely one. 0: none.
    package var minP: Double = 0

    package init(
        repetitionPenalty: Double = 1, temperature: Double = 1, topK: Int = 0, topP: Double = 1, minP: Double = 0
    ) {
        self.repetitionPenalty = repetitionPenalty
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
    }
}

/// Tokens drawn for the rows of one decoding step, one element a row.
package struct SampledTokens: Sendable, Equatable {
    package var tokens: [Int]
    /// Log-probs under the distribution drawn from; 0 for greedy rows, whose draw is certain.
    package var samplingLogProbabilities: [Float]
    /// Log-probs under the policy at the temperature, before penalty and filters.
    package var policyLogProbabilities: [Float]
}

/// How one row of a decoding step chooses its token.
package enum TokenChoice: Sendable, Equatable {
    /// The most likely token, the lowest id on ties.
    case greedy
    /// The first token, in vocabulary order, at which the running sum of probabilities passes this number of (0, 1).
    case draw(uniform: Double)
}

extension Tensor {
    /// Chooses one token for every row of logits, in one pass over memory where the distribution has no filter.
    ///
    /// Sums of probabilities run in double. `self` is `[rows, V]`.
    ///
    /// - Parameters:
    ///   - distribution: what is drawn from.
    ///   - choices: one a row.
    ///   - seenTokens: one list a row of the ids the repetition penalty is for, without duplicates; not read when it is
    ///     1.
    /// - Throws: ``TensorError/engine(operation:message:)`` when a row's logits are not finite or sizes differ.
    package func sampledTokens(
        from distribution: PolicyDistribution, choices: [TokenChoice], seenTokens: [[Int]] = []
    ) throws(TensorError) -> SampledTokens {
        let count = choices.count
        let penalizes = distribution.repetitionPenalty != 1
        guard !penalizes || seenTokens.count == count else {
            throw .shape(operation: "sampledTokens", expected: "seen tokens of \(count) rows", got: [seenTokens.count])
        }
        let uniforms = choices.map { if case .draw(let uniform) = $0 { uniform } else { 0.0 } }
        let greedy = choices.map { $0 == .greedy }
        let seen = penalizes ? Array(seenTokens.joined()) : []
        var offsets = [0]
        if penalizes { for row in seenTokens { offsets.append(offsets[offsets.count - 1] + row.count) } }
        let raw = ctorch_policy_distribution(
            repetition_penalty: distribution.repetitionPenalty, temperature: distribution.temperature,
            top_k: distribution.topK, top_p: distribution.topP, min_p: distribution.minP)
        var tokens = [Int](repeating: 0, count: count)
        var sampling = [Float](repeating: 0, count: count)
        var policy = [Float](repeating: 0, count: count)
        let status = uniforms.withUnsafeBufferPointer { uniforms in
            greedy.withUnsafeBufferPointer { greedy in
                seen.withUnsafeBufferPointer { seen in
                    offsets.withUnsafeBufferPointer { offsets in
                        let rows = ctorch_sampling_rows(
                            count: count, uniforms: uniforms.baseAddress, greedy: greedy.baseAddress,
                            seen: penalizes ? seen.baseAddress : nil,
                            seen_offsets: penalizes ? offsets.baseAddress : nil)
                        return ctorch_sample_tokens(self.raw, raw, rows, &tokens, &sampling, &policy)
                    }
                }
            }
        }
        try Tensor.check("sampledTokens", status)
        return SampledTokens(
            tokens: tokens, samplingLogProbabilities: sampling, policyLogProbabilities: policy)
    }
}
