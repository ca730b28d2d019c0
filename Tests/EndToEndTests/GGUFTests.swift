import Foundation
import JSON
import Testing

@Suite("GGUF files as models of the commands")
struct GGUFCommandTests {
    private let place: Workplace
    init() throws { place = try Workplace() }

    private func convert(_ model: String, _ output: String, _ type: String? = nil) throws {
        try Command.succeed(
            ["convert", "--model", model, "--output", output] + (type.map { ["--type", $0] } ?? []), in: place.folder)
    }

    private func scores(_ model: String) throws -> [[Double]] {
        try place.write(
            "texts.jsonl", #"{"prompt": "3+4=", "completion": "7"}"# + "\n" + #"{"token_ids": [5, 9, 30]}"# + "\n")
        return try place.logProbabilities(model, of: "texts.jsonl")
    }

    /// Folder → GGUF → folder: weights to the bit, log-probs, token ids and the tokenizer's own file.
    @Test func thereAndBack() throws {
        try convert("model", "model.gguf", "f32")
        try convert("model.gguf", "again")
        let original = try scores("model")
        #expect(original.map(\.count) == [4, 2])
        #expect(try scores("model.gguf") == original && scores("again") == original)
        #expect(try place.bytes("again/model.safetensors") == place.bytes("model/model.safetensors"))
        #expect(try place.bytes("again/tokenizer.json") == place.bytes("model/tokenizer.json"))
        // A quantised model is another one, and near.
        try convert("model", "small.gguf", "q8_0")
        let near = try scores("small.gguf")
        #expect(near != original)
        #expect(zip(near.joined(), original.joined()).allSatisfy { abs($0 - $1) < 0.05 })
    }

    @Test func aModelIsNotReplacedUnasked() throws {
        try convert("model", "model.gguf")
        let again = try Command.run(["convert", "--model", "teacher", "--output", "model.gguf"], in: place.folder)
        #expect(again.status == 65 && again.progress.contains("there is a model already"), "\(again.progress)")
        let type = try Command.run(
            ["convert", "--model", "model", "--output", "x.gguf", "--type", "q2_k"], in: place.folder)
        #expect(type.status == 65 && type.progress.contains("'q2_k' is none of f32, f16, bf16, q8_0, q4_0"))
    }

    /// A run that starts from a GGUF file is the run from the folder, and saves a folder.
    @Test func aRunStartsFromAFile() throws {
        try convert("model", "model.gguf", "f32")
        let job = try place.job("grpo", "max_steps: 2\nreward_funcs: [exact_number]\nnum_generations: 4")
        try Command.succeed(["train", job, "output_dir=first"], in: place.folder)
        try Command.succeed(["train", job, "output_dir=second", "model_name_or_path=model.gguf"], in: place.folder)
        #expect(try place.bytes("second/model.safetensors") == place.bytes("first/model.safetensors"))
        #expect(try place.bytes("second/tokenizer.json") == place.bytes("first/tokenizer.json"))
        let plan = try Command.succeed(["train", job, "--dry-run", "model_name_or_path=model.gguf"], in: place.folder)
        #expect(plan.output.contains("# model: GGUF file of"), "\(plan.output)")
    }
}
