package import Records
package import Tensors

extension KLEstimator {
    /// The estimate of each token, with a gradient: what ``Records/KLEstimator`` says of d, over tensors.
    ///
    /// Beyond ±20 nats d is clamped, and the token's gradient is 0.
    ///
    /// - Parameters:
    ///   - policy: log π, `[actionTokens]`, differentiable.
    ///   - reference: log π_ref, `[actionTokens]`.
    /// - Returns: `[actionTokens]`, in nats.
    package func estimate(policy: Tensor, reference: Tensor) throws -> Tensor {
        let limit = Self.largestDifference
        let difference = try (policy - reference.detached()).clamped(to: -limit...limit)
        switch self {
        case .k1: return difference
        case .k2: return try difference.square() * 0.5
        case .k3: return try (-difference).expm1() + difference
        case .abs: return try difference.abs()
        }
    }
}
