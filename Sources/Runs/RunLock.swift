package import Foundation

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The exclusive right to write in a run folder, or to a file, held while the value lives.
///
/// An advisory lock (`flock`) on a file of its own: the system drops it when the process ends in whatever way, so a
/// killed run never locks anything for good. The file holds the process id for the other run's error message.
package final class RunLock: Sendable {
    /// The lock file of a run folder.
    static let fileName = ".lock"
    private let file: PosixFile

    /// Takes the lock, making its file when it is missing.
    ///
    /// The file may be removed while the lock is held.
    /// - Parameter output: What is locked.
    /// - Throws: ``RunError/locked(path:process:)`` when another process holds it.
    package init(_ url: URL, of output: URL) throws(RunError) {
        var file = try Self.locked(url, of: output)
        // Another start may have withdrawn the file between our opening and our locking it: such a lock keeps nobody
        // out.
        while !file.isStill(at: url) { file = try Self.locked(url, of: output) }
        self.file = file
        try file.truncate(to: 0)
        try file.write(Array("\(getpid())\n".utf8))
    }

    private static func locked(_ url: URL, of output: URL) throws(RunError) -> PosixFile {
        let file = try PosixFile.keeping(url)
        // A lock that was given up outlives it by the moment in which a program that is being started still has all
        // descriptors of the process that starts it.
        let deadline = ContinuousClock.now + .milliseconds(300)
        while flock(file.descriptor, LOCK_EX | LOCK_NB) != 0 {
            let code = errno
            guard code == EINTR || code == EWOULDBLOCK else {
                throw .system(action: "lock", path: url.path, code: code)
            }
            if ContinuousClock.now < deadline {
                usleep(5_000)
                continue
            }
            let holder = try String(decoding: file.bytes(at: 0, count: 32), as: UTF8.self)
            throw .locked(path: output.path, process: Int(holder.trimmingCharacters(in: .whitespacesAndNewlines)))
        }
        return file
    }
}
