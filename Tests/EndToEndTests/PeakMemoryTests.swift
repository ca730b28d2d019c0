import Foundation
import Testing

/// The most that commands have in memory, beyond what they have with a model of next to nothing. The model here has 51 MB
/// of weights, of which no tensor has more than 2.8 MB.
@Suite("What commands that read a model have in memory", .serialized)
struct PeakMemoryTests {
    private let place: Workplace

    init() throws { place = try Workplace() }

    /// 4 blocks of 4 · 512² + 3 · 512 · 1376 numbers with biases and norms of 2560, an embedding of 257 · 512, a norm.
    private static let weightBytes = 4.0 * Double(4 * (4 * 512 * 512 + 3 * 512 * 1376 + 2560) + 257 * 512 + 512)

    private func makeModel() throws {
        try Command.succeed(
            [
                "init-model", "--output", "big", "--tokenizer", "model", "--hidden-size", "512", "--layers", "4",
                "--heads", "8", "--context-length", "64",
            ], in: place.folder)
        let file = try place.bytes("big/model.safetensors").count
        #expect(abs(Double(file) / Self.weightBytes - 1) < 0.001)
    }

    /// The peak of a command's resident bytes, which the system tells of it to a parent that has no other child.
    private func peak(_ arguments: [String]) throws -> Double {
        let script = """
            import resource, subprocess, sys
            status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
            print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
            sys.exit(status)
            """
        let outcome = try Command.Running(
            URL(filePath: "/usr/bin/env"), ["python3", "-c", script, Command.executable.path] + arguments,
            in: place.folder
        ).wait()
        try #require(outcome.status == 0, "plumbline \(arguments.joined(separator: " ")): \(outcome.progress)")
        let kilobytes = try #require(Double(outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)))
        return 1024 * kilobytes
    }

    /// An adapter of rank 1 on the largest projections of the big model, or one that makes a classifier of it; its numbers
    /// are 0.
    private func writeAdapter(_ name: String, task: String) throws {
        try place.write(
            "\(name)/adapter_config.json",
            #"{"peft_type": "LORA", "task_type": "\#(task)", "base_model_name_or_path": "big", "r": 1, "lora_alpha": 1, "#
                + #""target_modules": ["up_proj"]}"#)
        var (members, end) = ([String](), 0)
        func announce(_ name: String, _ shape: [Int]) {
            let begin = end
            end += 4 * shape[0] * shape[1]
            members.append(
                #""base_model.model.\#(name).weight": "#
                    + #"{"dtype": "F32", "shape": \#(shape), "data_offsets": [\#(begin), \#(end)]}"#)
        }
        for layer in 0..<4 {
            for (matrix, shape) in [("A", [1, 512]), ("B", [1376, 1])] {
                announce("model.layers.\(layer).mlp.up_proj.lora_\(matrix)", shape)
            }
        }
        if task == "SEQ_CLS" { announce("score", [1, 512]) }
        let header = Data("{\(members.joined(separator: ", "))}".utf8)
        let length = withUnsafeBytes(of: UInt64(header.count).littleEndian) { Data($0) }
        try place.write("\(name)/adapter_model.safetensors", length + header + Data(count: end))
    }

    /// One tensor after the other: far below the weights, which were in memory two to four times. A GGUF file of 8 bits a
    /// weight stays mapped, a quarter of them.
    @Test func conversionsReadOneTensorAfterTheOther() throws {
        try makeModel()
        try writeAdapter("adapter", task: "CAUSAL_LM")
        try writeAdapter("judge", task: "SEQ_CLS")
        let least = try peak(["convert", "--model", "model", "--output", "small.gguf"])
        for (arguments, most) in [
            (["--model", "big", "--output", "big.gguf", "--type", "q8_0"], 0.5),
            (["--model", "big.gguf", "--output", "again"], 0.75),
            (["--merge", "--model", "adapter", "--output", "merged"], 0.5),
            (["--merge", "--model", "judge", "--output", "judged"], 0.5),
        ] {
            let share = try (peak(["convert"] + arguments) - least) / Self.weightBytes
            print("convert \(arguments.joined(separator: " ")): \(share) of the weights in memory")
            #expect(share < most, "\(arguments)")
        }
        // B is 0.
        #expect(try place.bytes("merged/model.safetensors") == place.bytes("big/model.safetensors"))
    }

    /// The weights once, packed as sampling reads them, and not a second time as they are in the file; this tied model's
    /// embedding of 0.5 MB is there in both forms.
    @Test func anEvaluationHasTheWeightsOnce() throws {
        try makeModel()
        func peak(_ model: String) throws -> Double {
            try self.peak([
                "eval", "--model", model, "--prompts", "prompts.jsonl", "--rewards", "exact_number", "--limit", "2",
                "--max-completion-length", "2",
            ])
        }
        let share = try (peak("big") - peak("model")) / Self.weightBytes
        print("eval: \(share) of the weights in memory")
        #expect(share > 0.9 && share < 1.5)
    }
}
