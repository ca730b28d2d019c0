import Foundation

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The exclusive right to write in a run folder, held while the value lives.
///
/// An advisory lock (`flock`) on `.lock`: the system drops it when the process ends in whatever way, so a killed run never locks
/// its folder for good. The file holds the process id for the other run's error message.
final class RunLock: Sendable {
    static let fileName = ".lock"
    private let file: PosixFile

    init(_ folder: URL) throws(RunError) {
        let url = folder.appending(path: Self.fileName)
        var file = try Self.locked(url, of: folder)
        // Another start may have withdrawn the file between our opening and our locking it: such a lock keeps nobody out.
        while !file.isStill(at: url) { file = try Self.locked(url, of: folder) }
        self.file = file
        try file.truncate(to: 0)
        try file.write(Array("\(getpid())\n".utf8))
    }

    private static func locked(_ url: URL, of folder: URL) throws(RunError) -> PosixFile {
        let file = try PosixFile.keeping(url)
        var status = flock(file.descriptor, LOCK_EX | LOCK_NB)
        while status != 0 && errno == EINTR { status = flock(file.descriptor, LOCK_EX | LOCK_NB) }
        if status != 0 {
            guard errno == EWOULDBLOCK else { throw .system(action: "lock", path: url.path, code: errno) }
            let holder = try String(decoding: file.bytes(at: 0, count: 32), as: UTF8.self)
            throw .locked(path: folder.path, process: Int(holder.trimmingCharacters(in: .whitespacesAndNewlines)))
        }
        return file
    }
}
