package import Foundation

/// Named state that lives beyond a step: weights, optimizer moments, multipliers, the position in the prompt set.
///
/// Each owner gets a folder of its own in a checkpoint, `plumbline_state/<stateName>/`, and writes what files it likes
/// there. Saving and restoring must bring back exactly the same state: the run after a resume is the same run to the
/// bit.
package protocol Checkpointable: Sendable {
    /// The folder's name: lower-case letters, digits, `_` and `-`; one owner a name.
    var stateName: String { get }

    /// Writes the state as files of `folder`, which exists and is empty. Flushing them to the disk is not its task.
    func save(to folder: URL) async throws

    /// Takes the state over from `folder`. Throws, and changes nothing, when the files are not what `save` writes.
    func restore(from folder: URL) async throws
}
