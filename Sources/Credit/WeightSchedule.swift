internal import Records

/// Moves the weights of rewards by the step: `reward_weights` with weights by step.
///
/// A function of the step alone, so that it remembers nothing.
package struct WeightSchedule: Sendable, Equatable {
    /// By reward; those with one weight for the whole run are not among them.
    package let curves: [String: WeightCurve]
    package let interpolation: WeightCurve.Interpolation
    package var state = State()

    /// Which rewards it is of.
    package struct State: Sendable, Equatable, Codable {
        package var rewards: [String] = []
    }

    package init(_ curves: [String: WeightCurve], _ interpolation: WeightCurve.Interpolation = .linear) {
        self.curves = curves
        self.interpolation = interpolation
        state.rewards = curves.keys.sorted()
    }
}

extension WeightSchedule: RewardController {
    package var name: String { "reward_weights" }

    package func weights(at step: Int) -> StreamWeights {
        StreamWeights(curves.mapValues { $0.weight(at: step, interpolation) })
    }

    package func check(_ saved: State) throws {
        guard saved.rewards == state.rewards else {
            throw ControllerStateError(
                "the checkpoint has a schedule of the weights of \(saved.rewards.joined(separator: ", ")); the job "
                    + "schedules \(state.rewards.joined(separator: ", "))"
            )
        }
    }

    /// What is in force is said by `reward_weights/NAME`, as of every controller.
    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? { ControllerUpdate() }
}
