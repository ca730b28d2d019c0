import Foundation

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The exclusive right to write in a run folder, held while the value lives.
///
/// An advisory lock (`flock`) on `.lock`: the system drops it when the process ends in whatever way, so a killed run
/// never locks its folder for good. The file holds the process id for the other run's error message.
final class RunLock: Sendable {
    static let fileName = ".lock"
    private let file: PosixFile

    init(_ folder: URL) throws(RunError) {
        let url = folder.appending(path: Self.fileName)
        var file = try Self.locked(url, of: folder)
        // Another start may have withdrawn the file between our opening and our locking it: such a lock keeps nobody
        // out.
        while !file.isStill(at: url) { file = try Self.locked(url, of: folder) }
        self.file = file
        try file.truncate(to: 0)
        try file.write(Array("\(getpid())\n".utf8))
    }

    private static func locked(_ url: URL, of folder: URL) throws(RunError) -> PosixFile {
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
            throw .locked(path: folder.path, process: Int(holder.trimmingCharacters(in: .whitespacesAndNewlines)))
        }
        return file
    }
}
