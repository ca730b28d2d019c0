/// How generate and eval sample, as their flags say it. Temperature 0 is greedy.
package struct SamplingRequest: Sendable, Equatable {
    package var temperature: Double
    package var topK: Int
    package var topP: Double
    package var minP: Double
    package var repetitionPenalty: Double
    package var maxCompletionLength: Int
    package var stopStrings: [String]
    package var seed: Int
    /// How completions think in mixtures of words first; `nil` for words from the start.
    package var softThinking: JobSoftThinking?

    package init(
        temperature: Double = 1, topK: Int = 0, topP: Double = 1, minP: Double = 0, repetitionPenalty: Double = 1,
        maxCompletionLength: Int = 512, stopStrings: [String] = [], seed: Int = 0,
        softThinking: JobSoftThinking? = nil
    ) {
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.repetitionPenalty = repetitionPenalty
        self.maxCompletionLength = maxCompletionLength
        self.stopStrings = stopStrings
        self.seed = seed
        self.softThinking = softThinking
    }

    /// What training's rollouts are sampled with.
    package init(_ settings: JobSettings) {
        self.init(
            temperature: settings.temperature, topK: settings.topK, topP: settings.topP, minP: settings.minP ?? 0,
            repetitionPenalty: settings.repetitionPenalty, maxCompletionLength: settings.maxCompletionLength,
            stopStrings: settings.stopStrings, seed: settings.seed,
            softThinking: settings.algorithm == .softGRPO ? settings.softThinking : nil)
    }
}
