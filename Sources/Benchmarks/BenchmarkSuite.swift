internal import Evaluation
internal import Foundation
internal import Job

/// The standing comparison: steps of a tiny and of a small model, beside TRL where a Python that has it is given.
///
/// Each measurement is a process of its own, one after the other, so that its peak of memory is its own.
package struct BenchmarkSuite: Sendable {
    private let peersPython: String?
    private let peersScript: String
    private let steps: Int

    package init(peersPython: String?, peersScript: String, steps: Int) {
        self.peersPython = peersPython
        self.peersScript = peersScript
        self.steps = steps
    }

    /// Makes the models in a temporary folder, measures, and removes them.
    ///
    /// - Parameter note: Hears what is measured next.
    /// - Returns: A table whose first row is the heading.
    package func run(note: (String) -> Void) async throws -> [[String]] {
        let folder = FileManager.default.temporaryDirectory.appending(path: "plumbline-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer {
            do { try FileManager.default.removeItem(at: folder) } catch {
                note("\(folder.path) could not be removed: \(error)")
            }
        }
        try Self.writeTokenizer(to: folder.appending(path: "tokenizer"), texts: folder.appending(path: "texts.txt"))
        var rows = [
            [
                "model", "step", "trainer", "step s", "generation s", "tokens/s", "of ceiling", "peak GiB", "× TRL",
                "weights apart",
            ]
        ]
        for shape in Shape.all {
            let model = folder.appending(path: shape.name).path
            note(try await shape.making(output: model, tokenizer: folder.appending(path: "tokenizer").path).run())
            for algorithm in Workload.Algorithm.allCases {
                rows += try self.rows(shape, algorithm, model: model, folder: folder, note: note)
            }
        }
        return rows
    }

    /// A step of Plumbline and, where there is a peer, the same step of TRL.
    private func rows(
        _ shape: Shape, _ algorithm: Workload.Algorithm, model: String, folder: URL, note: (String) -> Void
    ) throws -> [[String]] {
        let flags = shape.flags(algorithm, steps: steps)
        note("\(shape.name): a step of \(algorithm.rawValue)")
        // Of given pairs the step itself can be compared. TRL has prompts and draws of its own.
        let after = folder.appending(path: "after")
        let isCompared = algorithm == .dpo && peersPython != nil
        let own = try Measurement(
            program: "/proc/self/exe",
            arguments: ["bench", "step", "--json", "--model", model] + flags
                + (isCompared ? Self.comparison + ["--save-first-step", after.path] : []), folder: folder)
        var peer: Measurement?
        if let peersPython {
            note("\(shape.name): a step of TRL's \(algorithm.rawValue)")
            peer = try Measurement(
                program: peersPython,
                arguments: [URL(filePath: peersScript).path, model] + flags
                    + (isCompared ? Self.comparison + ["--compare", after.path] : []), folder: folder)
        }
        return [own.row(shape, algorithm, trainer: "Plumbline", peer: peer)]
            + (peer.map { [$0.row(shape, algorithm, trainer: "TRL", peer: nil)] } ?? [])
    }

    /// AdamW for a step that is compared: with an ε far above the gradients the first step is one along them,
    /// −η·g/(|g| + ε). With the usual one it is −η·sign(g), and where a gradient is 0 the sign is that of rounding: two
    /// trainers with the same gradients were 2η apart.
    private static let comparison = ["--learning-rate", "0.1", "--adam-epsilon", "1"]

    /// A byte-level tokenizer of the tiny model's vocabulary, trained on sums.
    private static func writeTokenizer(to folder: URL, texts: URL) throws {
        let lines = (0..<2000).map { "\($0 % 100)+\($0 / 20)=\($0 % 100 + $0 / 20). What is \($0) plus \($0 % 7)?" }
        try Data(lines.joined(separator: "\n").utf8).write(to: texts)
        _ = try TokenizerTraining(
            inputs: [texts.path], vocabularySize: 320, specialTokens: ["<|endoftext|>"], splitPattern: "qwen2",
            splitsDigits: false
        ).run(output: folder.path)
    }
}

extension BenchmarkSuite {
    /// A model and the step that is timed on it.
    struct Shape: Sendable {
        let name: String
        let vocabulary: Int
        let hidden: Int
        let layers: Int
        let heads: Int
        let keyValueHeads: Int
        let intermediate: Int
        let prompts: Int
        let promptTokens: Int

        /// 6 and 135 million parameters.
        static let all = [
            Shape(
                name: "tiny", vocabulary: 512, hidden: 256, layers: 6, heads: 8, keyValueHeads: 4, intermediate: 1024,
                prompts: 8, promptTokens: 32),
            Shape(
                name: "small", vocabulary: 49152, hidden: 576, layers: 30, heads: 9, keyValueHeads: 3,
                intermediate: 1536, prompts: 4, promptTokens: 256),
        ]

        func making(output: String, tokenizer: String) -> ModelMaking {
            ModelMaking(
                output: output, family: "qwen2", tokenizer: tokenizer, vocabularySize: vocabulary, hiddenSize: hidden,
                layers: layers, heads: heads, keyValueHeads: keyValueHeads, intermediateSize: intermediate,
                contextLength: 2048, tiesEmbeddings: true, seed: 0)
        }

        /// Completions of a step: the tiny model's pairs are as many, the small one's half.
        func prompts(_ algorithm: Workload.Algorithm) -> Int {
            switch algorithm {
            case .grpo: prompts
            case .dpo: prompts * (hidden > 256 ? 2 : 4)
            }
        }

        func completions(_ algorithm: Workload.Algorithm) -> Int { algorithm == .dpo ? 2 : 8 }

        func flags(_ algorithm: Workload.Algorithm, steps: Int) -> [String] {
            [
                "--algorithm", algorithm.rawValue, "--prompts", "\(prompts(algorithm))", "--completions",
                "\(completions(algorithm))", "--prompt-tokens", "\(promptTokens)",
                "--completion-tokens", "64", "--steps", "\(steps)", "--threads",
                "\(ProcessInfo.processInfo.activeProcessorCount)",
            ]
        }
    }

    /// The JSON object that a measuring process printed last.
    struct Measurement {
        let stepSeconds: Double
        /// `nil` where nothing is sampled.
        let generationSeconds: Double?
        let fractionOfCeiling: Double?
        let peakBytes: Double?
        /// The most that a weight differs from the other trainer's after one step, and the most that one has moved;
        /// `nil` where that was not compared.
        let weightDifference: (most: Double, moved: Double)?

        init(program: String, arguments: [String], folder: URL) throws {
            let url = URL(filePath: program)
            // A Python of a virtual environment is a link that must be run as one.
            let text = try ProcessOutput.of(
                program == "/proc/self/exe" ? url.resolvingSymlinksInPath() : url, arguments, folder: folder)
            let last = text.split(separator: "\n").last.map { Data($0.utf8) } ?? Data()
            guard let object = try JSONSerialization.jsonObject(with: last) as? [String: Any],
                let step = Self.median(object["step_s"])
            else {
                throw JobError(place: program, message: "the last line is no object with step_s")
            }
            stepSeconds = step
            generationSeconds = Self.median(object["generation_s"])
            weightDifference = (object["weight_difference"] as? Double).flatMap { most in
                (object["weight_move"] as? Double).map { (most, $0) }
            }
            fractionOfCeiling = object["fraction_of_ceiling"] as? Double
            peakBytes = object["peak_rss_bytes"] as? Double
        }

        /// A number, or the median of a spread.
        private static func median(_ value: Any?) -> Double? {
            (value as? Double) ?? (value as? [String: Any])?["median"] as? Double
        }

        func row(
            _ shape: Shape, _ algorithm: Workload.Algorithm, trainer: String, peer: Measurement?
        ) -> [String] {
            let completions = shape.prompts(algorithm) * shape.completions(algorithm)
            return [
                shape.name, algorithm.rawValue, trainer, NumberText.compact(stepSeconds),
                generationSeconds.map { NumberText.compact($0) } ?? "",
                NumberText.compact(Double(completions * 64) / stepSeconds),
                fractionOfCeiling.map { "\(NumberText.compact(100 * $0)) %" } ?? "",
                peakBytes.map { NumberText.compact($0 / 1_073_741_824) } ?? "",
                peer.map { NumberText.compact($0.stepSeconds / stepSeconds) } ?? "",
                weightDifference.map { "\(NumberText.compact($0.most)) of \(NumberText.compact($0.moved))" } ?? "",
            ]
        }
    }
}
