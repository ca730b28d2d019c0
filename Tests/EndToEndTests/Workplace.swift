import Foundation
import Testing

/// A folder with a small model and a small prompt set, made by the command itself.
final class Workplace {
    let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "plumbline-run-\(UUID().uuidString)")
        try FileManager.default.copyItem(at: try Self.original.get(), to: folder)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }  // a leftover in /tmp harms no test

    /// Every workplace begins as a copy of this one, which is made once.
    private static let original: Result<URL, any Error> = Result {
        let folder = URL(filePath: originalPath)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        atexit { try? FileManager.default.removeItem(atPath: Workplace.originalPath) }  // as in deinit
        let rows = (0..<40).map {
            #"{"prompt": "\#($0 % 10)+\#($0 / 10)=", "answer": "\#($0 % 10 + $0 / 10)", "completion": "\#($0 % 10 + $0 / 10)"}"#
        }
        try Data((rows.joined(separator: "\n") + "\n").utf8).write(to: folder.appending(path: "prompts.jsonl"))
        let pairs = (0..<40).map {
            #"{"prompt": "\#($0 % 10)+\#($0 / 10)=", "chosen": "\#($0 % 10 + $0 / 10)", "rejected": "\#($0 % 7 + 20)"}"#
        }
        try Data((pairs.joined(separator: "\n") + "\n").utf8).write(to: folder.appending(path: "pairs.jsonl"))
        // Rows that are not among them.
        let held = (0..<6).map { #"{"prompt": "\#($0)+7=", "answer": "\#($0 + 7)", "completion": "\#($0 + 7)"}"# }
        try Data((held.joined(separator: "\n") + "\n").utf8).write(to: folder.appending(path: "held.jsonl"))
        try Command.succeed(
            ["tokenizer", "train", "--input", "prompts.jsonl", "--output", "model", "--vocabulary-size", "257"],
            in: folder)
        try makeModel("model", contextLength: 64, in: folder)
        try makeModel("teacher", contextLength: 64, hiddenSize: 48, in: folder)
        return folder
    }

    private static let originalPath = FileManager.default.temporaryDirectory
        .appending(path: "plumbline-workplace-\(ProcessInfo.processInfo.processIdentifier)").path

    private static func makeModel(_ name: String, contextLength: Int, hiddenSize: Int = 32, in folder: URL) throws {
        try Command.succeed(
            [
                "init-model", "--output", name, "--tokenizer", "model", "--hidden-size", "\(hiddenSize)", "--layers",
                "2", "--heads", "2", "--context-length", "\(contextLength)",
            ], in: folder)
    }

    /// Makes another model with the same tokenizer.
    func makeModel(_ name: String, contextLength: Int, hiddenSize: Int = 32) throws {
        try Self.makeModel(name, contextLength: contextLength, hiddenSize: hiddenSize, in: folder)
    }

    func write(_ name: String, _ text: String) throws { try write(name, Data(text.utf8)) }

    func write(_ name: String, _ bytes: Data) throws {
        let file = folder.appending(path: name)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try bytes.write(to: file)
    }

    func remove(_ name: String) throws { try FileManager.default.removeItem(at: folder.appending(path: name)) }

    func copy(_ name: String, to other: String) throws {
        try FileManager.default.copyItem(at: folder.appending(path: name), to: folder.appending(path: other))
    }

    func exists(_ name: String) -> Bool {
        FileManager.default.fileExists(atPath: folder.appending(path: name).path)
    }

    /// A small job of a method; `lines` are added to it and win.
    func job(_ algorithm: String, _ lines: String = "") throws -> String {
        let name = "\(algorithm)-\(UUID().uuidString.prefix(8)).yaml"
        var keys = [
            "algorithm: \(algorithm)", "model_name_or_path: model", "dataset_name: prompts.jsonl", "output_dir: run",
            "max_completion_length: 4", "per_device_train_batch_size: 16", "learning_rate: 1e-3", "save_steps: 2",
            "max_steps: 4", "threads: 1",
        ]
        if ["dpo", "reward_model"].contains(algorithm) { keys[2] = "dataset_name: pairs.jsonl" }
        if !["sft", "dpo", "bvpo", "reward_model"].contains(algorithm) {
            keys.append("reward_funcs: [{name: regular_expression, pattern: '[0-9a-zA-Z]'}]")
        }
        let given = lines.split(separator: "\n").map(String.init)
        let names = Set(given.map { $0.prefix { $0 != ":" } })
        keys.removeAll { names.contains($0.prefix { $0 != ":" }) }
        try write(name, (keys + given).joined(separator: "\n"))
        return name
    }

    func train(_ job: String, _ overrides: String...) throws -> Command.Outcome {
        try Command.run(["train", job] + overrides, in: folder)
    }

    /// The log-probs of each row's tokens under a model, by the command: prompt and completion, but for the first token.
    func logProbabilities(_ model: String, of rows: String) throws -> [[Double]] {
        try Command.succeed(["logprobs", "--model", model, "--input", rows], in: folder).output.split(separator: "\n")
            .map {
                let row = try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
                return (row?["log_probs"] as? [Any] ?? []).compactMap { ($0 as? NSNumber)?.doubleValue }
            }
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
