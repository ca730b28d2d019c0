package import Records

/// Generalized advantage estimation (Schulman et al. 2016, arXiv:1506.02438v6, Eq. 16), as PPO uses it.
///
///     δ_t = r_t + γ·V_{t+1} − V_t      V after the last token: 0, or the critic's value where a completion was cut off
///     A_t = δ_t + γ·λ·A_{t+1}
///     R_t = A_t + V_t                      what the critic is trained towards
package struct GeneralizedAdvantage: Sendable, Equatable {
    /// γ, between 0 and 1.
    package let discount: Double
    /// λ, between 0 (one-step, low variance) and 1 (rewards to go, no bias from the critic).
    package let lambda: Double

    package init(discount: Double = 1, lambda: Double = 0.95) {
        self.discount = discount
        self.lambda = lambda
    }

    package init(reading job: inout SettingsReader) {
        discount = job.read(
            "gamma", default: 1.0, .from(0, to: 1),
            "Discount of later rewards in the advantage estimate (arXiv:1506.02438).")
        lambda = job.read(
            "lam", default: 0.95, .from(0, to: 1),
            "λ of generalized advantage estimation, from 0 (one step, little variance) to 1 (rewards to go, no bias) (arXiv:1506.02438)."
        )
    }

    /// What one completion's tokens gained over the critic's expectation.
    package struct Estimate: Sendable, Equatable {
        /// A, one per token, before whitening.
        package var advantages: [Double]
        /// R, one per token.
        package var returns: [Double]
    }

    /// - Parameters:
    ///   - rewards: r, one per token: a KL penalty on each, the score on the last (``tokenRewards(score:penalties:)``).
    ///   - values: V, one per token: the critic's value of the state before the token. As many as rewards.
    ///   - valueAfterEnd: V after the last token.
    package func estimate(rewards: [Double], values: [Double], valueAfterEnd: Double = 0) -> Estimate {
        precondition(rewards.count == values.count, "one value per token")
        var advantages = rewards
        var (nextAdvantage, nextValue) = (0.0, valueAfterEnd)
        for token in rewards.indices.reversed() {
            let delta = rewards[token] + discount * nextValue - values[token]
            nextAdvantage = delta + discount * lambda * nextAdvantage
            nextValue = values[token]
            advantages[token] = nextAdvantage
        }
        return Estimate(advantages: advantages, returns: zip(advantages, values).map(+))
    }

    /// The rewards of a completion's tokens: −penalty on each, and the score on top of the last.
    ///
    /// - Parameter penalties: One per token, from a ``KLToGo`` with the reach `oneStep`: the sum to go is what the
    ///   estimate makes of them.
    package static func tokenRewards(score: Double, penalties: [Double]) -> [Double] {
        var rewards = penalties.map { -$0 }
        if !rewards.isEmpty { rewards[rewards.count - 1] += score }
        return rewards
    }
}
