internal import Foundation
internal import Models
internal import Planning
internal import Tensors

/// What `plumbline reshard` does: the weights of a folder from one call's layout to another's, in the memory of this
/// process.
package struct Resharding {
    private let transfer: TransferPlan
    private let cluster: Cluster

    /// - Parameters:
    ///   - source: `plan.json:call`.
    ///   - target: The same, of a call on the same model and cluster.
    /// - Throws: ``JobError`` for a call that is not there, or calls of different models; `PlanError` for a plan that
    ///   breaks its rules.
    package init(from source: String, to target: String) throws {
        let (held, first) = try Self.sharded(source, "--from")
        let (needed, second) = try Self.sharded(target, "--to")
        guard held.shape == needed.shape else {
            throw JobError(place: "--to", message: "\(target) is another model than \(source)")
        }
        guard first == second else {
            throw JobError(place: "--to", message: "\(target) is on another cluster than \(source)")
        }
        cluster = first
        transfer = TransferPlan(from: held, to: needed, devicesPerNode: first.devicesPerNode)
    }

    private static func sharded(_ text: String, _ option: String) throws -> (ShardedModel, Cluster) {
        guard let colon = text.lastIndex(of: ":") else {
            throw JobError(place: option, message: "found '\(text)'; expected plan.json:CALL")
        }
        let plan = try PlanMaking.plan(URL(filePath: String(text[..<colon])))
        let problems = plan.problems()
        guard problems.isEmpty else { throw PlanError(problems) }
        let call = String(text[text.index(after: colon)...])
        guard let placed = plan.placed(call) else {
            throw JobError(
                place: option,
                message: "the plan has no call '\(call)' with weights; it has "
                    + plan.assignments.keys.sorted().joined(separator: ", "))
        }
        return (placed, plan.cluster)
    }

    /// What would move, in one line; of elements of so many bytes.
    package func summary(elementSize: Int) -> String {
        let seconds = Double(transfer.nanoseconds(on: cluster, elementSize: elementSize)) / 1e9
        let sends = transfer.steps.filter { !$0.isLocal }.count
        return "\(transfer.source.strategy) on \(transfer.source.ranks.count) ranks → \(transfer.target.strategy) on "
            + "\(transfer.target.ranks.count): \(transfer.pieces.count) pieces, \(sends) sends and "
            + "\(transfer.steps.count - sends) copies, \(transfer.wireBytes(elementSize: elementSize)) bytes received, "
            + String(format: "%.3f s by the estimator", seconds)
    }

    /// Cuts a model's tensors into the source's shards, moves them by the plan, and compares every target shard with
    /// the tensors.
    ///
    /// The shards of all ranks are in memory at once.
    ///
    /// - Parameter memoryBytes: What they may take; `nil` for what the machine has.
    /// - Throws: ``JobError`` for a folder of another model, for more shards than fit, and where a shard differs, naming
    ///   tensor and rank.
    @TensorActor package func verify(_ model: String, memoryBytes: Int? = nil) throws -> String {
        let folder = try HuggingFaceCache.folder(of: model)
        let shape = ModelShape(try ModelFolder.readConfiguration(folder))
        guard shape == transfer.source.shape else {
            throw JobError(place: folder.path, message: "its config.json states another shape than the plan's model")
        }
        let weights = try ModelFolder.weights(folder)
        var tensors: [String: Tensor] = [:]
        for layer in 0..<shape.layerCount {
            for tensor in shape.tensors(ofLayer: layer) where tensors[tensor.name] == nil {
                tensors[tensor.name] = try weights.tensor(named: tensor.name).contiguous()
            }
        }
        let sizes = Set(tensors.values.map(\.elementType.byteCount))
        guard sizes.count == 1, let size = sizes.first else {
            throw JobError(place: folder.path, message: "its tensors have elements of several sizes; expected one")
        }
        let held = [transfer.source, transfer.target].reduce(0) { sum, placed in
            placed.ranks.reduce(sum) { $0 + (placed.layout(ofRank: $1)?.count ?? 0) * size }
        }
        let most = memoryBytes ?? Int(ProcessInfo.processInfo.physicalMemory)
        guard held <= most else {
            throw JobError(
                place: "--verify",
                message: "the shards of all ranks, before and after the move, take \(held) bytes of this process; "
                    + "expected at most \(most): verify a plan of fewer ranks, or leave --verify out")
        }
        var buffers: [Int: [UInt8]] = [:]
        for rank in transfer.source.ranks {
            guard let layout = transfer.source.layout(ofRank: rank) else { continue }
            var buffer = [UInt8](repeating: 0, count: layout.count * size)
            for part in layout.parts {
                let bytes = try Self.bytes(of: part, in: tensors, size)
                buffer.replaceSubrange(part.start * size..<part.start * size + bytes.count, with: bytes)
            }
            buffers[rank] = buffer
        }
        let moved = transfer.perform(on: buffers, elementSize: size)
        var compared = 0
        for rank in transfer.target.ranks {
            guard let layout = transfer.target.layout(ofRank: rank), let buffer = moved[rank] else { continue }
            for part in layout.parts {
                let bytes = try Self.bytes(of: part, in: tensors, size)
                guard buffer[part.start * size..<part.start * size + bytes.count].elementsEqual(bytes) else {
                    throw JobError(
                        place: "rank \(rank)", message: "its shard of \(part.tensor.name) differs from the tensor")
                }
                compared += bytes.count
            }
        }
        return "\(tensors.count) tensors, \(compared) bytes on \(transfer.target.ranks.count) ranks: equal to the bit\n"
            + summary(elementSize: size)
    }

    /// The bytes of a part of a tensor, row by row.
    @TensorActor private static func bytes(
        of part: ShardLayout.Part, in tensors: [String: Tensor], _ size: Int
    ) throws -> [UInt8] {
        guard let tensor = tensors[part.tensor.name] else { return [] }
        let whole = Block(rows: 0..<part.tensor.rows, columns: 0..<part.tensor.columns)
        return try tensor.withBytes { raw in
            var bytes: [UInt8] = []
            bytes.reserveCapacity(part.block.count * size)
            for run in whole.runs(of: part.block, from: 0) {
                bytes += raw[run.lowerBound * size..<run.upperBound * size]
            }
            return bytes
        }
    }
}
