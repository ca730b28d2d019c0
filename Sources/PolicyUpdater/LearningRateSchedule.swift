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
///     cosine_with_min_lr     k/w while k < w, then m + (1−m)·½(1 + cos(π·(k−w)/(T−w)))
///     warmup_stable_decay    m + (1−m)·k/w while k < w, then 1 for T−w−d steps,
///                            then m + (1−m)·½(1 + cos(π·(k−(T−d))/d)), then m
///
/// A warm-up therefore makes the first step with a learning rate of 0, or of m.
///
/// A run of the last shape that is continued with a larger T goes on at the rate of 1 from its decayed weights and
/// decays again at its new end (WSD-S, Wen et al. 2024, arXiv:2410.05192). A warm-up that it has behind it is not made
/// again, though a share of the new T would be longer.
package struct LearningRateSchedule: Sendable, Equatable {
    package enum Shape: Sendable, Equatable {
        case constant
        case constantWithWarmup
        case linear
        case cosine
        /// - Parameter ratio: m, the factor where the decay ends.
        case cosineWithMinimum(ratio: Double)
        /// - Parameters:
        ///   - decaySteps: d, the length of the cosine at the end; `nil` for a tenth of all steps.
        ///   - minimumRatio: m, the factor where warm-up starts and decay ends.
        case warmupStableDecay(decaySteps: Int? = nil, minimumRatio: Double = 0)
    }

    /// A shape by its name: `lr_scheduler_type:`.
    private enum Name: String, SettingsChoice {
        case constant, linear, cosine
        case constantWithWarmup = "constant_with_warmup"
        case cosineWithMinimum = "cosine_with_min_lr"
        case warmupStableDecay = "warmup_stable_decay"
    }

    /// How long the warm-up is.
    package enum Warmup: Sendable, Equatable {
        case steps(Int)
        /// A share of all steps, rounded up.
        case ratio(Double)
    }

    package let shape: Shape
    private let warmup: Warmup
    /// Optimizer steps of the whole run. A resumed run has the same number.
    package let totalSteps: Int

    package var warmupSteps: Int {
        switch warmup {
        case .steps(let steps): steps
        case .ratio(let ratio): Int((Double(totalSteps) * ratio).rounded(.up))
        }
    }

    package init(_ shape: Shape, warmup: Warmup = .steps(0), totalSteps: Int) {
        self.shape = shape
        self.warmup = warmup
        self.totalSteps = totalSteps
    }

    /// A schedule whose length nobody knows yet.
    ///
    /// - Parameter learningRate: The peak.
    package init(reading job: inout SettingsReader, learningRate: Double) {
        let name = job.read(
            "lr_scheduler_type", default: Name.linear,
            "How the learning rate changes over the run. With warmup_stable_decay, a run resumed from its last checkpoint with larger max_steps continues at the full rate and decays again at its new end (WSD-S, arXiv:2410.05192)."
        )
        let steps = job.read(
            "warmup_steps", default: 0.0, .from(0, to: 1e9),
            "Optimizer steps of linear warm-up; below 1 it is a share of the run.")
        let ratio: Double? = job.read(
            "warmup_ratio", optional: nil, .from(0, to: 1), "Share of the run that warms up, when warmup_steps is 0.")
        job.ignore("warmup_steps", "warmup_ratio", when: name == .constant)
        let decaySteps: Int? = job.read(
            "lr_scheduler_kwargs.num_decay_steps", optional: nil, .from(1, to: 1_000_000_000),
            "Optimizer steps of warmup_stable_decay's decay at the end; a tenth of all unless set (arXiv:2410.05192)."
        )
        let minimumRatio = job.read(
            "lr_scheduler_kwargs.min_lr_ratio", default: 0.0, .from(0, to: 1),
            "The share of the learning rate that warmup_stable_decay begins and ends with.")
        job.ignore(
            "lr_scheduler_kwargs.num_decay_steps", "lr_scheduler_kwargs.min_lr_ratio", when: name != .warmupStableDecay)
        let minimum = Self.minimum(reading: &job, isUsed: name == .cosineWithMinimum, learningRate)
        let shape: Shape =
            switch name {
            case .constant: .constant
            case .constantWithWarmup: .constantWithWarmup
            case .linear: .linear
            case .cosine: .cosine
            case .cosineWithMinimum: .cosineWithMinimum(ratio: minimum)
            case .warmupStableDecay: .warmupStableDecay(decaySteps: decaySteps, minimumRatio: minimumRatio)
            }
        self.init(
            shape, warmup: steps >= 1 ? .steps(Int(steps)) : .ratio(steps > 0 ? steps : ratio ?? 0), totalSteps: 0)
    }

    /// Where `cosine_with_min_lr` ends, as a share of the peak: it must say so in one of two ways, as in transformers.
    private static func minimum(reading job: inout SettingsReader, isUsed: Bool, _ learningRate: Double) -> Double {
        let (rateKey, ratioKey) = ("lr_scheduler_kwargs.min_lr", "lr_scheduler_kwargs.min_lr_rate")
        let rate: Double? = job.read(
            rateKey, optional: nil, .atLeast(0), "The learning rate that cosine_with_min_lr ends with.")
        let ratio: Double? = job.read(
            ratioKey, optional: nil, .from(0, to: 1),
            "The share of the learning rate that cosine_with_min_lr ends with, instead of min_lr.")
        job.ignore(rateKey, ratioKey, when: !isUsed)
        guard isUsed else { return 0 }
        if (rate == nil) == (ratio == nil) {
            job.refuse(
                rate == nil ? "lr_scheduler_type" : rateKey,
                "lr_scheduler_type is cosine_with_min_lr; expected one of \(rateKey) and \(ratioKey)")
        }
        job.check(rate ?? 0 <= learningRate, rateKey, "at most learning_rate, which is \(learningRate)")
        return ratio ?? (learningRate > 0 ? (rate ?? 0) / learningRate : 0)
    }

    /// The schedule of a run of so many steps, at least 1.
    ///
    /// - Throws: `SettingsError` when warm-up and decay do not fit.
    package func over(_ totalSteps: Int) throws(SettingsError) -> LearningRateSchedule {
        let schedule = LearningRateSchedule(shape, warmup: warmup, totalSteps: totalSteps)
        if case .warmupStableDecay = shape, schedule.warmupSteps + schedule.decaySteps > totalSteps {
            throw SettingsError(
                place: "warmup_steps",
                message:
                    "\(schedule.warmupSteps) steps of warm-up and \(schedule.decaySteps) of decay do not fit into the "
                    + "run's \(totalSteps); expected at most \(totalSteps - schedule.decaySteps)")
        }
        return schedule
    }

    /// Checks that a run which was `steps` long can go on in this schedule.
    ///
    /// - Parameter position: How far it came.
    /// - Throws: ``UpdateError/state(message:)`` where it would fall into the middle of another decay.
    func check(continuing steps: Int, at position: Int) throws(UpdateError) {
        guard decaySteps > 0, steps != totalSteps, position > totalSteps - decaySteps else { return }
        let least = ((position + decaySteps(of: position))...).first { position <= $0 - decaySteps(of: $0) }!
        throw .state(
            message:
                "\(position) steps were taken of \(steps), and the last \(decaySteps) of \(totalSteps) are a decay that "
                + "would begin before; expected max_steps of at least \(least), or fewer lr_scheduler_kwargs.num_decay_steps"
        )
    }

    private var decaySteps: Int { decaySteps(of: totalSteps) }

    private func decaySteps(of total: Int) -> Int {
        if case .warmupStableDecay(let steps, _) = shape { steps ?? max(1, total / 10) } else { 0 }
    }

    /// The factor for the optimizer step after `step` others.
    ///
    /// - Parameters:
    ///   - step: from 0; beyond the total the last formula goes on.
    ///   - isWarm: Whether the run has a warm-up behind it. It counts for `warmupStableDecay` alone.
    package func factor(step: Int, isWarm: Bool = false) -> Double {
        if step < warmupSteps, shape != .constant, !(isWarm && decaySteps > 0) { return warmupFactor(step: step) }
        let afterWarmup = Double(step - warmupSteps)
        let remaining = Double(max(1, totalSteps - warmupSteps))
        switch shape {
        case .constant, .constantWithWarmup: return 1
        case .linear: return max(0, Double(totalSteps - step) / remaining)
        case .cosine: return max(0, 0.5 * (1 + cos(.pi * (afterWarmup / remaining))))
        case .cosineWithMinimum(let ratio):
            return 0.5 * (1 + cos(.pi * (afterWarmup / remaining))) * (1 - ratio) + ratio
        case .warmupStableDecay(_, let minimumRatio):
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
