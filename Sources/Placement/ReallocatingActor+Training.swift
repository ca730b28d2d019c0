internal import Records
internal import Tensors

// How weights are lent to a step: that of one role, or one that several roles take together.
extension ReallocatingActor {
    /// Lends the weights for one optimizer step, then applies the step the body proposes.
    ///
    /// The gradients are gone when this returns or throws. Until the step is applied the weights are untouched.
    ///
    /// - Returns: the body's value, stamped with the version that the weights have now, and what it cost to lend the
    ///   weights to others since the last step.
    /// - Throws: the body's error, ``PlacementError``, or `CancellationError` while waiting.
    package func train<R: Sendable>(
        _ body: @TensorActor (borrowing TrainingLease) async throws -> Proposed<R>
    ) async throws -> Stamped<R> {
        try await Self.train([self]) { leases in
            try await body(TrainingLease(version: version, parameters: leases[self]))
        }
    }

    /// Lends several roles for one step that all of them take or none.
    ///
    /// The body proposes one step for all `roles`: until it is applied the weights of each are untouched, then each is
    /// at its next version. An error while it is applied poisons all of them.
    ///
    /// - Parameters:
    ///   - roles: At least one; the first is the one the result is stamped with.
    ///   - readers: Roles whose weights the body reads meanwhile, none of them among `roles`.
    /// - Returns: the body's value, stamped as by ``train(_:)``.
    /// - Throws: the body's error, ``PlacementError``, or `CancellationError` while waiting.
    package static func train<R: Sendable>(
        _ roles: [ReallocatingActor], reading readers: [ReallocatingActor] = [],
        _ body: @TensorActor (borrowing TrainingLeases) async throws -> Proposed<R>
    ) async throws -> Stamped<R> {
        let all = roles.map { (role: $0, trains: true) } + readers.map { (role: $0, trains: false) }
        precondition(!roles.isEmpty, "a step has a role that takes it")
        precondition(Set(all.map(\.role.number)).count == all.count, "a role is lent once to a step")
        let inOrder = all.sorted { $0.role.number < $1.role.number }
        defer { for role in roles { role.endTraining() } }  // only now has everyone let go of the gradients
        return try await lend(inOrder[...], LentParameters()) { lent in
            for role in roles { try role.reach(.lent) }
            let proposed = try await body(TrainingLeases(lent: lent))
            roles[0].log?.sample()  // the gradients are whole
            for role in roles {
                try role.reach(.proposed)
                try role.requireStillTraining()
            }
            let before = try roles[0].version
            let isStep = if case .step(_, let apply) = proposed { try applied(apply, to: roles) } else { false }
            let version = PolicyVersion(before.number + (isStep ? 1 : 0))
            let cost = lent.costs[ObjectIdentifier(roles[0])] ?? .nothing
            return Ended(
                Stamped(value: proposed.value, version: version, reallocation: cost), isNextVersion: isStep)
        }.value
    }

    /// Enters the phases of the roles one inside the other, then runs the body.
    private static func lend<R: Sendable>(
        _ parts: ArraySlice<(role: ReallocatingActor, trains: Bool)>, _ lent: LentParameters,
        _ body: @TensorActor (LentParameters) async throws -> Ended<R>
    ) async throws -> Ended<R> {
        guard let part = parts.first else { return try await body(lent) }
        let role = part.role
        return try await role.phased({ part.trains ? .training($0) : .inferring($0) }) { _ in
            var lent = lent
            if part.trains {
                lent.trained[ObjectIdentifier(role)] = try role.leaves()
                lent.costs[ObjectIdentifier(role)] = role.takenCost()
            } else {
                lent.read[ObjectIdentifier(role)] = try role.readable().parameters
            }
            return try await lend(parts.dropFirst(), lent, body)
        }
    }

    /// New leaves over what is trained; the gradients they collect go with them.
    private func leaves() throws -> TrainableParameters {
        lent = nil
        if residency == .keep { outdateViews() } else { views = [:] }  // its memory is the trainer's now
        let leaves = try TrainableParameters(parameters, layout, shards)
        lent = leaves
        log?.sample()  // the views are gone
        return leaves
    }

    /// Lets go of the gradients, and of the memory of everything else that the phase has freed.
    private func endTraining() {
        if residency != .keep { lent = nil }
        giveBack()
    }

    private func takenCost() -> ReallocationReport {
        defer { costSinceStep = .nothing }
        return costSinceStep
    }

    /// Writes the step of all roles.
    private static func applied(_ apply: () throws -> Void, to roles: [ReallocatingActor]) throws -> Bool {
        do {
            try apply()
            for role in roles { role.fingerprint = try role.taken(of: role.parameters.all) }
            return true
        } catch {
            for role in roles {
                let version = role.phase.version.map { " after version \($0.number)" } ?? ""
                role.poison("applying the step\(version) failed: \(error)")
            }
            throw error
        }
    }

    /// Before a step is applied: the role is lent to it, and nobody has written the weights since.
    private func requireStillTraining() throws {
        try requirePhase(.training(version))
        try requireUnchangedWeights()
    }
}
