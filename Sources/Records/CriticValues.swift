/// What a critic says of a batch's completions, in units of reward: one stream a head.
package struct CriticValues: Sendable, Equatable {
    /// V of the state before each action: `[group][completion][stream][action]`.
    package var tokens: [[[[Float]]]]
    /// V of the state after the last token: `[group][completion][stream]`. What a completion that was cut off would
    /// still have earned.
    package var ends: [[[Float]]]

    /// - Parameter ends: 0 for each stream unless given.
    package init(_ tokens: [[[[Float]]]], ends: [[[Float]]]? = nil) {
        self.tokens = tokens
        self.ends = ends ?? tokens.map { $0.map { $0.map { _ in 0 } } }
    }
}
