package import Records

/// What is true of a role's parameters right now. Views of them are made in the phase that reads them.
package enum ActorPhase: Sendable, Equatable {
    /// Nobody holds a lease: the weights are whole and are those of the version.
    case idle(PolicyVersion)
    /// A generator reads the weights.
    case generating(PolicyVersion)
    /// The weights are read without gradients: reference, old policy, evaluation, saving.
    case inferring(PolicyVersion)
    /// A trainer owns the gradients; the weights are still those of the version until its step is applied.
    case training(PolicyVersion)
    /// The weights can no longer be trusted to be those of any version. Only a checkpoint helps.
    case poisoned(reason: String)

    /// Whether `next` may follow directly.
    ///
    /// | from | to |
    /// | --- | --- |
    /// | idle(v) | generating(v), inferring(v), training(v), poisoned |
    /// | generating(v), inferring(v) | idle(v), poisoned |
    /// | training(v) | idle(v): abandoned or skipped; idle(v + 1): applied; poisoned |
    /// | poisoned | nothing |
    package func permits(_ next: ActorPhase) -> Bool {
        switch (self, next) {
        case (.poisoned, _): false
        case (_, .poisoned): true
        case (.idle(let version), .generating(let other)), (.idle(let version), .inferring(let other)),
            (.idle(let version), .training(let other)):
            version == other
        case (.generating(let version), .idle(let other)), (.inferring(let version), .idle(let other)):
            version == other
        case (.training(let version), .idle(let other)):
            other == version || other.number == version.number + 1
        default: false
        }
    }

    /// Where a timeline shows it.
    var lane: PhaseSpan.Lane {
        switch self {
        case .generating: .sampling
        case .training: .training
        case .inferring, .idle, .poisoned: .inferring
        }
    }

    /// The version the weights have; `nil` once they are poisoned.
    package var version: PolicyVersion? {
        switch self {
        case .idle(let version), .generating(let version), .inferring(let version), .training(let version): version
        case .poisoned: nil
        }
    }
}

extension ActorPhase: CustomStringConvertible {
    package var description: String {
        switch self {
        case .idle(let version): "idle at version \(version.number)"
        case .generating(let version): "generating at version \(version.number)"
        case .inferring(let version): "scoring at version \(version.number)"
        case .training(let version): "training at version \(version.number)"
        case .poisoned(let reason): "poisoned: \(reason)"
        }
    }
}
