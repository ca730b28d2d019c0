internal import Foundation
internal import Records

/// Pushes harder while the policy still widens its Pareto front: hypervolume-guided weighting (arXiv:2509.11452, §3.1).
///
///     m ← 0.5 + 1.5·tanh(HV(front ∪ {v}) − HV(front))       v: the mean scores of an evaluation
///
/// The front begins with the first evaluation, which is also the reference point: coordinates are v less it, turned so
/// that more is better and divided by each reward's span. m is 1 until the second evaluation, and holds between
/// evaluations. It lies from 0.5 to 2.
///
/// m multiplies advantages once they are normalized. On rewards, where the published code has it, a group's or a
/// batch's deviation divides it out again: there it acts only for methods that take a mean off and no more. Departs
/// from that code also in that coordinates are clipped at the reference, and that each axis has a span: tokens and
/// shares do not add up otherwise.
package struct HypervolumeWeighting: Sendable, Equatable {
    package enum Target: String, SettingsChoice { case advantage, reward }

    /// An axis of the front.
    package struct Axis: Sendable, Equatable {
        package var reward: String
        /// Whether less is better.
        package var isMinimized: Bool
        /// What a distance is divided by; |reference| unless given, 1 where that is 0.
        package var span: Double?

        package init(_ reward: String, isMinimized: Bool = false, span: Double? = nil) {
            self.reward = reward
            self.isMinimized = isMinimized
            self.span = span
        }
    }

    /// At most five.
    package let axes: [Axis]
    package let target: Target
    package var state = State()

    /// What it remembers, by the rewards' names.
    package struct State: Sendable, Equatable, Codable {
        /// The first evaluation.
        package internal(set) var reference: [String: Double]?
        /// Evaluations that no other dominates.
        package internal(set) var front: [[String: Double]] = []
        /// m.
        package internal(set) var multiplier = 1.0
        var announced = 1.0
    }

    package init(_ axes: [Axis], target: Target = .advantage) {
        precondition((1...5).contains(axes.count), "the exact hypervolume is for one to five rewards")
        self.axes = axes
        self.target = target
    }

    /// m of a gain in hypervolume.
    package static func multiplier(gain: Double) -> Double { 0.5 + 1.5 * tanh(gain) }

    private func coordinates(_ means: [String: Double], from reference: [String: Double]) -> [Double] {
        axes.map { axis in
            let origin = reference[axis.reward] ?? 0
            let span = axis.span ?? (origin == 0 ? 1 : abs(origin))
            return ((means[axis.reward] ?? 0) - origin) * (axis.isMinimized ? -1 : 1) / span
        }
    }
}

extension HypervolumeWeighting: RewardController {
    package var name: String { "hypervolume" }

    package func weights(at step: Int) -> StreamWeights {
        var weights = StreamWeights()
        switch target {
        case .advantage: weights.advantageFactor = state.multiplier
        case .reward: weights.rewardFactor = state.multiplier
        }
        return weights
    }

    package func check(_ saved: State) throws {
        let mine = axes.map(\.reward).sorted()
        guard let reference = saved.reference?.keys.sorted(), reference != mine else { return }
        throw ControllerStateError(
            "the checkpoint has a front of \(reference.joined(separator: ", ")); the job has "
                + "\(mine.joined(separator: ", "))"
        )
    }

    package var needsEvaluation: Bool { state.reference == nil }

    /// Metrics: `dynamic_weights/multiplier`, m in force in the step.
    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? {
        var update = ControllerUpdate()
        update.metrics["dynamic_weights/multiplier", .last] = state.multiplier
        return update
    }

    /// Metrics: `dynamic_weights/hypervolume`, `dynamic_weights/hypervolume_gain` and `dynamic_weights/front_size`.
    package mutating func observe(_ evaluation: ObservedEvaluation) -> ControllerUpdate? {
        guard evaluation.measuresRewards else { return ControllerUpdate() }
        let means = evaluation.means.filter { name, _ in axes.contains { $0.reward == name } }
        guard means.count == axes.count, means.values.allSatisfy(\.isFinite) else { return nil }
        guard let reference = state.reference else {
            state.reference = means
            return ControllerUpdate()
        }
        let front = state.front.map { coordinates($0, from: reference) }
        let point = coordinates(means, from: reference)
        let before = Hypervolume.volume(front)
        let gain = Hypervolume.volume(front + [point]) - before
        guard gain.isFinite else { return nil }
        state.multiplier = Self.multiplier(gain: gain)
        if gain > 0 {
            let kept = Hypervolume.nondominated(front + [point])
            state.front = (state.front + [means]).filter { kept.contains(coordinates($0, from: reference)) }
        }
        var update = ControllerUpdate()
        update.metrics["dynamic_weights/hypervolume", .last] = before + max(gain, 0)
        update.metrics["dynamic_weights/hypervolume_gain", .last] = gain
        update.metrics["dynamic_weights/front_size", .last] = Double(state.front.count)
        if abs(state.multiplier - state.announced) >= 0.25 {
            update.note =
                "advantages count \(state.multiplier.shown) instead of \(state.announced.shown): the evaluation at step "
                + "\(evaluation.step) "
                + (gain > 0
                    ? "adds \(gain.shown) to the hypervolume of the front"
                    : "adds nothing to the front: another was better in every reward")
            state.announced = state.multiplier
        }
        return update
    }
}
