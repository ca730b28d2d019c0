package import Tensors

/// Noise that turns a soft step into an action with a density: what it draws, what the step's input becomes, and how
/// likely the draw was.
///
/// A step has parameters θ, one number a component: the log-probs of the support's words (``EmbeddingNoise``: the mean
/// embedding). The rollout draws one value a component and keeps it; every later policy brings its own θ for the same
/// support.
///
/// Tensors are `[steps, components]`; components are independent, so a step's log-density is their sum. Empty slots
/// hold zeros and are left out by whoever sums.
package protocol SoftDensity: Sendable {
    /// Draws the values of one step.
    ///
    /// - Parameters:
    ///   - parameters: θ of the rollout policy.
    ///   - slots: Addresses of the components' draws.
    func sample(_ parameters: [Float], slots: [Int], _ draws: SoftDraws) -> [Float]

    /// The weights of the words in the step's input, made of the kept values alone: the rollout and the trainer call
    /// this same function. Empty where the values are the input itself.
    func weights(_ values: [Float]) -> [Float]

    /// log f(values | θ) of each component, in nats.
    func logDensities(_ values: Tensor, _ parameters: Tensor) throws -> Tensor

    /// log f(values | θ) − log f(values | θ_old) of each component, exactly 0 where the two are equal.
    func logRatios(_ values: Tensor, policy: Tensor, old: Tensor) throws -> Tensor

    /// KL(f(· | θ) ‖ f(· | θ_ref)) of each component, in closed form.
    func divergences(policy: Tensor, reference: Tensor) throws -> Tensor

    /// How the published SofT-GRPO code scores this noise; `nil` where it has none or the paper's form is asked for.
    var release: ReleaseScoring? { get }
}

/// How the published SofT-GRPO code scores a soft step: clamped components, of which those that the scored policy
/// itself finds likely are averaged. Two policies may so average different components.
package struct ReleaseScoring: Sendable, Equatable {
    /// Components with a log-prob above this enter.
    package let threshold: Double
    /// What the log-densities are clamped to; `nil` where the noise has clamped its values.
    package let clamp: ClosedRange<Double>?
}

extension SoftDensity {
    /// log f of each step, `[steps]`. Differentiable in the parameters.
    ///
    /// - Parameter filled: `[steps, components]`, 1 for a component and 0 for an empty slot.
    package func logDensity(_ values: Tensor, _ parameters: Tensor, filled: Tensor) throws -> Tensor {
        var components = try logDensities(values, parameters)
        guard let release else { return try (components * filled).sum(axis: 1) }
        if let clamp = release.clamp { components = try components.clamped(to: clamp) }
        let counted = try filled * parameters.detached().greater(than: release.threshold).to(filled.elementType)
        return try (components * counted).sum(axis: 1) / maximum(counted.sum(axis: 1), 1)
    }

    /// log ρ = log f(values | θ) − log f(values | θ_old) of each step, `[steps]`: 0 to the bit where the two are equal.
    /// Differentiable in the policy's parameters.
    package func logRatio(_ values: Tensor, policy: Tensor, old: Tensor, filled: Tensor) throws -> Tensor {
        let old = try old.detached()
        guard release == nil else {
            return try logDensity(values, policy, filled: filled) - logDensity(values, old, filled: filled)
        }
        return try (logRatios(values, policy: policy, old: old) * filled).sum(axis: 1)
    }

    /// KL(f(· | θ) ‖ f(· | θ_ref)) of each step, `[steps]`, without sampling. Differentiable in the policy's
    /// parameters.
    package func divergence(policy: Tensor, reference: Tensor, filled: Tensor) throws -> Tensor {
        try (divergences(policy: policy, reference: reference.detached()) * filled).sum(axis: 1)
    }
}
