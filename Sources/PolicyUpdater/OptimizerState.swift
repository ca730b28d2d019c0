package import Foundation
internal import Placement
package import Records
internal import Runs
package import Tensors

/// How far an optimizer has come.
package struct OptimizerCounters: Sendable, Equatable, Codable {
    /// Steps taken.
    package var optimizerSteps = 0
    /// Steps taken since the moments were zeros: what their bias correction counts. Fewer where they begin anew from
    /// time to time.
    package var momentSteps = 0
    /// Steps taken, skipped and empty: the position in the learning-rate schedule.
    package var schedulePosition = 0
    /// Steps left out because a loss or a gradient was not finite.
    package var skippedSteps = 0
    /// Whether the run has its warm-up behind it, however long that of a longer run would be.
    package var isWarm = false

    package init() {}

    package init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: CodingKeys.self)
        optimizerSteps = try keys.decode(Int.self, forKey: .optimizerSteps)
        schedulePosition = try keys.decode(Int.self, forKey: .schedulePosition)
        skippedSteps = try keys.decode(Int.self, forKey: .skippedSteps)
        // Checkpoints from before there were other optimizers than AdamW lack these.
        momentSteps = try keys.decodeIfPresent(Int.self, forKey: .momentSteps) ?? optimizerSteps
        isWarm = try keys.decodeIfPresent(Bool.self, forKey: .isWarm) ?? false
    }

    /// What a count can be: a step a nanosecond does not come this far in a century, and sums of such counts do not
    /// overflow.
    package static let plausible = 0...(Int.max >> 2)
}

/// An optimizer in a checkpoint, checked: `counters.json`, and `moments.safetensors` open to be read.
package struct SavedOptimizer {
    /// Of the weights that its last step made.
    let version: PolicyVersion
    let counters: OptimizerCounters
    let state: TensorFile
}

extension Optimizer {
    /// Writes state and counters.
    package func save(at version: PolicyVersion, to folder: URL) async throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let saved = try encoder.encode(
            SavedCounters(
                version: version.number, counters: counters, rule: settings.rule.name,
                scheduleSteps: settings.schedule.totalSteps))
        try FileOperations.system.writeFile(Array(saved), folder.appending(path: "counters.json"))
        try await StateTensors.write(assembled ?? tensors, to: folder.appending(path: "moments.safetensors")) {
            spill?.drop()
            assembly?.drop()
        }
        (assembled, assembly) = (nil, nil)
    }

    /// Brings all state to the first rank, which is about to save it. Every rank calls it.
    func assemble() throws {
        guard sharding != nil || shards != nil else { return }
        // All of this rank's parts of parameters, on the first of the ranks that have the same ones.
        defer { spill?.drop() }
        let keep = try keeper()
        guard var all = try sharding.map({ try $0.gathered(state, keeping: keep) }) ?? state else { return }
        if let shards {
            for (name, slots) in all.sorted(by: { $0.key < $1.key }) {
                for (kind, part) in slots.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
                    let whole = try shards.whole(of: part, named: name)
                    guard shards.group.rank == 0 else { continue }
                    all[name]?[kind] = shards.isCut(name) ? try keep(whole) : whole
                }
            }
            guard shards.group.rank == 0 else { return }
        }
        assembled = named(all)
    }

    /// Puts what comes to this rank to be saved into another file, where its own state lies in one, or where it has parts
    /// alone: wholes are more than it ever has in memory.
    private func keeper() throws -> (Tensor) throws -> Tensor {
        guard let folder = spill?.folder ?? (shards?.group.rank == 0 ? scratch : nil), sharding?.isFirst ?? true else {
            return { $0 }
        }
        var tensors =
            sharding.map { owners in state.filter { !owners.own.contains($0.key) }.values.flatMap(\.values) } ?? []
        if let shards, shards.group.rank == 0 { tensors += try wholes.values }
        let bytes = tensors.reduce(0) { $0 + SpillFile.room(for: $1.count * $1.elementType.byteCount) }
        guard bytes > 0 else { return { $0 } }
        let file: SpillFile
        do {
            file = try SpillFile(in: folder, byteCount: bytes)
        } catch {
            // The other ranks are about to send: where this one need not have a file it goes on in memory.
            guard spill == nil else { throw error }
            return { $0 }
        }
        assembly = file
        return { tensor in
            let kept = try file.tensor(tensor.shape, tensor.elementType)
            try kept.copy(from: tensor)
            file.drop()
            return kept
        }
    }

    /// Opens what ``save(at:to:)`` wrote and checks it; changes nothing, and reads no tensor.
    ///
    /// - Throws: ``UpdateError/state(message:)`` when the state is that of another model or optimizer, or the schedule
    ///   cannot go on from there.
    package func saved(in folder: URL) throws -> SavedOptimizer {
        let saved = try JSONDecoder().decode(
            SavedCounters.self, from: Data(contentsOf: folder.appending(path: "counters.json")))
        let rule = saved.rule ?? OptimizerRule.adamW.name
        guard rule == settings.rule.name else {
            throw UpdateError.state(
                message:
                    "it is that of optim: \(rule), and the job has optim: \(settings.rule.name); go on with \(rule)")
        }
        if let steps = saved.scheduleSteps {
            try settings.schedule.check(continuing: steps, at: saved.counters.schedulePosition)
        }
        return SavedOptimizer(
            version: PolicyVersion(saved.version), counters: saved.counters,
            state: try StateTensors.open(folder.appending(path: "moments.safetensors"), expecting: wholes))
    }

    /// What a checkpoint holds, of which only shapes and types are to be read.
    private var wholes: [String: Tensor] {
        get throws {
            guard let shards else { return tensors }
            return named(
                try Dictionary(
                    uniqueKeysWithValues: state.map { name, slots in
                        let wholes = try slots.mapValues { part in
                            try Tensor.zeros([], part.elementType).expanded(
                                shards.wholeShape(of: part.shape, named: name))
                        }
                        return (name, wholes)
                    }))
        }
    }

    /// Goes on from there. What is kept here is read, one tensor after the other.
    package func resume(_ saved: SavedOptimizer) throws {
        for (name, slots) in ownState {
            for (file, tensor) in named([name: slots]) {
                let whole = try saved.state.tensor(named: file)
                try tensor.copy(from: shards?.part(of: whole, named: name) ?? whole)
                spill?.drop()
            }
        }
        try spill?.write()
        counters = saved.counters
    }

    /// Everything that is kept here, under the names that it has in a checkpoint.
    package var tensors: [String: Tensor] { named(state) }

    private func named(_ state: [String: ParameterState]) -> [String: Tensor] {
        Dictionary(
            uniqueKeysWithValues: state.flatMap { name, slots in
                slots.map { ("\($0.key.rawValue).\(name)", $0.value) }
            })
    }
}

/// `counters.json`: the counters beside the version of the weights and what they are counters of.
private struct SavedCounters: Codable {
    let version: Int
    let counters: OptimizerCounters
    /// The optimizer's name; `nil` from before there were several.
    let rule: String?
    /// The steps of the schedule that the counters stand in.
    let scheduleSteps: Int?

    private enum Key: String, CodingKey {
        case version, scheduleSteps
        case rule = "optim"
        /// What the policy's file called it until both had one form.
        case policyVersion
    }

    init(version: Int, counters: OptimizerCounters, rule: String, scheduleSteps: Int) {
        self.version = version
        self.counters = counters
        self.rule = rule
        self.scheduleSteps = scheduleSteps
    }

    init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: Key.self)
        version = try keys.decodeIfPresent(Int.self, forKey: .policyVersion) ?? keys.decode(Int.self, forKey: .version)
        counters = try OptimizerCounters(from: decoder)
        rule = try keys.decodeIfPresent(String.self, forKey: .rule)
        scheduleSteps = try keys.decodeIfPresent(Int.self, forKey: .scheduleSteps)
        let counts = [
            version, counters.optimizerSteps, counters.momentSteps, counters.schedulePosition, counters.skippedSteps,
        ]
        guard counts.allSatisfy(OptimizerCounters.plausible.contains) else {
            throw UpdateError.state(message: "counters.json counts \(counts), which no run can have written")
        }
    }

    func encode(to encoder: any Encoder) throws {
        var keys = encoder.container(keyedBy: Key.self)
        try keys.encode(version, forKey: .version)
        try keys.encode(rule, forKey: .rule)
        try keys.encode(scheduleSteps, forKey: .scheduleSteps)
        try counters.encode(to: encoder)
    }
}
