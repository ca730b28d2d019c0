package import Foundation
internal import Runs
internal import Tensors

/// The critic in a checkpoint: `weights.safetensors` with what is trained, `moments.safetensors`, `counters.json`. A base
/// under adapters is where the job found it.
extension Critic: Checkpointable {
    package nonisolated var stateName: String { "critic" }

    /// Writes weights, moments and counters, while no step is under way.
    package func save(to folder: URL) async throws {
        try await owner.masters { own in
            try optimizer.save(at: owner.version, to: folder)
            try StateTensors.write(own.trained, to: folder.appending(path: "weights.safetensors"))
        }
    }

    /// Takes everything over.
    ///
    /// - Throws: ``UpdateError/state(message:)`` when the files are those of another model; nothing is changed then.
    package func restore(from folder: URL) async throws {
        let saved = try optimizer.saved(in: folder)
        try await owner.restore(version: saved.version) { own in
            let weights = try StateTensors.read(folder.appending(path: "weights.safetensors"), expecting: own.trained)
            for (name, tensor) in own.trained { try tensor.copy(from: weights[name]!) }
        }
        try optimizer.resume(saved)
    }
}
