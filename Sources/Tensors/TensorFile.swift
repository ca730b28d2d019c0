internal import CTorch
package import Foundation

/// A safetensors file, open for reading.
///
/// The file is mapped into memory, so that only the tensors asked for are read. Its whole header is checked on opening;
/// a damaged or hostile file is an error and no tensor is made. What cannot be guarded: a file that another process
/// cuts short while it is open ends this process on the next read (SIGBUS); checkpoints are replaced by renaming, never
/// by writing into them.
package final class TensorFile: Sendable {
    package let path: String
    /// Free text pairs of the header, usually `format: pt`.
    package let metadata: [String: String]
    /// In the order of their bytes.
    package let names: [String]
    private let entries: [String: TensorFileHeader.Entry]
    private let mapping: FileMapping
    private let elementStart: Int

    /// - Throws: ``TensorError/file(path:message:)`` when the file cannot be read or is not a sound safetensors file.
    package init(url: URL) throws(TensorError) {
        path = url.path
        mapping = try FileMapping(path: url.path)
        let bytes = mapping.bytes
        guard bytes.count >= 8 else {
            throw .file(path: path, message: "\(bytes.count) bytes, a safetensors file has at least 8")
        }
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(TensorFileHeader.longestHeader) else {
            throw .file(
                path: path,
                message:
                    "its first 8 bytes claim a header of \(length) bytes, at most \(TensorFileHeader.longestHeader)")
        }
        guard Int(length) <= bytes.count - 8 else {
            throw .file(
                path: path, message: "its header should have \(length) bytes, the file ends after \(bytes.count - 8)")
        }
        elementStart = 8 + Int(length)
        let header: TensorFileHeader
        do {
            header = try TensorFileHeader(
                text: UnsafeRawBufferPointer(rebasing: bytes[8..<elementStart]), byteCount: bytes.count - elementStart)
        } catch {
            throw .file(path: path, message: error.message)
        }
        metadata = header.metadata
        names = header.entries.map(\.name)
        entries = Dictionary(uniqueKeysWithValues: header.entries.map { ($0.name, $0) })
    }

    /// The shape of a tensor, nil when the file has none of this name.
    package func shape(of name: String) -> [Int]? { entries[name]?.shape }

    /// The element type of a tensor as the file spells it (`BF16`), nil when the file has none of this name.
    package func typeName(of name: String) -> String? { entries[name]?.typeName }

    /// Reads one tensor: a copy of its own, in the file's element type.
    /// - Throws: ``TensorError/file(path:message:)`` when there is none of this name or its element type cannot be
    ///   held.
    package func tensor(named name: String, device: Device = .cpu) throws(TensorError) -> Tensor {
        guard let entry = entries[name] else { throw .file(path: path, message: "no tensor is named \(name)") }
        guard let type = ElementType(name: entry.typeName) else {
            throw .file(
                path: path,
                message: "tensor \(name) has element type \(entry.typeName); supported are "
                    + ElementType.allCases.map(\.name).joined(separator: ", "))
        }
        let start = elementStart + entry.bytes.lowerBound
        let count = entry.bytes.count / type.byteCount
        let elements = mapping.bytes.baseAddress.map { $0 + start }
        return try Tensor.make("reading \(name)") { out in
            ctorch_from_values(elements, count, type.code, entry.shape, entry.shape.count, device.code, out)
        }
    }
}

/// A file's bytes, mapped read-only until the object goes.
final class FileMapping: @unchecked Sendable {  // the bytes are never written
    let bytes: UnsafeRawBufferPointer

    init(path: String) throws(TensorError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)  // a pipe would wait for its writer
        guard descriptor >= 0 else { throw .file(path: path, message: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw .file(path: path, message: String(cString: strerror(errno)))
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw .file(path: path, message: "not a regular file") }
        let count = Int(status.st_size)
        guard count > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let start = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
            throw .file(path: path, message: String(cString: strerror(errno)))
        }
        bytes = UnsafeRawBufferPointer(start: start, count: count)
    }

    deinit {
        if let start = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: start), bytes.count) }
    }
}
