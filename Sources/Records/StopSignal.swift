import Synchronization

/// A request to stop, set once by a signal handler or a user and polled wherever work takes long: between decode steps,
/// between micro-batches, between reward calls.
public final class StopSignal: Sendable {
    private let requested = Atomic<Bool>(false)

    public init() {}

    /// Whether somebody asked the run to stop.
    public var isRequested: Bool { requested.load(ordering: .acquiring) }

    /// Asks the run to stop at the next place where nothing is lost. Safe to call from any thread, more than once.
    public func request() { requested.store(true, ordering: .releasing) }

    /// Throws ``StopRequested`` when a stop was asked for.
    public func check() throws(StopRequested) {
        if isRequested { throw StopRequested() }
    }
}

/// Thrown where work was abandoned because of a ``StopSignal``. What the work had not finished is left as it was
/// before.
public struct StopRequested: Error, CustomStringConvertible {
    public init() {}

    public var description: String { "stopped on request" }
}
