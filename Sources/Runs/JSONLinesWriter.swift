package import Foundation
package import JSON
import Synchronization

/// Appends rows to a JSON Lines file. Every row is in the file when ``append(_:)`` returns, and whole or not at all.
package final class JSONLinesWriter: Sendable {
    package let url: URL
    /// The file, guarded so that rows of several tasks never interleave.
    private let file: Mutex<PosixFile>

    /// Opens `url` for appending, making it when it is missing.
    ///
    /// A last line without its line break, left behind by a process killed while writing, is removed.
    package init(appendingTo url: URL) throws(RunError) {
        self.url = url
        let file = try PosixFile.appending(url)
        try Self.removeTornLine(file)
        self.file = Mutex(file)
    }

    /// Adds one row. Numbers that are not finite are written as null.
    ///
    /// - Throws: ``RunError/system(action:path:code:)``, for one when the disk is full; the file then ends with the row
    ///   before.
    package func append(_ row: JSONValue) throws(RunError) { try appendLine(row.serializedBytes) }

    /// Adds one row of a type that encodes itself.
    ///
    /// - Throws: as ``append(_:)``, and what the row's own `encode(to:)` throws (a bare `Double` that is not finite,
    ///   for one).
    package func append(encoding row: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try appendLine(Array(encoder.encode(row)))
    }

    /// Returns once every row is on the disk.
    package func synchronize() throws(RunError) {
        try file.withLock { file throws(RunError) in try file.synchronize() }
    }

    private func appendLine(_ bytes: [UInt8]) throws(RunError) {
        try file.withLock { file throws(RunError) in
            let before = try file.byteCount()
            do throws(RunError) {
                try file.write(bytes + [0x0a])
            } catch {
                // Half a row must not stay; when even that fails the first error says more.
                do { try file.truncate(to: before) } catch {}
                throw error
            }
        }
    }

    private static func removeTornLine(_ file: PosixFile) throws(RunError) {
        let count = try file.byteCount()
        var end = count
        while end > 0 {
            let start = max(0, end - 65536)
            let piece = try file.bytes(at: start, count: end - start)
            if let last = piece.lastIndex(of: 0x0a) {
                end = start + last + 1
                break
            }
            end = start
        }
        if end < count { try file.truncate(to: end) }
    }
}
