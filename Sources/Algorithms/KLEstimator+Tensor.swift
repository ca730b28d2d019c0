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
    ///   - largestK3: What k3 of a token is clamped to, its gradient then 0; `nil` for nothing.
    /// - Returns: `[actionTokens]`, in nats.
    package func estimate(policy: Tensor, reference: Tensor, largestK3: Double? = nil) throws -> Tensor {
        let limit = Self.largestDifference
        let difference = try (policy - reference.detached()).clamped(to: -limit...limit)
        switch self {
        case .k1: return difference
        case .k2: return try difference.square() * 0.5
        case .k3:
            let estimate = try (-difference).expm1() + difference
            guard let largestK3 else { return estimate }
            return try estimate.clamped(to: -largestK3...largestK3)
        case .abs: return try difference.abs()
        }
    }
}
