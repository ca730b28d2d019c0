internal import Evaluation
internal import Foundation
internal import Job

/// The standing comparison: steps of a tiny and of a small model, whole and with adapters, beside TRL and plain PyTorch,
/// and their sampling beside llama.cpp, as far as a Python is given that has them.
///
/// Each measurement is a process of its own, one after the other, so that its peak of memory is its own.
package struct BenchmarkSuite: Sendable {
    private let peers: Peers
    private let steps: Int

    /// - Parameters:
    ///   - peersPython: What runs the peers' scripts; a peer that it has not all packages of is left out.
    ///   - peersScripts: The folder of the scripts.
    package init(peersPython: String?, peersScripts: String, steps: Int) throws {
        peers = try Peers(python: peersPython, scripts: peersScripts)
        self.steps = steps
    }

    /// Makes the models in a temporary folder, measures, and removes them.
    ///
    /// - Parameter note: Hears what is measured next.
    /// - Returns: The tables, and a line for each peer that is left out.
    package func run(note: (String) -> Void) async throws -> String {
        for line in peers.leftOut { note(line) }
        let folder = FileManager.default.temporaryDirectory.appending(path: "plumbline-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer {
            do { try FileManager.default.removeItem(at: folder) } catch {
                note("\(folder.path) could not be removed: \(error)")
            }
        }
        try Self.writeTokenizer(to: folder.appending(path: "tokenizer"), texts: folder.appending(path: "texts.txt"))
        var (steps, rollouts, remarks) = ([[String]](), [[String]](), [String]())
        for shape in Shape.all {
            let model = folder.appending(path: shape.name).path
            note(try await shape.making(output: model, tokenizer: folder.appending(path: "tokenizer").path).run())
            let whole = try rows(shape, .grpo, model: model, folder: folder, note: note)
            let adapted = try adapterRows(shape, model: model, folder: folder, note: note)
            let pairs = try rows(shape, .dpo, model: model, folder: folder, note: note)
            steps += whole.rows + adapted.rows + pairs.rows
            remarks.append("\(shape.name): " + adapted.own.remark(beside: whole.own))
            if peers.installed.contains(.llamaCpp) {
                rollouts += try sampling(shape, model: model, folder: folder, note: note)
            }
        }
        let tables =
            [Table(StepMeasurement.heading, steps, textColumns: 3).text]
            + (rollouts.isEmpty ? [] : [Table(PeerRollout.heading, rollouts, textColumns: 2).text])
        return (tables + remarks + peers.leftOut).joined(separator: "\n\n")
    }

    /// A step of Plumbline, and the same step of the peers that take such.
    private func rows(
        _ shape: Shape, _ algorithm: Workload.Algorithm, model: String, folder: URL, note: (String) -> Void
    ) throws -> (own: StepMeasurement, rows: [[String]]) {
        let flags = shape.flags(algorithm, steps: steps)
        note("\(shape.name): a step of \(algorithm.rawValue)")
        // Of given pairs the step itself can be compared. The others have prompts and draws of their own.
        let after = folder.appending(path: "after")
        let isCompared = algorithm == .dpo && peers.installed.contains(.trl)
        let own = try StepMeasurement(
            LastObject.of(
                nil,
                ["bench", "step", "--json", "--model", model] + flags
                    + (isCompared ? Self.comparison + ["--save-first-step", after.path] : []), folder: folder),
            of: "bench step")
        let tokens = shape.prompts(algorithm) * shape.completions(algorithm) * Shape.completionTokens
        var rows = [own.row([shape.name, algorithm.rawValue, "Plumbline"], tokens: tokens)]
        for peer in algorithm == .grpo ? [Peer.trl, .pyTorch] : [.trl] where peers.installed.contains(peer) {
            note("\(shape.name): a step of \(algorithm.rawValue) by \(peer.rawValue)")
            let measured = try StepMeasurement(
                peers.measure(
                    peer, [model] + flags + (isCompared ? Self.comparison + ["--compare", after.path] : []), in: folder),
                of: peer.rawValue)
            rows.append(
                measured.row([shape.name, algorithm.rawValue, peer.rawValue], tokens: tokens, beside: own))
        }
        return (own, rows)
    }

    /// The step of `grpo` with adapters, beside TRL's with peft's.
    ///
    /// What a step samples is each trainer's own. How far their adapters are apart is therefore that of three steps of
    /// `dpo` on given pairs, from one adapter whose A and B are both other than 0.
    private func adapterRows(
        _ shape: Shape, model: String, folder: URL, note: (String) -> Void
    ) throws -> (own: StepMeasurement, rows: [[String]]) {
        let name = "grpo, adapters"
        let flags = shape.flags(.grpo, steps: steps) + Self.adapters
        let tokens = shape.prompts(.grpo) * shape.completions(.grpo) * Shape.completionTokens
        note("\(shape.name): a step of \(name)")
        let own = try StepMeasurement(
            LastObject.of(nil, ["bench", "step", "--json", "--model", model] + flags, folder: folder), of: "bench step")
        var rows = [own.row([shape.name, name, "Plumbline"], tokens: tokens)]
        if peers.installed.contains(.peft) {
            note("\(shape.name): a step of \(name) by \(Peer.peft.rawValue)")
            var object = try peers.measure(.peft, [model] + flags, in: folder)
            note("\(shape.name): three steps of dpo, adapters by both")
            try object.merge(comparedAdapters(shape, model: model, folder: folder)) { $1 }
            rows.append(
                try StepMeasurement(object, of: Peer.peft.rawValue).row(
                    [shape.name, name, Peer.peft.rawValue], tokens: tokens, beside: own))
        }
        return (own, rows)
    }

    /// How far the adapters of both trainers are apart behind three steps on the same two pairs each.
    private func comparedAdapters(_ shape: Shape, model: String, folder: URL) throws -> [String: Any] {
        let (start, after) = (folder.appending(path: "adapter").path, folder.appending(path: "adapter-after").path)
        let work =
            ["--algorithm", "dpo", "--prompts", "2", "--completions", "2"] + shape.lengths(steps: 2) + Self.comparison
        _ = try peers.measure(.peft, [model] + work + Self.adapters + ["--make-adapter", start], in: folder)
        _ = try LastObject.of(
            nil, ["bench", "step", "--json", "--model", start, "--save-last-step", after] + work + Self.adapters,
            folder: folder)
        let compared = try peers.measure(
            .peft, [start] + work + ["--compare", after, "--compared-step", "3"], in: folder)
        return compared.filter { $0.key.hasPrefix("weight_") }
    }

    /// On every projection of the blocks, with α twice the rank.
    private static let adapters = ["--lora-rank", "16"]

    /// Completions of one prompt, so many rows at once: float32 beside llama.cpp's, int8 beside its Q8_0.
    private func sampling(
        _ shape: Shape, model: String, folder: URL, note: (String) -> Void
    ) throws -> [[String]] {
        let numbers = [1, 8, 32]
        let lengths = shape.lengths(steps: steps)
        return try [("float32", "packed", "f32"), ("int8", "int8", "q8_0")].flatMap { name, layout, type in
            note("\(shape.name): sampling with \(name) weights")
            let file = folder.appending(path: "\(shape.name).\(type).gguf")
            _ = try ProcessOutput.of(
                URL(filePath: "/proc/self/exe").resolvingSymlinksInPath(),
                ["convert", "--model", model, "--output", file.path, "--type", type], folder: folder, quiet: true)
            let theirs = try PeerRollout.all(
                in: peers.measure(.llamaCpp, [file.path, "--rows"] + numbers.map(String.init) + lengths, in: folder))
            return try theirs.map { peer in
                let own = try StepMeasurement(
                    LastObject.of(
                        nil,
                        [
                            "bench", "rollout", "--json", "--model", model, "--prompts", "1", "--completions",
                            "\(peer.rows)", "--generation-layout", layout,
                        ] + lengths, folder: folder), of: "bench rollout")
                return peer.row([shape.name, name], own: Double(peer.rows * Shape.completionTokens) / own.seconds)
            }
        }
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

        static let completionTokens = 64

        func flags(_ algorithm: Workload.Algorithm, steps: Int) -> [String] {
            [
                "--algorithm", algorithm.rawValue, "--prompts", "\(prompts(algorithm))", "--completions",
                "\(completions(algorithm))",
            ] + lengths(steps: steps)
        }

        func lengths(steps: Int) -> [String] {
            [
                "--prompt-tokens", "\(promptTokens)", "--completion-tokens", "\(Self.completionTokens)", "--steps",
                "\(steps)", "--threads", "\(ProcessInfo.processInfo.activeProcessorCount)",
            ]
        }
    }
}
