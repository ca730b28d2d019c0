internal import Foundation
package import Tensors

/// Gumbel noise on log-probs (SofT-GRPO, arXiv:2511.06411v2, Eqs. 8 to 12).
///
///     g'_i = log p_i + s·ε_i       ε_i standard Gumbel, independent
///     y    = softmax(g' / τ_g)
///     ζ_i  = (g'_i − log p_i) / s      log f_i = −ζ_i − e^(−ζ_i) − log s
///     log ρ = Σ_i D_i − E_i·(e^(D_i) − 1)      D = (log p − log p_old) / s,  E = e^(−ζ_old)
///     KL    = Σ_i e^(−D_i) − 1 + D_i           D = (log p − log p_ref) / s
///
/// The ratio in this form has no difference of two large numbers in it; under the policy that drew, E is standard
/// exponential and every component's score 1 − E has mean 0 and variance 1. As τ_g → 0 the input becomes one word,
/// drawn from p (Gumbel-max).
///
/// `followsRelease` clamps ε to −1.5...3 when drawing and ζ when scoring, as the published code does: 6 % of the draws
/// then stand at a border, and a word below e^−4.5 of the likeliest one is never the largest.
package struct GumbelNoise: SoftDensity, Equatable {
    /// s, the published code's `noise_factor`.
    package let scale: Double
    /// τ_g.
    package let temperature: Double
    package let release: ReleaseScoring?

    private static let releaseRange = -1.5...3.0

    package init(scale: Double = 1, temperature: Double = 0.1, followsRelease: Bool = false) {
        self.scale = scale
        self.temperature = temperature
        release = followsRelease ? ReleaseScoring(threshold: -3, clamp: nil) : nil
    }

    package func sample(_ parameters: [Float], slots: [Int], _ draws: SoftDraws) -> [Float] {
        zip(parameters, slots).map { Float(Double($0) + scale * noise(draws.gumbel($1))) }
    }

    /// ε as it is used.
    package func noise(_ gumbel: Double) -> Double {
        release == nil
            ? gumbel : min(max(gumbel, Self.releaseRange.lowerBound), Self.releaseRange.upperBound)
    }

    package func weights(_ values: [Float]) -> [Float] {
        SoftSupport.softmax(values.map { Double($0) / temperature }).map(Float.init)
    }

    private func standardized(_ values: Tensor, _ parameters: Tensor) throws -> Tensor {
        let zeta = try (values - parameters) / scale
        return release == nil ? zeta : try zeta.clamped(to: Self.releaseRange)
    }

    package func logDensities(_ values: Tensor, _ parameters: Tensor) throws -> Tensor {
        let zeta = try standardized(values, parameters)
        return try -zeta - (-zeta).exp() - log(scale)
    }

    package func logRatios(_ values: Tensor, policy: Tensor, old: Tensor) throws -> Tensor {
        let difference = try (policy - old) / scale
        let exponential = try ((old - values) / scale).exp()
        return try difference - exponential * difference.expm1()
    }

    package func divergences(policy: Tensor, reference: Tensor) throws -> Tensor {
        let difference = try (policy - reference) / scale
        return try (-difference).expm1() + difference
    }
}
