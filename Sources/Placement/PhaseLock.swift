package import Tensors

/// Lets one holder in at a time, in the order of arrival.
///
/// An actor's isolation is not enough for an exclusive phase: another task may enter at every `await` of the holder.
/// A waiter whose task is cancelled leaves the queue and throws `CancellationError`; the others keep their order.
@TensorActor
package final class PhaseLock {
    private struct Waiter {
        let ticket: Int
        let continuation: CheckedContinuation<Void, any Error>
    }

    /// The ticket of the current holder, `nil` while nobody holds the lock.
    package private(set) var holder: Int?
    private var queue: [Waiter] = []
    private var nextTicket = 0

    package init() {}

    /// How many tasks wait.
    package var waitingCount: Int { queue.count }

    /// Waits for the lock.
    ///
    /// - Returns: the holder's ticket, for ``leave(_:)``.
    /// - Throws: `CancellationError` when the task is cancelled before it has the lock; it then does not hold it.
    package func enter() async throws -> Int {
        try Task.checkCancellation()
        let ticket = nextTicket
        nextTicket += 1
        if holder == nil {  // the queue is empty then: leaving hands over to its head
            holder = ticket
            return ticket
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                if Task.isCancelled {
                    continuation.resume(throwing: CancellationError())
                } else {
                    queue.append(Waiter(ticket: ticket, continuation: continuation))
                }
            }
        } onCancel: {
            Task { @TensorActor in self.withdraw(ticket) }
        }
        precondition(holder == ticket, "the phase lock woke a task that is not its holder")
        guard !Task.isCancelled else {  // cancelled between being woken and running
            leave(ticket)
            throw CancellationError()
        }
        return ticket
    }

    /// Gives the lock to the first of those that wait.
    package func leave(_ ticket: Int) {
        precondition(holder == ticket, "the phase lock was left by a task that is not its holder")
        guard !queue.isEmpty else {
            holder = nil
            return
        }
        let next = queue.removeFirst()
        holder = next.ticket
        next.continuation.resume()
    }

    /// Takes a cancelled waiter out of the queue; one that was let in meanwhile finds out by itself.
    private func withdraw(_ ticket: Int) {
        guard let index = queue.firstIndex(where: { $0.ticket == ticket }) else { return }
        queue.remove(at: index).continuation.resume(throwing: CancellationError())
    }
}
