internal import Synchronization

/// Waits for work as long as the task is not cancelled.
///
/// A cancelled task goes on at once, with `CancellationError`: the work is cancelled too, and left to end in its own
/// time. For what may not heed its cancellation, such as a reward of a user's, and has nothing that must not be left
/// half done.
package func unlessCancelled<Result: Sendable>(
    _ work: @escaping @Sendable () async throws -> Result
) async throws -> Result {
    let wait = FirstResult<Result>()
    let task = Task { try await work() }
    return try await withTaskCancellationHandler {
        try await wait.value { Task { wait.give(await task.result) } }
    } onCancel: {
        task.cancel()
        wait.give(.failure(CancellationError()))
    }
}

/// Waits for work that does not fail, and in a cancelled task no longer than `limit`.
package func briefly(_ limit: Duration, _ work: @escaping @Sendable () async -> Void) async {
    guard Task.isCancelled else { return await work() }
    let wait = FirstResult<Void>()
    // `value` throws only a failure that was given, and both give a success.
    try? await wait.value {
        Task {
            await work()
            wait.give(.success(()))
        }
        Task {
            try? await Task.sleep(for: limit)  // throws when its task is cancelled, and nobody holds this one
            wait.give(.success(()))
        }
    }
}

/// Whether a task has ended, or ends within `limit`; it goes on beyond it.
func hasEnded<Value: Sendable>(_ task: Task<Value, any Error>, within limit: Duration) async -> Bool {
    let wait = FirstResult<Bool>()
    let timer = Task {
        try? await Task.sleep(for: limit)  // cut short when the task has ended
        wait.give(.success(false))
    }
    defer { timer.cancel() }
    // `value` throws only a failure that was given, and both give a success.
    let hasEnded = try? await wait.value {
        Task {
            _ = await task.result
            wait.give(.success(true))
        }
    }
    return hasEnded ?? false
}

/// Hands the first of several results to the one who waits; the others are dropped.
private final class FirstResult<Value: Sendable>: Sendable {
    private enum State {
        case open
        case waited(CheckedContinuation<Value, any Error>)
        case given(Result<Value, any Error>)
        case over
    }

    private let state = Mutex(State.open)

    func give(_ result: Result<Value, any Error>) {
        let waiting = state.withLock { state -> CheckedContinuation<Value, any Error>? in
            switch state {
            case .open: state = .given(result)
            case .waited(let continuation):
                state = .over
                return continuation
            case .given, .over: break
            }
            return nil
        }
        waiting?.resume(with: result)
    }

    /// - Parameter start: Begins what will give results.
    func value(_ start: () -> Void) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            let given = state.withLock { state -> Result<Value, any Error>? in
                if case .given(let result) = state {
                    state = .over
                    return result
                }
                state = .waited(continuation)
                return nil
            }
            if let given { continuation.resume(with: given) }
            start()
        }
    }
}
