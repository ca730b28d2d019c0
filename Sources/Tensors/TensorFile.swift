internal import CTorch
package import Foundation

/// A safetensors file, open for reading.
///
/// The file is mapped into memory, so that only the tensors asked for are read. Its whole header is checked on opening;
/// a damaged or hostile file is an error and no tensor is made. What cannot be guarded: a file that another process
/// cuts short while it is open, or while a tensor over its pages lives, ends this process on the next read (SIGBUS);
/// checkpoints are replaced by renaming, never by writing into them.
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

    /// Reads one tensor: a copy of its own, in the file's element type. Its pages of the file do not stay in memory beside
    /// it, so that whoever reads one tensor after another holds no more than these.
    /// - Throws: ``TensorError/file(path:message:)`` when there is none of this name or its element type cannot be
    ///   held.
    package func tensor(named name: String, device: Device = .cpu) throws(TensorError) -> Tensor {
        let (elements, count, type, shape) = try elements(of: name)
        let tensor = try Tensor.make("reading \(name)") { out in
            ctorch_from_values(elements, count, type.code, shape, shape.count, device.code, out)
        }
        if let elements { mapping.dropPages(UnsafeRawBufferPointer(start: elements, count: count * type.byteCount)) }
        return tensor
    }

    /// One tensor over the file's own pages, in the file's element type: they are the system's, which reads them when
    /// they are touched and may drop them at any time. Nothing may write it. The file stays mapped as long as it lives.
    ///
    /// - Throws: ``TensorError/file(path:message:)`` as ``tensor(named:device:)``, or where ``canMap(_:)`` is false.
    package func mappedTensor(named name: String) throws(TensorError) -> Tensor {
        let (elements, count, type, shape) = try elements(of: name)
        guard canMap(name) else { throw .file(path: path, message: "tensor \(name) is not aligned to its elements") }
        let owner = Unmanaged.passRetained(mapping).toOpaque()
        return try Tensor.make("mapping \(name)") { out in
            ctorch_from_memory(
                elements, count, type.code, shape, shape.count, owner,
                { $0.map { Unmanaged<FileMapping>.fromOpaque($0).release() } }, out)
        }
    }

    /// Whether a tensor's elements stand where the processor may read them.
    package func canMap(_ name: String) -> Bool {
        guard let (elements, _, type, _) = try? elements(of: name) else { return false }
        return Int(bitPattern: elements).isMultiple(of: type.byteCount)
    }

    /// Gives back the pages that are in memory, tensors over them included: the next to touch one has it read again.
    package func dropPages() { mapping.dropPages(mapping.bytes) }

    /// Whether a tensor is another one of the same or another file: of its element type and shape, with the same bytes.
    /// Little of the two is in memory at a time.
    func holds(_ name: String, equalTo other: String, in file: TensorFile) -> Bool {
        guard let one = entries[name], let two = file.entries[other], one.typeName == two.typeName,
            one.shape == two.shape
        else { return false }
        let length = 1 << 24
        for start in stride(from: 0, to: one.bytes.count, by: length) {
            let count = min(length, one.bytes.count - start)
            let (left, right) = (part(of: one, start, count), file.part(of: two, start, count))
            defer {
                mapping.dropPages(left)
                file.mapping.dropPages(right)
            }
            guard let first = left.baseAddress, let second = right.baseAddress, memcmp(first, second, count) == 0 else {
                return false
            }
        }
        return true
    }

    private func part(of entry: TensorFileHeader.Entry, _ start: Int, _ count: Int) -> UnsafeRawBufferPointer {
        let first = elementStart + entry.bytes.lowerBound + start
        return UnsafeRawBufferPointer(rebasing: mapping.bytes[first..<first + count])
    }

    private func elements(
        of name: String
    ) throws(TensorError) -> (start: UnsafeRawPointer?, count: Int, type: ElementType, shape: [Int]) {
        guard let entry = entries[name] else { throw .file(path: path, message: "no tensor is named \(name)") }
        guard let type = ElementType(name: entry.typeName) else {
            throw .file(
                path: path,
                message: "tensor \(name) has element type \(entry.typeName); supported are "
                    + ElementType.allCases.map(\.name).joined(separator: ", "))
        }
        let start = mapping.bytes.baseAddress.map { $0 + elementStart + entry.bytes.lowerBound }
        return (start, entry.bytes.count / type.byteCount, type, entry.shape)
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

    /// What is read only has nothing to lose: it is the file's again.
    ///
    /// - Parameter part: Of ``bytes``; whole pages go, with what stands beside it on the first and the last.
    func dropPages(_ part: UnsafeRawBufferPointer) {
        guard let start = part.baseAddress else { return }
        let before = Int(bitPattern: start) % Int(sysconf(Int32(_SC_PAGESIZE)))
        madvise(UnsafeMutableRawPointer(mutating: start - before), part.count + before, MADV_DONTNEED)
    }

    deinit {
        if let start = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: start), bytes.count) }
    }
}
