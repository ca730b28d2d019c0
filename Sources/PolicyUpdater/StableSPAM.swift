internal import Foundation
internal import Records
internal import Tensors

/// Gradients without spikes (Stable-SPAM, Huang et al. 2025, arXiv:2502.17055). Each parameter's gradient is changed
/// before the optimizer sees it, and at step t, the t-th that is taken,
///
///     T ← γ₃T + (1−γ₃)·max|g|,         T̂ = T/(1−γ₃ᵗ),   |gᵢ| > T̂:  gᵢ ← gᵢ/max|g|·T̂
///     μ ← γ₁μ + (1−γ₁)·‖g‖,   ν ← γ₂ν + (1−γ₂)·‖g‖²,    g ← g/‖g‖ · (μ/(1−γ₁ᵗ)) / (√(ν/(1−γ₂ᵗ)) + ε)
///
/// Every few steps the moments begin anew. Their bias correction then counts from there, while t goes on: the means of
/// the gradient are those of the whole run. With one counter for both, as in the released code, T̂ and the norm would
/// jump after each reset.
package struct StableSPAM: Sendable, Equatable {
    /// γ₃
    package let clipDecay: Double
    /// γ₁
    package let normDecay: Double
    /// γ₂
    package let squareDecay: Double
    /// Optimizer steps between two resets of the moments; `nil` for none.
    package let resetSteps: Int?

    package init(
        clipDecay: Double = 0.999, normDecay: Double = 0.7, squareDecay: Double = 0.9, resetSteps: Int? = 1000
    ) {
        self.clipDecay = clipDecay
        self.normDecay = normDecay
        self.squareDecay = squareDecay
        self.resetSteps = resetSteps
    }

    /// `nil` unless the job asks for it.
    init?(reading job: inout SettingsReader) {
        let isWanted = job.read(
            "stable_spam", default: false,
            "Clips each parameter's gradient where it jumps above its past maximum, rescales it to its past norm, and resets the moments periodically. Replaces max_grad_norm unless that is set too (Stable-SPAM, arXiv:2502.17055)."
        )
        let resets = job.read(
            "stable_spam_reset_steps", default: 1000, .atLeast(0),
            "Optimizer steps between two resets of the moments; 0 is never (arXiv:2502.17055).")
        self.init(
            clipDecay: job.read(
                "stable_spam_clip_decay", default: 0.999, .from(0, below: 1),
                "Decay of the mean of the gradient's largest entry, above which it is clipped: the paper's gamma 3 (arXiv:2502.17055)."
            ),
            normDecay: job.read(
                "stable_spam_norm_decay", default: 0.7, .from(0, below: 1),
                "Decay of the mean of the gradient's norm: the paper's gamma 1 (arXiv:2502.17055)."),
            squareDecay: job.read(
                "stable_spam_square_decay", default: 0.9, .from(0, below: 1),
                "Decay of the mean of the norm's square: the paper's gamma 2 (arXiv:2502.17055)."),
            resetSteps: resets > 0 ? resets : nil)
        guard isWanted else {
            job.ignore(
                "stable_spam_reset_steps", "stable_spam_clip_decay", "stable_spam_norm_decay",
                "stable_spam_square_decay")
            return nil
        }
    }

    /// Whether the moments begin anew with a step.
    ///
    /// - Parameter step: t
    func resets(at step: Int) -> Bool { resetSteps.map { step % $0 == 0 } ?? false }

    /// The gradient as the optimizer gets it.
    ///
    /// - Parameters:
    ///   - means: T, μ and ν, written.
    ///   - step: t
    @TensorActor
    func stabilized(_ gradient: Tensor, _ means: Tensor, step: Int, epsilon: Double) throws -> Tensor {
        var (all, gradient) = (try means.doubles(), gradient)
        func corrected(_ index: Int, _ decay: Double, _ value: Double) -> Double {
            all[index] = decay * all[index] + (1 - decay) * value
            return all[index] / (1 - pow(decay, Double(step)))
        }
        let sizes = try gradient.abs()
        let largest = try sizes.max().item()
        let limit = corrected(0, clipDecay, largest)
        if largest > limit {
            gradient = try Tensor.where(sizes.greater(than: limit), gradient * (limit / largest), gradient)
        }
        let norm = try Tensor.norm(of: [gradient])
        let mean = corrected(1, normDecay, norm)
        let target = mean / (corrected(2, squareDecay, norm * norm).squareRoot() + epsilon)
        try means.copy(from: Tensor(all))
        return norm > 0 ? try gradient * (target / norm) : gradient
    }
}
