package import Foundation
internal import Models
internal import Runs
internal import Records
internal import Tensors

/// The optimizer's state in a checkpoint: `moments.safetensors`, `counters.json` and, when the reference follows the policy,
/// `reference.safetensors`, and with a value head `value_head.safetensors`. The weights themselves are the model folder around it.
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
            try StateTensors.write(optimizer.moments, to: folder.appending(path: "moments.safetensors"))
            if let valueHead {
                try StateTensors.write(
                    [ValueHead.name: valueHead], to: folder.appending(path: "value_head.safetensors"))
            }
            if settings.referenceSync != nil, let reference {
                try StateTensors.write(reference.parametersByName, to: folder.appending(path: "reference.safetensors"))
            }
        }
    }

    /// Takes moments and counters over; the weights must be those of the same checkpoint.
    ///
    /// - Throws: ``UpdateError/state(message:)`` when the files are those of another model; nothing is changed then.
    package func restore(from folder: URL) async throws {
        let counters = try JSONDecoder().decode(
            Counters.self, from: Data(contentsOf: folder.appending(path: "counters.json")))
        let saved = try StateTensors.read(folder.appending(path: "moments.safetensors"), expecting: optimizer.moments)
        let head = try valueHead.map {
            try StateTensors.read(folder.appending(path: "value_head.safetensors"), expecting: [ValueHead.name: $0])
        }
        var followed: [String: Tensor] = [:]
        if settings.referenceSync != nil, let reference {
            followed = try StateTensors.read(
                folder.appending(path: "reference.safetensors"),
                expecting: reference.parametersByName)
        }
        try policy.resume(at: PolicyVersion(counters.policyVersion))
        for (name, tensor) in optimizer.moments { try tensor.copy(from: saved[name]!) }
        if let head { try valueHead?.copy(from: head[ValueHead.name]!) }
        for (name, tensor) in followed { try reference?.parametersByName[name]?.copy(from: tensor) }
        optimizer.resume(after: counters.optimizerSteps)
        schedulePosition = counters.schedulePosition
        skippedSteps = counters.skippedSteps
    }
}
