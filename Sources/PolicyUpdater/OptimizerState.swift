internal import Foundation
internal import Placement
internal import Records
internal import Runs
internal import Tensors

/// How far an optimizer has come.
package struct OptimizerCounters: Sendable, Equatable, Codable {
    /// Steps taken: what the bias correction of AdamW's moments counts.
    package var optimizerSteps = 0
    /// Steps taken, skipped and empty: the position in the learning-rate schedule.
    package var schedulePosition = 0
    /// Steps left out because a loss or a gradient was not finite.
    package var skippedSteps = 0

    package init() {}

    /// What a count can be: a step a nanosecond does not come this far in a century, and sums of such counts do not
    /// overflow.
    package static let plausible = 0...(Int.max >> 2)
}

/// An optimizer in a checkpoint, read and checked: `moments.safetensors` and `counters.json`.
struct SavedOptimizer {
    /// Of the weights that its last step made.
    let version: PolicyVersion
    let counters: OptimizerCounters
    /// By their names in the file.
    let moments: [String: Tensor]
}

extension AdamW {
    /// Writes moments and counters.
    func save(at version: PolicyVersion, to folder: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let counters = try encoder.encode(SavedCounters(version: version.number, counters: counters))
        try FileOperations.system.writeFile(Array(counters), folder.appending(path: "counters.json"))
        try StateTensors.write(assembled ?? moments, to: folder.appending(path: "moments.safetensors"))
        assembled = nil
    }

    /// Brings all moments to the first rank, which is about to save them. Every rank calls it.
    func assemble() throws {
        guard let sharding else { return }
        let first = try sharding.gathered(firstMoments)
        let second = try sharding.gathered(secondMoments)
        if let first, let second { assembled = Self.named(first, second) }
    }

    /// Reads what ``save(at:to:)`` wrote; changes nothing.
    ///
    /// - Throws: ``UpdateError/state(message:)`` when the moments are those of another model.
    func saved(in folder: URL) throws -> SavedOptimizer {
        let saved = try JSONDecoder().decode(
            SavedCounters.self, from: Data(contentsOf: folder.appending(path: "counters.json")))
        return SavedOptimizer(
            version: PolicyVersion(saved.version), counters: saved.counters,
            moments: try StateTensors.read(folder.appending(path: "moments.safetensors"), expecting: moments))
    }

    /// Goes on from there.
    func resume(_ saved: SavedOptimizer) throws {
        let own = { (moments: [String: Tensor]) in
            moments.filter { self.sharding?.own.contains($0.key) ?? true }
        }
        for (name, tensor) in Self.named(own(firstMoments), own(secondMoments)) {
            try tensor.copy(from: saved.moments[name]!)
        }
        counters = saved.counters
    }

    /// Both moments under the names they have in a checkpoint.
    private var moments: [String: Tensor] { Self.named(firstMoments, secondMoments) }

    private static func named(_ firstMoments: [String: Tensor], _ secondMoments: [String: Tensor]) -> [String: Tensor] {
        let first = firstMoments.map { ("first_moment.\($0)", $1) }
        let second = secondMoments.map { ("second_moment.\($0)", $1) }
        return Dictionary(uniqueKeysWithValues: first + second)
    }
}

/// `counters.json`: the counters beside the version of the weights.
private struct SavedCounters: Codable {
    let version: Int
    let counters: OptimizerCounters

    private enum Key: String, CodingKey {
        case version
        /// What the policy's file called it until both had one form.
        case policyVersion
    }

    init(version: Int, counters: OptimizerCounters) {
        self.version = version
        self.counters = counters
    }

    init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: Key.self)
        version = try keys.decodeIfPresent(Int.self, forKey: .policyVersion) ?? keys.decode(Int.self, forKey: .version)
        counters = try OptimizerCounters(from: decoder)
        let counts = [version, counters.optimizerSteps, counters.schedulePosition, counters.skippedSteps]
        guard counts.allSatisfy(OptimizerCounters.plausible.contains) else {
            throw UpdateError.state(message: "counters.json counts \(counts), which no run can have written")
        }
    }

    func encode(to encoder: any Encoder) throws {
        var keys = encoder.container(keyedBy: Key.self)
        try keys.encode(version, forKey: .version)
        try counters.encode(to: encoder)
    }
}
