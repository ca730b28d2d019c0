import Placement
import Tensors
import Testing

@TensorActor @Suite("The phase lock", .timeLimit(.minutes(10)))
struct PhaseLockTests {
    /// Starts a task that takes the lock, and waits until it stands in the queue.
    private func queued(
        on lock: PhaseLock, _ body: @escaping @TensorActor () async throws -> Void
    ) async -> Task<Void, any Error> {
        let before = lock.waitingCount
        let task = Task { @TensorActor in
            let ticket = try await lock.enter()
            defer { lock.leave(ticket) }
            try await body()
        }
        while lock.waitingCount == before { await Task.yield() }
        return task
    }

    @Test func waitersEnterInTheOrderOfArrival() async throws {
        let lock = PhaseLock()
        let log = Log()
        let ticket = try await lock.enter()
        var tasks: [Task<Void, any Error>] = []
        for number in 0..<20 {
            tasks.append(
                await queued(on: lock) {
                    log.order.append(number)
                    await Task.yield()
                    log.order.append(number)
                })
        }
        lock.leave(ticket)
        for task in tasks { try await task.value }
        #expect(log.order == (0..<20).flatMap { [$0, $0] })
        #expect(lock.holder == nil)
    }

    @Test func aCancelledWaiterLeavesTheQueueAndThrows() async throws {
        let lock = PhaseLock()
        let log = Log()
        let ticket = try await lock.enter()
        var tasks: [Task<Void, any Error>] = []
        for number in 0..<4 { tasks.append(await queued(on: lock) { log.order.append(number) }) }
        tasks[1].cancel()
        await #expect(throws: CancellationError.self) { try await tasks[1].value }  // while the lock is still held
        #expect(lock.waitingCount == 3)
        lock.leave(ticket)
        for number in [0, 2, 3] { try await tasks[number].value }
        #expect(log.order == [0, 2, 3])
    }

    @Test func aTaskCancelledBeforehandNeverHoldsTheLock() async throws {
        let lock = PhaseLock()
        let task = Task { @TensorActor in
            while !Task.isCancelled { await Task.yield() }
            _ = try await lock.enter()
        }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(lock.holder == nil)
    }

    @Test func manyTasksWithCancellationAndErrorsNeverOverlapNorGetStuck() async throws {
        let lock = PhaseLock()
        let log = Log()
        var tasks: [Task<Void, any Error>] = []
        for number in 0..<64 {
            tasks.append(
                Task { @TensorActor in
                    for _ in 0..<(number % 5) { await Task.yield() }
                    let ticket = try await lock.enter()
                    defer {
                        log.inside -= 1
                        lock.leave(ticket)
                    }
                    log.inside += 1
                    log.most = max(log.most, log.inside)
                    for _ in 0..<(number % 7) { await Task.yield() }
                    if number % 11 == 0 { throw Thrown() }
                })
        }
        for number in stride(from: 0, to: 64, by: 3) {
            await Task.yield()
            tasks[number].cancel()
        }
        for task in tasks { _ = await task.result }
        #expect(log.most == 1)
        #expect(lock.holder == nil)
        #expect(lock.waitingCount == 0)
    }

    struct Thrown: Error {}

    @TensorActor final class Log {
        var order: [Int] = []
        var inside = 0
        var most = 0
    }
}
