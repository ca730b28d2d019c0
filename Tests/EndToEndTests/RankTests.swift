import Foundation
import JSON
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
        // How Adam's step answers to a direction hangs on moments near 0, which rounding moves; a plain step's is firm.
        (
            "amft",
            "num_generations: 4\namft: {warmup_steps: 1, meta_every: 2, step_model: plain, validation: held.jsonl, validation_prompts: 3, validation_generations: 2}"
        ),
        // Without a reference no pair is a tie that rounding decides.
        (
            "bvpo",
            "dataset_name: variants.jsonl\nbeta: 0.3\nreference_free: true\nbvpo: {alpha: 0.25, think_start: s, think_end: e, empty_block: se}"
        ),
        (
            "grpo",
            "num_generations: 4\n\(ConstraintTests.weighed)\neval_steps: 2\neval_limit: 2\ndynamic_weights: {method: hypervolume, minimize: [completion_length]}"
        ),
        ("grpo", "\(ConstraintTests.searching)\nsave_steps: 1"),
        // The coefficient moves by the completions of all processes: of 16, by a tenth a step while the target is far.
        ("reinforce", "beta: 0.05\nkl_target: 0.05\nkl_horizon: 32"),
    ]

    /// The prompt sets of these jobs that are not in every workplace.
    private func writeSets(in place: Workplace) throws {
        try ConstraintTests.writeSets(in: place)
        let rows = (0..<16).flatMap { index in
            let (digit, other) = (index % 10, (index + 3) % 10)
            return [
                #"{"prompt": "\#(index)+1=", "variant": "thinking", "chosen": "s\#(index % 4)e\#(digit)", "rejected": "s\#(index % 3)e\#(other)"}"#,
                #"{"prompt": "\#(index)+1=", "variant": "empty", "prompt_suffix": "se", "chosen": "\#(digit)", "rejected": "\#(other)"}"#,
            ]
        }
        try place.write("variants.jsonl", rows.joined(separator: "\n"))
    }

    @Test(arguments: jobs)
    func numbersAreThoseOfOneProcess(_ example: (algorithm: String, lines: String)) throws {
        let place = try Workplace()
        try writeSets(in: place)
        let job = try place.job(example.algorithm, example.lines)
        let alone = try place.train(job, "output_dir=alone")
        #expect(alone.status == 0, "\(alone.progress)")
        let two = try Command.run(["launch", "-n", "2", "train", job, "output_dir=two"], in: place.folder)
        #expect(two.status == 0, "\(two.progress)")
        #expect(!two.progress.contains("rank 1"), "\(two.progress)")
        try place.expectTheSame()
        if !["sft", "dpo", "bvpo", "reward_model"].contains(example.algorithm) { try place.expectTheSameTexts() }
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
        try place.expectTheSame(but: ["realloc/bytes"])
        try place.expectTheSameTexts()
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

    /// Two prompts a step, rows 0 and 1 in the first: the number that a reward logs is the answer, which is the row, and a
    /// step has the mean of both. A rank's reward sees one of them. A checkpoint has what was logged of a batch that waits.
    @Test(arguments: [(2, "", 0), (2, "max_staleness: 1", 0), (3, "max_staleness: 1", 2)])
    func whatARewardLogsIsThatOfAllRanks(_ size: Int, _ line: String, _ sampling: Int) throws {
        let place = try Workplace()
        try place.write(
            "r.py",
            """
            def f(completions, answer, log_metric, log_extra, **kwargs):
                log_metric("mine", float(answer[0]))
                log_extra("echo", completions)
                return [float(len(c) % 2) for c in completions]
            """)
        let job = try place.job(
            "grpo",
            "num_generations: 4\nper_device_train_batch_size: 8\nshuffle_dataset: false\nreward_funcs: r.py:f\n\(line)")
        let together = try Command.run(
            ["launch", "-n", "\(size)", "train", job, "output_dir=together", "generation_ranks=\(sampling)"],
            in: place.folder)
        #expect(together.status == 0, "\(together.progress)")
        let resumed = try place.train(job, "output_dir=resumed", "resume_from_checkpoint=together/checkpoint-2")
        #expect(resumed.status == 0, "\(resumed.progress)")
        #expect(try place.metrics("together").map { $0["mine"] } == [0.5, 2.5, 4.5, 6.5])
        #expect(try place.metrics("resumed").map { $0["mine"] } == [4.5, 6.5])
        for (run, steps) in [("together", 1...4), ("resumed", 3...4)] {
            for step in steps {
                let file = "\(run)/completions/completions_0000\(step).jsonl"
                let lines = String(decoding: try place.bytes(file), as: UTF8.self).split(separator: "\n")
                #expect(lines.count == 8)
                for line in lines {
                    let row = try JSONValue(parsing: String(line))
                    #expect(row["echo"]?.string != nil && row["echo"]?.string == row["completion"]?.string, "\(line)")
                }
            }
        }
    }

    /// The first rank tells the others where its checkpoint is, and each finds its optimizer's file beside it. In YAML ' #'
    /// begins a comment.
    @Test func aRunFolderMayHaveAnyName() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\noutput_dir: 'run #2'\noffload_optimizer: true")
        for override in ["max_steps=2", "resume_from_checkpoint=true"] {
            let outcome = try Command.run(["launch", "-n", "2", "train", job, override], in: place.folder)
            #expect(outcome.status == 0, "\(outcome.progress)")
        }
        #expect(try place.metrics("run #2").map { $0["step"] } == [1, 2, 3, 4])
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
}
