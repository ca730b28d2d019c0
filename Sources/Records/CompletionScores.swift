/// What scoring a batch's completions gives.
package struct CompletionScores: Sendable {
    /// `[group][completion][action]`, in nats; the log-density of what was drawn where an action is more than a word.
    package var logProbabilities: [[[Float]]]
    /// The completions' payloads, `[group][completion]`, with what was found under the role's weights kept in them.
    package var payloads: [[(any RolloutPayload)?]]

    /// - Parameter payloads: None for any completion unless given.
    package init(logProbabilities: [[[Float]]], payloads: [[(any RolloutPayload)?]]? = nil) {
        self.logProbabilities = logProbabilities
        self.payloads = payloads ?? logProbabilities.map { $0.map { _ in nil } }
    }
}
