package import Foundation

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Puts a folder in place whole or not at all.
///
/// The contents are written to `.<name>.partial-<pid>` beside the destination, flushed, and renamed. A folder already
/// at the destination is moved to `.<name>.replaced-<pid>` for the moment between two renames. A process killed at any
/// point leaves the old folder, the new one, or both under names that ``removeLeftovers(in:_:)`` understands.
package enum AtomicFolder {
    /// Writes `destination` by `contents`, which gets the folder to fill.
    ///
    /// `contents` flushes its files itself (``CheckpointManifest`` does); the folder and its parent are flushed here.
    /// - Throws: what `contents` throws, or ``RunError``; the destination is then as it was.
    package static func write(
        _ destination: URL, _ operations: FileOperations = .system, contents: (URL) async throws -> Void
    ) async throws {
        let partial = sibling(of: destination, "partial")
        do {
            try operations.remove(partial)
            try operations.createFolder(partial)
            try await contents(partial)
            try operations.synchronize(partial)
            try replace(destination, with: partial, operations)
        } catch {
            // The caller needs the first failure; what stays behind is removed at the next start.
            do { try operations.remove(partial) } catch {}
            throw error
        }
    }

    private static func replace(
        _ destination: URL, with partial: URL, _ operations: FileOperations
    ) throws(RunError) {
        let parent = destination.deletingLastPathComponent()
        guard try FolderEntry(destination) != nil else {
            try operations.rename(partial, destination)
            try operations.synchronize(parent)
            return
        }
        let replaced = sibling(of: destination, "replaced")
        try operations.remove(replaced)
        try operations.rename(destination, replaced)
        do {
            try operations.rename(partial, destination)
        } catch {
            do { try operations.rename(replaced, destination) } catch { /* done at the next start */  }
            throw error
        }
        try operations.synchronize(parent)
        try operations.remove(replaced)
    }

    /// Removes a folder so that no half of it is ever taken for a whole one: renamed first, then emptied.
    package static func remove(_ folder: URL, _ operations: FileOperations = .system) throws(RunError) {
        let removed = sibling(of: folder, "removed")
        try operations.remove(removed)
        try operations.rename(folder, removed)
        try operations.remove(removed)
    }

    /// Tidies what a killed process left: partial and removed folders go, a folder caught between two renames comes
    /// back.
    ///
    /// Call it under the run's lock only, when no save can be under way.
    /// - Returns: The names dealt with.
    @discardableResult
    package static func removeLeftovers(
        in parent: URL, _ operations: FileOperations = .system
    ) throws(RunError) -> [String] {
        var names: [String] = []
        for entry in try FolderEntry.list(parent) {
            let name = entry.url.lastPathComponent
            guard let leftover = Leftover(name: name) else { continue }
            let original = parent.appending(path: leftover.original)
            if leftover.kind == "replaced", try FolderEntry(original) == nil {
                try operations.rename(entry.url, original)
            } else {
                try operations.remove(entry.url)
            }
            names.append(name)
        }
        return names
    }

    static func sibling(of folder: URL, _ kind: String) -> URL {
        folder.deletingLastPathComponent().appending(path: ".\(folder.lastPathComponent).\(kind)-\(getpid())")
    }

    /// A name such as `.checkpoint-10.partial-4242`, taken apart.
    private struct Leftover {
        let original: String
        let kind: String

        init?(name: String) {
            guard name.hasPrefix("."), let dash = name.lastIndex(of: "-"), let dot = name.lastIndex(of: "."),
                dot < dash, dot > name.startIndex, Int(name[name.index(after: dash)...]) != nil
            else { return nil }
            kind = String(name[name.index(after: dot)..<dash])
            original = String(name[name.index(after: name.startIndex)..<dot])
            guard ["partial", "replaced", "removed"].contains(kind), !original.isEmpty else { return nil }
        }
    }
}
