import Foundation
import RewardInterface
import Synchronization

/// A program in a process group of its own, spoken to in lines, every wait bounded by a deadline.
///
/// Started with `posix_spawn` itself: swift-subprocess keeps a process inside one closure and its streams have no deadline, while a
/// reward host must be given up in the middle of a write or a read, killed with all it started, and replaced at once.
///
/// Belongs to one thread, the one that made it.
final class ChildProcess {
    enum Received {
        case line([UInt8])
        case timedOut
        /// The program ended or broke the rules; with what it last wrote to stderr.
        case ended(String)
    }

    private let processID: pid_t
    /// Marks the environment of the program and of all it starts, however they detach themselves.
    private let mark: String
    private var standardInput: Int32
    private let standardOutput: Int32
    private let standardError: Int32
    private var outgoing: ArraySlice<UInt8> = []
    private var incoming: [UInt8] = []
    private var scanned = 0
    private var errorTail: [UInt8] = []
    private var hasEnded = false

    /// A longer line is no answer.
    static let lineLimit = 256 << 20
    static let markName = "PLUMBLINE_REWARD_HOST"

    /// - Throws: ``RewardError/unusable(reward:problem:)`` when there is no such program.
    init(reward: String, arguments: [String], environment: [String: String]) throws(RewardError) {
        mark = UUID().uuidString
        let marked = environment.merging([Self.markName: mark]) { _, new in new }
        // One at a time: a program started between a pipe and its close-on-exec flag would hold the pipe open.
        let started = Self.starting.withLock { _ in
            Self.pipes().map { ends in
                (ends, Self.spawn(arguments, marked, [ends[0].read, ends[1].write, ends[2].write]))
            }
        }
        guard let (ends, (status, child)) = started else {
            throw .unusable(reward: reward, problem: "no pipe could be made: \(String(cString: strerror(errno)))")
        }
        [ends[0].read, ends[1].write, ends[2].write].forEach { _ = Glibc.close($0) }
        (standardInput, standardOutput, standardError) = (ends[0].write, ends[1].read, ends[2].read)
        processID = child
        for descriptor in [standardInput, standardOutput, standardError] {
            _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        }
        guard status == 0 else {
            hasEnded = true
            closeDescriptors()
            let reason = String(cString: strerror(status))
            throw .unusable(reward: reward, problem: "'\(arguments[0])' could not be started: \(reason)")
        }
    }

    deinit { end() }

    private static let starting = Mutex(())

    private static func pipes() -> [(read: Int32, write: Int32)]? {
        var ends: [(read: Int32, write: Int32)] = []
        for _ in 0..<3 {
            var pair: [Int32] = [-1, -1]
            guard pipe(&pair) == 0 else {
                ends.forEach { _ = (Glibc.close($0.read), Glibc.close($0.write)) }
                return nil
            }
            pair.forEach { _ = fcntl($0, F_SETFD, FD_CLOEXEC) }
            ends.append((pair[0], pair[1]))
        }
        return ends
    }

    /// The descriptors the program must not get: every file and socket of the run.
    private static var ownDescriptors: [Int32] {
        // No /proc: none known.
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        return names.compactMap { Int32($0) }.filter { $0 > 2 }
    }

    private static func spawn(
        _ arguments: [String], _ environment: [String: String], _ descriptors: [Int32]
    ) -> (status: Int32, child: pid_t) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (target, descriptor) in descriptors.enumerated() {
            posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(target))
        }
        // Closing one that is closed by then is no failure.
        for descriptor in ownDescriptors { posix_spawn_file_actions_addclose(&actions, descriptor) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A group of its own, no signal blocked, none ignored: our thread blocks SIGPIPE.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setpgroup(&attributes, 0)
        let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        posix_spawnattr_setflags(&attributes, Int16(flags))
        let words = arguments.map { strdup($0) } + [nil]
        let variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { (words + variables).forEach { free($0) } }
        var child: pid_t = 0
        let status = posix_spawnp(&child, arguments[0], &actions, &attributes, words, variables)
        return (status, child)
    }

    // MARK: Lines

    /// Puts a line in front of the program; it is written while waiting for an answer.
    func send(_ line: [UInt8]) { outgoing = outgoing + line + [UInt8(ascii: "\n")] }

    /// Writes what is waiting and reads until a whole line is there, the program ends, or the deadline passes.
    func receiveLine(by deadline: ContinuousClock.Instant) -> Received {
        while true {
            if let end = incoming[scanned...].firstIndex(of: UInt8(ascii: "\n")) {
                let line = Array(incoming[..<end])
                incoming.removeSubrange(...end)
                scanned = 0
                return .line(line)
            }
            scanned = incoming.count
            if incoming.count > Self.lineLimit { return .ended("wrote a line longer than \(Self.lineLimit >> 20) MiB") }
            let left = deadline - .now
            guard left > .zero else { return .timedOut }
            guard pump(for: left) else { return .ended(reasonOfEnd()) }
        }
    }

    /// One round of waiting, writing and reading; `false` when stdout is closed.
    private func pump(for left: Duration) -> Bool {
        var polled = [
            pollfd(fd: standardOutput, events: Int16(POLLIN), revents: 0),
            pollfd(fd: standardError, events: Int16(POLLIN), revents: 0),
            pollfd(fd: outgoing.isEmpty ? -1 : standardInput, events: Int16(POLLOUT), revents: 0),
        ]
        let milliseconds = left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000 + 1
        guard poll(&polled, 3, Int32(min(milliseconds, 60_000))) > 0 else { return true }  // 0: time; -1: a signal
        if polled[2].revents != 0 { writeSome() }
        if polled[1].revents != 0, let bytes = readSome(standardError) {
            errorTail = (errorTail + bytes).suffix(8192)
        } else if polled[1].revents & Int16(POLLIN) == 0, polled[1].revents != 0, polled[0].revents == 0 {
            usleep(1000)  // stderr is closed and stdout is not: poll would return at once, again and again
        }
        guard polled[0].revents != 0 else { return true }
        guard let bytes = readSome(standardOutput) else { return false }
        incoming += bytes
        return true
    }

    private func writeSome() {
        let written = outgoing.withUnsafeBytes { write(standardInput, $0.baseAddress, $0.count) }
        if written > 0 {
            outgoing = outgoing.dropFirst(written)
        } else if errno != EAGAIN && errno != EINTR {
            outgoing = []  // the program reads no more; that it is gone shows on stdout
        }
    }

    /// What is there to read; `nil` at the end of the stream.
    private func readSome(_ descriptor: Int32) -> [UInt8]? {
        var wouldBlock = false
        let bytes = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
            let size = read(descriptor, buffer.baseAddress, buffer.count)
            wouldBlock = size < 0 && (errno == EAGAIN || errno == EINTR)
            count = max(size, 0)
        }
        return bytes.isEmpty && !wouldBlock ? nil : bytes
    }

    // MARK: The end

    /// The last of stderr, for messages.
    var lastWords: String {
        while let bytes = readSome(standardError), !bytes.isEmpty { errorTail = (errorTail + bytes).suffix(8192) }
        let text = String(decoding: errorTail, as: UTF8.self)
        return text.allSatisfy(\.isWhitespace) ? "" : "; it wrote to stderr:\n\(text)"
    }

    private func reasonOfEnd() -> String {
        // Closing stdout and exiting are not one moment.
        let status = waitForExit(milliseconds: 200, reaps: false)
        let words = lastWords
        guard let status else { return "the reward's process closed its output" + words }
        switch status {
        case .exited(let code): return "the reward's process exited with code \(code)" + words
        case .signalled(let signal): return "the reward's process was killed by signal \(signal)" + words
        }
    }

    private enum ExitStatus {
        case exited(Int32)
        case signalled(Int32)
    }

    private func waitForExit(milliseconds: Int, reaps: Bool) -> ExitStatus? {
        for round in 0...milliseconds {
            var state = siginfo_t()
            // WNOWAIT leaves the zombie: as long as it is there, nobody else can have its process group's number.
            let options = WEXITED | WNOHANG | (reaps ? 0 : WNOWAIT)
            guard waitid(P_PID, id_t(processID), &state, options) == 0 else { return nil }
            if state._sifields._sigchld.si_pid == processID {
                let code = state._sifields._sigchld.si_status
                return state.si_code == CLD_EXITED ? .exited(code) : .signalled(code)
            }
            if round < milliseconds { usleep(1000) }
        }
        return nil
    }

    /// Asks the program to end by closing its stdin, then ends it and everything it started.
    func close(patience milliseconds: Int) {
        guard !hasEnded else { return }
        _ = Glibc.close(standardInput)
        standardInput = -1
        _ = waitForExit(milliseconds: milliseconds, reaps: false)
        end()
    }

    /// Kills the process group, collects the program, and kills what left the group.
    func end() {
        guard !hasEnded else { return }
        hasEnded = true
        kill(-processID, SIGKILL)
        kill(processID, SIGKILL)  // in case it changed its group
        _ = waitForExit(milliseconds: 10_000, reaps: true)
        closeDescriptors()
        Self.killMarked(mark)
    }

    private func closeDescriptors() {
        for descriptor in [standardInput, standardOutput, standardError] where descriptor >= 0 {
            _ = Glibc.close(descriptor)
        }
    }

    /// Kills every process whose environment carries the mark, until none is found: those that called `setsid` too.
    private static func killMarked(_ mark: String) {
        let entry = Array("\(markName)=\(mark)".utf8)
        for _ in 0..<5 {
            // No /proc: nothing to find.
            let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
            let found = names.compactMap { pid_t($0) }.filter { identifier in
                // Unreadable means another user's or already gone.
                guard let environment = FileManager.default.contents(atPath: "/proc/\(identifier)/environ") else {
                    return false
                }
                return environment.split(separator: 0).contains { $0.elementsEqual(entry) }
            }
            if found.isEmpty { return }
            found.forEach { kill($0, SIGKILL) }
            usleep(2000)
        }
    }
}
