/// The log-probs of a batch's completions under some weights.
package struct CompletionLogProbabilities: Sendable {
    /// `[group][completion][action]`, in nats; the log-density of what was drawn where an action is more than a word.
    package var tokens: [[[Float]]]
    /// The completions' payloads, `[group][completion]`, with what was found under the same weights kept in them.
    package var payloads: [[(any RolloutPayload)?]]

    /// - Parameter payloads: None for any completion unless given.
    package init(_ tokens: [[[Float]]], payloads: [[(any RolloutPayload)?]]? = nil) {
        self.tokens = tokens
        self.payloads = payloads ?? tokens.map { $0.map { _ in nil } }
    }
}
