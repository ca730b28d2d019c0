/// The log-probs of a batch's completions under some weights.
package struct CompletionLogProbabilities: Sendable, Equatable {
    /// `[group][completion][token]`, in nats; the log-density at a soft token.
    package var tokens: [[[Float]]]
    /// For every completion the numbers that ``SoftTokens/parameters`` names, under the same weights: `[group][completion][…]`. Empty for a
    /// completion without soft tokens.
    package var softParameters: [[[Float]]]

    package init(_ tokens: [[[Float]]], softParameters: [[[Float]]]? = nil) {
        self.tokens = tokens
        self.softParameters = softParameters ?? tokens.map { $0.map { _ in [] } }
    }
}
