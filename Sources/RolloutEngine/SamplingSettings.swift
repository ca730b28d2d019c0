package import Algorithms
package import Records
package import Tensors

/// How completions are sampled.
package struct SamplingSettings: Sendable, Equatable {
    /// What each token is drawn from.
    package let distribution: PolicyDistribution
    /// Whether every row takes the most likely token, the lowest id on ties, and draws nothing.
    package let isGreedy: Bool
    /// Most tokens of a completion, its stop token included.
    package var maxCompletionLength: Int
    /// Tokens that end a completion. The sampled one is its last token.
    package var stopTokenIDs: Set<Int>
    /// Texts that end a completion wherever they appear, also across the borders of tokens.
    package var stopStrings: [String]
    /// How completions think in mixtures of tokens before they answer; `nil` samples tokens from the start. Everything
    /// above is then about the answer; greedy rows draw no noise.
    package var softThinking: SoftThinkingSettings?

    /// - Parameters:
    ///   - temperature: Logits are divided by it; above 0. For the most likely token ask for `isGreedy`.
    ///   - topK: Keeps this many of the most likely tokens; 0 keeps all.
    ///   - topP: Keeps the most likely tokens until their mass reaches it; 1 keeps all.
    ///   - minP: Drops tokens less likely than this share of the most likely one; 0 drops none.
    ///   - repetitionPenalty: Divides positive and multiplies negative logits of tokens already seen; 1 changes none.
    package init(
        temperature: Double = 1, topK: Int = 0, topP: Double = 1, minP: Double = 0, repetitionPenalty: Double = 1,
        isGreedy: Bool = false, maxCompletionLength: Int = 512, stopTokenIDs: Set<Int> = [], stopStrings: [String] = [],
        softThinking: SoftThinkingSettings? = nil
    ) {
        distribution = PolicyDistribution(
            repetitionPenalty: repetitionPenalty, temperature: temperature, topK: topK, topP: topP, minP: minP)
        self.isGreedy = isGreedy
        self.maxCompletionLength = maxCompletionLength
        self.stopTokenIDs = stopTokenIDs
        self.stopStrings = stopStrings
        self.softThinking = softThinking
    }

    /// What a job says; the model's stop tokens and the soft thinking are added by who knows the model.
    ///
    /// - Parameters:
    ///   - temperature: The method's default.
    ///   - mayBeGreedy: Whether a temperature of 0 asks for greedy completions.
    package init(reading job: inout SettingsReader, temperature fallback: Double = 1, mayBeGreedy: Bool = false) {
        let temperature = job.read(
            "temperature", default: fallback, mayBeGreedy ? .atLeast(0) : .above(0),
            "Logits are divided by this for sampling and for scoring alike.")
        self.init(
            temperature: temperature > 0 ? temperature : 1,
            topK: max(
                0,
                job.read(
                    "top_k", default: 0, .atLeast(-1),
                    "Sampling keeps this many of the likeliest tokens; 0, or -1 as in vLLM, keeps all. Not applied when scoring (arXiv:1805.04833)."
                )),
            topP: job.read(
                "top_p", default: 1.0, .above(0, atMost: 1),
                "Sampling keeps the smallest set of tokens with at least this mass; 1 keeps all. Not applied when scoring: below 1 the estimators are no longer unbiased (arXiv:1904.09751)."
            ),
            minP: job.read(
                "min_p", optional: nil, .from(0, to: 1),
                "Sampling drops tokens below this share of the likeliest one's probability (arXiv:2407.01082).") ?? 0,
            repetitionPenalty: job.read(
                "repetition_penalty", default: 1.0, .above(0),
                "Divides the positive and multiplies the negative logits of tokens already in the text; 1 is off (arXiv:1909.05858)."
            ),
            isGreedy: temperature == 0,
            maxCompletionLength: Self.completionLength(reading: &job),
            stopStrings: job.read(
                "stop_strings", default: [String](), "A completion ends when one of these appears in its text."))
        if stopStrings.contains("") { job.refuse("stop_strings", "stop_strings holds an empty text") }
    }

    /// Most tokens of a completion: all that a method of this kind reads which does not sample.
    package static func completionLength(reading job: inout SettingsReader) -> Int {
        job.read(
            "max_completion_length", default: 512, .from(1, to: 1_000_000),
            "Tokens a completion may have; longer ones are truncated and counted.")
    }

    /// Whether tokens are drawn from another distribution than the policy's at the temperature.
    package var filtersTokens: Bool {
        distribution.topP < 1 || distribution.topK > 0 || distribution.minP > 0 || distribution.repetitionPenalty != 1
    }
}
