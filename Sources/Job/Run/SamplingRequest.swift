/// How generate and eval sample, as their flags say it. Temperature 0 is greedy.
package struct SamplingRequest: Sendable, Equatable {
    package var temperature: Double
    package var topK: Int
    package var topP: Double
    package var minP: Double
    package var repetitionPenalty: Double
    /// `nil` takes the model's usual length.
    package var askedCompletionLength: Int?
    var maxCompletionLength: Int
    package var stopStrings: [String]
    package var seed: Int
    /// How completions think in mixtures of words first; `nil` for words from the start.
    package var softThinking: JobSoftThinking?
    /// Threads of the tensor engine; `nil` takes the model's usual number.
    package var threads: Int?

    package init(
        temperature: Double = 1, topK: Int = 0, topP: Double = 1, minP: Double = 0, repetitionPenalty: Double = 1,
        maxCompletionLength: Int? = nil, stopStrings: [String] = [], seed: Int = 0,
        softThinking: JobSoftThinking? = nil, threads: Int? = nil
    ) {
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.repetitionPenalty = repetitionPenalty
        askedCompletionLength = maxCompletionLength
        self.maxCompletionLength = maxCompletionLength ?? 512
        self.stopStrings = stopStrings
        self.seed = seed
        self.softThinking = softThinking
        self.threads = threads
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
