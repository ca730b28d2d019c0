package import Foundation

/// A GGUF file, open for reading: the form in which llama.cpp keeps a model with its tokenizer.
///
/// The form, little-endian throughout: the four letters `GGUF`, a version, the numbers of tensors and of metadata
/// entries; the entries; each tensor's name, sizes, type and offset; then the tensors, each at a multiple of the
/// alignment. The file is mapped into memory, so that only the tensors asked for are read. Everything it claims is
/// checked on opening, before any tensor is read. What cannot be guarded against: a file that another process cuts
/// short while it is open ends this process on the next read (SIGBUS).
///
/// A model in several parts, as llama-gguf-split makes them, is opened by the first of them; see ``GGUFPartName``.
package struct GGUFFile: Sendable {
    package let path: String
    package let metadata: GGUFMetadata
    /// In the order of their bytes, part by part.
    package private(set) var tensors: [GGUFTensor]
    /// The bytes of the file, and of the parts that follow it.
    private var contents: [Data]

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

    /// Opens a file, and the parts that follow it where it is the first of several.
    ///
    /// - Throws: ``GGUFError`` when a file cannot be read or is no sound GGUF file, or parts do not belong together,
    ///   saying what was found and what would be right.
    package init(url: URL) throws(GGUFError) {
        try self.init(partAt: url)
        guard let parts = try partCount else { return }
        let name = try GGUFPartName(ofFirst: url, parts, number: metadata.integer("split.no"))
        for number in 2...parts {
            let other = url.deletingLastPathComponent().appending(path: name.file(number))
            guard FileManager.default.fileExists(atPath: other.path) else {
                throw GGUFError(
                    path: path,
                    message: "is part 1 of \(parts) of a model, and part \(number) is missing: "
                        + "expected \(name.file(number)) beside it")
            }
            try join(GGUFFile(partAt: other), number: number)
        }
        let claimed = try metadata.integer("split.tensors.count")
        guard claimed == nil || claimed == tensors.count else {
            throw GGUFError(
                path: path,
                message: "split.tensors.count is \(claimed ?? 0), and its \(parts) parts hold "
                    + "\(tensors.count) tensors; expected the parts of one model, load them again")
        }
    }

    private init(partAt url: URL) throws(GGUFError) {
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
        try self.init(part: content, path: url.path)
    }

    /// Reads the bytes of a whole GGUF file.
    ///
    /// - Parameter path: Where they come from, for messages.
    package init(_ content: Data, path: String) throws(GGUFError) {
        try self.init(part: content, path: path)
        if let parts = try partCount {
            throw GGUFError(path: path, message: "is one of \(parts) parts of a model; expected a whole one")
        }
    }

    private init(part content: Data, path: String) throws(GGUFError) {
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
        contents = [content]
        metadata = GGUFMetadata(path: path, values: header.values)
        tensors = header.tensors
    }

    /// Of how many parts it is one; `nil` for a whole model.
    private var partCount: Int? {
        get throws(GGUFError) {
            let parts = try metadata.integer("split.count") ?? 1
            guard parts <= GGUFPartName.most else {
                throw GGUFError(
                    path: path, message: "split.count is \(parts); expected at most \(GGUFPartName.most)")
            }
            return parts > 1 ? parts : nil
        }
    }

    /// Adds the tensors of a part that follows.
    ///
    /// - Throws: ``GGUFError`` when it is another part than its name says, or one of another model: what it states
    ///   besides its number has to be what the first part states, and no tensor may stand in two.
    private mutating func join(_ part: GGUFFile, number: Int) throws(GGUFError) {
        let found = try part.metadata.integer("split.no")
        guard found == number - 1 else {
            throw GGUFError(
                path: part.path,
                message:
                    "split.no is \(found.map(String.init) ?? "not there"); expected \(number - 1), as its name says")
        }
        for key in ["split.count"] + part.metadata.keys where key != "split.no" {
            let (own, others) = (metadata[key], part.metadata[key])
            guard own == others else {
                throw GGUFError(
                    path: part.path,
                    message:
                        "\(key) is \(others?.kind ?? "not there"), in \(path) \(own?.kind ?? "not there"); expected "
                        + "the parts of one model")
            }
        }
        let names = Set(tensors.map(\.name))
        if let twice = part.tensors.first(where: { names.contains($0.name) }) {
            throw GGUFError(
                path: part.path,
                message: "tensor \(twice.name) stands in an earlier part, too; expected the parts of one model")
        }
        tensors += part.tensors.map { tensor in
            var tensor = tensor
            tensor.part = contents.count
            return tensor
        }
        contents += part.contents
    }

    /// Lends the bytes of a tensor, whole blocks in row-major order. Not to be kept after `body`.
    package func withBytes<Result>(
        of tensor: GGUFTensor, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result {
        try contents[tensor.part].withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[tensor.bytes])) }
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
    /// Its bytes within its part of the file.
    package let bytes: Range<Int>
    /// The number of that part, from 0.
    package fileprivate(set) var part = 0

    package var count: Int { shape.reduce(1, *) }
}

/// The name of one part of a model, as llama-gguf-split and the Hub spell it: `model-00001-of-00003.gguf`.
package struct GGUFPartName: Sendable, Equatable {
    package let prefix: String
    /// From 1.
    package let number: Int
    package let count: Int

    /// llama.cpp writes numbers of five digits.
    static let most = 99_999

    /// - Returns: `nil` for another name.
    package init?(_ file: String) {
        guard let match = file.wholeMatch(of: /(.+)-([0-9]{5})-of-([0-9]{5})\.gguf/.ignoresCase()),
            let number = Int(match.2), let count = Int(match.3), (1...max(count, 1)).contains(number)
        else { return nil }
        (prefix, self.number, self.count) = (String(match.1), number, count)
    }

    /// The name of a file that is to be the first of several parts.
    ///
    /// - Parameter number: What the file says its number is, from 0.
    fileprivate init(ofFirst url: URL, _ parts: Int, number: Int?) throws(GGUFError) {
        let form = "-00001-of-\(Self.digits(parts)).gguf"
        guard let name = GGUFPartName(url.lastPathComponent), name.count == parts else {
            throw GGUFError(
                path: url.path,
                message:
                    "is one of \(parts) parts of a model, which are found by their names; expected one that ends in "
                    + form)
        }
        guard name.number == 1, number == 0 else {
            throw GGUFError(
                path: url.path,
                message: name.number == 1
                    ? "split.no is \(number.map(String.init) ?? "not there"); expected 0, as its name says"
                    : "is part \(name.number) of \(parts) of a model; name the first, \(name.file(1))")
        }
        self = name
    }

    /// The name of another part, from 1.
    package func file(_ number: Int) -> String {
        "\(prefix)-\(Self.digits(number))-of-\(Self.digits(count)).gguf"
    }

    private static func digits(_ number: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, 5 - text.count)) + text
    }
}
