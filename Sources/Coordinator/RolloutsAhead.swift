package import Foundation
internal import Records
internal import Runs
internal import Synchronization

/// A batch of scored groups that waits for the step that learns from it.
///
/// Its prompts are not in it: the step draws them again from the prompt source, whose position stays before them until
/// then. A checkpoint therefore holds a batch and a position that belong together, and a run that begins without the
/// batch samples it anew.
struct AheadBatch: Codable, Sendable {
    /// In the order of the prompts, wave after wave.
    var groups: [SharedGroup]
    /// Times the step's number of prompts was drawn for it.
    var waves: Int
    /// What rewards remarked on it, of all ranks that sampled.
    var remarks: [Data]
}

/// The batch sampled ahead between steps: what a checkpoint holds. The Coordinator works on a value of its own and
/// leaves it here when it saves.
package final class RolloutsAhead: Checkpointable {
    package static let stateName = "rollouts_ahead"
    package var stateName: String { Self.stateName }
    private let kept = Mutex<AheadBatch?>(nil)

    package init() {}

    var batch: AheadBatch? { kept.withLock { $0 } }

    func take(_ batch: AheadBatch?) { kept.withLock { $0 = batch } }

    private static let fileName = "batch.plist"

    /// A binary property list, in which numbers keep their bits.
    package func save(to folder: URL) throws {
        let encoder = PropertyListEncoder()
        encoder.outputFormat = .binary
        let data = try encoder.encode([batch].compactMap(\.self))
        try FileOperations.system.writeFile(Array(data), folder.appending(path: Self.fileName))
    }

    package func restore(from folder: URL) throws {
        let data = try Data(contentsOf: folder.appending(path: Self.fileName))
        take(try PropertyListDecoder().decode([AheadBatch].self, from: data).first)
    }
}
