import Testing

/// Weights that are trained in one number of parts and sampled with in another, both more than one.
@Suite("A run whose layers are cut one way to train and another to sample", .serialized)
struct ReshardRunTests {
    /// Two rollouts of two updates each, on four processes: what the second samples with has moved since the first, and
    /// what scores it in between reads whole weights. Eight heads on four keys and values; 257 words, which neither
    /// number divides. Every hand-over is verified.
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
            #expect(try place.metrics(name).count == 2)
            // What moves between processes does not move within one.
            try place.expectTheSame(name, but: ["realloc/bytes"])
            try place.expectTheSameTexts(name)
        }
    }
}
