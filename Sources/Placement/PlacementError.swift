/// A call that the phases of a role's parameters do not allow, or weights that are not what they were.
package enum PlacementError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The parameters of a role cannot be taken over as they are.
    case parameters(role: String, message: String)
    /// The phase asked for may not follow the phase that is.
    case transition(role: String, from: ActorPhase, to: ActorPhase)
    /// A lease's body asked for another lease on the same role: it would wait for itself.
    case nested(role: String, held: ActorPhase)
    /// The weights at a hand-over are not those that the last hand-over saw.
    case weightsChanged(role: String, parameter: String, phase: ActorPhase)
    /// What the ranks have sent of their parts is not what has arrived.
    case changedOnTheWay(role: String, parameter: String)
    /// The weights were left half written; the reason says how.
    case poisoned(role: String, reason: String)

    package var description: String {
        switch self {
        case .parameters(let role, let message): "\(role): \(message)"
        case .transition(let role, let from, let to):
            "\(role): cannot go from \"\(from)\" to \"\(to)\""
        case .nested(let role, let held):
            "\(role): asked for a lease inside its own lease (\(held)); end that lease first"
        case .weightsChanged(let role, let parameter, let phase):
            "\(role): \(parameter) was written outside an applied training step (found while \(phase)); "
                + "resume from the last checkpoint"
        case .changedOnTheWay(let role, let parameter):
            "\(role): the parts of \(parameter) that the ranks have sent are not the whole that has arrived; resume from "
                + "the last checkpoint"
        case .poisoned(let role, let reason):
            "\(role): the weights cannot be trusted (\(reason)); resume from the last checkpoint"
        }
    }
}
