package import Algorithms
package import Records
package import Tensors

/// How completions are sampled. A value that exists is a value that passed its checks.
package struct SamplingSettings: Sendable, Equatable {
    /// What each token is drawn from.
    package let distribution: PolicyDistribution
    /// Whether every row takes the most likely token, the lowest id on ties, and draws nothing.
    package let isGreedy: Bool
    /// Most tokens of a completion, its stop token included.
    package let maxCompletionLength: Int
    /// Tokens that end a completion. The sampled one is its last token.
    package let stopTokenIDs: Set<Int>
    /// Texts that end a completion wherever they appear, also across the borders of tokens.
    package let stopStrings: [String]
    /// How completions think in mixtures of words before they answer; `nil` samples words from the start. Everything above is then about
    /// the answer; greedy rows draw no noise.
    package let softThinking: SoftThinkingSettings?

    /// - Parameters:
    ///   - temperature: Logits are divided by it; above 0. For the most likely token ask for `isGreedy`.
    ///   - topK: Keeps this many of the most likely tokens; 0 keeps all.
    ///   - topP: Keeps the most likely tokens until their mass reaches it; 1 keeps all.
    ///   - minP: Drops tokens less likely than this share of the most likely one; 0 drops none.
    ///   - repetitionPenalty: Divides positive and multiplies negative logits of tokens already seen; 1 changes none.
    /// - Throws: `SettingsError` with every setting that cannot be used.
    package init(
        temperature: Double = 1, topK: Int = 0, topP: Double = 1, minP: Double = 0, repetitionPenalty: Double = 1,
        isGreedy: Bool = false, maxCompletionLength: Int = 512, stopTokenIDs: Set<Int> = [], stopStrings: [String] = [],
        softThinking: SoftThinkingSettings? = nil
    ) throws(SettingsError) {
        var problems = Problems("sampling")
        problems.require(
            temperature > 0 && temperature.isFinite, "temperature", temperature,
            "a number above 0 (greedy decoding is a setting of its own)")
        problems.require(topK >= 0, "topK", topK, "0 for all tokens, or the number to keep")
        problems.require(topP > 0 && topP <= 1, "topP", topP, "above 0 and at most 1")
        problems.require(minP >= 0 && minP <= 1, "minP", minP, "from 0 to 1")
        problems.require(
            repetitionPenalty > 0 && repetitionPenalty.isFinite, "repetitionPenalty", repetitionPenalty,
            "a number above 0; 1 changes nothing")
        problems.require(
            (1..<1 << 24).contains(maxCompletionLength), "maxCompletionLength", maxCompletionLength,
            "from 1 to 16777215 tokens")
        problems.require(
            stopTokenIDs.allSatisfy { $0 >= 0 }, "stopTokenIDs", stopTokenIDs.sorted(), "token ids of at least 0")
        problems.require(
            !stopStrings.contains(""), "stopStrings", stopStrings, "no empty text: it would end every completion")
        problems.require(
            softThinking == nil || repetitionPenalty == 1, "repetitionPenalty", repetitionPenalty,
            "1 with soft thinking: a mixture of words is not a word already seen")
        try problems.throwIfAny()
        distribution = PolicyDistribution(
            repetitionPenalty: repetitionPenalty, temperature: temperature, topK: topK, topP: topP, minP: minP)
        self.isGreedy = isGreedy
        self.maxCompletionLength = maxCompletionLength
        self.stopTokenIDs = stopTokenIDs
        self.stopStrings = stopStrings
        self.softThinking = softThinking
    }
}
