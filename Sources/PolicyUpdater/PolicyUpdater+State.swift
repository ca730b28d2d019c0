package import Foundation
internal import Models
internal import Runs
internal import Records
internal import Tensors

/// The optimizer's state in a checkpoint: `moments.safetensors`, `counters.json` and, when the reference follows the policy,
/// `reference.safetensors`. The weights themselves are the model folder around it.
extension PolicyUpdater: Checkpointable {
    private struct Counters: Codable {
        var policyVersion: Int
        var optimizerSteps: Int
        var schedulePosition: Int
        var skippedSteps: Int
    }

    package nonisolated var stateName: String { "policy_updater" }

    /// Writes moments and counters to the folder, while no step is under way.
    package func save(to folder: URL) async throws {
        _ = try await policy.infer { lease in
            let counters = Counters(
                policyVersion: lease.version.number, optimizerSteps: optimizer.stepCount,
                schedulePosition: schedulePosition, skippedSteps: skippedSteps)
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            try FileOperations.system.writeFile(
                Array(encoder.encode(counters)), folder.appending(path: "counters.json"))
            try Self.write(moments, to: folder.appending(path: "moments.safetensors"))
            if settings.referenceSync != nil, let reference {
                try Self.write(reference.parametersByName, to: folder.appending(path: "reference.safetensors"))
            }
        }
    }

    /// Takes moments and counters over; the weights must be those of the same checkpoint.
    ///
    /// - Throws: ``UpdateError/state(message:)`` when the files are those of another model; nothing is changed then.
    package func restore(from folder: URL) async throws {
        let counters = try JSONDecoder().decode(
            Counters.self, from: Data(contentsOf: folder.appending(path: "counters.json")))
        let saved = try Self.read(folder.appending(path: "moments.safetensors"), expecting: moments)
        var followed: [String: Tensor] = [:]
        if settings.referenceSync != nil, let reference {
            followed = try Self.read(
                folder.appending(path: "reference.safetensors"),
                expecting: reference.parametersByName)
        }
        try policy.resume(at: PolicyVersion(counters.policyVersion))
        for (name, tensor) in moments { try tensor.copy(from: saved[name]!) }
        for (name, tensor) in followed { try reference?.parametersByName[name]?.copy(from: tensor) }
        optimizer.resume(after: counters.optimizerSteps)
        schedulePosition = counters.schedulePosition
        skippedSteps = counters.skippedSteps
    }

    /// Both moments under the names they have in the file.
    private var moments: [String: Tensor] {
        let first = optimizer.firstMoments.map { ("first_moment.\($0)", $1) }
        let second = optimizer.secondMoments.map { ("second_moment.\($0)", $1) }
        return Dictionary(uniqueKeysWithValues: first + second)
    }

    /// Writes the tensors by name.
    private static func write(_ tensors: [String: Tensor], to url: URL) throws {
        let named = tensors.sorted { $0.key < $1.key }
        try RunError.fromWritingTensors {
            let writer = try TensorFileWriter(
                url: url,
                announcing: named.map { .init(name: $0.key, type: $0.value.elementType, shape: $0.value.shape) })
            for (name, tensor) in named { try writer.write(tensor, named: name) }
            try writer.finish()
        }
    }

    /// Reads a file that must hold exactly these names and shapes.
    private static func read(_ url: URL, expecting expected: [String: Tensor]) throws -> [String: Tensor] {
        let file = try TensorFile(url: url)
        let surplus = Set(file.names).subtracting(expected.keys).sorted()
        if let name = surplus.first {
            throw UpdateError.state(message: "\(url.path) has \(name), which this model lacks")
        }
        var tensors: [String: Tensor] = [:]
        for (name, tensor) in expected {
            guard file.names.contains(name) else {
                throw UpdateError.state(message: "\(url.path) lacks \(name)")
            }
            let saved = try file.tensor(named: name)
            guard saved.shape == tensor.shape, saved.elementType == tensor.elementType else {
                throw UpdateError.state(
                    message:
                        "\(name) in \(url.path) is \(saved.elementType) \(saved.shape); this model has "
                        + "\(tensor.elementType) \(tensor.shape)")
            }
            tensors[name] = saved
        }
        return tensors
    }
}
