package import Foundation
internal import Placement
package import Records
internal import Runs
internal import Tensors

/// The optimizer's state in a checkpoint: `moments.safetensors`, `counters.json` and, when the reference follows the
/// policy, `reference.safetensors`, and with a value head `value_head.safetensors`. The policy's other weights are the
/// model folder around it; a critic of its own weights is a state of its own.
extension PolicyUpdater: Checkpointable {
    package nonisolated var stateName: String { "policy_updater" }

    /// Writes moments and counters to the folder, while no step is under way.
    package func save(to folder: URL) async throws {
        _ = try await policy.infer { lease in
            try await optimizer.save(at: lease.version, to: folder)
            if !lease.heads.isEmpty {
                try await StateTensors.write(lease.heads, to: folder.appending(path: "value_head.safetensors"))
            }
            _ = try await follower?.infer { lease in
                try await StateTensors.write(
                    followed(lease.masters), to: folder.appending(path: "reference.safetensors"))
            }
        }
    }

    /// Where several ranks share the policy's layers, brings them together for who reads whole weights. Every rank calls
    /// it.
    package func gatherWeights() async throws { try await policy.gather() }

    /// The same for who samples: parts to ranks that do so together, wholes to one that does so alone. Every rank calls it.
    package func gatherSamplingWeights() async throws { try await policy.gatherToSample() }

    /// Brings what the ranks keep apart to the first of them, which is about to save. Every rank calls it.
    package func assembleState() async throws {
        try await gatherWeights()
        try optimizer.assemble()
        try critic?.optimizer.assemble()
    }

    /// The version of the policy's weights.
    package var policyVersion: PolicyVersion { get throws { try policy.version } }

    /// Brings what is trained of the policy, and its version, from the first rank to those that only sample. Every rank
    /// calls it.
    ///
    /// - Throws: `RanksLost`.
    package func shareWeights() async throws {
        guard let sharing else { return }
        let version = PolicyVersion(try sharing.ranks.exchange(policy.version.number)[0])
        func broadcast(_ own: ParameterSet) throws {
            try sharing.ranks.broadcast(own.trained.sorted { $0.key < $1.key }.map { (tensor: $0.value, root: 0) })
        }
        if sharing.receives {
            try await policy.restore(version: version) { try broadcast($0) }
        } else {
            try await policy.masters { try broadcast($0) }
        }
    }

    /// Takes moments and counters over; the weights must be those of the same checkpoint.
    ///
    /// - Throws: ``UpdateError/state(message:)`` when the files are those of another model; nothing is changed then.
    package func restore(from folder: URL) async throws {
        let saved = try optimizer.saved(in: folder)
        var followed: TensorFile?
        _ = try await follower?.infer { lease in
            followed = try StateTensors.open(
                folder.appending(path: "reference.safetensors"), expecting: self.followed(lease.masters))
        }
        // Every file is checked before the first write, the policy's head last.
        try await policy.restore(version: saved.version) { own in
            guard !own.heads.isEmpty else { return }
            let heads = try StateTensors.open(folder.appending(path: "value_head.safetensors"), expecting: own.heads)
            try StateTensors.copy(heads, into: own.heads)
        }
        let syncs = settings.referenceSync.map { saved.counters.optimizerSteps / $0.everySteps } ?? 0
        try await follower?.restore(version: PolicyVersion(syncs)) { own in
            if let followed { try StateTensors.copy(followed, into: self.followed(own.model)) }
        }
        try optimizer.resume(saved)
    }

    /// What of the reference's weights follows the policy: the others are the job's model's.
    private func followed(_ weights: [String: Tensor]) -> [String: Tensor] {
        let moved = policy.movedNames
        return weights.filter { moved.contains($0.key) }
    }

    /// The reference where it follows the policy, and is therefore not what the job's model folder holds.
    private var follower: ReallocatingActor? { settings.referenceSync == nil ? nil : reference }
}
