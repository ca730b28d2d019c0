import Foundation
import RewardInterface
import Synchronization

/// A program in a session of its own, with descriptors of ours.
///
/// Started with `posix_spawn` itself: swift-subprocess keeps a process inside one closure and its streams have no
/// deadline, while a reward's program must be given up in the middle of a write or a read, killed with all it started,
/// and replaced at once.
///
/// Belongs to one thread, the one that made it.
final class SpawnedProcess {
    private let processID: pid_t
    private let mark: Descendants.Mark
    private var hasEnded = false
    /// Whether ending the program ends all it started, as with processes of its own in a sandbox.
    private let endsWhole: Bool

    /// Starts a program; its descriptors are `descriptors`, from 0. The caller keeps its own copies and closes them.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when there is no shell to start it with.
    init(
        reward: String, arguments: [String], environment: [String: String], descriptors: [Int32],
        endsWhole: Bool = false
    ) throws(RewardError) {
        mark = Descendants.newMark()
        self.endsWhole = endsWhole
        let marked = ["/bin/sh", "-c", "ulimit -m \(mark) 2>/dev/null; exec \"$@\"", "sh"] + arguments
        let (status, child) = Self.starting.withLock { _ in Self.spawn(marked, environment, descriptors) }
        processID = child
        guard status == 0 else {
            hasEnded = true
            Descendants.end(mark)
            let reason = String(cString: strerror(status))
            throw .unusable(reward: reward, problem: "'\(arguments[0])' could not be started: \(reason)")
        }
        Descendants.began(mark, child)
    }

    deinit { end() }

    /// One start at a time: a program started between a pipe and its close-on-exec flag would hold the pipe open.
    private static let starting = Mutex(())

    /// Pipes that no program started later inherits by itself.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when the system has none left.
    static func pipes(_ count: Int, reward: String) throws(RewardError) -> [(read: Int32, write: Int32)] {
        var ends: [(read: Int32, write: Int32)] = []
        for _ in 0..<count {
            var pair: [Int32] = [-1, -1]
            let status = starting.withLock { _ in
                let status = pipe(&pair)
                if status == 0 { pair.forEach { _ = fcntl($0, F_SETFD, FD_CLOEXEC) } }
                return status
            }
            guard status == 0 else {
                let reason = String(cString: strerror(errno))
                ends.forEach { _ = (Glibc.close($0.read), Glibc.close($0.write)) }
                throw .unusable(reward: reward, problem: "no pipe could be made: \(reason)")
            }
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
        // No signal blocked, none ignored: our thread blocks SIGPIPE.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigdefault(&attributes, &all)
        // A session of its own is a process group of its own, without the terminal.
        let newSession: Int32 = 0x80  // POSIX_SPAWN_SETSID, which Swift does not import
        posix_spawnattr_setflags(&attributes, Int16(newSession | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        let words = arguments.map { strdup($0) } + [nil]
        let variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { (words + variables).forEach { free($0) } }
        var child: pid_t = 0
        let status = posix_spawn(&child, arguments[0], &actions, &attributes, words, variables)
        return (status, child)
    }

    // MARK: The end

    enum ExitStatus {
        case exited(Int32)
        case signalled(Int32)
    }

    /// How the program ended, if it does so within the time. It is not collected: as long as it is there, nobody else
    /// can have its process group's number.
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
        Descendants.end(mark, isWhole: endsWhole)
    }
}
