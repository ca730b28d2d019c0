import Foundation
import RewardInterface
import Synchronization

/// A program in a process group of its own, with descriptors of ours and an environment that marks it and all it starts.
///
/// Started with `posix_spawn` itself: swift-subprocess keeps a process inside one closure and its streams have no deadline, while a
/// reward's program must be given up in the middle of a write or a read, killed with all it started, and replaced at once.
///
/// Belongs to one thread, the one that made it.
final class SpawnedProcess {
    private let processID: pid_t
    /// In the environment of the program and of all it starts, however they detach themselves.
    private let mark: String
    private var hasEnded = false
    /// Whether ending the program ends all it started, as with processes of its own in a sandbox.
    private let endsWhole: Bool

    static let markName = "PLUMBLINE_REWARD_HOST"

    /// Starts a program; its descriptors are `descriptors`, from 0. The caller keeps its own copies and closes them.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when there is no such program.
    init(
        reward: String, arguments: [String], environment: [String: String], descriptors: [Int32],
        endsWhole: Bool = false
    ) throws(RewardError) {
        mark = UUID().uuidString
        self.endsWhole = endsWhole
        let (status, child) = Self.spawn(
            arguments, environment.merging([Self.markName: mark]) { _, new in new }, descriptors)
        processID = child
        guard status == 0 else {
            hasEnded = true
            let reason = String(cString: strerror(status))
            throw .unusable(reward: reward, problem: "'\(arguments[0])' could not be started: \(reason)")
        }
    }

    deinit { end() }

    private static let starting = Mutex(())

    /// One start at a time: a program started between a pipe and its close-on-exec flag would hold the pipe open.
    static func alone<Value: ~Copyable>(_ body: () throws(RewardError) -> Value) throws(RewardError) -> Value {
        try starting.withLock { (_) throws(RewardError) in try body() }
    }

    /// Pipes that no program started later inherits by itself.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when the system has none left.
    static func pipes(_ count: Int, reward: String) throws(RewardError) -> [(read: Int32, write: Int32)] {
        var ends: [(read: Int32, write: Int32)] = []
        for _ in 0..<count {
            var pair: [Int32] = [-1, -1]
            guard pipe(&pair) == 0 else {
                let reason = String(cString: strerror(errno))
                ends.forEach { _ = (Glibc.close($0.read), Glibc.close($0.write)) }
                throw .unusable(reward: reward, problem: "no pipe could be made: \(reason)")
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
        // Out of the way of the numbers they are to have.
        let sources = descriptors.map { fcntl($0, F_DUPFD_CLOEXEC, 64) }
        defer { sources.forEach { _ = Glibc.close($0) } }
        for (target, source) in sources.enumerated() {
            posix_spawn_file_actions_adddup2(&actions, source, Int32(target))
        }
        // Closing one that is closed by then is no failure.
        for descriptor in ownDescriptors where descriptor >= Int32(descriptors.count) {
            posix_spawn_file_actions_addclose(&actions, descriptor)
        }
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

    // MARK: The end

    enum ExitStatus {
        case exited(Int32)
        case signalled(Int32)
    }

    /// How the program ended, if it does so within the time. It is not collected: as long as it is there, nobody else can have its
    /// process group's number.
    func exitStatus(within milliseconds: Int) -> ExitStatus? { wait(milliseconds, reaps: false) }

    private func wait(_ milliseconds: Int, reaps: Bool) -> ExitStatus? {
        for round in 0...milliseconds {
            var state = siginfo_t()
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

    /// Kills the process group, collects the program, and kills what left the group.
    func end() {
        guard !hasEnded else { return }
        hasEnded = true
        kill(-processID, SIGKILL)
        kill(processID, SIGKILL)  // in case it changed its group
        _ = wait(10_000, reaps: true)
        if !endsWhole { Self.killMarked(mark) }
    }

    /// Kills every process whose environment carries the mark, until none is found: those that called `setsid` too.
    ///
    /// A program that is just being loaded has no environment to show yet: it is looked at again.
    private static func killMarked(_ mark: String) {
        let entry = Array("\(markName)=\(mark)".utf8)
        for _ in 0..<50 {
            // No /proc: nothing to find.
            let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
            var mayBeMore = false
            for identifier in names.compactMap({ pid_t($0) }) {
                // Unreadable means another user's or already gone.
                guard let environment = FileManager.default.contents(atPath: "/proc/\(identifier)/environ") else {
                    continue
                }
                if environment.isEmpty {
                    mayBeMore = mayBeMore || isBeingLoaded(identifier)
                } else if environment.split(separator: 0).contains(where: { $0.elementsEqual(entry) }) {
                    kill(identifier, SIGKILL)
                    mayBeMore = true
                }
            }
            guard mayBeMore else { return }
            usleep(2000)
        }
    }

    /// Whether a process without an environment may be a program that is just being loaded: it has a program, unlike threads of the kernel
    /// and the dead, and began within the last seconds, unlike what lives without an environment.
    private static func isBeingLoaded(_ identifier: pid_t) -> Bool {
        // Without a program there is no such link.
        let program = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(identifier)/exe")
        guard program != nil, let status = FileManager.default.contents(atPath: "/proc/\(identifier)/stat") else {
            return false
        }
        // The name, in parentheses, may hold anything; field 22 of all is the time of the start, in ticks since the machine's.
        let fields = String(decoding: status, as: UTF8.self).split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 19, let start = Double(fields[19]) else { return false }
        var now = timespec()
        clock_gettime(CLOCK_BOOTTIME, &now)
        return Double(now.tv_sec) - start / Double(sysconf(Int32(_SC_CLK_TCK))) < 10
    }
}
