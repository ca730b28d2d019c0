internal import CTorch
internal import Foundation

/// The processes that compute one run together, and this one's rank among them: c10d's Gloo group.
///
/// Every call is a collective: it returns when each rank has made it, and all make the same calls in the same order. A
/// rank whose process has ended fails the others' next call at once, one that hangs or cannot be reached after the
/// timeout.
@TensorActor
package final class ProcessGroup {
    /// Where the ranks of a run meet, as its launcher says.
    package struct Meeting: Sendable, Equatable {
        package var rank: Int
        package var size: Int
        /// Host of the store, which rank 0 serves unless the launcher does.
        package var host: String
        package var port: UInt16
        package var isStoreServed: Bool
        /// Keeps the run's keys apart from those of others in the same store.
        package var name: String

        package init(rank: Int, size: Int, host: String, port: UInt16, isStoreServed: Bool = false, name: String) {
            self.rank = rank
            self.size = size
            self.host = host
            self.port = port
            self.isStoreServed = isStoreServed
            self.name = name
        }
    }

    package nonisolated let rank: Int
    package nonisolated let size: Int
    /// What a call waits for the others.
    package nonisolated let timeout: Duration
    fileprivate nonisolated let handle: GroupHandle

    /// Waits for the other ranks.
    ///
    /// - Parameter timeout: What this and every later call waits for the others.
    /// - Throws: ``TensorError/engine(operation:message:)`` where they do not come.
    package init(_ meeting: Meeting, timeout: Duration) throws {
        rank = meeting.rank
        size = meeting.size
        self.timeout = timeout
        var group: OpaquePointer?
        try Tensor.check(
            "rank \(meeting.rank) of \(meeting.size) at \(meeting.host):\(meeting.port)",
            ctorch_group_open(
                meeting.host, meeting.port, meeting.rank, meeting.size, meeting.isStoreServed, meeting.name,
                Int(timeout / .milliseconds(1)), &group))
        handle = GroupHandle(group!)
    }

    /// The sum over all ranks, in place and with the same bits on each.
    ///
    /// - Parameter tensors: On the CPU, of the same shapes and types on every rank.
    /// - Throws: ``RanksLost``.
    package func sum(_ tensors: [Tensor]) throws {
        let handles = tensors.map { Optional($0.raw) }
        try withExtendedLifetime(tensors) {
            try reaching { () throws(TensorError) in
                try Tensor.check("sum", ctorch_group_sum(handle.raw, handles, handles.count))
            }
        }
    }

    /// The elements that each tensor's root has, in place.
    ///
    /// - Parameter tensors: On the CPU, of the same shapes, types and roots on every rank.
    /// - Throws: ``RanksLost``.
    package func broadcast(_ tensors: [(tensor: Tensor, root: Int)]) throws {
        let handles = tensors.map { Optional($0.tensor.raw) }
        try withExtendedLifetime(tensors) {
            try reaching { () throws(TensorError) in
                try Tensor.check(
                    "broadcast", ctorch_group_broadcast(handle.raw, handles, tensors.map(\.root), handles.count))
            }
        }
    }

    /// Every rank's value, in the order of ranks. Numbers keep their bits.
    ///
    /// - Throws: ``RanksLost``.
    package func exchange<Value: Codable & Sendable>(_ value: Value) throws -> [Value] {
        let encoder = PropertyListEncoder()
        encoder.outputFormat = .binary
        let own = [UInt8](try encoder.encode([value]))
        let lengths = try gather(Tensor([own.count])).integers()
        let longest = lengths.max() ?? 0
        let padded = own + [UInt8](repeating: 0, count: longest - own.count)
        return try gather(Tensor(padded)).withBytes { bytes in
            try lengths.enumerated().map { rank, length in
                let start = rank * longest
                let part = Data(bytes[start..<start + length])
                return try PropertyListDecoder().decode([Value].self, from: part)[0]
            }
        }
    }

    /// The same shape from every rank, with the ranks as a new first axis.
    private func gather(_ tensor: Tensor) throws -> Tensor {
        try reaching { () throws(TensorError) in
            try Tensor.make("gather") { ctorch_group_gather(handle.raw, tensor.raw, $0) }
        }
    }

    private func reaching<Result>(_ call: () throws(TensorError) -> Result) throws -> Result {
        do {
            return try call()
        } catch .engine(_, let message) {
            throw RanksLost(rank: rank, size: size, message: message)
        }
    }

    /// The same ranks as those that share the tensors of one model.
    package nonisolated var sharingTensors: TensorParallelGroup {
        TensorParallelGroup(rank: rank, size: size, handle: handle)
    }
}

/// The other processes of a run cannot be reached any more.
package struct RanksLost: Error, CustomStringConvertible {
    private let rank: Int
    private let size: Int
    private let reason: String

    /// - Parameter message: Gloo's own: its source file, what happened, advice.
    init(rank: Int, size: Int, message: String) {
        self.rank = rank
        self.size = size
        let words = message.drop { $0 != "]" }.dropFirst().trimmingPrefix(" ")
        let text = words.isEmpty ? message[...] : words
        reason = String(text.split(separator: ". ", maxSplits: 1).first ?? text)
    }

    package var description: String {
        "rank \(rank) of \(size): another process of the run has ended, or cannot be reached (\(reason))"
    }
}

/// Owns one group of libtorch.
///
/// Unchecked: one thread at a time calls it, and whichever is last closes it, once.
final class GroupHandle: @unchecked Sendable {
    let raw: OpaquePointer

    init(_ raw: OpaquePointer) { self.raw = raw }

    deinit { ctorch_group_close(raw) }
}
