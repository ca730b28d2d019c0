internal import Foundation
package import Tensors

/// Gaussian noise on probabilities (the ablation of SofT-GRPO, arXiv:2511.06411v2).
///
///     x_i ~ N(p_i, σ²)      y = x / Σ x
///     log f_i = −(x_i − p_i)² / 2σ² − log(σ·√2π)
///     KL_i    = (p_i − p_ref,i)² / 2σ²
///
/// y may be negative. Draws whose sum is below 0.001 are drawn again, which the density leaves out of account.
/// `followsRelease` clamps x to p ± 3σ when scoring and averages over words above 5 %.
package struct GaussianNoise: SoftDensity, Equatable {
    /// σ.
    package let deviation: Double
    package let release: ReleaseScoring?

    package init(deviation: Double = 0.05, followsRelease: Bool = false) {
        self.deviation = deviation
        release = followsRelease ? ReleaseScoring(threshold: log(0.05), clamp: nil) : nil
    }

    package func sample(_ parameters: [Float], slots: [Int], _ draws: SoftDraws) -> [Float] {
        var attempt = 0
        while true {
            let values = zip(parameters, slots).map { parameter, slot in
                Float(exp(Double(parameter)) + deviation * draws.normal(slot, attempt: attempt))
            }
            if values.reduce(0, +) >= 1e-3 { return values }
            attempt += 1
        }
    }

    package func weights(_ values: [Float]) -> [Float] {
        let sum = values.reduce(0) { $0 + Double($1) }
        return values.map { Float(Double($0) / sum) }
    }

    package func logDensities(_ values: Tensor, _ parameters: Tensor) throws -> Tensor {
        let means = try parameters.exp()
        var distances = try (values - means) / deviation
        if release != nil { distances = try distances.clamped(to: -3...3) }
        return try distances.square() * -0.5 - log(deviation * (2 * Double.pi).squareRoot())
    }

    package func logRatios(_ values: Tensor, policy: Tensor, old: Tensor) throws -> Tensor {
        try NormalDensity.logRatios(values, means: policy.exp(), old: old.exp(), deviation: deviation)
    }

    package func divergences(policy: Tensor, reference: Tensor) throws -> Tensor {
        try NormalDensity.divergences(means: policy.exp(), other: reference.exp(), deviation: deviation)
    }
}

/// Gaussian noise on the mixed embedding (Butt et al. 2025, arXiv:2509.19170).
///
///     ŝ = s + N(0, σ²·I),  s = Σ p_i·E[i]       log f = −‖ŝ − s‖² / 2σ² − (D/2)·log(2πσ²)
///     KL = ‖s − s_ref‖² / 2σ²
///
/// Parameters are s and values ŝ, `[steps, hidden]`; ŝ is the step's input. Where the vocabulary is larger than the
/// hidden size, several mixtures share one s: the density does not identify p.
package struct EmbeddingNoise: SoftDensity, Equatable {
    /// σ.
    package let deviation: Double
    package var release: ReleaseScoring? { nil }

    package init(deviation: Double = 0.05) {
        self.deviation = deviation
    }

    package func sample(_ parameters: [Float], slots: [Int], _ draws: SoftDraws) -> [Float] {
        zip(parameters, slots).map { Float(Double($0) + deviation * draws.normal($1)) }
    }

    package func weights(_ values: [Float]) -> [Float] { [] }

    package func logDensities(_ values: Tensor, _ parameters: Tensor) throws -> Tensor {
        let distances = try (values - parameters) / deviation
        return try distances.square() * -0.5 - log(deviation * (2 * Double.pi).squareRoot())
    }

    package func logRatios(_ values: Tensor, policy: Tensor, old: Tensor) throws -> Tensor {
        try NormalDensity.logRatios(values, means: policy, old: old, deviation: deviation)
    }

    package func divergences(policy: Tensor, reference: Tensor) throws -> Tensor {
        try NormalDensity.divergences(means: policy, other: reference, deviation: deviation)
    }
}

/// What two normal densities of one deviation have to do with each other.
enum NormalDensity {
    /// (m − m_old)·(2x − m − m_old) / 2σ²: the difference of the squares without their cancellation.
    static func logRatios(_ values: Tensor, means: Tensor, old: Tensor, deviation: Double) throws -> Tensor {
        try (means - old) * ((values - means) + (values - old)) / (2 * deviation * deviation)
    }

    static func divergences(means: Tensor, other: Tensor, deviation: Double) throws -> Tensor {
        try (means - other).square() / (2 * deviation * deviation)
    }
}
