internal import CTorch
package import Foundation
import JSON

/// Writes a safetensors file, one tensor at a time: the header first, then the elements in the order they were
/// announced.
///
/// Nothing is kept in memory but one tensor. The file is not sound before ``finish()``; write it beside its final name.
package final class TensorFileWriter {
    /// What will be written.
    package struct Announcement: Sendable, Equatable {
        package var name: String
        package var type: ElementType
        package var shape: [Int]

        package init(name: String, type: ElementType, shape: [Int]) {
            self.name = name
            self.type = type
            self.shape = shape
        }

        var byteCount: Int { shape.reduce(type.byteCount, *) }
    }

    private let path: String
    private let descriptor: Int32
    private var isOpen = true
    private var pending: ArraySlice<Announcement>

    /// Creates the file, or empties it, and writes the header: `__metadata__` with `format: pt`, as transformers asks
    /// for.
    /// - Throws: ``TensorError/file(path:message:)`` when names repeat, ``TensorError/system(action:path:code:)`` when
    ///   the file cannot be written.
    package init(url: URL, announcing tensors: [Announcement]) throws(TensorError) {
        path = url.path
        var names: Set<String> = ["__metadata__"]
        for tensor in tensors where !names.insert(tensor.name).inserted {
            throw .file(path: url.path, message: "tensor \(tensor.name) is announced twice")
        }
        pending = tensors[...]
        descriptor = open(url.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw .system(action: "write", path: url.path, code: errno) }
        let header = Self.header(of: tensors)
        var failure: TensorError?
        header.withUnsafeBytes { bytes in
            do throws(TensorError) { try write(bytes) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    deinit { if isOpen { close(descriptor) } }

    private func write(_ bytes: UnsafeRawBufferPointer) throws(TensorError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = Foundation.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
            if written < 0, errno == EINTR { continue }
            guard written >= 0 else { throw .system(action: "write", path: path, code: errno) }
            rest = rest.dropFirst(written)
        }
    }

    /// Bytes that `tensors` take in a file, header included.
    package static func byteCount(of tensors: [Announcement]) -> Int {
        header(of: tensors).count + tensors.reduce(0) { $0 + $1.byteCount }
    }

    /// The length and the JSON, filled with spaces so that elements stand as aligned as in memory of libtorch's own: some
    /// products of mapped weights would else round differently.
    private static func header(of tensors: [Announcement]) -> Data {
        var members = [JSONValue.Member("__metadata__", .object(["format": "pt"]))]
        var offset = 0
        for tensor in tensors {
            let end = offset + tensor.byteCount
            members.append(
                .init(
                    tensor.name,
                    .object([
                        "dtype": .string(tensor.type.name), "shape": .array(tensor.shape.map { .number($0) }),
                        "data_offsets": [.number(offset), .number(end)],
                    ])))
            offset = end
        }
        var text = JSONValue.object(members).serializedBytes(.compact)
        text += repeatElement(0x20, count: (64 - (8 + text.count) % 64) % 64)
        return withUnsafeBytes(of: UInt64(text.count).littleEndian) { Data($0) } + text
    }

    /// Writes the next tensor, converted to its announced type.
    /// - Throws: ``TensorError/file(path:message:)`` when it is not the tensor whose turn it is,
    ///   ``TensorError/system(action:path:code:)`` when the disk refuses.
    package func write(_ tensor: Tensor, named name: String) throws(TensorError) {
        guard let next = pending.first, next.name == name, next.shape == tensor.shape else {
            let expected = pending.first.map { "\($0.name) \($0.shape)" } ?? "no further tensor"
            throw .file(path: path, message: "tensor \(name) \(tensor.shape) was written, expected \(expected)")
        }
        let source = try tensor.detached().to(.cpu).to(next.type).contiguous()
        var start: UnsafeMutableRawPointer?
        try Tensor.check("writing \(name)", ctorch_pointer(source.raw, &start))
        if let start { try write(UnsafeRawBufferPointer(start: start, count: next.byteCount)) }
        withExtendedLifetime(source) {}
        pending = pending.dropFirst()
    }

    /// Puts what is written so far on the disk while the caller's thread is free, for that may take as long as all writing.
    /// It leaves ``finish()`` little to do.
    /// - Throws: ``TensorError/system(action:path:code:)`` when the disk refuses.
    package func flush(isolation: isolated (any Actor)? = #isolation) async throws(TensorError) {
        let descriptor = descriptor
        let code = await withCheckedContinuation { (continuation: CheckedContinuation<Int32, Never>) in
            Thread.detachNewThread {
                var code: Int32 = 0
                repeat { code = fsync(descriptor) == 0 ? 0 : errno } while code == EINTR
                continuation.resume(returning: code)
            }
        }
        guard code == 0 else { throw .system(action: "flush", path: path, code: code) }
    }

    /// Puts the file on the disk and closes it.
    /// - Throws: ``TensorError/file(path:message:)`` when a tensor was announced and not written,
    ///   ``TensorError/system(action:path:code:)`` when the disk refuses.
    package func finish() throws(TensorError) {
        if let missing = pending.first {
            throw .file(path: path, message: "tensor \(missing.name) was announced and not written")
        }
        while fsync(descriptor) != 0 {
            if errno != EINTR { throw .system(action: "flush", path: path, code: errno) }
        }
        isOpen = false
        guard close(descriptor) == 0 else { throw .system(action: "close", path: path, code: errno) }
    }
}
