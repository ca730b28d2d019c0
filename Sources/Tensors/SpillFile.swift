internal import CTorch
package import Foundation

/// Memory whose pages lie in a file: tensors over it are read and written as any others, and what is dropped of them is
/// in the file until it is touched again.
///
/// The file has no name in its folder, so that nothing is left of it whatever ends the process. Its room is taken when it
/// is made: a disk that is full says so then, and not in the middle of a step.
package final class SpillFile {
    private let descriptor: Int32
    private let bytes: UnsafeMutableRawBufferPointer
    /// The folder that has the file.
    package let folder: URL
    /// Bytes that tensors lie over.
    private var used = 0

    /// Each tensor begins at a multiple of this, as the engine's own do.
    private static let alignment = 64

    /// What ``tensor(_:_:)`` takes of a file for so many bytes.
    package static func room(for byteCount: Int) -> Int { (byteCount + alignment - 1) / alignment * alignment }

    /// - Parameters:
    ///   - folder: Is there, and can be written.
    ///   - byteCount: At least 1: the sum of the tensors' ``room(for:)``.
    /// - Throws: ``TensorError/file(path:message:)`` where the folder cannot be written or has no room.
    package init(in folder: URL, byteCount: Int) throws(TensorError) {
        self.folder = folder
        func refusal(_ what: String) -> TensorError {
            .file(path: folder.path, message: "\(what): \(String(cString: strerror(errno)))")
        }
        var status = statvfs()
        guard statvfs(folder.path, &status) == 0 else { throw refusal("no file for \(byteCount) bytes can be made") }
        let free = Int(min(Double(status.f_bavail) * Double(status.f_frsize), 0x1p62))
        guard free >= byteCount else {
            throw .file(path: folder.path, message: "\(byteCount) bytes do not fit: \(free) are free")
        }
        let name = folder.appending(path: ".spill-\(UUID().uuidString)").path
        let descriptor = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw refusal("no file can be made") }
        unlink(name)
        // Takes the room; zeros are read from where nothing was written.
        errno = posix_fallocate(descriptor, 0, byteCount)
        guard errno == 0 else {
            let error = refusal("\(byteCount) bytes do not fit")
            close(descriptor)
            throw error
        }
        guard let start = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), start != MAP_FAILED
        else {
            let error = refusal("\(byteCount) bytes cannot be mapped")
            close(descriptor)
            throw error
        }
        self.descriptor = descriptor
        bytes = UnsafeMutableRawBufferPointer(start: start, count: byteCount)
    }

    /// Zeros on the CPU, over the next bytes of the file, which lives as long as they do.
    ///
    /// - Throws: ``TensorError/file(path:message:)`` where the file is too short for it.
    package func tensor(_ shape: [Int], _ type: ElementType) throws(TensorError) -> Tensor {
        let count = shape.reduce(1, *)
        let end = used + Self.room(for: count * type.byteCount)
        guard end <= bytes.count else {
            throw .file(path: folder.path, message: "a file of \(bytes.count) bytes has no room for \(end)")
        }
        let start = bytes.baseAddress! + used
        used = end
        let owner = Unmanaged.passRetained(self).toOpaque()
        return try Tensor.make("tensor over a file") { out in
            ctorch_from_memory(
                start, count, type.code, shape, shape.count, owner,
                { $0.map { Unmanaged<SpillFile>.fromOpaque($0).release() } }, out)
        }
    }

    /// Lets go of the pages that this process holds. The system writes them in its own time, and may have them in memory
    /// until ``write()``.
    package func drop() { madvise(bytes.baseAddress, bytes.count, MADV_DONTNEED) }

    /// Writes what has changed, and has the system let go of it, too.
    ///
    /// - Throws: ``TensorError/file(path:message:)`` where the disk fails: what was written since the last call may be
    ///   lost.
    package func write() throws(TensorError) {
        guard msync(bytes.baseAddress, bytes.count, MS_SYNC) == 0 else {
            throw .file(path: folder.path, message: "cannot be written: \(String(cString: strerror(errno)))")
        }
        drop()
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
    }

    deinit {
        munmap(bytes.baseAddress, bytes.count)
        close(descriptor)
    }
}
