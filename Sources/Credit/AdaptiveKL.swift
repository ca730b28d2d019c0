internal import Foundation
package import Records

/// Moves the coefficient of a KL penalty so that the policy stays near a wanted distance from the reference (Ziegler et
/// al. 2019, arXiv:1909.08593, §2.2; the rule as verl has it).
///
///     β ← β·(1 + clip(KL / target − 1, −0.2, 0.2) · n / horizon)      n completions in the step
package struct AdaptiveKL: Sendable, Equatable {
    /// β of the first step.
    package let initial: Double
    /// In nats per token, as the metric `kl`.
    package let target: Double
    /// Completions over which a full deviation is made up for. Above 0.2·n, else β could leave a step at 0 or below.
    package let horizon: Double
    package var state = State()

    /// What it remembers.
    package struct State: Sendable, Equatable, Codable {
        /// β of the next step; `nil` before the first.
        var coefficient: Double?
        /// β when a line last told of it.
        var announced: Double?
    }

    package init(initial: Double, target: Double, horizon: Double = 10_000) {
        self.initial = initial
        self.target = target
        self.horizon = horizon
    }

    /// `nil` without `kl_target`.
    ///
    /// - Parameter initial: β of the first step; 0 where the method has no KL term in its reward, which is refused.
    package init?(reading job: inout SettingsReader, initial: Double) {
        let target: Double? = job.read(
            "kl_target", optional: nil, .above(0),
            "Adapts beta to keep the KL per token near this: β ← β·(1 + clip(KL/target − 1, ±0.2)·completions/kl_horizon) (arXiv:1909.08593). For methods with the KL in the reward; off unless set."
        )
        let horizon = job.read(
            "kl_horizon", default: 10_000.0, .above(0),
            "Completions for kl_target's correction to take full effect; above 0.2 × the completions of a rollout step (arXiv:1909.08593)."
        )
        guard let target else {
            job.ignore("kl_horizon")
            return nil
        }
        if initial == 0 {
            job.refuse(
                "kl_target",
                "kl_target moves the coefficient of a KL term in the reward; expected beta above 0 and kl_placement reward"
            )
        }
        self.init(initial: initial, target: target, horizon: horizon)
    }

    /// The coefficient after a step.
    ///
    /// - Parameters:
    ///   - kl: The step's mean estimate, in nats per token.
    ///   - completions: How many were sampled.
    package func next(_ coefficient: Double, kl: Double, completions: Int) -> Double {
        coefficient * (1 + error(kl) * Double(completions) / horizon)
    }

    private func error(_ kl: Double) -> Double { min(max(kl / target - 1, -0.2), 0.2) }
}

extension AdaptiveKL: RewardController {
    package var name: String { "adaptive_kl" }
    /// β of the coming step.
    package var coefficient: Double { state.coefficient ?? initial }
    package func weights(at step: Int) -> StreamWeights { [AdvantageStream.penaltyName: coefficient] }

    /// Metrics: `kl_coefficient`, β of this step, and `kl_coefficient/error`, the clipped deviation that moves it. It
    /// has moved notably when it has doubled or halved since a line last told of it.
    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? {
        guard let kl = step.meanKL else { return ControllerUpdate() }
        let moved = next(coefficient, kl: kl, completions: step.creditedCompletions)
        guard kl.isFinite, moved.isFinite else { return nil }
        var update = ControllerUpdate()
        update.metrics["kl_coefficient"] = coefficient
        update.metrics["kl_coefficient/error"] = error(kl)
        state.coefficient = moved
        let announced = state.announced ?? initial
        if moved >= 2 * announced || moved <= announced / 2 {
            func shown(_ number: Double) -> String { String(format: "%.3g", number) }
            update.note =
                "the KL coefficient went from \(shown(announced)) to \(shown(moved)): kl is \(shown(kl)) nats a token, "
                + "its target \(shown(target))"
            state.announced = moved
        }
        return update
    }
}
