package import Foundation
internal import Records
internal import Runs
internal import Tensors

/// The critic in a checkpoint: `weights.safetensors`, `moments.safetensors`, `counters.json`.
extension Critic: Checkpointable {
    private struct Counters: Codable {
        var version: Int
        var optimizerSteps: Int
        var schedulePosition: Int
        var skippedSteps: Int
    }

    package nonisolated var stateName: String { "critic" }

    /// Writes weights, moments and counters, while no step is under way.
    package func save(to folder: URL) async throws {
        _ = try await owner.infer { lease in
            let counters = Counters(
                version: lease.version.number, optimizerSteps: optimizer.stepCount, schedulePosition: schedulePosition,
                skippedSteps: skippedSteps)
            try FileOperations.system.writeFile(
                Array(JSONEncoder().encode(counters)), folder.appending(path: "counters.json"))
            try StateTensors.write(lease.masters, to: folder.appending(path: "weights.safetensors"))
            try StateTensors.write(optimizer.moments, to: folder.appending(path: "moments.safetensors"))
        }
    }

    /// Takes everything over.
    ///
    /// - Throws: ``UpdateError/state(message:)`` when the files are those of another model; nothing is changed then.
    package func restore(from folder: URL) async throws {
        let counters = try JSONDecoder().decode(
            Counters.self, from: Data(contentsOf: folder.appending(path: "counters.json")))
        let moments = optimizer.moments
        let saved = try StateTensors.read(folder.appending(path: "moments.safetensors"), expecting: moments)
        try await owner.restore(version: PolicyVersion(counters.version)) { masters in
            let weights = try StateTensors.read(folder.appending(path: "weights.safetensors"), expecting: masters)
            for (name, tensor) in masters { try tensor.copy(from: weights[name]!) }
        }
        for (name, tensor) in moments { try tensor.copy(from: saved[name]!) }
        optimizer.resume(after: counters.optimizerSteps)
        schedulePosition = counters.schedulePosition
        skippedSteps = counters.skippedSteps
    }
}
