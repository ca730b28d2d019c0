package import Records
package import Tensors

/// PPO's clipped surrogate objective (Schulman et al. 2017, arXiv:1707.06347v2, Eq. 7), with the bounds that came
/// later.
///
///     l = −min(ρ·A, clip(ρ, 1 − ε_low, 1 + ε_high)·A)
///     delta δ     ρ in the first term is clamped to at most δ      (INTELLECT-2, arXiv:2505.07291)
///     dual c      l ← min(l, −c·A) where A < 0                     (dual clip, arXiv:1912.09729)
///
/// The gradient is exactly 0 where A > 0 and ρ > 1 + ε_high, where A < 0 and ρ < 1 − ε_low, and where A < 0 and ρ is
/// above δ or c. For δ = c > 1 + ε_high the two bounds are one function.
package struct ClippedSurrogate: Sendable, Equatable {
    /// What keeps the loss of a token with a negative advantage bounded when its ratio explodes.
    package enum UpperBound: Sendable, Equatable {
        case none
        case delta(Double)
        case dual(Double)
    }

    /// ε_low, above 0. Values from 1 on never clip below.
    package let epsilon: Double
    /// ε_high, above 0; larger than ε_low in DAPO's clip-higher.
    package let epsilonHigh: Double
    package let upperBound: UpperBound

    /// - Parameter epsilonHigh: `nil` for the same as `epsilon`.
    package init(epsilon: Double = 0.2, epsilonHigh: Double? = nil, upperBound: UpperBound = .none) {
        self.epsilon = epsilon
        self.epsilonHigh = epsilonHigh ?? epsilon
        self.upperBound = upperBound
    }

    /// - Parameters:
    ///   - takesDelta: Whether the method has the two-sided clip.
    ///   - delta: The method's own default of it.
    package init(reading job: inout SettingsReader, takesDelta: Bool = true, delta fallback: Double? = nil) {
        epsilon = job.read(
            "epsilon", default: 0.2, .above(0),
            "ε: clips the ratio to 1 − ε … 1 + ε; epsilon_high sets another upper bound (PPO, arXiv:1707.06347).")
        let high: Double? = job.read(
            "epsilon_high", optional: nil, .above(0),
            "The ratio's upper clip is 1 + ε_high (DAPO's clip-higher: 0.28, arXiv:2503.14476); epsilon unless set.")
        epsilonHigh = high ?? epsilon
        guard takesDelta else {
            upperBound = .none
            return
        }
        let delta: Double? = job.read(
            "delta", optional: fallback, .above(1),
            "Two-sided clip: the unclipped term's ratio never exceeds δ (INTELLECT-2, arXiv:2505.07291).")
        upperBound = delta.map(UpperBound.delta) ?? .none
        if let delta {
            job.check(delta > 1 + epsilonHigh, "delta", "above 1 + epsilon_high, which is \(1 + epsilonHigh)")
        }
    }

    /// The ratios within which nothing is clipped.
    package var range: ClosedRange<Double> { 1 - epsilon...1 + epsilonHigh }

    /// The loss of each token, or of each completion.
    ///
    /// - Parameters:
    ///   - ratios: ρ, of any shape, differentiable.
    ///   - advantages: A, of the same shape.
    package func loss(ratios: Tensor, advantages: Tensor) throws -> Tensor {
        let clipped = try ratios.clamped(to: range) * advantages
        switch upperBound {
        case .none:
            return try -minimum(ratios * advantages, clipped)
        case .delta(let delta):
            return try -minimum(ratios.clamped(to: 0...delta) * advantages, clipped)
        case .dual(let bound):
            let loss = try -minimum(ratios * advantages, clipped)
            return try Tensor.where(advantages.less(than: 0), minimum(loss, advantages * -bound), loss)
        }
    }

    /// The loss of each token with the token's own ratio, and the numbers of it.
    ///
    /// - Returns: `[actionTokens]`.
    func tokenLoss(_ inputs: PolicyLossInputs, _ report: inout LossReport) throws -> Tensor {
        let old = try inputs.oldOrCurrent
        let ratios = try ImportanceRatio.token.ratios(policy: inputs.logProbabilities, old: old, inputs.spans)
        try ClipMetrics.note(
            ratios: ratios, advantages: inputs.advantages, clip: self, level: .token, inputs.spans, in: &report)
        try inputs.noteDrift(from: old, in: &report)
        return try loss(ratios: ratios, advantages: inputs.advantages)
    }
}
