import Foundation
import Testing

/// Weights that are trained in one number of parts and sampled with in another, both more than one.
@Suite("A run whose layers are cut one way to train and another to sample", .serialized)
struct ReshardRunTests {
    /// Two rollouts of two updates each, on four processes: what the second samples with has moved
    /// since the first, and what scores it in between reads whole weights. Eight heads, of which four have keys and
    /// values; 257 words, which neither number divides. Every hand-over is verified.
    @Test func fourProcessesLearnWhatOneLearns() throws {
        let place = try Workplace()
        try Command.succeed(
            [
                "init-model", "--output", "four", "--tokenizer", "model", "--hidden-size", "32", "--layers", "2",
                "--heads", "8", "--key-value-heads", "4", "--context-length", "64",
            ], in: place.folder)
        let job = try place.job(
            "grpo",
            "model_name_or_path: four\nnum_generations: 4\nbeta: 0.1\nnum_iterations: 2\nsave_steps: 4\n"
                + "max_concurrent_completions: 3\nverify_weights: true")
        let alone = try place.train(job, "output_dir=alone")
        #expect(alone.status == 0, "\(alone.progress)")
        for (trained, sampled) in [(4, 2), (2, 4)] {
            let name = "from\(trained)to\(sampled)"
            let shared = try Command.run(
                [
                    "launch", "-n", "4", "train", job, "output_dir=\(name)", "tensor_parallel_size=\(trained)",
                    "generation_tensor_parallel_size=\(sampled)",
                ], in: place.folder)
            #expect(shared.status == 0, "\(shared.progress)")
            #expect(shared.progress.contains("each layer of a training pass is shared by \(trained) processes"))
            #expect(shared.progress.contains("\(sampled) processes sample together, each with a part of every layer"))
            let (own, other) = (try place.metrics("alone"), try place.metrics(name))
            try #require(own.count == 2 && other.count == 2)
            for (row, found) in zip(own, other) {
                #expect(row.keys.sorted() == found.keys.sorted())
                // What moves between processes does not move within one.
                for (key, value) in row where key != "realloc/bytes" {
                    let number = try #require(found[key])
                    #expect(abs(number - value) <= 1e-5 * max(1, abs(value)), "\(name) \(key): \(number), not \(value)")
                }
            }
            let files = try FileManager.default.contentsOfDirectory(
                atPath: place.folder.appending(path: "alone/completions").path)
            #expect(!files.isEmpty)
            for file in files {
                let texts = try ["alone", name].map { try self.texts("\($0)/completions/\(file)", place) }
                #expect(texts[0] == texts[1], "\(name) \(file)")
            }
        }
    }

    private func texts(_ path: String, _ place: Workplace) throws -> [String] {
        try String(decoding: place.bytes(path), as: UTF8.self).split(separator: "\n").map {
            let row = try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
            return "\(row?["prompt"] ?? "") \(row?["completion"] ?? "")"
        }
    }
}
