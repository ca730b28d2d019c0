package import Records

/// Measures each reward's share of the gradient every so many steps. Moves no weight.
///
///     share_k = w_k·⟨g_k, Σ_j w_j·g_j⟩ / ‖Σ_j w_j·g_j‖²
///     g_k       gradient of reward k's own advantages, a KL term of the loss in each of them; not clipped
///
/// A bonus of entropy and a critic's loss are no reward's and in none of them. A KL term counts as often as the weights
/// add up to. The shares of all streams add up to 1; a reward that pulls against the others has one below 0. Beside the share of
/// the advantage it shows what becomes of a reward in the network: two rewards of equal advantages may have gradients
/// of very different sizes.
package struct GradientShares: RewardController {
    package let name = "gradient_shares"
    package var state = State()
    private let rewards: [String]
    private let every: Int

    /// Steps seen so far.
    package struct State: Sendable, Equatable, Codable {
        fileprivate var steps = 0
    }

    /// - Parameters:
    ///   - rewards: Their names.
    ///   - every: Steps from one measurement to the next, at least 1; the first step is measured.
    package init(_ rewards: [String], every: Int) {
        self.rewards = rewards
        self.every = every
    }

    package func weights(at step: Int) -> StreamWeights { StreamWeights() }

    package var readsGradients: Bool { state.steps.isMultiple(of: every) }

    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? {
        state.steps += 1
        return ControllerUpdate()
    }

    /// Metrics: `rewards/{name}/gradient_share`; none where the gradient is 0.
    package mutating func weigh(_ products: StreamProducts, of streams: [String]) -> ControllerUpdate? {
        var update = ControllerUpdate()
        guard readsGradients else { return update }
        let rows = streams.indices.map { row in
            streams.indices.reduce(0) { $0 + products.weights[row] * products.weights[$1] * products.gram[row][$1] }
        }
        let whole = rows.reduce(0, +)
        guard rows.allSatisfy(\.isFinite) else { return nil }
        guard whole > 0 else { return update }
        for (name, row) in zip(streams, rows) where rewards.contains(name) {
            update.metrics["rewards/\(name)/gradient_share"] = row / whole
        }
        return update
    }
}
