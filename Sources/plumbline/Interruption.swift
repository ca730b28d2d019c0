import Foundation
import Records
import Synchronization

/// The end of the pipe through which the signal handler speaks; a handler may do little more than write.
private nonisolated(unsafe) var signalPipe: Int32 = -1

/// Ends a command before its time: at SIGINT (Ctrl-C), SIGTERM, SIGHUP or SIGUSR1, and when nobody reads its output any
/// more.
///
/// The first time, work is asked to stop: ``stop`` is set and the command's task cancelled. A command that has
/// something to save gets the time it takes; any other is ended after ``grace``. A second Ctrl-C gives the command
/// ``lastSeconds`` more, a third ends it.
final class Interruption: Sendable {
    static let shared = Interruption()

    /// Set when the command is to stop.
    let stop = StopSignal()
    private let state = Mutex(State())

    private struct State {
        var cancel: (@Sendable () -> Void)?
        /// Whether ending now would lose something.
        var holds = false
        var watchesOutput = false
        var interrupts = 0
        var deadline: (time: ContinuousClock.Instant, status: Int32)?
        var lastWords: String? = "stopped on request"
    }

    /// For a command that has nothing to save.
    private static let grace = Duration.milliseconds(1200)
    private static let lastSeconds = Duration.milliseconds(1500)
    private static let afterSecondInterrupt: Int32 = 130

    /// Begins to listen.
    func listen() {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return }  // then signals end the process as they always do
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)  // a handler never waits
        }
        signalPipe = ends[1]
        for number in [SIGINT, SIGTERM, SIGHUP, SIGUSR1] { Self.handle(number) }
        Self.handle(SIGPIPE)  // handled, not ignored: programs that are started get the usual meaning back
        let reading = ends[0]
        Thread.detachNewThread { self.watch(reading) }
    }

    /// From here on the command is pointless without a reader of its standard output.
    func watchOutput() {
        state.withLock { $0.watchesOutput = true }
        var wake: UInt8 = 0
        _ = write(signalPipe, &wake, 1)
    }

    private static func handle(_ number: Int32) {
        var action = sigaction()
        sigaction(number, nil, &action)
        let isIgnored = unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1  // SIG_IGN
        if isIgnored, number == SIGHUP { return }  // nohup
        action.__sigaction_handler.sa_handler = { number in
            let error = errno
            var byte = UInt8(truncatingIfNeeded: number)
            _ = write(signalPipe, &byte, 1)
            errno = error
        }
        action.sa_flags = SA_RESTART
        sigemptyset(&action.sa_mask)
        sigaction(number, &action, nil)
        var set = sigset_t()  // a parent may have left the signal blocked
        sigemptyset(&set)
        sigaddset(&set, number)
        pthread_sigmask(SIG_UNBLOCK, &set, nil)
    }

    /// Says what is to be cancelled.
    func cancels(_ task: Task<Void, any Error>) {
        state.withLock { $0.cancel = { task.cancel() } }
        if stop.isRequested { task.cancel() }
    }

    /// From here on ``stop`` alone is set, and the command's task goes on: processes that work together stop together.
    func onlyAsks() { state.withLock { $0.cancel = nil } }

    /// From here on ending the process would lose something, which the command saves when it is asked to stop.
    func hold() {
        state.withLock { state in
            state.holds = true
            if state.interrupts < 2 { state.deadline = nil }
        }
    }

    /// What is said of a command that is ended because it did not end by itself; `nil` for nothing.
    func ends(saying words: String?) { state.withLock { $0.lastWords = words } }

    // MARK: The watching thread

    private func watch(_ signals: Int32) {
        let ignored = [0, UInt8(SIGPIPE)]
        // What is asked of a stream is only whether its reader has gone. A negative descriptor is passed over.
        var polled = [signals, Self.isPipe(STDERR_FILENO) ? STDERR_FILENO : -1, -1].map {
            pollfd(fd: $0, events: $0 == signals ? Int16(POLLIN) : 0, revents: 0)
        }
        var watchesOutput = false
        while true {
            poll(&polled, nfds_t(polled.count), milliseconds())
            if let deadline = state.withLock({ $0.deadline }), deadline.time <= .now {
                if deadline.status == ExitStatus.stopped.rawValue, let words = state.withLock({ $0.lastWords }) {
                    Terminal.remark("\n" + words)
                }
                Self.end(deadline.status)
            }
            var byte: UInt8 = 0
            while read(signals, &byte, 1) == 1 {
                if !ignored.contains(byte) { request(isInterrupt: byte == UInt8(SIGINT)) }
            }
            if !watchesOutput, state.withLock({ $0.watchesOutput }) {
                watchesOutput = true
                if Self.isPipe(STDOUT_FILENO) { polled[2].fd = STDOUT_FILENO }
            }
            for index in polled.indices.dropFirst() where polled[index].revents & Int16(POLLERR) != 0 {
                polled[index].fd = -1  // the reader has gone
                request(isInterrupt: false)
            }
        }
    }

    private func milliseconds() -> Int32 {
        guard let deadline = state.withLock({ $0.deadline }) else { return -1 }
        return Int32(max(0, (deadline.time - .now) / .milliseconds(1)) + 1)
    }

    private func request(isInterrupt: Bool) {
        let isFirst = !stop.isRequested
        stop.request()
        let (cancel, words) = state.withLock { state -> ((@Sendable () -> Void)?, String?) in
            state.interrupts += isInterrupt ? 1 : 0
            guard !isFirst else {
                state.interrupts = 1
                if !state.holds { state.deadline = (.now + Self.grace, ExitStatus.stopped.rawValue) }
                return (
                    state.cancel,
                    state.holds
                        ? "\nstopping: work under way is finished or dropped, then saved; Ctrl-C again not to wait"
                        : nil
                )
            }
            guard isInterrupt else { return (nil, nil) }
            if state.interrupts > 2 { Self.end(Self.afterSecondInterrupt) }
            if state.deadline == nil { state.deadline = (.now + Self.lastSeconds, Self.afterSecondInterrupt) }
            return (nil, state.holds ? "\nending within two seconds, saved or not" : nil)
        }
        cancel?()
        if let words { Terminal.remark(words) }
    }

    /// Ends the process at once: no destructor runs beside threads that still compute.
    static func end(_ status: Int32) -> Never {
        for child in children { kill(-child, SIGKILL) }
        _exit(status)
    }

    /// Programs that this process started; each leads a process group of its own.
    private static var children: [pid_t] {
        // No /proc: none known.
        let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
        return tasks.flatMap { task in
            String(
                decoding: FileManager.default.contents(atPath: "/proc/self/task/\(task)/children") ?? Data(),
                as: UTF8.self
            )
            .split(separator: " ").compactMap { pid_t($0) }
        }
    }

    private static func isPipe(_ descriptor: Int32) -> Bool {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return false }
        return [S_IFIFO, S_IFSOCK].contains(status.st_mode & S_IFMT)
    }
}
