import Foundation
import Runs
import Testing

@Suite("Two processes learn what one learns", .serialized)
struct RankTests {
    /// A method of each kind, with what makes its step larger than one pass.
    static let jobs: [(algorithm: String, lines: String)] = [
        ("grpo", "num_generations: 4\nbeta: 0.1\nper_device_train_batch_size: 8\nsteps_per_generation: 2"),
        ("ppo", "num_iterations: 2"), ("ppo", "critic_shares_trunk: true\nmax_tokens_per_micro_batch: 40"),
        ("ppo", "num_iterations: 2\nuse_peft: true\nlora_r: 4\nlora_target_modules: all-linear"),
        ("remax", "beta: 0.05"), ("soft_grpo", "num_generations: 4\nsoft_thinking: {think_end: e}"),
        ("grpo", "num_generations: 4\n\(ConstraintTests.held)"),
        ("grpo", "num_generations: 4\n\(ConstraintTests.weighed)\ndynamic_weights: {method: gradient, step_size: 1}"),
        ("gdc", "num_generations: 4\nbeta: 1\n\(ConstraintTests.moments)"),
        ("grpo", "num_generations: 4\ngradient_part_steps: 2\n\(ConstraintTests.balanced)"),
        (
            "grpo",
            "num_generations: 4\nbeta: 0.1\nuse_peft: true\nlora_r: 4\nlora_target_modules: all-linear\nsteps_per_generation: 2\nper_device_train_batch_size: 8"
        ),
        ("sft", "optim: adamw_8bit\nmodel_name_or_path: teacher"), ("sft", "optim: lion\nlearning_rate: 1e-5"),
        ("sft", "optim: low_rank\nlow_rank: {rank: 4, update_every: 2}"), ("sft", ""),
        ("dpo", "beta: 0.3\nprecompute_ref_log_probs: false\neval_steps: 2"),
        ("reward_model", "eval_steps: 2"),
        ("grpo", "num_generations: 4\neval_steps: 2\neval_limit: 4"),
    ]

    @Test(arguments: jobs)
    func numbersAreThoseOfOneProcess(_ example: (algorithm: String, lines: String)) throws {
        let place = try Workplace()
        let job = try place.job(example.algorithm, example.lines)
        let alone = try place.train(job, "output_dir=alone")
        #expect(alone.status == 0, "\(alone.progress)")
        let two = try Command.run(["launch", "-n", "2", "train", job, "output_dir=two"], in: place.folder)
        #expect(two.status == 0, "\(two.progress)")
        #expect(!two.progress.contains("rank 1"), "\(two.progress)")
        try expectTheSame(place)
        if !["sft", "dpo", "reward_model"].contains(example.algorithm) { try expectTheSameTexts(place) }
    }

    /// Layers divided among two processes, or among two of four, the others with the next passes: with several passes,
    /// updates and objectives, other optimizers and methods, and blocks that are computed twice.
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
        try expectTheSame(place, but: ["realloc/bytes", "rewards/accuracies"])
        if !["sft", "dpo"].contains(algorithm) { try expectTheSameTexts(place) }
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
        try expectTheSame(place, but: ["realloc/bytes"])
        try expectTheSameTexts(place)
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
        try expectTheSame(place, but: ["realloc/bytes"])
        try expectTheSameTexts(place)
    }

    /// Weights and moments are written whole, whatever parts they were trained in.
    @Test func aCheckpointOfSharedLayersGoesOnUnderAnyNumber() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nbeta: 0.1")
        func launched(_ size: Int, _ degree: Int, _ overrides: String...) throws {
            let outcome = try Command.run(
                ["launch", "-n", "\(size)", "train", job, "tensor_parallel_size=\(degree)"] + overrides,
                in: place.folder)
            #expect(outcome.status == 0, "\(outcome.progress)")
        }
        try launched(2, 2, "output_dir=whole")
        // The same processes: to the bit.
        try launched(2, 2, "output_dir=again", "resume_from_checkpoint=whole/checkpoint-2")
        #expect(try place.bytes("again/model.safetensors") == place.bytes("whole/model.safetensors"))
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

    /// In one process the halves of a step take turns; here they work at once, on weights that are sent after each step.
    /// Of adapters only these are sent.
    @Test(arguments: [
        (2, 1, "beta: 0.1\neval_steps: 2\neval_limit: 4"), (3, 1, "steps_per_generation: 2\nmax_steps: 8"),
        (3, 2, "dynamic_sampling: true\ndynamic_sampling_exhausted: partial\ndynamic_sampling_max_waves: 3"),
        (2, 1, "generation_layout: int8\nnum_iterations: 2\nmax_steps: 8"), (2, 1, "dtype: bfloat16"),
        (
            2, 1,
            "beta: 0.1\nkl_placement: reward\nuse_peft: true\nlora_r: 4\nlora_target_modules: all-linear\nverify_weights: true"
        ), (2, 1, ConstraintTests.held),
    ])
    func ranksThatOnlySampleChangeNothing(_ size: Int, _ sampling: Int, _ lines: String) throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nmax_staleness: 1\n\(lines)")
        let alone = try place.train(job, "output_dir=alone")
        #expect(alone.status == 0, "\(alone.progress)")
        let apart = try Command.run(
            ["launch", "-n", "\(size)", "train", job, "output_dir=two", "generation_ranks=\(sampling)"],
            in: place.folder)
        #expect(apart.status == 0, "\(apart.progress)")
        // The trainers make no copies to sample with.
        try expectTheSame(place, but: ["realloc/bytes"])
        try expectTheSameTexts(place)
        let resumed = try place.train(job, "output_dir=again", "resume_from_checkpoint=two/checkpoint-2")
        #expect(resumed.status == 0, "\(resumed.progress)")
        // Evaluations have rows of their own.
        let (rows, others) = (
            try place.metrics("two").filter { $0["loss"] != nil }.suffix(2),
            try place.metrics("again").filter { $0["loss"] != nil }.suffix(2)
        )
        for (row, other) in zip(rows, others) {
            #expect(row["step"] == other["step"] && row["staleness/steps"] == other["staleness/steps"])
            let (loss, found) = (try #require(row["loss"]), try #require(other["loss"]))
            #expect(abs(loss - found) <= 1e-5)
        }
    }

    @Test func aDryRunSaysWhoDoesWhat() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nmax_staleness: 1")
        let plain = try Command.succeed(["train", job, "--dry-run"], in: place.folder).output
        #expect(plain.contains("# each step learns from the batch that was sampled before the last update"), "\(plain)")
        #expect(plain.contains("importance_sampling_correction: token_truncate\n"))
        let apart = try Command.succeed(["train", job, "generation_ranks=1", "--dry-run"], in: place.folder).output
        #expect(apart.contains("; the last 1 of the run's processes sample and score, the others learn\n"), "\(apart)")
    }

    /// The processes read one job: what it comes to, and what is wrong with it, is said once.
    @Test func whatAllRanksSayIsReadOnce() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4")
        func launch(_ arguments: String...) throws -> Command.Outcome {
            try Command.run(["launch", "-n", "3", "train"] + arguments, in: place.folder)
        }
        func count(_ words: String, _ text: String) -> Int { text.components(separatedBy: words).count - 1 }
        let plan = try launch(job, "--dry-run")
        #expect(plan.status == 0, "\(plan.progress)")
        #expect(count("\nnum_generations: 4\n", plan.output) == 1, "\(plan.output)")
        #expect(count("# 3 processes, each with its share of every step", plan.output) == 1, "\(plan.output)")
        let refused = try launch(job, "num_generations=x")
        #expect(refused.status == 65 && count("plumbline: ", refused.progress) == 1, "\(refused.progress)")
        #expect(refused.progress.contains("num_generations is 'x'"))
        // The first alone opens the model before the others do, which find it gone.
        let lost = try launch(job, "model_name_or_path=nowhere")
        #expect(lost.status == 65 && count("plumbline: ", lost.progress) == 1, "\(lost.progress)")
        #expect(lost.progress.contains("nowhere") && !lost.progress.contains("another process"), "\(lost.progress)")
        let usage = try launch()
        #expect(usage.status == 64 && count("Usage:", usage.progress) == 1, "\(usage.progress)")
        let split = try launch(job, "max_staleness=1", "generation_ranks=3", "--dry-run")
        #expect(split.status == 65)
        #expect(count("plumbline: generation_ranks: is 3", split.progress) == 1, "\(split.progress)")
        let device = try Command.run(["train", job, "device=cuda:77", "--dry-run"], in: place.folder)
        #expect(device.status == 65 && device.progress.contains("plumbline: device: "), "\(device.progress)")
    }

    /// The first rank waits for another that never comes.
    @Test func aStopBeforeTheyMeetSaysThatNothingIsSaved() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4")
        let (ranks, port) = try start(1, of: 2, [job, "output_dir=run"], in: place)
        let isMeeting = {
            try ["/proc/net/tcp", "/proc/net/tcp6"].contains {
                try String(contentsOf: URL(filePath: $0), encoding: .utf8).contains(
                    String(format: ":%04X ", port))
            }
        }
        while try !isMeeting(), ranks[0].process.isRunning { usleep(20_000) }
        ranks[0].process.terminate()
        let outcome = try ranks[0].wait()
        #expect(outcome.status == 75)
        #expect(
            outcome.progress.contains(
                "stopped on request; the processes had not all begun, and nothing is saved"), "\(outcome.progress)")
        #expect(!place.exists("run"))
    }

    /// What two processes have written in `two` is what one has in `alone`.
    private func expectTheSame(_ place: Workplace, but others: Set<String> = []) throws {
        let (own, shared) = (try place.metrics("alone"), try place.metrics("two"))
        try #require(own.count == shared.count)
        for (row, other) in zip(own, shared) {
            #expect(row.keys.sorted() == other.keys.sorted())
            for (name, value) in row where !others.contains(name) {
                let found = try #require(other[name])
                #expect(abs(found - value) <= 1e-5 * max(1, abs(value)), "\(name): \(found), not \(value)")
            }
        }
    }

    private func expectTheSameTexts(_ place: Workplace) throws {
        let files = try FileManager.default.contentsOfDirectory(
            atPath: place.folder.appending(path: "alone/completions").path)
        #expect(!files.isEmpty)
        for file in files {
            #expect(try texts("alone/completions/\(file)", place) == texts("two/completions/\(file)", place), "\(file)")
        }
    }

    private func texts(_ path: String, _ place: Workplace) throws -> [String] {
        try String(decoding: place.bytes(path), as: UTF8.self).split(separator: "\n").map {
            let row = try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
            return "\(row?["prompt"] ?? "") \(row?["completion"] ?? "")"
        }
    }

    /// Each rank keeps the optimizer's state of its own parameters; a checkpoint holds that of all.
    @Test(arguments: [
        "", "optim: adamw_8bit\nmodel_name_or_path: teacher",
        "optim: low_rank\nlow_rank: {rank: 4, update_every: 3, remainder: fira}",
    ])
    func aCheckpointGoesOnUnderAnyNumberOfRanks(_ lines: String) throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nbeta: 0.1\n\(lines)")
        func two(_ overrides: String...) throws {
            let outcome = try Command.run(["launch", "-n", "2", "train", job] + overrides, in: place.folder)
            #expect(outcome.status == 0, "\(outcome.progress)")
        }
        try two("output_dir=whole")
        try two("output_dir=again", "resume_from_checkpoint=whole/checkpoint-2")
        #expect(try place.bytes("again/model.safetensors") == place.bytes("whole/model.safetensors"))
        let alone = try place.train(job, "output_dir=alone", "resume_from_checkpoint=whole/checkpoint-2")
        #expect(alone.status == 0, "\(alone.progress)")
        // From a checkpoint in another folder the record begins where that one was made.
        for (row, other) in zip(try place.metrics("whole").suffix(2), try place.metrics("alone").suffix(2)) {
            #expect(row["step"] == other["step"])
            let (loss, found) = (try #require(row["loss"]), try #require(other["loss"]))
            #expect(abs(loss - found) <= 1e-5)
        }
        try two("output_dir=back", "resume_from_checkpoint=alone/checkpoint-4", "max_steps=6")
        #expect(try place.metrics("back").count == 2)
    }

    /// All ranks do everything, or one trains while the other samples, or both compute each layer together: to train, to
    /// sample, or for both.
    static let duties = [
        "", "\nmax_staleness: 1\ngeneration_ranks: 1", "\ntensor_parallel_size: 2",
        "\ngeneration_tensor_parallel_size: 2", "\ntensor_parallel_size: 2\ngeneration_tensor_parallel_size: 2",
    ]

    /// Both begin, then one rank's process is gone from one moment to the next.
    @Test(arguments: [0, 1], duties) func aKilledRankEndsTheOther(_ killed: Int, _ lines: String) throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo", "num_generations: 4\nmax_steps: 100000\nsave_steps: 2\nlog_completions: false" + lines)
        let ranks = try start(2, job, "output_dir=run", in: place)
        let folder = place.folder.appending(path: "run")
        let isSaved = { () throws -> Bool in
            try place.exists("run") && (CheckpointFolder.latest(in: folder).newest) != nil
        }
        while try !isSaved(), ranks[0].process.isRunning { usleep(20_000) }
        let killedAt = ContinuousClock.now
        #expect(try ranks[killed].killed().status == SIGKILL)
        let other = try ranks[1 - killed].wait()
        #expect(ContinuousClock.now - killedAt < .seconds(30))
        #expect(other.status == 65, "\(other.progress)")
        #expect(
            other.progress.contains("rank \(1 - killed) of 2: another process of the run has ended"),
            "\(other.progress)")
        let newest = try #require(try CheckpointFolder.latest(in: folder).newest)
        try newest.verify()
        let resumed = try Command.run(
            ["launch", "train", job, "output_dir=run", "resume_from_checkpoint=true", "max_steps=\(newest.step + 1)"],
            in: place.folder)
        #expect(resumed.status == 0, "\(resumed.progress)")
    }

    /// The one that waits for it cannot know; `launch` does.
    @Test func aRankThatIsGoneBeforeTheyMeetEndsTheOther() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nmax_steps: 100000\nsave_steps: 100000")
        let began = ContinuousClock.now
        let launched = try Command.start(["launch", "-n", "2", "train", job, "output_dir=run"], in: place.folder)
        let tasks = URL(filePath: "/proc/\(launched.process.processIdentifier)/task")
        var children: [pid_t] = []
        while children.count < 2, launched.process.isRunning {
            let threads = try FileManager.default.contentsOfDirectory(at: tasks, includingPropertiesForKeys: nil)
            children = threads.compactMap { FileManager.default.contents(atPath: $0.appending(path: "children").path) }
                .flatMap { String(decoding: $0, as: UTF8.self).split(separator: " ").compactMap { pid_t($0) } }
            usleep(1000)
        }
        try #require(children.count == 2)
        kill(children[1], SIGKILL)
        let outcome = try launched.wait()
        #expect(outcome.status == 137 && outcome.progress.contains("was killed by signal 9"), "\(outcome.progress)")
        #expect(ContinuousClock.now - began < .seconds(60))
    }

    /// Started as torchrun starts them, so that each has streams of its own.
    private func start(_ count: Int, _ job: String, _ overrides: String..., in place: Workplace) throws
        -> [Command.Running]
    {
        try start(count, of: count, [job] + overrides, in: place).ranks
    }

    /// The first ones of so many, and where they meet.
    private func start(
        _ count: Int, of size: Int, _ arguments: [String], in place: Workplace
    ) throws -> (ranks: [Command.Running], port: Int) {
        let port = 20_000 + Int(getpid()) % 10_000 + Int.random(in: 0..<2_000)
        let ranks = try (0..<count).map { rank in
            try Command.start(
                ["train"] + arguments, in: place.folder,
                environment: [
                    "RANK": "\(rank)", "WORLD_SIZE": "\(size)", "LOCAL_WORLD_SIZE": "\(size)",
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "\(port)",
                ])
        }
        return (ranks, port)
    }

    /// The prompt that breaks the reward is in the share of one rank alone.
    @Test(arguments: duties) func aRewardThatFailsOnOneRankEndsBoth(_ lines: String) throws {
        let place = try Workplace()
        try place.write(
            "r.py",
            """
            def score(prompts, completions, **kwargs):
                if any(p.startswith("7+1") for p in prompts):
                    raise ValueError("cannot score 7+1")
                return [1.0 for c in completions]
            """)
        let job = try place.job(
            "grpo",
            "num_generations: 4\nreward_funcs: r.py:score\nreward_error_budget: 0\nmax_steps: 40\nsave_steps: 40"
                + lines)
        let ranks = try start(2, job, "output_dir=run", in: place)
        let outcomes = try ranks.map { try $0.wait() }
        #expect(outcomes.map(\.status) == [65, 65], "\(outcomes.map(\.progress))")
        for outcome in outcomes { #expect(outcome.progress.contains("cannot score 7+1"), "\(outcome.progress)") }
    }

    @Test(arguments: duties) func aStopOfOneRankIsEverybodys(_ lines: String) throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo", "num_generations: 4\nmax_steps: 100000\nsave_steps: 100000\nlog_completions: false" + lines)
        let ranks = try start(2, job, "output_dir=run", in: place)
        let metrics = place.folder.appending(path: "run/metrics.jsonl").path
        while !FileManager.default.fileExists(atPath: metrics), ranks[0].process.isRunning { usleep(20_000) }
        ranks[1].process.terminate()
        let outcomes = try ranks.map { try $0.wait() }
        #expect(outcomes.map(\.status) == [75, 75], "\(outcomes.map(\.progress))")
        #expect(outcomes[0].progress.contains("is saved, resume with resume_from_checkpoint=true"))
        #expect(try CheckpointFolder.latest(in: place.folder.appending(path: "run")).newest != nil)
    }

    @Test func whatIsWrongIsSaid() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nddp_timeout: 1")
        func alone(_ environment: [String: String]) throws -> Command.Outcome {
            try Command.start(["train", job], in: place.folder, environment: environment).wait()
        }
        let nobody = try alone(["RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"])
        #expect(nobody.status == 65)
        #expect(nobody.progress.contains("rank 1 of 2: the others were not met at 127.0.0.1:9"), "\(nobody.progress)")
        // In one line, without what the store's own log has of it: a C++ stack trace for every try.
        #expect(nobody.progress.contains("ddp_timeout is 1 s\n"), "\(nobody.progress)")
        #expect(!nobody.progress.contains("frame #") && !nobody.progress.contains("[c10d]"), "\(nobody.progress)")
        let number = try alone(["RANK": "x", "WORLD_SIZE": "2"])
        #expect(number.status == 65)
        #expect(
            number.progress.contains(
                "the environment variable RANK: is 'x'; expected a whole number from 0 to 1"), "\(number.progress)")
        let missing = try alone(["RANK": "0", "WORLD_SIZE": "2"])
        #expect(missing.progress.contains("MASTER_ADDR: is missing"), "\(missing.progress)")
        #expect(try alone(["RANK": "0", "WORLD_SIZE": "1"]).status == 0)
        let idle = try Command.run(
            ["launch", "-n", "2", "train", job, "max_staleness=1", "generation_ranks=2"], in: place.folder)
        #expect(idle.status == 65)
        #expect(
            idle.progress.contains("generation_ranks: is 2, and the run has 2 processes; expected at most 1"),
            "\(idle.progress)")
        #expect(try Command.run(["launch", "-n", "0", "train", job], in: place.folder).status == 64)
        #expect(try Command.run(["launch", "eval", job], in: place.folder).status == 64)
    }
}
