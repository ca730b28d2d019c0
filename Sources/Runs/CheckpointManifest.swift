package import Foundation
import JSON

/// The list of a checkpoint's files with sizes and digests: `manifest.json`, written last.
package struct CheckpointManifest: Sendable, Equatable {
    package static let fileName = "manifest.json"
    static let format = "plumbline-checkpoint"
    static let version = 1

    package struct File: Sendable, Equatable {
        /// Relative to the checkpoint folder, parts joined by `/`.
        package let path: String
        package let byteCount: Int
        /// SHA-256, 64 lower-case hexadecimal digits.
        package let digest: String
    }

    package let step: Int
    /// By path.
    package let files: [File]
    /// SHA-256 of the plan that the run carries out; `nil` without one.
    package let planHash: String?

    /// Hashes every file under `folder`, flushing each (and the folders that hold them) to the disk.
    static func sealing(
        _ folder: URL, step: Int, planHash: String? = nil, _ operations: FileOperations
    ) throws(RunError) -> CheckpointManifest {
        var files: [File] = []
        try visit(folder, prefix: "", operations, &files)
        guard !files.isEmpty else { throw .folder(path: folder.path, message: "a checkpoint without files") }
        return CheckpointManifest(step: step, files: files.sorted { $0.path < $1.path }, planHash: planHash)
    }

    private static func visit(
        _ folder: URL, prefix: String, _ operations: FileOperations, _ files: inout [File]
    ) throws(RunError) {
        for entry in try FolderEntry.list(folder) {
            let path = prefix + entry.url.lastPathComponent
            switch entry.kind {
            case .folder: try visit(entry.url, prefix: path + "/", operations, &files)
            case .file:
                try operations.synchronize(entry.url)
                let (hex, byteCount) = try SHA256.file(entry.url)
                files.append(File(path: path, byteCount: byteCount, digest: hex))
            case .other:
                throw .folder(path: entry.url.path, message: "a checkpoint holds plain files only, no links")
            }
        }
        try operations.synchronize(folder)
    }

    var json: JSONValue {
        .object(
            [
                .init("format", .string(Self.format)), .init("version", .number(Self.version)),
                .init("step", .number(step)),
            ] + (planHash.map { [.init("plan_hash", .string($0))] } ?? []) + [
                .init(
                    "files",
                    .array(
                        files.map { file in
                            .object([
                                "path": .string(file.path), "bytes": .number(file.byteCount),
                                "sha256": .string(file.digest),
                            ])
                        }))
            ])
    }

    init(step: Int, files: [File], planHash: String? = nil) {
        self.step = step
        self.files = files
        self.planHash = planHash
    }

    /// Reads `manifest.json` of `folder`; `nil` when there is none.
    package init?(readingFrom folder: URL) throws(RunError) {
        let url = folder.appending(path: Self.fileName)
        guard let entry = try FolderEntry(url) else { return nil }
        guard entry.kind == .file, entry.byteCount <= 64 << 20 else {
            throw .folder(path: url.path, message: "no manifest: not a plain file of sane size")
        }
        let bytes = try PosixFile.regular(url).bytes(at: 0, count: entry.byteCount)
        let json: JSONValue
        do {
            json = try JSONValue(parsing: bytes)
        } catch {
            throw .json(path: url.path, error)
        }
        try self.init(json, path: url.path)
    }

    private init(_ json: JSONValue, path: String) throws(RunError) {
        func wrong(_ message: String) -> RunError { .folder(path: path, message: message) }
        guard json["format"]?.string == Self.format else { throw wrong("format is not \"\(Self.format)\"") }
        guard let version = json["version"]?.int, version == Self.version else {
            throw wrong(
                "version \(json["version"]?.serialized ?? "missing") of the format; this build reads \(Self.version)")
        }
        guard let step = json["step"]?.int, step >= 0 else { throw wrong("step is no whole number from 0 on") }
        guard let list = json["files"]?.elements else { throw wrong("files is no array") }
        var files: [File] = []
        for (index, entry) in list.enumerated() {
            guard let file = entry["path"]?.string, Self.staysInside(file) else {
                throw wrong("files[\(index)].path is missing or leaves the folder")
            }
            guard let bytes = entry["bytes"]?.int, bytes >= 0, let digest = entry["sha256"]?.string,
                digest.utf8.count == 64
            else { throw wrong("files[\(index)] (\(file)) lacks a size or a digest of 64 digits") }
            files.append(File(path: file, byteCount: bytes, digest: digest))
        }
        self.init(step: step, files: files, planHash: json["plan_hash"]?.string)
    }

    private static func staysInside(_ path: String) -> Bool {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        return parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }
}
