/// What makes a request impossible to generate for.
package enum RolloutError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A prompt leaves no room for a completion.
    case promptTooLong(prompt: String, tokens: Int, contextLength: Int)
    case emptyPrompt(prompt: String)
    /// A prompt's token the model does not have: tokenizer and model do not belong together.
    case unknownToken(prompt: String, token: Int, vocabularySize: Int)
    /// Neither a sampled nor a greedy completion is asked for, or more than the draws' addresses hold.
    case sampleCount(prompt: String, samples: Int)

    package var description: String {
        switch self {
        case .promptTooLong(let prompt, let tokens, let contextLength):
            "\(prompt): the prompt has \(tokens) tokens; the model's context of \(contextLength) holds prompt and "
                + "completion"
        case .emptyPrompt(let prompt): "\(prompt): the prompt has no token; at least 1 is needed"
        case .unknownToken(let prompt, let token, let vocabularySize):
            "\(prompt): token \(token) is outside the model's vocabulary of \(vocabularySize); "
                + "the tokenizer belongs to another model"
        case .sampleCount(let prompt, let samples):
            "\(prompt): \(samples) completions were asked for; expected 1 to 65535, or 0 with a greedy one"
        }
    }
}
