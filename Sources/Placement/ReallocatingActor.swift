package import Records
package import Tensors

/// Owns the parameters of one role and lends them, one phase at a time.
///
/// ```
/// idle(v) ──generate──▶ generating(v) ──▶ idle(v)
///         ──infer─────▶ inferring(v)  ──▶ idle(v)
///         ──train─────▶ training(v)   ──▶ idle(v + 1), or idle(v) when the step was skipped or abandoned
/// ```
///
/// Calls wait in the order in which they came. A body that throws or is cancelled gives the lease back first: the role
/// is then idle at the version it had. Roles whose steps belong together are lent together (``train(_:reading:_:)``).
@TensorActor
package final class ReallocatingActor {
    /// The role's name in messages: `policy`, `reference`.
    package let role: String
    package let layout: ParameterLayout
    package private(set) var phase: ActorPhase

    /// What becomes of memory that a phase has no more use for.
    package let residency: Residency

    /// How parts that several ranks train come together, to be read whole; `nil` where the parameters are whole here.
    let gathering: ParameterReallocation?
    /// How what is trained becomes what the ranks that sample together have of it; `nil` where each samples alone.
    let sampling: ParameterReallocation?

    let parameters: ParameterSet
    /// Whose pages the parameters are; `nil` where these have memory of their own.
    private let files: TensorFolder?
    let verification: WeightVerification
    /// What the last hand-over saw; nil where none is compared.
    var fingerprint: WeightFingerprint?
    /// What was made of the parameters to be read, and with it, where everything stays in memory, what is outdated.
    var views: [View: MadeTensors] = [:]
    /// The matrices that a generator reads packed, by name, and how.
    let packing: [String: PackedMatrix.Form]
    /// The leaves of the phase of training that is running, with what gradients they have collected; where everything
    /// stays in memory, until the next.
    var lent: TrainableParameters?
    private struct Guest { weak var owner: (any MemoryOwner)? }
    /// What others hold for this role.
    private var guests: [Guest] = []
    /// Is told of every phase.
    var log: PhaseLog?
    /// May throw where a hand-over can fail, in place of an engine that has no memory left; for tests.
    package var fault: (@TensorActor (HandOverPoint) throws -> Void)?
    /// What copies cost since the last step, for the report of the next.
    var costSinceStep = ReallocationReport.nothing
    private let lock = PhaseLock()
    let clock = ContinuousClock()
    /// Its number among all roles. Several are locked in this order, so that no two calls wait for each other.
    let number: Int
    private static var count = 0

    /// Takes over the parameters, which nobody else writes from now on.
    ///
    /// - Parameters:
    ///   - parameters: At least one.
    ///   - layout: How sampling and scoring read them.
    ///   - packing: Matrices that sampling reads packed, by name: float32 on the CPU as they are read.
    ///   - verification: Whether each hand-over compares the weights with what the last one saw.
    ///   - residency: What becomes of memory that a phase has no more use for.
    ///   - gathering: How several ranks that share what is trained, of which `parameters` have this one's parts, bring
    ///     them together: parts are trained, scoring and who samples alone read wholes, see ``gather()``. In the layout
    ///     ``ParameterLayout/shared``. Frozen parameters are whole on each rank, which reads its part where they lie.
    ///   - sampling: How they come to the parts that several ranks sample with, see ``generate(together:_:)``.
    ///   - files: Whose pages the parameters are, where these have no memory of their own: they go at the ends of phases,
    ///     and are read from the files again. Frozen parameters alone.
    /// - Throws: ``PlacementError/parameters(role:message:)`` for element types that do not fit.
    package init(
        role: String, parameters: ParameterSet, version: PolicyVersion = PolicyVersion(0),
        layout: ParameterLayout = .shared, packing: [String: PackedMatrix.Form] = [:],
        verification: WeightVerification = .never, residency: Residency = .release,
        gathering: ParameterReallocation? = nil, sampling: ParameterReallocation? = nil, files: TensorFolder? = nil
    ) throws {
        precondition(gathering == nil && sampling == nil || layout == .shared, "parts are read as they are trained")
        precondition(gathering.map { $0.source != nil && $0.target == nil } ?? true, "parts become wholes")
        precondition(
            sampling.map { ($0.source == nil) == (gathering == nil) && $0.target != nil } ?? true,
            "what is trained becomes parts")
        precondition(files == nil || parameters.trained.isEmpty, "pages of a file are never written")
        (self.gathering, self.sampling) = (gathering, sampling)
        if let problem = parameters.problem { throw PlacementError.parameters(role: role, message: problem) }
        if case .copies(let type) = layout, !type.isFloatingPoint {
            throw PlacementError.parameters(role: role, message: "weights cannot be read as \(type)")
        }
        self.role = role
        self.layout = layout
        self.packing = packing
        self.parameters = parameters
        self.files = files
        self.verification = verification
        self.residency = residency
        Self.count += 1
        number = Self.count
        phase = .idle(version)
        fingerprint = try taken(of: parameters.all)
    }

    /// The version of the weights.
    ///
    /// - Throws: ``PlacementError/poisoned(role:reason:)`` when they are those of none.
    package var version: PolicyVersion {
        get throws {
            switch phase {
            case .idle(let version), .generating(let version), .inferring(let version), .training(let version): version
            case .poisoned(let reason): throw PlacementError.poisoned(role: role, reason: reason)
            }
        }
    }

    /// How the ranks of a tensor-parallel group share what is trained; `nil` where it is whole here.
    package var shards: ParameterShards? { gathering?.source }

    /// The names of what is trained on top of the model.
    package var headNames: Set<String> { Set(parameters.heads.keys) }

    /// The published names of the model's parameters that training changes, with or without adapters.
    package var movedNames: Set<String> { parameters.movedNames }

    /// What is held for this role now.
    package func footprint() -> Footprint {
        var all = Footprint()
        all.add(parameters.heads.values, as: .valueHead)
        all.add(parameters.model.values, as: parameters.trained.isEmpty ? .reference : .weights)
        for view in View.allCases {
            for (name, tensor) in views[view]?.tensors ?? [:] { all.add([tensor], as: tag(of: name, in: view)) }
        }
        all.add((lent?.leaves ?? [:]).values.compactMap(\.gradient), as: .gradients)
        for guest in guests { if let owner = guest.owner { all.add(owner.footprint) } }
        return all
    }

    /// Counts what another one holds for this role into the footprint, as long as it lives.
    package func count(_ owner: any MemoryOwner) {
        guests.removeAll { $0.owner == nil || $0.owner === owner }
        guests.append(Guest(owner: owner))
        log?.sample()
    }

    /// The fingerprint of all parameters, trained or not, for the ranks of a run to compare.
    ///
    /// - Parameter cutWholes: That of the wholes of which this rank has parts, from before they were cut: those that share
    ///   layers have no part in common that could be compared. `nil` where it has whole parameters alone.
    package func fingerprintOfWholes(_ cutWholes: WeightFingerprint?) throws -> WeightFingerprint {
        precondition(shards == nil || cutWholes != nil, "parts say nothing of what they were cut from")
        defer { if residency != .keep { files?.dropPages() } }
        let wholes = parameters.trained.filter { shards?.isCut($0.key) != true }
        let own = try WeightFingerprint(of: parameters.frozen.merging(wholes) { _, trained in trained })
        return cutWholes.map(own.merging) ?? own
    }

    /// Zeros of the shape, element type and device of every trained tensor, by name: what an optimizer's moments
    /// start as.
    ///
    /// - Parameter names: Those that get memory of their own; the others have the shape alone and are never written.
    /// - Throws: the engine's refusal when they do not fit in memory.
    package func zeros(of names: Set<String>? = nil) throws -> [String: Tensor] {
        try Dictionary(
            uniqueKeysWithValues: parameters.trained.map { name, tensor in
                let isOwn = names?.contains(name) ?? true
                let zeros = try Tensor.zeros(isOwn ? tensor.shape : [], tensor.elementType, device: tensor.device)
                return (name, isOwn ? zeros : try zeros.expanded(tensor.shape))
            })
    }

    /// Numbers of each trained tensor, by name.
    package var trainedCounts: [String: Int] { parameters.trained.mapValues(\.count) }

    /// Writes the weights anew, from a checkpoint.
    ///
    /// - Parameter write: Gets the tensors as they are trained; it writes what the checkpoint has of them, or nothing.
    /// - Throws: ``PlacementError`` unless the role is idle, and what `write` throws.
    package func restore(
        version: PolicyVersion, write: @TensorActor (ParameterSet) throws -> Void
    ) async throws {
        guard case .idle = phase else {
            throw PlacementError.transition(role: role, from: phase, to: .idle(version))
        }
        try write(parameters)
        views = [:]
        fingerprint = try taken(of: parameters.all)
        phase = .idle(version)
    }

    /// Lends the weights for sampling.
    ///
    /// - Parameter together: Whether the ranks that sample together do so now, each with its part of the weights; all of
    ///   them make this call, and the same passes in it. Parts are read where they are trained, or cut from what is
    ///   whole without a copy; what other ranks train of them has come before, see ``gatherToSample()``. Whoever samples
    ///   alone reads whole weights, which are not packed where others sample together. Sums of one kind go before those
    ///   of the other are made.
    /// - Returns: the body's result with the version that produced it.
    /// - Throws: the body's error, ``PlacementError``, or `CancellationError` while waiting.
    package func generate<R: Sendable>(
        together: Bool = false, _ body: @TensorActor (borrowing GenerationLease) async throws -> R
    ) async throws -> Stamped<R> {
        precondition(!together || sampling != nil, "no ranks sample together")
        return try await phased({ .generating($0) }) { version in
            let (parameters, packed, cost) = try generated(together: together)
            try reach(.lent)
            let value = try await body(
                GenerationLease(
                    version: version, parameters: parameters, packed: packed,
                    shards: together ? sampling?.target : nil))
            return Ended(Stamped(value: value, version: version, reallocation: cost))
        }.value
    }

    /// Lends the weights for inference, without gradients.
    ///
    /// - Returns: the body's result with the version that produced it.
    /// - Throws: the body's error, ``PlacementError``, or `CancellationError` while waiting.
    package func infer<R: Sendable>(
        _ body: @TensorActor (borrowing InferenceLease) async throws -> R
    ) async throws -> Stamped<R> {
        try await phased({ .inferring($0) }) { version in
            makeRoom(for: .copies)
            let (readable, cost) = try undoing { try self.readable() }
            try reach(.lent)
            let lease = InferenceLease(
                version: version, parameters: readable, masters: gathering == nil ? parameters.model : readable,
                heads: parameters.heads)
            return Ended(Stamped(value: try await body(lease), version: version, reallocation: cost))
        }.value
    }

    /// Where several ranks share the parameters: brings the parts of all together, to be read until they are trained
    /// again, or sampled with in parts. Every rank of the group calls it when it has written its parts, and before one of
    /// them lends wholes to be read: what is read without it would wait for ranks that have nothing to read.
    ///
    /// - Throws: `RanksLost`, ``PlacementError``, or `CancellationError` while waiting.
    package func gather() async throws {
        guard gathering != nil else { return }
        _ = try await infer { _ in }
    }

    /// The same for what is sampled with: brings to each rank that samples with others what these have of its part, where
    /// it is not trained as it is sampled with; wholes to those that sample alone. Every rank among which parts move calls
    /// it, before one of them samples.
    ///
    /// - Throws: `RanksLost`, ``PlacementError``, or `CancellationError` while waiting.
    package func gatherToSample() async throws {
        guard let sampling else { return try await gather() }
        guard sampling.moves else { return }
        _ = try await generate(together: true) { _ in }
    }

    /// Lends the tensors as they are kept, whatever the layout, to be read only.
    ///
    /// - Throws: the body's error, ``PlacementError``, or `CancellationError` while waiting.
    package func masters<R: Sendable>(_ body: @TensorActor (ParameterSet) async throws -> R) async throws -> R {
        try await phased({ .inferring($0) }) { _ in Ended(try await body(parameters)) }.value
    }

    /// Gives back what was freed, where that is asked for, and notes what is left.
    func giveBack() {
        if residency != .keep {
            files?.dropPages()
            ReturnedMemory.shared.giveBack(share: residency.share)
        }
        log?.sample()
    }

    /// Holds the lock around one phase and leaves the role idle, or poisoned, whatever the body does.
    func phased<R: Sendable>(
        _ entered: (PolicyVersion) -> ActorPhase,
        _ body: @TensorActor (PolicyVersion) async throws -> Ended<R>
    ) async throws -> Ended<R> {
        let identity = ObjectIdentifier(self)
        if let ticket = HeldLeases.tickets[identity], ticket == lock.holder {
            throw PlacementError.nested(role: role, held: phase)
        }
        let ticket = try await lock.enter()
        defer { lock.leave(ticket) }
        let version = try version
        let during = entered(version)
        try move(to: during)
        let entry = log.map {
            Entry(lane: during.lane, version: version, start: $0.now, peak: PeakMemory.shared.begin())
        }
        log?.sample()
        defer { leave(during, entry) }
        do {
            try requireUnchangedWeights()
            var holding = HeldLeases.tickets
            holding[identity] = ticket
            let ended = try await HeldLeases.$tickets.withValue(holding) { try await body(version) }
            try requirePhase(during)
            let isNext = ended.isNextVersion && during == .training(version)
            try move(to: .idle(PolicyVersion(version.number + (isNext ? 1 : 0))))
            return ended
        } catch {
            if phase == during { phase = .idle(version) }
            throw error
        }
    }

    /// Where a phase that is noted began.
    private struct Entry {
        let lane: PhaseSpan.Lane
        let version: PolicyVersion
        let start: Int
        let peak: PeakMemory.Span
    }

    /// Gives back what a phase has freed, and notes it. One of training ends, as to its memory, with the step of all its
    /// roles.
    private func leave(_ phase: ActorPhase, _ entry: Entry?) {
        let peakBytes = entry.flatMap { PeakMemory.shared.end($0.peak) }
        if phase.lane != .training { giveBack() }
        guard let log, let entry else { return }
        log.note(
            PhaseSpan(
                lane: entry.lane, name: role, version: entry.version.number, start: entry.start, end: log.now,
                peakBytes: peakBytes))
    }

    /// From here on the weights are those of no version.
    func poison(_ reason: String) { phase = .poisoned(reason: reason) }

    func reach(_ point: HandOverPoint) throws { try fault?(point) }

    private func move(to next: ActorPhase) throws {
        guard phase.permits(next) else { throw PlacementError.transition(role: role, from: phase, to: next) }
        phase = next
    }

    /// What was true before an `await` may not be true after it.
    func requirePhase(_ expected: ActorPhase) throws {
        guard phase == expected else { throw PlacementError.transition(role: role, from: phase, to: expected) }
    }

    func requireUnchangedWeights() throws { try require(parameters.all, unchangedSince: fingerprint) }

    /// A fingerprint where hand-overs are verified.
    func taken(of parameters: [String: Tensor]) throws -> WeightFingerprint? {
        switch verification {
        case .everyHandOver: try WeightFingerprint(of: parameters)
        case .never: nil
        }
    }

    func require(_ parameters: [String: Tensor], unchangedSince fingerprint: WeightFingerprint?) throws {
        guard let fingerprint, let changed = try WeightFingerprint(of: parameters).firstDifference(from: fingerprint)
        else { return }
        let error = PlacementError.weightsChanged(role: role, parameter: changed, phase: phase)
        poison("\(changed) was written outside an applied training step")
        throw error
    }
}

/// What a phase came to, and whether the roles that were trained in it are at their next version.
struct Ended<Value: Sendable>: Sendable {
    let value: Value
    let isNextVersion: Bool

    init(_ value: Value, isNextVersion: Bool = false) {
        self.value = value
        self.isNextVersion = isNextVersion
    }
}

/// The leases that the current task is inside of.
private enum HeldLeases {
    /// The phase lock's ticket, by the identity of the role.
    @TaskLocal static var tickets: [ObjectIdentifier: Int] = [:]
}
