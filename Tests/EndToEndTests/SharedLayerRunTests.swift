import Foundation
import Testing

@Suite("Processes that share layers learn what one learns", .serialized)
struct SharedLayerRunTests {
    /// On every projection, of those that are cut by rows and of those that are cut by columns.
    private static let adapters = "use_peft: true\nlora_r: 4\nlora_target_modules: all-linear"

    /// Layers divided among two processes, or among two of four, the others with the next passes: with several passes,
    /// updates and objectives, other optimizers and methods, adapters, and blocks that are computed twice.
    @Test(arguments: [
        (2, "grpo", "num_generations: 4\nbeta: 0.1\nsteps_per_generation: 2\nper_device_train_batch_size: 8"),
        (2, "grpo", "num_generations: 4\nmax_tokens_per_micro_batch: 40\ngradient_checkpointing: true\neval_steps: 2"),
        (4, "grpo", "num_generations: 4\nbeta: 0.1\nnum_iterations: 2\nmax_grad_norm: 0.01\nverify_weights: true"),
        (
            2, "grpo",
            "num_generations: 4\n\(ConstraintTests.weighed)\ndynamic_weights: {method: gradient, step_size: 1}"
        ),
        (2, "grpo", "num_generations: 4\nmax_staleness: 1"),
        (2, "remax", "beta: 0.05"), (4, "sft", "optim: lion\nlearning_rate: 1e-5"), (2, "sft", "residency: keep"),
        (2, "dpo", "beta: 0.3\nprecompute_ref_log_probs: false\neval_steps: 2"),
        (
            2, "grpo",
            "\(adapters)\nnum_generations: 4\nbeta: 0.1\nnum_iterations: 2\nlora_dropout: 0.1\nverify_weights: true"
        ),
        (
            4, "grpo",
            "\(adapters)\nnum_generations: 4\nmax_tokens_per_micro_batch: 40\ngradient_checkpointing: true\nlora_dropout: 0.1"
        ),
        (2, "sft", "use_peft: true\nlora_r: 4\nmax_grad_norm: 0.01"),
        (2, "grpo", "num_generations: 4\ntrainable: 'layers.1|embed'\nbeta: 0.1\nverify_weights: true"),
        (2, "sft", "trainable: half"),
        (2, "ppo", "num_iterations: 2\nmax_tokens_per_micro_batch: 40"),
        (4, "ppo", "\(adapters)\nnum_iterations: 2\nverify_weights: true"),
        (2, "ppo", "critic_shares_trunk: true\nnum_iterations: 2"),
    ])
    func layersThatProcessesShareChangeNothing(_ size: Int, _ algorithm: String, _ lines: String) throws {
        let place = try Workplace()
        let job = try place.job(algorithm, lines)
        let alone = try place.train(job, "output_dir=alone")
        #expect(alone.status == 0, "\(alone.progress)")
        let shared = try Command.run(
            ["launch", "-n", "\(size)", "train", job, "output_dir=two", "tensor_parallel_size=2"], in: place.folder)
        #expect(shared.status == 0, "\(shared.progress)")
        #expect(shared.progress.contains("each layer of a training pass is shared by 2 processes"))
        // Weights are brought together after each step. A policy that still is its reference gives both sides of a pair
        // the reward 0, and which is above the other is decided by rounding; margins and rewards are compared.
        try place.expectTheSame(but: ["realloc/bytes", "rewards/accuracies"])
        if !["sft", "dpo"].contains(algorithm) { try place.expectTheSameTexts() }
        // Moments are in the checkpoint whole, as one process writes them.
        let names = ["moments.safetensors", "counters.json"].map { "checkpoint-2/plumbline_state/policy_updater/\($0)" }
        for name in names {
            #expect(try place.bytes("two/\(name)").count == place.bytes("alone/\(name)").count, "\(name)")
        }
    }

    /// Two processes that decode together, or two of four: with the parts they train, or that they cut from whole
    /// weights, packed or as they are. Some rows wait for others, and evaluations sample alone.
    @Test(arguments: [
        (
            2, 2, "grpo",
            "beta: 0.1\nsteps_per_generation: 2\nper_device_train_batch_size: 8\neval_steps: 2\neval_limit: 4"
        ),
        (2, 1, "grpo", "max_concurrent_completions: 3\neval_steps: 2\neval_limit: 4\nverify_weights: true"),
        (4, 2, "grpo", "generation_layout: shared\nmax_tokens_per_micro_batch: 40\nverify_weights: true"),
        (4, 1, "grpo", "generation_layout: shared"), (2, 2, "grpo", "max_staleness: 1"),
        (2, 2, "grpo", "residency: keep\nnum_iterations: 2"),
        (
            2, 1, "grpo",
            "dynamic_sampling: true\ndynamic_sampling_exhausted: partial\ndynamic_sampling_max_waves: 3"
        ),
        (2, 2, "remax", "beta: 0.05"), (2, 1, "ppo", "num_iterations: 2"),
        (2, 2, "grpo", "\(adapters)\nbeta: 0.1\neval_steps: 2\neval_limit: 4"),
        (2, 1, "grpo", "\(adapters)\ngeneration_layout: shared\neval_steps: 2\neval_limit: 4\nverify_weights: true"),
        (4, 2, "grpo", "\(adapters)\ngeneration_layout: shared\nresidency: keep\nverify_weights: true"),
        (2, 2, "grpo", "trainable: layers.1.mlp\nnum_iterations: 2"),
    ])
    func processesThatSampleTogetherChangeNothing(
        _ size: Int, _ trainedTogether: Int, _ algorithm: String, _ lines: String
    ) throws {
        let place = try Workplace()
        let job = try place.job(algorithm, lines + (algorithm == "grpo" ? "\nnum_generations: 4" : ""))
        let alone = try place.train(job, "output_dir=alone")
        #expect(alone.status == 0, "\(alone.progress)")
        let shared = try Command.run(
            [
                "launch", "-n", "\(size)", "train", job, "output_dir=two", "generation_tensor_parallel_size=2",
                "tensor_parallel_size=\(trainedTogether)",
            ], in: place.folder)
        #expect(shared.status == 0, "\(shared.progress)")
        #expect(shared.progress.contains("2 processes sample together, each with a part of every layer"))
        try place.expectTheSame(but: ["realloc/bytes"])
        try place.expectTheSameTexts()
    }

    /// Nothing is brought together where parts are sampled with as they lie and nobody reads more before the next step.
    /// What scores a batch for its second update reads whole weights: 4 bytes of each number that is cut, a mean of two
    /// updates. Of 2 blocks of width 32 with 257 words, tied: 257 · 32 of these, four attention matrices of 32 · 32 and
    /// three matrices of 32 · 96 in a block, with three biases of 32.
    @Test(arguments: [
        (1, "num_iterations: 1", false), (2, "num_iterations: 1", false),
        (2, "num_iterations: 2\nbypass_old_log_probs: true", false), (2, "num_iterations: 2", true),
    ])
    func whatNobodyReadsIsNotBroughtTogether(_ trainedTogether: Int, _ lines: String, _ isRead: Bool) throws {
        let block = 4 * 32 * 32 + 3 * 32 * 96 + 3 * 32
        let bytes = isRead ? 4 * Double(257 * 32 + 2 * block) / 2 : 0
        let place = try Workplace()
        let job = try place.job(
            "grpo",
            "num_generations: 4\ngeneration_layout: shared\nsave_steps: 1000\ngeneration_tensor_parallel_size: 2\n"
                + "tensor_parallel_size: \(trainedTogether)\n" + lines)
        let outcome = try Command.run(["launch", "-n", "2", "train", job, "output_dir=two"], in: place.folder)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let rows = try place.metrics("two")
        #expect(rows.count == (lines.contains("2") ? 2 : 4))
        for row in rows { #expect(row["realloc/bytes"] == bytes, "\(row)") }
    }

    /// Twenty times from layers that are shared to whole ones and back.
    @Test func aSwitchInEveryStepDoesNotLeadAway() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nmax_steps: 20\nlearning_rate: 1e-4")
        #expect(try place.train(job, "output_dir=alone").status == 0)
        let shared = try Command.run(
            ["launch", "-n", "2", "train", job, "output_dir=two", "tensor_parallel_size=2"], in: place.folder)
        #expect(shared.status == 0, "\(shared.progress)")
        try place.expectTheSame(but: ["realloc/bytes"])
        try place.expectTheSameTexts()
    }

    /// Weights and moments are written whole, whatever parts they were trained in, those of adapters too.
    @Test(arguments: [("save_steps: 2", "model.safetensors"), (adapters, "adapter_model.safetensors")])
    func aCheckpointOfSharedLayersGoesOnUnderAnyNumber(_ lines: String, _ weights: String) throws {
        let place = try Workplace()
        let job = try place.job("grpo", lines + "\nnum_generations: 4\nbeta: 0.1")
        func launched(_ size: Int, _ degree: Int, _ overrides: String...) throws {
            let outcome = try Command.run(
                ["launch", "-n", "\(size)", "train", job, "tensor_parallel_size=\(degree)"] + overrides,
                in: place.folder)
            #expect(outcome.status == 0, "\(outcome.progress)")
        }
        try launched(2, 2, "output_dir=whole")
        // The same processes: to the bit.
        try launched(2, 2, "output_dir=again", "resume_from_checkpoint=whole/checkpoint-2")
        #expect(try place.bytes("again/\(weights)") == place.bytes("whole/\(weights)"))
        // One process, two with whole layers, four with halves: to rounding.
        for (name, size, degree) in [("alone", 1, 1), ("data", 2, 1), ("grid", 4, 2)] {
            try launched(size, degree, "output_dir=\(name)", "resume_from_checkpoint=whole/checkpoint-2")
            for (row, other) in zip(try place.metrics("whole").suffix(2), try place.metrics(name).suffix(2)) {
                #expect(row["step"] == other["step"])
                let (loss, found) = (try #require(row["loss"]), try #require(other["loss"]))
                #expect(abs(loss - found) <= 1e-5, "\(name)")
            }
        }
        // And back from a process alone.
        try launched(2, 2, "output_dir=back", "resume_from_checkpoint=alone/checkpoint-4", "max_steps=6")
        try launched(1, 1, "output_dir=on", "resume_from_checkpoint=alone/checkpoint-4", "max_steps=6")
        for (row, other) in zip(try place.metrics("on"), try place.metrics("back")) {
            #expect(abs(try #require(row["loss"]) - #require(other["loss"])) <= 1e-5)
        }
        #expect(try place.metrics("back").count == 2)
    }

    @Test func whatSharedLayersCannotDoIsSaidAtTheStart() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\ntensor_parallel_size: 2")
        let alone = try place.train(job)
        #expect(alone.status == 65)
        #expect(
            alone.progress.contains(
                "tensor_parallel_size: is 2, and the run is one process; expected a divisor of their number: start it "
                    + "with plumbline launch -n 2 train"), "\(alone.progress)")
        let odd = try Command.run(["launch", "-n", "3", "train", job], in: place.folder)
        #expect(odd.status == 65 && odd.progress.contains("the run has 3 processes"), "\(odd.progress)")
        let four = try Command.run(["launch", "-n", "4", "train", job, "tensor_parallel_size=4"], in: place.folder)
        #expect(four.status == 65)
        #expect(
            four.progress.contains(
                "tensor_parallel_size: is 4, and the model has 2 attention heads and 2 key and value heads, which "
                    + "cannot be divided by 4"), "\(four.progress)")
        #expect(!place.exists("run"))
    }
}
