package import Foundation

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The steps of which an atomic save is made. They are a value so that a test can let any one of them fail.
package struct FileOperations: Sendable {
    /// Makes a folder and the missing ones above it.
    package var createFolder: @Sendable (URL) throws(RunError) -> Void
    /// Writes a file and returns once it is on the disk.
    package var writeFile: @Sendable ([UInt8], URL) throws(RunError) -> Void
    /// Returns once a file, or the list of names in a folder, is on the disk.
    package var synchronize: @Sendable (URL) throws(RunError) -> Void
    /// Renames; a plain file at the destination is replaced in one step.
    package var rename: @Sendable (URL, URL) throws(RunError) -> Void
    /// Removes a file or a folder with all it holds; a missing one is no error.
    package var remove: @Sendable (URL) throws(RunError) -> Void

    package init(
        createFolder: @escaping @Sendable (URL) throws(RunError) -> Void,
        writeFile: @escaping @Sendable ([UInt8], URL) throws(RunError) -> Void,
        synchronize: @escaping @Sendable (URL) throws(RunError) -> Void,
        rename: @escaping @Sendable (URL, URL) throws(RunError) -> Void,
        remove: @escaping @Sendable (URL) throws(RunError) -> Void
    ) {
        self.createFolder = createFolder
        self.writeFile = writeFile
        self.synchronize = synchronize
        self.rename = rename
        self.remove = remove
    }

    /// The operating system's own.
    package static let system = FileOperations(
        createFolder: { url throws(RunError) in try makeFolder(url) },
        writeFile: { bytes, url throws(RunError) in
            let file = try PosixFile.creating(url)
            try file.write(bytes)
            try file.synchronize()
        },
        synchronize: { url throws(RunError) in try PosixFile.reading(url).synchronize() },
        rename: { source, destination throws(RunError) in
            guard Foundation.rename(source.path, destination.path) == 0 else {
                throw .system(action: "rename \(source.path) to", path: destination.path, code: errno)
            }
        },
        remove: { url throws(RunError) in try removeTree(url) })

    /// Writes a file so that readers see the old one or the new one, whole.
    ///
    /// - Parameter mode: Its permissions; `nil` for those of a new file.
    package func replaceFile(_ url: URL, with bytes: [UInt8], mode: mode_t? = nil) throws(RunError) {
        let partial = url.deletingLastPathComponent().appending(
            path: ".\(url.lastPathComponent).partial-\(getpid())")
        do {
            try writeFile(bytes, partial)
            if let mode { chmod(partial.path, mode) }
            try rename(partial, url)
        } catch {
            do { try remove(partial) } catch { /* the first failure is the one to report */  }
            throw error
        }
        try synchronize(url.deletingLastPathComponent())
    }

    /// Writes a result to where a user wants it: a regular file, or the one a link leads to, is replaced whole and
    /// keeps its permissions; a device or a pipe is written through, and so is the file that standard output or
    /// standard error goes to.
    package func writeOutput(_ bytes: [UInt8], to url: URL) throws(RunError) {
        do throws(RunError) {
            try write(bytes, throughLinksTo: url)
        } catch {
            guard case .system(_, let path, let code) = error, error.isDiskFull else { throw error }
            throw .system(action: RunError.writingResult, path: path, code: code)
        }
    }

    private func write(_ bytes: [UInt8], throughLinksTo url: URL) throws(RunError) {
        var status = stat()
        guard stat(url.path, &status) == 0 else {
            return try replaceFile(try Self.target(ofLink: url), with: bytes)
        }
        guard status.st_mode & S_IFMT == S_IFREG, !Self.isStream(status) else {
            let file = try PosixFile.existing(url)
            return try file.write(bytes)
        }
        let target = url.resolvingSymlinksInPath()
        try replaceFile(target, with: bytes, mode: status.st_mode & 0o7777)
    }

    /// Refuses a place where ``writeOutput(_:to:)`` could not write, before the work whose result is to go there.
    ///
    /// - Returns: Whether a file there is replaced; a pipe, a device or a standard stream takes what is written beside
    ///   what else it is given.
    @discardableResult
    package func requireWritable(_ url: URL) throws(RunError) -> Bool {
        var status = stat()
        if stat(url.path, &status) == 0 {
            switch status.st_mode & S_IFMT {
            case S_IFDIR: throw .system(action: "write", path: url.path, code: EISDIR)
            case S_IFREG where !Self.isStream(status): break
            default: return false  // opened when it is written, for a pipe may be waited for
            }
        }
        // A file is replaced by a new one beside it.
        let folder = try Self.target(ofLink: url).absoluteURL.deletingLastPathComponent()
        guard access(folder.path, W_OK | X_OK) == 0 else {
            throw .system(action: "write into", path: folder.path, code: errno)
        }
        return true
    }

    /// Where a link without a file behind it leads; the path itself when it is none.
    private static func target(ofLink url: URL) throws(RunError) -> URL {
        var url = url
        for _ in 0..<40 {
            var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
            let count = buffer.withUnsafeMutableBytes { bytes in
                readlink(url.path, bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count)
            }
            guard count > 0 else { return url }
            url =
                URL(
                    filePath: String(decoding: buffer[..<count], as: UTF8.self),
                    relativeTo: url.deletingLastPathComponent()
                ).absoluteURL
        }
        throw .system(action: "write", path: url.path, code: ELOOP)
    }

    /// Whether a file is the one that standard output or standard error goes to.
    private static func isStream(_ status: stat) -> Bool {
        [STDOUT_FILENO, STDERR_FILENO].contains { descriptor in
            var stream = stat()
            return fstat(descriptor, &stream) == 0 && stream.st_dev == status.st_dev && stream.st_ino == status.st_ino
        }
    }

    private static func makeFolder(_ url: URL) throws(RunError) {
        if mkdir(url.path, 0o755) == 0 { return }
        switch errno {
        case EEXIST:
            guard try FolderEntry(url)?.kind == .folder else {
                throw .system(action: "make the folder", path: url.path, code: ENOTDIR)
            }
        case ENOENT where url.pathComponents.count > 1:
            try makeFolder(url.deletingLastPathComponent())
            guard mkdir(url.path, 0o755) == 0 || errno == EEXIST else {
                throw .system(action: "make the folder", path: url.path, code: errno)
            }
        default:
            throw .system(action: "make the folder", path: url.path, code: errno)
        }
    }

    private static func removeTree(_ url: URL) throws(RunError) {
        guard let entry = try FolderEntry(url, followsLinks: false) else { return }
        if entry.kind == .folder {
            for child in try FolderEntry.list(url) { try removeTree(child.url) }
        }
        let status = entry.kind == .folder ? rmdir(url.path) : unlink(url.path)
        guard status == 0 || errno == ENOENT else { throw .system(action: "remove", path: url.path, code: errno) }
    }
}

/// A file or folder as the file system lists it.
package struct FolderEntry: Sendable, Equatable {
    package enum Kind: Sendable { case file, folder, other }
    package let url: URL
    package let kind: Kind
    package let byteCount: Int

    /// `nil` when nothing stands at `url`.
    package init?(_ url: URL, followsLinks: Bool = true) throws(RunError) {
        var status = stat()
        let result = followsLinks ? stat(url.path, &status) : lstat(url.path, &status)
        if result != 0 {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw .system(action: "read", path: url.path, code: errno)
        }
        self.url = url
        byteCount = Int(status.st_size)
        kind =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .file
            case S_IFDIR: .folder
            default: .other
            }
    }

    /// What a folder holds, hidden entries included, by name.
    package static func list(_ folder: URL) throws(RunError) -> [FolderEntry] {
        guard let stream = opendir(folder.path) else {
            throw .system(action: "list", path: folder.path, code: errno)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                String(cString: UnsafeRawPointer(pointer).assumingMemoryBound(to: CChar.self))
            }
            if name != "." && name != ".." { names.append(name) }
        }
        var entries: [FolderEntry] = []
        for name in names.sorted() {
            // An entry may vanish between the listing and the look at it.
            if let entry = try FolderEntry(folder.appending(path: name), followsLinks: false) { entries.append(entry) }
        }
        return entries
    }
}
