package import Records
package import Tensors

/// Owns the parameters of one role and lends them, one phase at a time.
///
/// ```
/// idle(v) ──generate──▶ generating(v) ──▶ idle(v)
///         ──infer─────▶ scoring(v)    ──▶ idle(v)
///         ──train─────▶ training(v)   ──▶ idle(v + 1), or idle(v) when the step was skipped or abandoned
/// ```
///
/// Calls wait in the order in which they came. Each hand-over compares the weights with their fingerprint, so that
/// nobody generates with weights that are not the last trained ones. A body that throws or is cancelled gives the lease
/// back first: the role is then idle at the version it had.
@TensorActor
package final class ReallocatingActor {
    /// The role's name in messages: `policy`, `reference`.
    package let role: String
    package let layout: ParameterLayout
    package private(set) var phase: ActorPhase

    private let parameters: [String: Tensor]
    private var fingerprint: WeightFingerprint
    /// What is read in a layout of copies; nil when the masters have been trained since.
    private var copies: (parameters: [String: Tensor], fingerprint: WeightFingerprint)?
    /// What copies cost since the last step, for the report of the next.
    private var costSinceStep = ReallocationReport.nothing
    private let lock = PhaseLock()
    private let clock = ContinuousClock()

    /// Takes over the parameters, which nobody else writes from now on.
    ///
    /// - Parameters:
    ///   - parameters: name to tensor, float32 or float64, at least one.
    ///   - layout: How sampling and scoring read them.
    /// - Throws: ``PlacementError/parameters(role:message:)`` for other element types.
    package init(
        role: String, parameters: [String: Tensor], version: PolicyVersion = PolicyVersion(0),
        layout: ParameterLayout = .shared
    ) throws {
        guard !parameters.isEmpty else { throw PlacementError.parameters(role: role, message: "no parameters") }
        for (name, tensor) in parameters.sorted(by: { $0.key < $1.key })
        where tensor.elementType != .float32 && tensor.elementType != .float64 {
            throw PlacementError.parameters(
                role: role,
                message: "\(name) is \(tensor.elementType); weights are trained in float32 or float64")
        }
        if case .copies(let type) = layout, !type.isFloatingPoint {
            throw PlacementError.parameters(role: role, message: "weights cannot be read as \(type)")
        }
        self.role = role
        self.layout = layout
        self.parameters = parameters
        fingerprint = try WeightFingerprint(of: parameters)
        phase = .idle(version)
    }

    /// The version of the weights.
    ///
    /// - Throws: ``PlacementError/poisoned(role:reason:)`` when they are those of none.
    package var version: PolicyVersion {
        get throws {
            switch phase {
            case .idle(let version), .generating(let version), .scoring(let version), .training(let version): version
            case .poisoned(let reason): throw PlacementError.poisoned(role: role, reason: reason)
            }
        }
    }

    /// Zeros in the shape, element type and place of every parameter, by name: what an optimizer's moments start as.
    ///
    /// - Throws: the engine's refusal when they do not fit in memory.
    package func zeros() throws -> [String: Tensor] {
        try parameters.mapValues { try Tensor.zeros($0.shape, $0.elementType, device: $0.device) }
    }

    /// Says which version the weights are, after they were read from a checkpoint.
    ///
    /// - Throws: ``PlacementError`` unless the role is idle.
    package func resume(at version: PolicyVersion) throws {
        guard case .idle = phase else {
            throw PlacementError.transition(role: role, from: phase, to: .idle(version))
        }
        phase = .idle(version)
    }

    /// Writes the weights anew, from a checkpoint.
    ///
    /// - Parameter write: Gets the masters by name; it writes all of them or none.
    /// - Throws: ``PlacementError`` unless the role is idle, and what `write` throws.
    package func restore(
        version: PolicyVersion, write: @TensorActor ([String: Tensor]) throws -> Void
    ) async throws {
        try resume(at: version)
        try write(parameters)
        copies = nil
        fingerprint = try WeightFingerprint(of: parameters)
    }

    /// Lends the weights for sampling.
    ///
    /// - Returns: the body's result with the version that produced it.
    /// - Throws: the body's error, ``PlacementError``, or `CancellationError` while waiting.
    package func generate<R: Sendable>(
        _ body: @TensorActor (borrowing GenerationLease) async throws -> R
    ) async throws -> Stamped<R> {
        try await phased({ .generating($0) }) { version in
            let (parameters, cost) = try readable()
            let value = try await body(GenerationLease(version: version, parameters: parameters))
            return Stamped(value: value, version: version, reallocation: cost)
        }
    }

    /// Lends the weights for scoring without gradients.
    ///
    /// - Returns: the body's result with the version that produced it.
    /// - Throws: the body's error, ``PlacementError``, or `CancellationError` while waiting.
    package func infer<R: Sendable>(
        _ body: @TensorActor (borrowing InferenceLease) async throws -> R
    ) async throws -> Stamped<R> {
        try await phased({ .scoring($0) }) { version in
            let (readable, cost) = try readable()
            let lease = InferenceLease(version: version, parameters: readable, masters: parameters)
            return Stamped(value: try await body(lease), version: version, reallocation: cost)
        }
    }

    /// Lends the weights for one optimizer step, then applies the step the body proposes.
    ///
    /// The gradients are gone when this returns or throws. Until the step is applied the weights are untouched.
    ///
    /// - Returns: the body's value, stamped with the version that the weights have now, and what it cost to lend the weights
    ///   to others since the last step.
    /// - Throws: the body's error, ``PlacementError``, or `CancellationError` while waiting.
    package func train<R: Sendable>(
        _ body: @TensorActor (borrowing TrainingLease) async throws -> Proposed<R>
    ) async throws -> Stamped<R> {
        try await phased({ .training($0) }) { version in
            copies = nil  // their memory is the trainer's now
            let cost = costSinceStep
            costSinceStep = .nothing
            let leaves = try parameters.mapValues { try $0.detached().requiringGradient() }  // gradients go with them
            let proposed = try await body(
                TrainingLease(version: version, parameters: leaves, computeType: computeType))
            try requirePhase(.training(version))
            try requireUnchangedWeights()
            guard case .step(let value, let apply) = proposed else {
                return Stamped(value: proposed.value, version: version, reallocation: cost)
            }
            do {
                try apply()
                fingerprint = try WeightFingerprint(of: parameters)
            } catch {
                phase = .poisoned(reason: "applying the step after version \(version.number) failed: \(error)")
                throw error
            }
            return Stamped(value: value, version: PolicyVersion(version.number + 1), reallocation: cost)
        }
    }

    /// What forward passes compute in.
    private var computeType: ElementType {
        if case .copies(let type) = layout { return type }
        return parameters.first?.value.elementType ?? .float32
    }

    /// The weights in the layout they are read in, and what it cost to bring them there now.
    private func readable() throws -> (parameters: [String: Tensor], cost: ReallocationReport) {
        guard case .copies(let type) = layout else { return (parameters, .nothing) }
        if let copies {
            try require(copies.parameters, unchangedSince: copies.fingerprint)
            return (copies.parameters, .nothing)
        }
        let start = clock.now
        // A type that the masters have already would share their elements: a copy is a copy.
        let made = try parameters.mapValues {
            try $0.elementType == type ? $0.detached().clone() : $0.detached().to(type)
        }
        let seconds = (clock.now - start) / .seconds(1)
        copies = (made, try WeightFingerprint(of: made))
        let bytes = made.values.reduce(0) { $0 + $1.count * type.byteCount }
        let cost = ReallocationReport(milliseconds: seconds * 1000, bytes: bytes)
        costSinceStep = ReallocationReport(
            milliseconds: costSinceStep.milliseconds + cost.milliseconds, bytes: costSinceStep.bytes + bytes)
        return (made, cost)
    }

    /// Holds the lock around one phase and leaves the role idle, or poisoned, whatever the body does.
    private func phased<R: Sendable>(
        _ entered: (PolicyVersion) -> ActorPhase,
        _ body: @TensorActor (PolicyVersion) async throws -> Stamped<R>
    ) async throws -> Stamped<R> {
        let identity = ObjectIdentifier(self)
        if let ticket = HeldLeases.tickets[identity], ticket == lock.holder {
            throw PlacementError.nested(role: role, held: phase)
        }
        let ticket = try await lock.enter()
        defer { lock.leave(ticket) }
        let version = try version
        let during = entered(version)
        try move(to: during)
        do {
            try requireUnchangedWeights()
            var holding = HeldLeases.tickets
            holding[identity] = ticket
            let result = try await HeldLeases.$tickets.withValue(holding) { try await body(version) }
            try requirePhase(during)
            try move(to: .idle(result.version))
            return result
        } catch {
            if phase == during { phase = .idle(version) }
            throw error
        }
    }

    private func move(to next: ActorPhase) throws {
        guard phase.permits(next) else { throw PlacementError.transition(role: role, from: phase, to: next) }
        phase = next
    }

    /// What was true before an `await` may not be true after it.
    private func requirePhase(_ expected: ActorPhase) throws {
        guard phase == expected else { throw PlacementError.transition(role: role, from: phase, to: expected) }
    }

    private func requireUnchangedWeights() throws { try require(parameters, unchangedSince: fingerprint) }

    private func require(_ parameters: [String: Tensor], unchangedSince fingerprint: WeightFingerprint) throws {
        guard let changed = try WeightFingerprint(of: parameters).firstDifference(from: fingerprint) else { return }
        let error = PlacementError.weightsChanged(role: role, parameter: changed, phase: phase)
        phase = .poisoned(reason: "\(changed) was written outside an applied training step")
        throw error
    }
}

/// The leases that the current task is inside of.
private enum HeldLeases {
    /// The phase lock's ticket, by the identity of the role.
    @TaskLocal static var tickets: [ObjectIdentifier: Int] = [:]
}
