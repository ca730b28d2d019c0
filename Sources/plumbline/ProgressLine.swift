import Evaluation
import Foundation
import Job
import Synchronization

/// Shows how far work has come that takes long, with the time it still needs: on a terminal in one line that is
/// rewritten, in a log with a line now and then. Work that is soon done shows nothing.
final class ProgressLine: Sendable {
    private struct State {
        /// What is being done; `nil` for nothing.
        var work: String?
        var done = 0
        var total = 0
        var began = ContinuousClock.now
        /// When `done` last grew: work that comes in large pieces says nothing between them.
        var grew = ContinuousClock.now
        var next = ContinuousClock.now
    }

    private let state = Mutex(State())

    /// Before anything is shown of a piece of work.
    private static let patience = Duration.seconds(Terminal.isInteractive ? 0.4 : 5)
    private static let pause = Duration.seconds(Terminal.isInteractive ? 0.2 : 10)
    /// Of the whole, before the rest is estimated: what ends first is the shortest.
    private static let foretelling = 0.05

    init() {
        // Shown from a thread of its own: the work itself may be one long call.
        Thread.detachNewThread { [weak self] in
            while self?.show() != nil { usleep(100_000) }
        }
    }

    /// Takes note of how far the work is.
    @Sendable func note(_ work: String, _ done: Int, _ total: Int) {
        state.withLock { state in
            if state.work != work { state = State(work: work, next: .now + Self.patience) }
            if done > state.done { state.grew = .now }
            (state.done, state.total) = (done, total)
        }
    }

    /// Clears the line: the work is done.
    func end() {
        state.withLock { state in
            state = State()
            if Terminal.isInteractive { Terminal.status("") }
        }
    }

    private func show() {
        state.withLock { state in
            let now = ContinuousClock.now
            guard let work = state.work, now >= state.next else { return }
            state.next = now + Self.pause
            var line = state.total > 0 ? "\(work): \(state.done) of \(state.total)" : "\(work) …"
            let done = Double(state.done), total = Double(state.total)
            if done > 0, done >= Self.foretelling * total {
                let rest = (state.grew - state.began) / .seconds(1) * (total - done) / done
                line += ", ETA " + NumberText.duration(max(0, rest - (now - state.grew) / .seconds(1)))
            }
            if Terminal.isInteractive { Terminal.status(line) } else { Terminal.progress(line) }
        }
    }
}
