package import Foundation

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// An open file, closed when the last reference goes. Every failure carries the path and the system's own words.
///
/// Reads at an offset move no shared position, so they may run from several tasks at once.
package final class PosixFile: Sendable {
    package let path: String
    let descriptor: Int32

    private init(path: String, flags: Int32, action: String) throws(RunError) {
        self.path = path
        // A child process (a reward host) must not keep our files and locks.
        var opened = open(path, flags | O_CLOEXEC, 0o644)
        while opened < 0 && errno == EINTR { opened = open(path, flags | O_CLOEXEC, 0o644) }
        guard opened >= 0 else { throw .system(action: action, path: path, code: errno) }
        descriptor = opened
    }

    private init(path: String, descriptor: Int32) {
        self.path = path
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Whether the path still leads to this very file.
    func isStill(at url: URL) -> Bool {
        var (own, there) = (stat(), stat())
        return fstat(descriptor, &own) == 0 && stat(url.path, &there) == 0 && own.st_ino == there.st_ino
            && own.st_dev == there.st_dev
    }

    package static func reading(_ url: URL) throws(RunError) -> PosixFile {
        try PosixFile(path: url.path, flags: O_RDONLY, action: "read")
    }

    /// Opens for reading what is a file on a disk: a pipe would wait for its writer, a device may never end.
    ///
    /// - Throws: ``RunError/folder(path:message:)`` for anything else, saying what it is.
    package static func regular(_ url: URL) throws(RunError) -> PosixFile {
        let file = try PosixFile(path: url.path, flags: O_RDONLY | O_NONBLOCK, action: "read")
        var status = stat()
        guard fstat(file.descriptor, &status) == 0 else { throw .system(action: "read", path: url.path, code: errno) }
        let kind: String
        switch status.st_mode & S_IFMT {
        case S_IFREG: return file
        case S_IFDIR: throw .system(action: "read", path: url.path, code: EISDIR)
        case S_IFIFO: kind = "a pipe"
        case S_IFSOCK: kind = "a socket"
        default: kind = "a device"
        }
        throw .folder(path: url.path, message: "not a regular file but \(kind); write what it gives to a file first")
    }

    /// The whole of a regular file.
    ///
    /// - Parameter limit: The most bytes it may have.
    /// - Throws: ``RunError``, as ``regular(_:)`` does, and for a file beyond the limit.
    package static func contents(of url: URL, atMost limit: Int) throws(RunError) -> [UInt8] {
        let file = try regular(url)
        let count = try file.byteCount()
        guard count <= limit else {
            throw .folder(path: url.path, message: "\(count) bytes; at most \(limit) are read from such a file")
        }
        return try file.bytes(at: 0, count: count)
    }

    /// Opens for writing behind the end, making the file when it is missing.
    package static func appending(_ url: URL) throws(RunError) -> PosixFile {
        try PosixFile(path: url.path, flags: O_RDWR | O_CREAT | O_APPEND, action: "write")
    }

    /// Opens a new file for writing, or empties the one that is there.
    package static func creating(_ url: URL) throws(RunError) -> PosixFile {
        try PosixFile(path: url.path, flags: O_WRONLY | O_CREAT | O_TRUNC, action: "write")
    }

    /// Opens what is there, to be written behind its end: a device, a pipe, the file of a stream.
    static func existing(_ url: URL) throws(RunError) -> PosixFile {
        try PosixFile(path: url.path, flags: O_WRONLY | O_APPEND, action: "write")
    }

    /// Opens without emptying, for a lock file.
    static func keeping(_ url: URL) throws(RunError) -> PosixFile {
        try PosixFile(path: url.path, flags: O_RDWR | O_CREAT, action: "open")
    }

    /// A new file without a name in `folder`, for its owner's eyes only; it goes with the last reference.
    ///
    /// - Parameter path: What messages call it: the file it stands for.
    package static func unnamed(in folder: URL, standingFor path: String) throws(RunError) -> PosixFile {
        let url = folder.appending(path: "plumbline-\(UUID().uuidString)")
        let opened = open(url.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard opened >= 0 else { throw .system(action: "make a temporary file in", path: folder.path, code: errno) }
        let file = PosixFile(path: path, descriptor: opened)
        guard unlink(url.path) == 0 else { throw .system(action: "unlink", path: url.path, code: errno) }
        return file
    }

    /// The size in bytes.
    package func byteCount() throws(RunError) -> Int {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .system(action: "read", path: path, code: errno) }
        return Int(status.st_size)
    }

    /// Fills as much of `buffer` as the file has from `offset` on; returns the bytes read, 0 at the end.
    ///
    /// A pipe has no offsets: it gives its next bytes, so it must be read from front to back.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(RunError) -> Int {
        var filled = 0
        while filled < buffer.count {
            let (target, room) = (buffer.baseAddress! + filled, buffer.count - filled)
            var got = pread(descriptor, target, room, off_t(offset + filled))
            if got < 0 && errno == ESPIPE { got = systemRead(descriptor, target, room) }
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else { throw .system(action: "read", path: path, code: errno) }
            if got == 0 { break }
            filled += got
        }
        return filled
    }

    /// `count` bytes from `offset` on; fewer when the file ends before.
    package func bytes(at offset: Int, count: Int) throws(RunError) -> [UInt8] {
        var failure: RunError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            do throws(RunError) {
                filled = try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Writes all of `bytes` at the file's position (at its end when appending).
    package func write(_ bytes: some Sequence<UInt8>) throws(RunError) {
        let bytes = Array(bytes)
        var written = 0
        while written < bytes.count {
            let put = bytes.withUnsafeBytes { buffer in
                #if canImport(Glibc)
                Glibc.write(descriptor, buffer.baseAddress! + written, buffer.count - written)
                #else
                Darwin.write(descriptor, buffer.baseAddress! + written, buffer.count - written)
                #endif
            }
            if put < 0 && errno == EINTR { continue }
            guard put >= 0 else { throw .system(action: "write", path: path, code: errno) }
            written += put
        }
    }

    /// Cuts the file to `count` bytes.
    package func truncate(to count: Int) throws(RunError) {
        guard ftruncate(descriptor, off_t(count)) == 0 else {
            throw .system(action: "shorten", path: path, code: errno)
        }
    }

    /// Returns once the bytes are on the disk.
    package func synchronize() throws(RunError) {
        while fsync(descriptor) != 0 {
            if errno != EINTR { throw .system(action: "flush", path: path, code: errno) }
        }
    }
}

/// The system's `read`, which the method of the same name hides.
private func systemRead(_ descriptor: Int32, _ target: UnsafeMutableRawPointer, _ count: Int) -> Int {
    read(descriptor, target, count)
}
