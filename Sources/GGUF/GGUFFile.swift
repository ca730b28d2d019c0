package import Foundation

/// A GGUF file, open for reading: the form in which llama.cpp keeps a model with its tokenizer.
///
/// The form, little-endian throughout: the four letters `GGUF`, a version, the numbers of tensors and of metadata
/// entries; the entries; each tensor's name, sizes, type and offset; then the tensors, each at a multiple of the
/// alignment. The file is mapped into memory, so that only the tensors asked for are read. Everything it claims is
/// checked on opening, before any tensor is read. What cannot be guarded against: a file that another process cuts
/// short while it is open ends this process on the next read (SIGBUS).
package struct GGUFFile: Sendable {
    package let path: String
    package let metadata: GGUFMetadata
    /// In the order of their bytes.
    package let tensors: [GGUFTensor]
    private let content: Data

    /// Whether a path leads to a GGUF file: by the ending of its name, or its first four bytes.
    ///
    /// - Throws: ``GGUFError`` when only its bytes could tell and they cannot be read.
    package static func isOne(_ url: URL) throws(GGUFError) -> Bool {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder), !isFolder.boolValue else {
            return false
        }
        if url.pathExtension.lowercased() == "gguf" { return true }
        return try beginsAsOne(url)
    }

    private static func beginsAsOne(_ url: URL) throws(GGUFError) -> Bool {
        guard isRegular(url) else { return false }
        guard let file = fopen(url.path, "rb") else { throw unreadable(url, errno) }
        defer { fclose(file) }
        var start = [UInt8](repeating: 0, count: magic.count)
        let count = fread(&start, 1, start.count, file)
        guard ferror(file) == 0 else { throw unreadable(url, errno) }
        return count == magic.count && start == magic
    }

    private static func unreadable(_ url: URL, _ code: Int32) -> GGUFError {
        GGUFError(path: url.path, message: "cannot be read: \(String(cString: strerror(code)))")
    }

    /// A pipe would wait for its writer, a device may never end.
    private static func isRegular(_ url: URL) -> Bool {
        let target = url.resolvingSymlinksInPath().path
        let type = (try? FileManager.default.attributesOfItem(atPath: target))?[.type] as? FileAttributeType
        return type == .typeRegular
    }

    /// - Throws: ``GGUFError`` when the file cannot be read or is no sound GGUF file, saying what was found and what
    ///   would be right.
    package init(url: URL) throws(GGUFError) {
        guard Self.isRegular(url) else {
            let isThere = FileManager.default.fileExists(atPath: url.path)
            throw GGUFError(path: url.path, message: isThere ? "not a regular file" : "no such file")
        }
        let content: Data
        do {
            content = try Data(contentsOf: url, options: .alwaysMapped)
        } catch {
            throw GGUFError(path: url.path, message: "cannot be read: \(error.localizedDescription)")
        }
        try self.init(content, path: url.path)
    }

    /// Reads the bytes of a GGUF file.
    ///
    /// - Parameter path: Where they come from, for messages.
    package init(_ content: Data, path: String) throws(GGUFError) {
        let read = content.withUnsafeBytes { bytes in
            Result { () throws(GGUFProblem) in try GGUFHeader(bytes) }
        }
        let header: GGUFHeader
        do {
            header = try read.get()
        } catch {
            throw GGUFError(path: path, message: error.message)
        }
        self.path = path
        self.content = content
        metadata = GGUFMetadata(path: path, values: header.values)
        tensors = header.tensors
        let parts = try metadata.integer("split.count") ?? 1
        guard parts <= 1 else {
            throw GGUFError(
                path: path,
                message: "is one of \(parts) parts of a model; join them into one file (llama-gguf-split --merge)")
        }
    }

    /// Lends the bytes of a tensor, whole blocks in row-major order. Not to be kept after `body`.
    package func withBytes<Result>(
        of tensor: GGUFTensor, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result {
        try content.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[tensor.bytes])) }
    }

    /// What a GGUF file begins with.
    static let magic: [UInt8] = Array("GGUF".utf8)
}

/// One tensor of a GGUF file.
package struct GGUFTensor: Sendable, Equatable {
    package let name: String
    /// The outermost axis first, as everywhere here; the file itself has the innermost first.
    package let shape: [Int]
    package let type: GGUFTensorType
    /// Its bytes within the file.
    package let bytes: Range<Int>

    package var count: Int { shape.reduce(1, *) }
}
