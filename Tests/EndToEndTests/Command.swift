import Foundation
import Testing

/// The built command, run as a user runs it.
enum Command {
    struct Outcome {
        var status: Int32
        var output: String
        var progress: String
    }

    /// The root of the repository.
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// `plumbline`, which is built beside the tests.
    static let executable: URL = {
        let tests = URL(filePath: CommandLine.arguments[0]).resolvingSymlinksInPath()
        let beside = tests.deletingLastPathComponent().appending(path: "plumbline")
        if FileManager.default.isExecutableFile(atPath: beside.path) { return beside }
        return root.appending(path: ".build/release/plumbline")
    }()

    /// Starts the command.
    static func start(
        _ arguments: [String], in folder: URL = root, environment: [String: String] = [:]
    ) throws -> Running {
        try Running(executable, arguments, in: folder, environment: environment)
    }

    /// Runs the command to its end.
    @discardableResult
    static func run(
        _ arguments: [String], in folder: URL = root, environment: [String: String] = [:]
    ) throws -> Outcome {
        try start(arguments, in: folder, environment: environment).wait()
    }

    /// Runs the command and requires that it succeeds.
    @discardableResult
    static func succeed(_ arguments: [String], in folder: URL = root) throws -> Outcome {
        let outcome = try run(arguments, in: folder)
        try #require(outcome.status == 0, "plumbline \(arguments.joined(separator: " ")): \(outcome.progress)")
        return outcome
    }

    /// A process whose streams go to files, so that no pipe can fill up.
    final class Running {
        let process = Process()
        private let streams = FileManager.default.temporaryDirectory.appending(path: "plumbline-\(UUID().uuidString)")

        /// - Parameter environment: Variables beside those of the tests.
        init(_ executable: URL, _ arguments: [String], in folder: URL, environment: [String: String] = [:]) throws {
            try FileManager.default.createDirectory(at: streams, withIntermediateDirectories: true)
            process.executableURL = executable
            process.arguments = arguments
            process.currentDirectoryURL = folder
            process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
            process.standardOutput = try handle("output")
            process.standardError = try handle("progress")
            process.standardInput = FileHandle.nullDevice
            try process.run()
        }

        private func handle(_ name: String) throws -> FileHandle {
            let file = streams.appending(path: name)
            try Data().write(to: file)
            return try FileHandle(forWritingTo: file)
        }

        /// What the process wrote to standard error so far.
        var progress: String { (try? text("progress")) ?? "" }  // half a letter at the end is no reason to fail

        /// Ends the process as nothing can catch (kill -9) and waits until it is gone.
        func killed() throws -> Outcome {
            kill(process.processIdentifier, SIGKILL)
            return try wait()
        }

        func wait() throws -> Outcome {
            process.waitUntilExit()
            defer { try? FileManager.default.removeItem(at: streams) }  // a leftover in /tmp harms no test
            return Outcome(
                status: process.terminationStatus, output: try text("output"), progress: try text("progress"))
        }

        private func text(_ name: String) throws -> String {
            try String(contentsOf: streams.appending(path: name), encoding: .utf8)
        }
    }
}
