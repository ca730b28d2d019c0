internal import Foundation
package import Tensors

/// Dirichlet noise, as independent Gamma variables (arXiv:2508.03440; the ablation of arXiv:2511.06411v2, App. C).
///
///     x_i ~ Gamma(a_i, 1),  a_i = α·p_i       y = x / Σ x  is Dirichlet(a)
///     log f_i = (a_i − 1)·log x_i − x_i − log Γ(a_i)
///     KL_i    = (a_i − b_i)·ψ(a_i) − log Γ(a_i) + log Γ(b_i)     b_i = α·p_ref,i
///
/// The kept values are log x: x itself is 0 in float32 for small a. Because Σ a_i = α whatever the policy, the Gamma
/// ratios multiply to the Dirichlet's own. `followsRelease` clamps log f_i to −5...3 and averages it over words above
/// 5 %.
package struct DirichletNoise: SoftDensity, Equatable {
    /// α.
    package let concentration: Double
    package let release: ReleaseScoring?

    package init(concentration: Double = 1, followsRelease: Bool = false) {
        self.concentration = concentration
        release = followsRelease ? ReleaseScoring(threshold: log(0.05), clamp: -5...3) : nil
    }

    package func sample(_ parameters: [Float], slots: [Int], _ draws: SoftDraws) -> [Float] {
        zip(parameters, slots).map { Float(draws.logGamma($1, shape: concentration * exp(Double($0)))) }
    }

    package func weights(_ values: [Float]) -> [Float] {
        SoftSupport.softmax(values.map(Double.init)).map(Float.init)
    }

    private func shapes(_ parameters: Tensor) throws -> Tensor { try parameters.exp() * concentration }

    package func logDensities(_ values: Tensor, _ parameters: Tensor) throws -> Tensor {
        let shapes = try shapes(parameters)
        return try (shapes - 1) * values - values.exp() - shapes.logGamma()
    }

    package func logRatios(_ values: Tensor, policy: Tensor, old: Tensor) throws -> Tensor {
        let (new, old) = (try shapes(policy), try shapes(old))
        return try (new - old) * values - (new.logGamma() - old.logGamma())
    }

    package func divergences(policy: Tensor, reference: Tensor) throws -> Tensor {
        let (new, other) = (try shapes(policy), try shapes(reference))
        return try (new - other) * new.digamma() - new.logGamma() + other.logGamma()
    }
}
