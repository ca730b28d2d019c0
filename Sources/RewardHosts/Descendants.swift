import Foundation
import Synchronization

/// Finds the processes that a reward's program started, however they detached themselves.
///
/// Every program starts with a limit of its own on its resident set, a number that Linux hands on to all descendants,
/// shows for every process, enforces for none, and lets nobody but root raise. A process that has left its session,
/// cleaned its environment and lost its parent still has it. One that lowers it is found as an orphan: this process
/// adopts what its descendants leave behind.
enum Descendants {
    /// The limit of one program, in KiB.
    typealias Mark = UInt64

    private struct State {
        /// Programs that run, by the limit in bytes; 0 for one that is being started.
        var running: [UInt64: pid_t] = [:]
        var isPrepared = false
        var lastTidied = ContinuousClock.now
    }

    private static let state = Mutex(State())

    /// A mark that no other program of the machine has, for one that is about to be started.
    ///
    /// With the first one this process begins to adopt orphans, and its memory and environment are closed to all but
    /// root.
    static func newMark() -> Mark {
        let mark: Mark = 1 << 51 | .random(in: 0..<1 << 51)
        state.withLock { state in
            state.running[mark << 10] = 0
            guard !state.isPrepared else { return }
            state.isPrepared = true
            control(36, 1)  // PR_SET_CHILD_SUBREAPER
            control(4, 0)  // PR_SET_DUMPABLE
        }
        return mark
    }

    /// Notes which program has the mark.
    static func began(_ mark: Mark, _ process: pid_t) { state.withLock { $0.running[mark << 10] = process } }

    /// Kills everything with this mark, until nothing is left, and collects what this process had adopted of it.
    ///
    /// - Parameter isWhole: Whether everything is known to have ended with the program.
    static func end(_ mark: Mark, isWhole: Bool = false) {
        for _ in 0..<(isWhole ? 0 : 50) {
            var isLeft = false
            for process in processes(in: "/proc") where limit(of: process) == mark << 10 {
                isLeft = end(process) || isLeft
            }
            guard isLeft else { break }
            usleep(2000)
        }
        _ = state.withLock { $0.running.removeValue(forKey: mark << 10) }
        collectOrphans()
    }

    /// Collects orphans that have ended, and ends those that belong to no running program; at most once a second.
    static func tidy() {
        let isDue = state.withLock { state in
            guard .now - state.lastTidied > .seconds(1) else { return false }
            state.lastTidied = .now
            return true
        }
        if isDue { collectOrphans() }
    }

    private static func collectOrphans() {
        // What has our own limit is no descendant of a reward's program.
        let own = limit(of: getpid())
        for _ in 0..<50 {
            var isLeft = false
            for thread in processes(in: "/proc/self/task") {
                let children = content("/proc/self/task/\(thread)/children") ?? ""
                for child in children.split(separator: " ").compactMap({ pid_t($0) }) {
                    guard let limit = limit(of: child), limit != own else { continue }
                    switch state.withLock({ $0.running[limit] }) {
                    case nil: isLeft = end(child) || isLeft
                    case 0, child: break  // the program itself
                    case .some: waitpid(child, nil, WNOHANG)  // its orphan, collected when it has ended
                    }
                }
            }
            guard isLeft else { return }
            usleep(2000)  // its children are orphans in a moment
        }
    }

    /// Kills a process, or collects it when it is dead; whether it was alive.
    private static func end(_ process: pid_t) -> Bool {
        // The name, in parentheses, may hold anything; the state follows it.
        let fields = content("/proc/\(process)/stat")?.split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 1, fields[0] != "Z", fields[0] != "X" else {
            if fields.count > 1, pid_t(fields[1]) == getpid() { waitpid(process, nil, WNOHANG) }
            return false
        }
        kill(process, SIGKILL)
        return true
    }

    /// The names in a folder of `/proc` that are numbers of processes or threads; none without `/proc`.
    private static func processes(in folder: String) -> [pid_t] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).compactMap { pid_t($0) }
    }

    /// The hard limit on the resident set, in bytes; `nil` for none, and for a process that is gone.
    private static func limit(of process: pid_t) -> UInt64? {
        let line = content("/proc/\(process)/limits")?.split(separator: "\n").first { $0.hasPrefix("Max resident") }
        let words = line?.split(separator: " ") ?? []
        return words.count > 2 ? UInt64(words[words.count - 2]) : nil
    }

    /// The beginning of a file of `/proc`: there are many to be read, as fast as can be.
    private static func content(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
            let size = read(descriptor, buffer.baseAddress, buffer.count)
            return size > 0 ? String(decoding: buffer.prefix(size), as: UTF8.self) : nil
        }
    }

    /// `prctl`, which Swift imports neither with its constants nor with its arguments, of which there may be any
    /// number.
    private static func control(_ option: Int32, _ value: UInt) {
        typealias Call = @convention(c) (Int32, UInt, UInt, UInt, UInt) -> Int32
        guard let symbol = dlsym(nil, "prctl") else { return }
        _ = unsafeBitCast(symbol, to: Call.self)(option, value, 0, 0, 0)
    }
}
