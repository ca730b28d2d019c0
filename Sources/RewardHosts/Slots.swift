import Synchronization

/// Lends each of some resources to one taker at a time. Who finds none waits in line, and leaves it when its task is
/// cancelled.
final class Slots<Resource: Sendable>: Sendable {
    /// There is nothing to be had any more.
    struct Closed: Error {}

    private struct State {
        /// The last one given back is lent first: its process is warm.
        var free: [Resource]
        var waiting: [(number: Int, continuation: CheckedContinuation<Resource, any Error>)] = []
        var lastNumber = 0
        var lent = 0
        var isClosed = false
        var closers: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    init(_ resources: [Resource]) { state = Mutex(State(free: resources.reversed())) }

    /// Does some work with a resource, once there is one.
    ///
    /// - Throws: `CancellationError` when the task was cancelled before there was one, ``Closed``, and what the work
    ///   throws.
    func lend<Value>(to work: (Resource) async throws -> Value) async throws -> Value {
        let resource = try await take()
        defer { giveBack(resource) }
        return try await work(resource)
    }

    private func take() async throws -> Resource {
        let number = state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let outcome = state.withLock { state -> Result<Resource, any Error>? in
                    if Task.isCancelled { return .failure(CancellationError()) }
                    if state.isClosed { return .failure(Closed()) }
                    guard let resource = state.free.popLast() else {
                        state.waiting.append((number, continuation))
                        return nil
                    }
                    state.lent += 1
                    return .success(resource)
                }
                if let outcome { continuation.resume(with: outcome) }
            }
        } onCancel: {
            let left = state.withLock { state in
                state.waiting.firstIndex { $0.number == number }.map { state.waiting.remove(at: $0) }
            }
            left?.continuation.resume(throwing: CancellationError())
        }
    }

    private func giveBack(_ resource: Resource) {
        typealias Next = CheckedContinuation<Resource, any Error>
        let (next, closers) = state.withLock { state -> (Next?, [CheckedContinuation<Void, Never>]) in
            if !state.waiting.isEmpty { return (state.waiting.removeFirst().continuation, []) }
            state.free.append(resource)
            state.lent -= 1
            return (nil, state.lent == 0 ? state.closers : [])
        }
        next?.resume(returning: resource)
        closers.forEach { $0.resume() }
    }

    /// Turns away who waits and who comes, and waits until everything lent is back.
    ///
    /// - Returns: The resources, the first time.
    @discardableResult
    func close() async -> [Resource] {
        await withCheckedContinuation { continuation in
            let (waiting, isDone) = state.withLock { state in
                state.isClosed = true
                if state.lent > 0 { state.closers.append(continuation) }
                defer { state.waiting = [] }
                return (state.waiting, state.lent == 0)
            }
            waiting.forEach { $0.continuation.resume(throwing: Closed()) }
            if isDone { continuation.resume() }
        }
        return state.withLock { state in
            defer { state.free = [] }
            return state.free
        }
    }
}
