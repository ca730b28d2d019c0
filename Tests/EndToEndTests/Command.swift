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
    static func start(_ arguments: [String], in folder: URL = root) throws -> Running {
        try Running(executable, arguments, in: folder)
    }

    /// Runs the command to its end.
    @discardableResult
    static func run(_ arguments: [String], in folder: URL = root) throws -> Outcome {
        try start(arguments, in: folder).wait()
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

        init(_ executable: URL, _ arguments: [String], in folder: URL) throws {
            try FileManager.default.createDirectory(at: streams, withIntermediateDirectories: true)
            process.executableURL = executable
            process.arguments = arguments
            process.currentDirectoryURL = folder
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

/// A folder with a small model and a small prompt set, made by the command itself.
final class Workplace {
    let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "plumbline-run-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let rows = (0..<40).map {
            #"{"prompt": "\#($0 % 10)+\#($0 / 10)=", "answer": "\#($0 % 10 + $0 / 10)", "completion": "\#($0 % 10 + $0 / 10)"}"#
        }
        try write("prompts.jsonl", rows.joined(separator: "\n") + "\n")
        try Command.succeed(
            ["tokenizer", "train", "--input", "prompts.jsonl", "--output", "model", "--vocabulary-size", "257"],
            in: folder)
        try Command.succeed(
            [
                "init-model", "--output", "model", "--tokenizer", "model", "--hidden-size", "32", "--layers", "2",
                "--heads",
                "2", "--context-length", "64",
            ], in: folder)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }  // a leftover in /tmp harms no test

    func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: folder.appending(path: name))
    }

    /// A small job of a method; `lines` are added to it and win.
    func job(_ algorithm: String, _ lines: String = "") throws -> String {
        let name = "\(algorithm)-\(UUID().uuidString.prefix(8)).yaml"
        var keys = [
            "algorithm: \(algorithm)", "model_name_or_path: model", "dataset_name: prompts.jsonl", "output_dir: run",
            "max_completion_length: 4", "per_device_train_batch_size: 16", "learning_rate: 1e-3", "save_steps: 2",
            "max_steps: 4", "threads: 1",
        ]
        if algorithm != "sft" { keys.append("reward_funcs: [{name: regular_expression, pattern: '[0-9a-zA-Z]'}]") }
        let given = lines.split(separator: "\n").map(String.init)
        let names = Set(given.map { $0.prefix { $0 != ":" } })
        keys.removeAll { names.contains($0.prefix { $0 != ":" }) }
        try write(name, (keys + given).joined(separator: "\n"))
        return name
    }

    func train(_ job: String, _ overrides: String...) throws -> Command.Outcome {
        try Command.run(["train", job] + overrides, in: folder)
    }

    func bytes(_ path: String) throws -> Data { try Data(contentsOf: folder.appending(path: path)) }

    /// Rows of metrics without the numbers that are times or memory.
    func metrics(_ run: String) throws -> [[String: Double]] {
        try String(contentsOf: folder.appending(path: "\(run)/metrics.jsonl"), encoding: .utf8).split(separator: "\n")
            .map {
                let row = try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any] ?? [:]
                let isTimed = { (name: String) in
                    name.hasPrefix("timing_s") || name.hasPrefix("perf") || name.hasPrefix("memory")
                        || ["time", "step_time", "realloc/ms"].contains(name)
                }
                return row.filter { !isTimed($0.key) }.compactMapValues { ($0 as? NSNumber)?.doubleValue }
            }
    }
}
