package import Foundation

/// A fresh folder, removed with the value.
package final class TemporaryFolder: Sendable {
    package let url: URL

    /// - Parameter inMemory: For tests that write thousands of files: takes the system's memory file system where there
    ///   is one.
    package init(inMemory: Bool = false) throws {
        let shared = URL(filePath: "/dev/shm")
        let isThere = inMemory && FileManager.default.isWritableFile(atPath: shared.path)
        url = (isThere ? shared : FileManager.default.temporaryDirectory)
            .appending(path: "plumbline-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit {
        do { try FileManager.default.removeItem(at: url) } catch { print("left behind: \(url.path): \(error)") }
    }

    /// Writes `text` to a file of the folder.
    package func file(_ name: String, _ text: String) throws -> URL { try file(name, Array(text.utf8)) }

    /// Writes bytes to a file of the folder.
    package func file(_ name: String, _ bytes: [UInt8]) throws -> URL {
        let file = url.appending(path: name)
        try Data(bytes).write(to: file)
        return file
    }

    /// What the folder holds, hidden entries included, by name.
    package func names() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: url.path).sorted() }
}

/// A file's text.
package func text(of url: URL) throws -> String { String(decoding: try Data(contentsOf: url), as: UTF8.self) }
