package import Foundation
internal import Runs
internal import Tensors

/// The critic in a checkpoint: `weights.safetensors`, `moments.safetensors`, `counters.json`.
extension Critic: Checkpointable {
    package nonisolated var stateName: String { "critic" }

    /// Writes weights, moments and counters, while no step is under way.
    package func save(to folder: URL) async throws {
        _ = try await owner.infer { lease in
            try optimizer.save(at: lease.version, to: folder)
            try StateTensors.write(lease.masters, to: folder.appending(path: "weights.safetensors"))
        }
    }

    /// Takes everything over.
    ///
    /// - Throws: ``UpdateError/state(message:)`` when the files are those of another model; nothing is changed then.
    package func restore(from folder: URL) async throws {
        let saved = try optimizer.saved(in: folder)
        try await owner.restore(version: saved.version) { own in
            let weights = try StateTensors.read(folder.appending(path: "weights.safetensors"), expecting: own.model)
            for (name, tensor) in own.model { try tensor.copy(from: weights[name]!) }
        }
        try optimizer.resume(saved)
    }
}
