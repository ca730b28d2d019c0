#if canImport(Tensors)
package import Tensors

/// What came of a call whose allocations were watched.
package struct WatchedCall {
    /// What the call threw.
    package let error: (any Error)?
    package let allocations: AllocationWatch
    /// Whether nothing else ran on the tensors' thread meanwhile, whose allocations would be among these.
    package let isAlone: Bool

    /// Whether the call threw because an allocation failed.
    package var lacksMemory: Bool { error.map { "\($0)".contains("can't allocate memory") } ?? false }
}

@TensorActor private final class Other { var hasRun = false }

/// Makes a call that waits for nobody, and watches what it allocates for tensors.
///
/// - Parameter number: Which allocation fails, 1 being the first; `nil` for none.
@TensorActor
package func watchingAllocations(
    failingAt number: Int? = nil, _ call: @TensorActor () async throws -> Void
) async -> WatchedCall {
    let other = Other()
    // Runs as soon as the call gives up the thread, before anything that is asked for later.
    let task = Task { @TensorActor in other.hasRun = true }
    AllocationWatch.begin(failingAt: number)
    var thrown: (any Error)?
    do { try await call() } catch { thrown = error }
    let allocations = AllocationWatch.end()
    let isAlone = !other.hasRun
    await task.value
    return WatchedCall(error: thrown, allocations: allocations, isAlone: isAlone)
}
#endif
