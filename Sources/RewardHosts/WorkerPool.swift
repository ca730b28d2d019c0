import Foundation
import Records
import RewardInterface

/// Some workers, each on a thread of its own, that take calls from one queue.
final class WorkerPool: @unchecked Sendable {
    // Unchecked: everything mutable is read and written under `condition`; a worker stays on its thread.
    private struct Waiting {
        let call: HostCall
        let continuation: CheckedContinuation<HostAnswer, Never>
    }

    private let condition = NSCondition()
    private var queue: [Waiting] = []
    private var running = 0
    private var isClosed = false
    private var closers: [CheckedContinuation<Void, Never>] = []
    private let program: HostWorker.Program

    private init(_ program: HostWorker.Program) { self.program = program }

    /// Starts the first worker's process, so that what cannot work is known now; the others start when they are needed.
    static func start(
        _ program: HostWorker.Program, workers: Int
    ) async throws -> (pool: WorkerPool, greeting: HostWorker.Greeting?) {
        let pool = WorkerPool(program)
        pool.running = workers
        let greeting: HostWorker.Greeting? = try await withCheckedThrowingContinuation { continuation in
            pool.thread(number: 0) { worker in
                do {
                    let greeting = try worker.start()
                    for number in 1..<workers { pool.thread(number: number) { _ in true } }
                    continuation.resume(returning: greeting)
                    return true
                } catch {
                    continuation.resume(throwing: error)
                    return false
                }
            }
        }
        return (pool, greeting)
    }

    /// A thread with a worker, which lives until the pool is closed; `prepare` says whether it is of use.
    private func thread(number: Int, prepare: @escaping @Sendable (HostWorker) -> Bool) {
        let thread = Thread { [self] in
            // A program that is gone must not end us when we write to it.
            var signals = sigset_t()
            sigemptyset(&signals)
            sigaddset(&signals, SIGPIPE)
            pthread_sigmask(SIG_BLOCK, &signals, nil)
            let worker = HostWorker(program)
            if prepare(worker) { serve(worker) }
            worker.close()
            leave()
        }
        thread.name = "\(program.reward) \(number)"
        thread.start()
    }

    private func serve(_ worker: HostWorker) {
        while let next = take() { next.continuation.resume(returning: worker.run(next.call)) }
    }

    private func take() -> Waiting? {
        condition.lock()
        defer { condition.unlock() }
        while queue.isEmpty && !isClosed { condition.wait() }
        return isClosed ? nil : queue.removeFirst()
    }

    private func leave() {
        condition.lock()
        running -= 1
        let done = running == 0 ? closers : []
        if running == 0 { closers = [] }
        condition.unlock()
        done.forEach { $0.resume() }
    }

    /// Waits for a free worker, then for its answer.
    func run(_ call: HostCall) async -> HostAnswer {
        await withCheckedContinuation { continuation in
            let isOpen = condition.withLock {
                if !isClosed {
                    queue.append(Waiting(call: call, continuation: continuation))
                    condition.signal()
                }
                return !isClosed
            }
            if !isOpen { continuation.resume(returning: Self.closed(call)) }
        }
    }

    /// Answers what waits, lets what runs come to its end or its time limit, and ends every process.
    func close() async {
        await withCheckedContinuation { continuation in
            let (waiting, isDone) = condition.withLock { () -> ([Waiting], Bool) in
                isClosed = true
                defer { queue = [] }
                condition.broadcast()
                if running > 0 { closers.append(continuation) }
                return (queue, running == 0)
            }
            waiting.forEach { $0.continuation.resume(returning: Self.closed($0.call)) }
            if isDone { continuation.resume() }
        }
    }

    private static func closed(_ call: HostCall) -> HostAnswer {
        HostAnswer(repeating: .failed(message: "the reward was closed before its turn"), count: call.count)
    }
}
