internal import Foundation
internal import Job

/// Runs a program to its end.
enum ProcessOutput {
    /// What it wrote to its standard output.
    ///
    /// - Parameter quiet: Whether its progress is left out, and shown only when it fails.
    /// - Throws: `JobError` with the end of its progress for a status other than 0.
    static func of(_ program: URL, _ arguments: [String], folder: URL? = nil, quiet: Bool = false) throws -> String {
        let process = Process()
        process.executableURL = program
        process.arguments = arguments
        process.currentDirectoryURL = folder
        let output = Pipe()
        process.standardOutput = output
        let progress = FileManager.default.temporaryDirectory.appending(path: "plumbline-\(UUID().uuidString).log")
        if quiet {
            try Data().write(to: progress)
            process.standardError = try FileHandle(forWritingTo: progress)
        }
        defer { try? FileManager.default.removeItem(at: progress) }  // a leftover in /tmp harms nobody
        try process.run()
        let bytes = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            let said = quiet ? try String(contentsOf: progress, encoding: .utf8).suffix(500) : ""
            throw JobError(
                place: "\(program.lastPathComponent) \(arguments.joined(separator: " "))",
                message: "ended with status \(process.terminationStatus): \(said)")
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
