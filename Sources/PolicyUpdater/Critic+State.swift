package import Foundation
internal import Models
internal import Runs
internal import Tensors

/// The critic in a checkpoint: `weights.safetensors` with what is trained, `moments.safetensors`, `counters.json`. A base
/// under adapters is where the job found it; how these add to it says `adapters.json`.
extension Critic: Checkpointable {
    package nonisolated var stateName: String { "critic" }

    /// Writes weights, moments and counters, while no step is under way.
    package func save(to folder: URL) async throws {
        try await owner.masters { own in
            try await optimizer.save(at: owner.version, to: folder)
            try await StateTensors.write(own.trained, to: folder.appending(path: "weights.safetensors"))
            guard let form = AdapterForm(of: configuration) else { return }
            let encoder = JSONEncoder()
            encoder.outputFormatting = .sortedKeys  // equal states are equal files
            try FileOperations.system.writeFile(
                Array(encoder.encode(form)), folder.appending(path: Self.adaptersFile))
        }
    }

    private nonisolated static var adaptersFile: String { "adapters.json" }

    /// Refuses adapters that would add something else to their base: shapes and names do not show their scale.
    private func check(_ folder: URL) throws {
        let file = folder.appending(path: Self.adaptersFile)
        // Checkpoints from before it was written, and those of whole critics, lack it.
        guard let job = AdapterForm(of: configuration), FileManager.default.fileExists(atPath: file.path) else {
            return
        }
        let saved: AdapterForm
        do {
            saved = try JSONDecoder().decode(AdapterForm.self, from: Data(contentsOf: file))
        } catch {
            throw UpdateError.state(message: "\(file.path) cannot be read: \(error)")
        }
        if let difference = saved.difference(from: job) {
            throw UpdateError.state(message: "\(folder.path): the critic's \(difference)")
        }
    }

    /// Takes everything over.
    ///
    /// - Throws: ``UpdateError/state(message:)`` when the files are those of another model; nothing is changed then.
    package func restore(from folder: URL) async throws {
        try check(folder)
        let saved = try optimizer.saved(in: folder)
        try await owner.restore(version: saved.version) { own in
            let weights = try StateTensors.open(folder.appending(path: "weights.safetensors"), expecting: own.trained)
            try StateTensors.copy(weights, into: own.trained)
        }
        try optimizer.resume(saved)
    }
}
