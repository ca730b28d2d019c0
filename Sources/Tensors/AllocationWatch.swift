internal import CTorch

/// What the tensors' thread allocates for tensors on the CPU while it is watched, and one allocation that fails; for
/// tests.
///
/// All that a role does with its tensors is done on this thread, backward passes included. Memory that has no bytes and
/// that of files does not count, nor does what kernels take for themselves. Where nobody watches it costs one read of a
/// number that is in the cache.
package struct AllocationWatch: Sendable, Equatable {
    package let count: Int
    /// Bytes of what was allocated meanwhile that are still held.
    package let heldBytes: Int
    /// The most of those bytes that were held at one time.
    package let mostBytes: Int

    /// Watches from here on; a watch that has begun is forgotten.
    ///
    /// - Parameter number: Which allocation throws as one does that finds no memory, 1 being the next; `nil` for none.
    @TensorActor package static func begin(failingAt number: Int? = nil) {
        precondition(number.map { $0 > 0 } ?? true, "allocations are numbered from 1 on")
        ctorch_watch_allocations(number ?? 0)
    }

    /// Ends it.
    @TensorActor package static func end() -> AllocationWatch {
        let found = ctorch_watched_allocations()
        return AllocationWatch(count: found.count, heldBytes: found.held_bytes, mostBytes: found.most_bytes)
    }
}
