import Foundation
import Records

/// A thread that does one piece of work at a time for whoever awaits it.
///
/// Programs are started on it and waited for: bubblewrap ends what it runs with the thread that started it, so this one
/// lasts as long as its owner.
final class ProgramThread: Sendable {
    /// Unchecked: what is mutable is read and written under `condition`.
    private final class Queue: @unchecked Sendable {
        let condition = NSCondition()
        var work: [() -> Void] = []
        var isClosed = false

        /// The next piece of work, when there is one; `nil` once the queue is closed and empty.
        func next() -> (() -> Void)? {
            condition.withLock {
                while work.isEmpty && !isClosed { condition.wait() }
                return work.isEmpty ? nil : work.removeFirst()
            }
        }
    }

    private let queue = Queue()

    init(name: String) {
        let thread = Thread { [queue] in
            // A program that is gone must not end us when we write to it.
            var signals = sigset_t()
            sigemptyset(&signals)
            sigaddset(&signals, SIGPIPE)
            pthread_sigmask(SIG_BLOCK, &signals, nil)
            while let work = queue.next() { work() }
        }
        thread.name = name
        thread.start()
    }

    deinit {
        queue.condition.withLock {
            queue.isClosed = true
            queue.condition.signal()
        }
    }

    /// Does the work on the thread. When the task is cancelled the signal is set: the work looks at it while it waits
    /// for something, and throws `CancellationError`.
    func run<Value: Sendable>(_ work: @escaping @Sendable (StopSignal) throws -> Value) async throws -> Value {
        let stop = StopSignal()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                queue.condition.withLock {
                    queue.work.append { continuation.resume(with: Result { try work(stop) }) }
                    queue.condition.signal()
                }
            }
        } onCancel: {
            stop.request()
        }
    }
}
