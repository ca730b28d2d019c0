internal import Tensors

// How sampling and scoring read the weights: as they are trained, as copies of another type, or with adapters added.
extension ReallocatingActor {
    /// The weights in the layout they are read in, and what it cost to bring them there now.
    func readable() throws -> (parameters: [String: Tensor], cost: ReallocationReport) {
        if let gathering { return try brought(by: gathering, as: .copies) }
        guard case .copies(let type) = layout else { return (parameters.model, .nothing) }
        let (made, cost) = try kept(.copies) {
            let adapterNames = parameters.adapterNames
            let read = parameters.model.filter { name, tensor in
                // What nobody writes needs no copy in the type it has.
                !adapterNames.contains(name) && (parameters.trainable[name] != nil || tensor.elementType != type)
            }
            // A type that the masters have already would share their elements: a copy is a copy.
            return try eachMade(of: read) {
                try $1.elementType == type ? $1.detached().clone() : $1.detached().to(type)
            }
        }
        return (parameters.model.merging(made) { $1 }, cost)
    }

    /// What this rank needs in a layout of several ranks: what it has of that, of frozen parameters everything, is read
    /// where it lies, everything else comes from the others, once for every version of the masters. Where hand-overs are
    /// verified the digests of what is sent add up to those of what arrives.
    private func brought(
        by way: ParameterReallocation, as view: View
    ) throws -> (parameters: [String: Tensor], cost: ReallocationReport) {
        let held = parameters.trainable
        var lying: [String: Tensor] = [:]
        for (name, tensor) in parameters.frozen {
            lying[name] = try way.target?.view(of: tensor, named: name) ?? tensor
        }
        for (name, tensor) in held { lying[name] = try way.view(of: tensor, named: name) }
        let (made, cost) = try kept(view) {
            let arrived = try eachMade(of: held.filter { lying[$0.key] == nil }) { try way.room(for: $1, named: $0) }
            try way.walk(from: held, into: arrived)
            guard verification == .everyHandOver, way.moves else { return arrived }
            func cut(_ tensors: [String: Tensor]) -> [String: Tensor] {
                tensors.filter { held[$0.key] != nil && way.isCut($0.key) }
            }
            let sent = try WeightFingerprint(adding: cut(held), of: way.source)
            let read = try WeightFingerprint(adding: cut(lying.merging(arrived) { $1 }), of: way.target)
            if let changed = read.firstDifference(from: sent) {
                throw PlacementError.changedOnTheWay(role: role, parameter: changed)
            }
            return arrived
        }
        return (lying.merging(made) { $1 }, cost)
    }

    /// Of wholes and the parts that are sampled with, those that came together last are kept: before the others come,
    /// these go.
    func makeRoom(for view: View) {
        guard gathering != nil, residency != .keep, views[view]?.isOutdated ?? true else { return }
        views[view == .copies ? .sampledParts : .copies] = nil
    }

    /// The same as a generator reads it: what adapters add is in the matrices, unless these are kept in eight bits, and
    /// some are packed.
    ///
    /// - Parameter together: Whether it is this rank's part of what several read, see ``generate(together:_:)``.
    func generated(together: Bool) throws -> (
        parameters: [String: Tensor], packed: [String: PackedMatrix], cost: ReallocationReport
    ) {
        makeRoom(for: together ? .sampledParts : .copies)
        if residency != .keep { views[together ? .sums : .sampledSums] = nil }
        return try undoing { try makeGenerated(together ? sampling : nil) }
    }

    private func makeGenerated(_ together: ParameterReallocation?) throws -> (
        parameters: [String: Tensor], packed: [String: PackedMatrix], cost: ReallocationReport
    ) {
        let (read, cost) = try together.map { try brought(by: $0, as: .sampledParts) } ?? readable()
        let adapters = Dictionary(uniqueKeysWithValues: parameters.adapters.map { ($0.weight, $0) })
        let packs = sampling == nil || together != nil  // where several sample together, theirs are the packed ones
        let (sums, sumsCost) = try kept(together == nil ? .sums : .sampledSums) {
            let apart = adapters.filter { !packs || packing[$0.key] == nil }
            return try eachMade(of: isQuantized ? [:] : apart) { try $1.merged(in: read) }
        }
        var (made, packingCost): ([String: Tensor], ReallocationReport) = ([:], .nothing)
        if packs {
            (made, packingCost) = try kept(.packed) { try packedMatrices(of: read, adapters) }
        }
        let unread = isQuantized ? [] : parameters.adapterNames
        let lent = read.filter { !unread.contains($0.key) }.merging(sums) { $1 }
        var packed: [String: PackedMatrix] = [:]
        for (name, matrix) in lent {
            guard let elements = made[name] else { continue }
            packed[name] = PackedMatrix(
                elements: elements, scales: made[PackedMatrix.scalesName(of: name)], outputs: try matrix.size(0))
        }
        return (lent, packed, cost + sumsCost + packingCost)
    }

    /// What is packed of the weights as they are read, with what adapters add to it: elements, and scales beside them.
    private func packedMatrices(
        of read: [String: Tensor], _ adapters: [String: LowRankUpdate]
    ) throws -> [String: Tensor] {
        var made: [String: Tensor] = [:]
        for (name, form) in packing.sorted(by: { $0.key < $1.key }) {
            try reach(.makes(name))
            guard let matrix = read[name] else {
                throw PlacementError.parameters(role: role, message: "no \(name) to pack")
            }
            let packed = try PackedMatrix(adapters[name]?.merged(in: read) ?? matrix.detached(), as: form)
            made[name] = packed.elements
            made[PackedMatrix.scalesName(of: name)] = packed.scales
        }
        return made
    }

    /// Whether adapters add to matrices that are kept in eight bits. Sampling then reads both, as scoring does: a sum
    /// would be a copy in float32, and in eight bits again it would be another policy.
    private var isQuantized: Bool {
        parameters.adapters.contains { parameters.frozen[$0.weight]?.elementType.isFloatingPoint == false }
    }

    /// What one name's value makes each, in the order of the names.
    private func eachMade<Value>(
        of values: [String: Value], _ make: (String, Value) throws -> Tensor
    ) throws -> [String: Tensor] {
        var made: [String: Tensor] = [:]
        for (name, value) in values.sorted(by: { $0.key < $1.key }) {
            try reach(.makes(name))
            made[name] = try make(name, value)
        }
        return made
    }

    /// A hand-over that fails leaves what could be read before it, and no more.
    func undoing<R>(_ handOver: () throws -> R) throws -> R {
        // Without what is outdated: it is let go of before the new is made.
        let before = (views.filter { !$1.isOutdated }, costSinceStep)
        do { return try handOver() } catch {
            (views, costSinceStep) = before
            throw error
        }
    }

    /// Under which tag a tensor of a view is counted.
    func tag(of name: String, in view: View) -> MemoryTag {
        switch view {
        case .copies, .sampledParts: return .copies
        case .sums, .sampledSums: return .adapterSums
        case .packed:
            let isInt8 = packing.contains { $1 == .int8 && (name == $0 || name == PackedMatrix.scalesName(of: $0)) }
            return isInt8 ? .int8 : .packed
        }
    }

    /// Tensors made from the masters, now where there are none since their last step, and what making them cost.
    private func kept(
        _ view: View, _ make: () throws -> [String: Tensor]
    ) throws -> (made: [String: Tensor], cost: ReallocationReport) {
        if let earlier = views[view], !earlier.isOutdated {
            try require(earlier.tensors, unchangedSince: earlier.fingerprint)
            return (earlier.tensors, .nothing)
        }
        views[view] = nil  // what is made anew takes its place
        let (start, began) = (clock.now, log?.now ?? 0)
        let made = try make()
        let seconds = (clock.now - start) / .seconds(1)
        views[view] = MadeTensors(tensors: made, fingerprint: try taken(of: made))
        guard !made.isEmpty else { return (made, .nothing) }
        let cost = ReallocationReport(
            milliseconds: seconds * 1000, bytes: made.values.reduce(0) { $0 + $1.count * $1.elementType.byteCount })
        costSinceStep = costSinceStep + cost
        if let log {
            log.note(
                PhaseSpan(
                    lane: .view, name: role, version: phase.version?.number, start: began, end: log.now,
                    movedBytes: cost.bytes))
            log.sample()
        }
        return (made, cost)
    }

    /// What was made stays in memory, and is not read again.
    func outdateViews() {
        for view in views.keys { views[view]?.isOutdated = true }
    }
}

/// Where a hand-over can fail.
package enum HandOverPoint: Sendable, Equatable {
    /// Before a tensor of a view is made, by the name of what it is made from.
    case makes(String)
    /// Before the body of a phase gets its lease.
    case lent
    /// Between the body of a phase of training and the step it proposes.
    case proposed
}

/// What is made of a role's parameters to be read.
enum View: CaseIterable {
    /// What is read in a layout of copies, or whole where it is trained in parts.
    case copies
    /// What came from other ranks of the parts that are sampled with.
    case sampledParts
    /// The matrices that adapters add to, with what they add.
    case sums
    /// The same of this rank's part of what several sample with.
    case sampledSums
    /// What a generator reads packed.
    case packed
}

/// The tensors of a view, and their fingerprint where hand-overs are verified.
struct MadeTensors {
    let tensors: [String: Tensor]
    let fingerprint: WeightFingerprint?
    /// Whether the masters have been lent for training since.
    var isOutdated = false
}
