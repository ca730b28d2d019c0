internal import Foundation

/// How one token's share of KL(π‖π_ref) is estimated from the difference d = log π − log π_ref of its log-probs.
///
/// The estimators are Schulman's ("Approximating KL divergence", 2020). What each is good for depends on where it
/// stands:
///
///     k1  = d            reward: β·∇KL(π‖π_ref) when a token gets the sum to go; loss: no gradient on average
///     k2  = d²/2         in the loss: ∇KL(π‖π_ref)
///     k3  = e^(−d) − 1 + d   in the loss: ∇KL(π_ref‖π), the forward KL (GRPO); times ρ: ∇KL(π‖π_ref)
///     abs = |d|
///
/// In the loss these are divergences of the next-token distributions at the states that were visited. None has the
/// gradient of the KL between whole completions; that one takes k1 in the reward.
package enum KLEstimator: String, Sendable, Equatable, CaseIterable {
    case k1, k2, k3, abs

    /// Differences are clamped to ± this many nats before use, so that one token cannot overflow a sum.
    package static let largestDifference = 20.0

    /// The estimate for one token, in nats.
    ///
    /// - Parameter difference: d, clamped to ±``largestDifference``.
    package func estimate(_ difference: Double) -> Double {
        let d = min(max(difference, -Self.largestDifference), Self.largestDifference)
        return switch self {
        case .k1: d
        case .k2: d * d / 2
        case .k3: expm1(-d) + d
        case .abs: Swift.abs(d)
        }
    }
}
