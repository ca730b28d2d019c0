internal import Foundation
package import Records

/// The factor on the learning rate at each optimizer step: the formulas of the Hugging Face trainer.
///
/// With k the number of steps taken before, w warm-up steps, T all steps:
///
///     constant               1                                       (no warm-up)
///     constant_with_warmup   k/w while k < w, then 1
///     linear                 k/w while k < w, then max(0, (T−k)/(T−w))
///     cosine                 k/w while k < w, then max(0, ½(1 + cos(π·(k−w)/(T−w))))
///     warmup_stable_decay    m + (1−m)·k/w while k < w, then 1 for T−w−d steps, then m + (1−m)·½(1 + cos(π·(k−(T−d))/d)), then m
///
/// A warm-up therefore makes the first step with a learning rate of 0, or of m.
package struct LearningRateSchedule: Sendable, Equatable {
    package enum Shape: Sendable, Equatable {
        case constant
        case constantWithWarmup
        case linear
        case cosine
        /// - Parameters:
        ///   - decaySteps: d, the length of the cosine at the end.
        ///   - minimumRatio: m, the factor where warm-up starts and decay ends.
        case warmupStableDecay(decaySteps: Int, minimumRatio: Double = 0)

        /// As `lr_scheduler_type` spells it.
        package var name: String {
            switch self {
            case .constant: "constant"
            case .constantWithWarmup: "constant_with_warmup"
            case .linear: "linear"
            case .cosine: "cosine"
            case .warmupStableDecay: "warmup_stable_decay"
            }
        }
    }

    /// How long the warm-up is.
    package enum Warmup: Sendable, Equatable {
        case steps(Int)
        /// A share of all steps, rounded up.
        case ratio(Double)
    }

    package let shape: Shape
    package let warmupSteps: Int
    /// Optimizer steps of the whole run. A resumed run has the same number.
    package let totalSteps: Int

    /// - Throws: `SettingsError` with everything that is wrong.
    package init(_ shape: Shape, warmup: Warmup = .steps(0), totalSteps: Int) throws(SettingsError) {
        var problems = Problems("learningRateSchedule")
        problems.require(totalSteps >= 1, "totalSteps", totalSteps, "at least 1")
        switch warmup {
        case .steps(let steps):
            problems.require(steps >= 0, "warmup", steps, "0 or more steps")
            warmupSteps = steps
        case .ratio(let ratio):
            let isShare = 0 <= ratio && ratio <= 1
            problems.require(isShare, "warmup", ratio, "a share of all steps between 0 and 1")
            warmupSteps = isShare ? Int((Double(totalSteps) * ratio).rounded(.up)) : 0
        }
        if case .warmupStableDecay(let decaySteps, let minimumRatio) = shape {
            problems.require(
                0 <= decaySteps && decaySteps + warmupSteps <= totalSteps, "decaySteps", decaySteps,
                "0 or more, and with \(warmupSteps) warm-up steps at most \(totalSteps)")
            problems.require(0 <= minimumRatio && minimumRatio <= 1, "minimumRatio", minimumRatio, "between 0 and 1")
        }
        try problems.throwIfAny()
        self.shape = shape
        self.totalSteps = totalSteps
    }

    /// The factor for the optimizer step after `step` others.
    ///
    /// - Parameter step: from 0; beyond the total the last formula goes on.
    package func factor(step: Int) -> Double {
        if step < warmupSteps, shape != .constant { return warmupFactor(step: step) }
        let afterWarmup = Double(step - warmupSteps)
        let remaining = Double(max(1, totalSteps - warmupSteps))
        switch shape {
        case .constant, .constantWithWarmup: return 1
        case .linear: return max(0, Double(totalSteps - step) / remaining)
        case .cosine: return max(0, 0.5 * (1 + cos(.pi * (afterWarmup / remaining))))
        case .warmupStableDecay(let decaySteps, let minimumRatio):
            let decayed = step - (totalSteps - decaySteps)
            if decayed < 0 { return 1 }
            if decayed >= decaySteps { return minimumRatio }
            let cosine = 0.5 * (1 + cos(.pi * (Double(decayed) / Double(decaySteps))))
            return max(0, cosine * (1 - minimumRatio) + minimumRatio)
        }
    }

    private func warmupFactor(step: Int) -> Double {
        let progress = Double(step) / Double(warmupSteps)
        guard case .warmupStableDecay(_, let minimumRatio) = shape else { return progress }
        return progress * (1 - minimumRatio) + minimumRatio
    }
}
