import Foundation
import JSON
import Testing

@Suite("Runs repeat and resume to the bit", .serialized)
struct ResumeTests {
    /// Methods with what makes each one's state larger.
    static let jobs: [(algorithm: String, lines: String)] =
        whole
        + [
            ("sft", ""), ("grpo", "num_generations: 4\nbeta: 0.1"), ("dpo", "beta: 0.3"),
            ("dpo", "precompute_ref_log_probs: false\nsync_ref_model: true\nref_model_sync_steps: 1"),
            ("grpo", "num_generations: 4\nbeta: 0.1\ndtype: bfloat16\nlogprob_gap_limit: 0.1"),
            ("ppo", "num_iterations: 1"), ("ppo", "critic_shares_trunk: true\nnum_iterations: 1"), ("reward_model", ""),
            ("ppo", "num_iterations: 1\ndtype: bfloat16\nlogprob_gap_limit: 0.1"),
            ("ppo", "num_iterations: 1\nload_in_8bit: true"),
            ("grpo", "num_generations: 4\nbeta: 0.1\nlora_dropout: 0.2"),
            ("grpo", "num_generations: 4\nbeta: 0.1\nload_in_8bit: true"), ("dpo", "load_in_8bit: true"),
            ("ppo", "steps_per_generation: 2\nnum_iterations: 2\nmax_steps: 8\nsave_steps: 4\nlora_dropout: 0.2"),
            ("grpo", "num_generations: 4\nbeta: 0.1\nmax_staleness: 1"),
            ("soft_grpo", "num_generations: 4\nsoft_thinking: {think_end: e}\nmax_completion_length: 6"),
            (
                "amft",
                "num_generations: 4\namft: {warmup_steps: 1, meta_every: 2, validation: held.jsonl, validation_prompts: 3, validation_generations: 2}"
            ),
        ].map { ($0.0, $0.1 + "\nuse_peft: true\nlora_r: 4\nlora_target_modules: all-linear") }
        + [
            ("grpo", "num_generations: 4\nbeta: 0.1\ntrainable: layers.1.mlp"),
            ("sft", "trainable: half\ntrainable_stage: 1"),
        ]

    private static let whole: [(algorithm: String, lines: String)] = [
        ("sft", ""), ("reward_model", "center_rewards_coefficient: 0.01"), ("dpo", "beta: 0.3"),
        ("dpo", "precompute_ref_log_probs: false\nlabel_smoothing: 0.1"),
        ("dpo", "precompute_ref_log_probs: false\nsync_ref_model: true\nref_model_sync_steps: 1"),
        ("dpo", "loss_type: simpo\nmax_length: 5"),
        ("grpo", "num_generations: 4\nbeta: 0.1\nmax_grad_norm: 0.5\nweight_decay: 0.1"),
        // Of this model only the matrices of its blocks' networks are large enough for bytes.
        ("sft", "optim: adamw_8bit\nmodel_name_or_path: teacher"),
        ("grpo", "num_generations: 4\noptim: lion\nlearning_rate: 1e-4\nweight_decay: 0.1"),
        ("grpo", "num_generations: 4\noptim: low_rank\nlow_rank: {rank: 4, update_every: 3, remainder: fira}"),
        (
            "sft",
            "optim: low_rank\nlow_rank: {rank: 4, projector: dct, update_every: 3, remainder: sign_sgd}\nstable_spam: true\nstable_spam_reset_steps: 3"
        ),
        ("ppo", "num_iterations: 1\noptim: low_rank\nlow_rank: {rank: 4, update_every: 1}"),
        ("sft", "lr_scheduler_type: warmup_stable_decay\nwarmup_steps: 1\nlr_scheduler_kwargs: {num_decay_steps: 2}"),
        ("grpo", "num_generations: 4\nsteps_per_generation: 2\nnum_iterations: 2\nmax_steps: 8\nsave_steps: 4"),
        ("remax", "beta: 0.05"), ("rloo", "num_generations: 2"), ("gdc", "num_generations: 4\nbeta: 1"),
        ("gdc", "num_generations: 4\nbeta: 1\n\(ConstraintTests.moments)"),
        ("grpo", "num_generations: 4\n\(ConstraintTests.balanced)"),
        (
            "grpo",
            "num_generations: 2\ndatasets: [{path: prompts.jsonl, fraction: 0.75}, {path: prompts.jsonl, fraction: 0.25}]"
        ),
        ("grpo", "num_generations: 4\nkl_placement: reward\nbeta: 0.1"), ("reinforce_pp", "num_generations: 2"),
        ("reinforce", "beta: 0.05\nkl_target: 0.01"), ("best_of_k", "num_generations: 4"),
        ("ppo", "num_iterations: 1\nbootstrap_truncated: true\ntrainable: layers.1.mlp"),
        ("ppo", "steps_per_generation: 2\nnum_iterations: 2\nmax_steps: 8\nsave_steps: 4"),
        (
            "ppo", "critic_shares_trunk: true\nsteps_per_generation: 2\nnum_iterations: 2\nmax_steps: 8\nsave_steps: 4"
        ),
        ("grpo", "num_generations: 4\nreplay_buffer_size: 8\nbypass_old_log_probs: true"),
        (
            "grpo",
            "num_generations: 4\neval_guard: [{texts: held.jsonl, every: 1}, {prompts: held.jsonl, name: sums, every: 2, reward_funcs: [exact_number]}]"
        ), ("dpo", "beta: 0.3\neval_guard: [{texts: held.jsonl, every: 1, tolerance: 0, stop: false}]"),
        ("dapo", "num_generations: 4\ndynamic_sampling_exhausted: partial\ndynamic_sampling_max_waves: 3"),
        ("grpo", "num_generations: 4\nbeta: 0.1\ndtype: bfloat16\nlogprob_gap_limit: 0.1"),
        ("grpo", "num_generations: 4\nbeta: 0.1\ngeneration_layout: int8\nlogprob_gap_limit: 0.1"),
        ("grpo", "num_generations: 4\nbeta: 0.1\ngeneration_layout: shared"),
        ("grpo", "num_generations: 4\nbeta: 0.1\nkl_estimator: full\nsync_ref_model: true\nref_model_sync_steps: 1"),
        (
            "soft_grpo",
            "num_generations: 4\nsoft_thinking: {think_end: e, cold_stop_entropy: 100, cold_stop_steps: 2}\nmax_completion_length: 6"
        ),
        (
            "soft_grpo",
            "num_generations: 4\nsteps_per_generation: 2\nmax_steps: 8\nsave_steps: 4\nsoft_thinking: {noise: dirichlet, think_end: e, cold_stop_entropy: 100, cold_stop_steps: 2}"
        ),
        ("grpo", "num_generations: 4\nbeta: 0.1\nmultipliers: {momentum: 0.3}\n\(ConstraintTests.held)"),
        ("ppo", "steps_per_generation: 2\nnum_iterations: 2\nmax_steps: 8\nsave_steps: 4\n\(ConstraintTests.held)"),
        (
            "rloo",
            "num_generations: 2\nreward_funcs: [{name: regular_expression, pattern: '[0-9a-zA-Z]'}, completion_length]\nreward_weights: [1, {0: 0, 6: 1}]"
        ),
        ("grpo", "num_generations: 4\n\(ConstraintTests.weighed)\ndynamic_weights: {method: gradient, step_size: 1}"),
        (
            "rloo",
            "num_generations: 4\nbeta: 0\n\(ConstraintTests.weighed)\neval_steps: 1\neval_limit: 2\ndynamic_weights: {method: [gradient, hypervolume]}"
        ),
        (
            "distill",
            "num_generations: 4\nreward_funcs: []\nteacher_model_name_or_path: teacher\nbeta: 0.5\nlmbda: 0.5\nmax_steps: 4"
        ),
        (
            "distill",
            "num_generations: 4\nteacher_model_name_or_path: teacher\ndistill: {form: sampled, reward_weight: 0.5}"
        ),
        (
            "distill",
            "num_generations: 4\nreward_funcs: []\nteacher_model_name_or_path: teacher\nlmbda: 0.5\nseq_kd: true"
        ),
        ("distill", "num_generations: 4\nteacher_model_name_or_path: teacher\n\(ConstraintTests.held)"),
        // A checkpoint holds the batch that was sampled ahead, scores and all.
        ("grpo", "num_generations: 4\nbeta: 0.1\nmax_staleness: 1\neval_steps: 1\neval_limit: 2"),
        (
            "grpo",
            "num_generations: 4\nmax_staleness: 1\nsteps_per_generation: 2\nnum_iterations: 2\nmax_steps: 16\nsave_steps: 4\ndtype: bfloat16"
        ),
        ("grpo", "num_generations: 4\nmax_staleness: 1\nreplay_buffer_size: 8"),
        ("grpo", "num_generations: 4\nmax_staleness: 1\n\(ConstraintTests.held)"),
        (
            "dapo",
            "num_generations: 4\nmax_staleness: 1\ndynamic_sampling_exhausted: partial\ndynamic_sampling_max_waves: 3"
        ),
        (
            "soft_grpo",
            "num_generations: 4\nmax_staleness: 1\nsoft_thinking: {think_end: e, cold_stop_entropy: 100, cold_stop_steps: 2}\nmax_completion_length: 6"
        ),
        ("ppo", "num_iterations: 1\nmax_staleness: 1\nbypass_old_log_probs: true"),
        ("luffy", "num_generations: 4\nmax_staleness: 1\nbypass_old_log_probs: true"),
        ("luffy", "num_generations: 4"),
        ("srft", "num_generations: 4\nmax_tokens_per_micro_batch: 40\ngradient_part_steps: 3"),
        (
            "amft",
            "num_generations: 4\namft: {warmup_steps: 1, meta_every: 2, validation: held.jsonl, validation_prompts: 3, validation_generations: 2}"
        ),
        (
            "amft",
            "num_generations: 4\namft: {warmup_steps: 1, meta_every: 1, utility: loss, validation: held.jsonl, validation_prompts: 3}\ndemonstrations: {order: own, per_step: 3}"
        ),
    ]

    @Test(arguments: jobs)
    func aResumedRunEqualsAnUninterruptedOne(_ example: (algorithm: String, lines: String)) throws {
        let place = try Workplace()
        let job = try place.job(example.algorithm, example.lines)
        let outcome = try place.train(job, "output_dir=whole")
        #expect(outcome.status == 0, "\(outcome.progress)")
        let half = example.lines.contains("max_steps: 16") ? 8 : example.lines.contains("max_steps: 8") ? 4 : 2
        #expect(
            try place.train(job, "output_dir=resumed", "resume_from_checkpoint=whole/checkpoint-\(half)").status == 0)
        let weights = example.lines.contains("use_peft") ? "adapter_model.safetensors" : "model.safetensors"
        #expect(try place.bytes("whole/\(weights)") == place.bytes("resumed/\(weights)"))
        let state = "checkpoint-\(2 * half)/plumbline_state/policy_updater/moments.safetensors"
        #expect(try place.bytes("whole/\(state)") == place.bytes("resumed/\(state)"))
        let critic = "checkpoint-\(2 * half)/plumbline_state/critic/weights.safetensors"
        if place.exists("whole/\(critic)") {
            #expect(try place.bytes("whole/\(critic)") == place.bytes("resumed/\(critic)"))
            // It trains what `trainable` names of the policy.
            let names = try String(decoding: place.bytes("whole/\(critic)"), as: UTF8.self)
            let trainsAll = !example.lines.contains("trainable")
            #expect(names.contains("layers.0.") == trainsAll && names.contains("layers.1.mlp"))
        }
        let whole = try place.metrics("whole").filter { $0["step"] ?? 0 > Double(half) }
        #expect(try place.metrics("resumed") == whole)
        if example.lines.contains("use_peft") {
            #expect(!place.exists("whole/model.safetensors") && place.exists("whole/adapter_config.json"))
        } else {
            #expect(try place.bytes("whole/model.safetensors") != place.bytes("model/model.safetensors"))  // it learned
        }
    }

    /// What a reward logs of a batch comes with it, a step later and from a checkpoint, too. A batch that was sampled
    /// ahead is scored one step before: the reward is told of that step.
    @Test func whatRewardsSayOfABatchSampledAheadComesWithIt() throws {
        let place = try Workplace()
        try place.write(
            "r.py",
            """
            def f(completions, log_metric, log_extra, trainer_state, **kwargs):
                log_metric("told", trainer_state.global_step)
                log_extra("echo", completions)
                return [float(len(c) % 2) for c in completions]
            """)
        let job = try place.job("grpo", "num_generations: 4\nreward_funcs: r.py:f\nmax_staleness: 1")
        let whole = try place.train(job, "output_dir=whole")
        #expect(whole.status == 0, "\(whole.progress)")
        let resumed = try place.train(job, "output_dir=resumed", "resume_from_checkpoint=whole/checkpoint-2")
        #expect(resumed.status == 0, "\(resumed.progress)")
        let rows = try place.metrics("whole")
        #expect(rows.map { $0["told"] } == [0, 0, 1, 2] && rows.map { $0["staleness/steps"] } == [0, 1, 1, 1])
        #expect(try place.metrics("resumed") == Array(rows.suffix(2)))
        for (run, steps) in [("whole", 1...4), ("resumed", 3...4)] {
            for step in steps {
                let file = "\(run)/completions/completions_\(String(format: "%05d", step)).jsonl"
                for line in String(decoding: try place.bytes(file), as: UTF8.self).split(separator: "\n") {
                    let row = try JSONValue(parsing: String(line))
                    #expect(row["echo"]?.string != nil && row["echo"]?.string == row["completion"]?.string, "\(line)")
                }
            }
        }
    }

    /// A run that did not sample ahead goes on as one that does, and the other way round.
    @Test func aRunMayBeginToSampleAheadOrLeaveOff() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4")
        for (first, second, ages) in [(0, 1, [0, 1]), (1, 0, [nil, nil])] as [(Int, Int, [Double?])] {
            let (run, next) = ("from\(first)", "to\(second)")
            #expect(try place.train(job, "output_dir=\(run)", "max_staleness=\(first)").status == 0)
            let other = try place.train(
                job, "output_dir=\(next)", "max_staleness=\(second)", "resume_from_checkpoint=\(run)/checkpoint-2")
            #expect(other.status == 0, "\(other.progress)")
            #expect(try place.metrics(next).map { $0["staleness/steps"] } == ages)
        }
    }

    /// WSD-S: twenty steps end decayed; continued to forty they go on at the full rate and decay again, and what is
    /// continued can be resumed as any run.
    @Test func aDecayedRunGoesOnAtTheFullRate() throws {
        let place = try Workplace()
        let job = try place.job(
            "sft", "lr_scheduler_type: warmup_stable_decay\nwarmup_steps: 0.2\nmax_steps: 20\nsave_steps: 10")
        #expect(try place.train(job).status == 0)
        let rates = try place.metrics("run").compactMap { $0["learning_rate"] }
        #expect(rates == [0, 0.25e-3, 0.5e-3, 0.75e-3] + [Double](repeating: 1e-3, count: 15) + [0.5e-3])
        let continued = try place.train(
            job, "output_dir=longer", "resume_from_checkpoint=run/checkpoint-20", "max_steps=40")
        #expect(continued.status == 0, "\(continued.progress)")
        // The last four of forty are the decay, which begins at the full rate.
        let more = try place.metrics("longer").compactMap { $0["learning_rate"] }
        #expect(more.count == 20 && more.prefix(17).allSatisfy { $0 == 1e-3 })
        #expect(more.suffix(3).allSatisfy { $0 < 1e-3 } && more[18] == 0.5e-3)
        let again = try place.train(
            job, "output_dir=again", "resume_from_checkpoint=longer/checkpoint-30", "max_steps=40")
        #expect(again.status == 0, "\(again.progress)")
        #expect(try place.bytes("again/model.safetensors") == place.bytes("longer/model.safetensors"))
        let cramped = try place.train(
            job, "output_dir=cramped", "resume_from_checkpoint=run/checkpoint-20", "max_steps=21")
        #expect(cramped.status == 65)
        #expect(cramped.progress.contains("expected max_steps of at least 22"), "\(cramped.progress)")
    }

    @Test func aResumedRunSaysWhatIsLeftOfIt() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4")
        let whole = try place.train(job)
        #expect(whole.status == 0 && !whole.progress.contains("of them left"), "\(whole.progress)")
        let resumed = try place.train(job, "output_dir=resumed", "resume_from_checkpoint=run/checkpoint-2")
        #expect(resumed.progress.contains("4 optimizer steps, 2 of them left"), "\(resumed.progress)")
        #expect(!resumed.progress.contains("nothing to do"))
        #expect(!resumed.progress.contains("the checkpoint's run has"))
        let done = try place.train(job, "resume_from_checkpoint=true", "max_steps=2")
        #expect(done.status == 0, "\(done.progress)")
        #expect(
            done.progress.contains("checkpoint-4 is already at or past the last step, 2: nothing to do; raise max_s"),
            "\(done.progress)")
        let other = try place.train(
            job, "algorithm=rloo", "output_dir=other", "resume_from_checkpoint=run/checkpoint-2")
        #expect(other.status == 0, "\(other.progress)")
        #expect(
            other.progress.contains("the checkpoint's run has algorithm: grpo, this start algorithm: rloo"),
            "\(other.progress)")
    }

    /// The first run ranks by the longest completion, whose 4 tokens no reward comes to.
    @Test func anotherMetricBeginsRankingAnew() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nsave_steps: 1\nmax_steps: 2")
        let first = try place.train(job, "metric_for_best_model=completions/max_length")
        #expect(first.progress.contains("best: run/checkpoint-1, completions/max_length 4"), "\(first.progress)")
        let resumed = try place.train(
            job, "metric_for_best_model=reward", "load_best_model_at_end=true", "resume_from_checkpoint=true",
            "max_steps=4")
        #expect(resumed.status == 0, "\(resumed.progress)")
        #expect(
            resumed.progress.contains(
                "ranked by completions/max_length, where more is better, this start ranks by reward, where more is "
                    + "better: ranking begins anew"), "\(resumed.progress)")
        let best = try place.metrics("run").suffix(2).compactMap { $0["reward"] }.max()
        let found = try #require(resumed.progress.firstMatch(of: /best: run\/checkpoint-([34]), reward (\S+)/))
        #expect(Double(found.2).map { abs($0 - (best ?? .nan)) < 1e-3 } == true, "\(found.0), not \(best ?? .nan)")
        // And the same metric goes on where it was.
        let third = try place.train(
            job, "metric_for_best_model=reward", "resume_from_checkpoint=true", "max_steps=5")
        #expect(third.status == 0 && !third.progress.contains("ranking begins anew"), "\(third.progress)")
    }

    @Test func aFolderIsOneRuns() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4")
        for (run, seed) in [("one", 1), ("two", 2)] {
            #expect(try place.train(job, "output_dir=\(run)", "seed=\(seed)").status == 0)
        }
        let before = try place.bytes("two/metrics.jsonl")
        let mixed = try place.train(job, "output_dir=two", "resume_from_checkpoint=one/checkpoint-2")
        #expect(mixed.status == 65, "\(mixed.progress)")
        #expect(
            mixed.progress.contains(
                "output_dir holds an earlier run, and 'one/checkpoint-2' is another one's checkpoint"),
            "\(mixed.progress)")
        #expect(try place.bytes("two/metrics.jsonl") == before)
        let replaced = try place.train(
            job, "output_dir=two", "seed=1", "resume_from_checkpoint=one/checkpoint-2", "overwrite_output_dir=true")
        #expect(replaced.status == 0, "\(replaced.progress)")
        #expect(try place.metrics("two") == Array(place.metrics("one").suffix(2)))
        #expect(try place.bytes("two/model.safetensors") == place.bytes("one/model.safetensors"))
        #expect(place.exists("two/checkpoint-4") && !place.exists("two/checkpoint-2"))
        let own = try place.train(
            job, "output_dir=one", "seed=1", "resume_from_checkpoint=one/checkpoint-2", "max_steps=5")
        #expect(own.status == 0, "\(own.progress)")
    }

    /// The second run breaks before its first step: no model lies in its folder, least of all that of the first.
    @Test func aRunThatBeginsAnewHasNoModelOfAnEarlierOne() throws {
        let place = try Workplace()
        #expect(try place.train(try place.job("grpo", "num_generations: 4")).status == 0)
        try #require(place.exists("run/model.safetensors") && place.exists("run/manifest.json"))
        try place.write("run/README.md", "mine")
        try place.write("r.py", "def f(completions, **kwargs):\n    raise RuntimeError('out of paper')\n")
        let broken = try place.train(
            try place.job("grpo", "num_generations: 4\nreward_funcs: r.py:f\nreward_error_budget: 0"),
            "overwrite_output_dir=true")
        #expect(broken.status == 65 && broken.progress.contains("out of paper"), "\(broken.progress)")
        for name in ["model.safetensors", "config.json", "tokenizer.json", "manifest.json"] {
            #expect(!place.exists("run/\(name)"), "\(name)")
        }
        #expect(place.exists("run/README.md") && place.exists("run/config.yaml"))
    }

    @Test func aRunGoesOnWithItsOwnOptimizer() throws {
        let place = try Workplace()
        let job = try place.job("sft", "optim: lion\nlearning_rate: 1e-4")
        #expect(try place.train(job).status == 0)
        let other = try place.train(
            job, "output_dir=other", "resume_from_checkpoint=run/checkpoint-2", "optim=adamw_torch")
        #expect(other.status == 65)
        #expect(
            other.progress.contains("it is that of optim: lion, and the job has optim: adamw_torch; go on with lion"),
            "\(other.progress)")
    }

    /// The weights would be read under the other configuration, where they compute something else.
    @Test func aRunGoesOnWithItsOwnModel() throws {
        let place = try Workplace()
        let job = try place.job("sft")
        #expect(try place.train(job).status == 0)
        try place.copy("model", to: "other")
        let own = String(decoding: try place.bytes("model/config.json"), as: UTF8.self)
        let other = own.replacing("\"rope_theta\": 10000.0", with: "\"rope_theta\": 1000000.0")
        try #require(other != own)
        try place.write("other/config.json", other)
        let resumed = try place.train(job, "model_name_or_path=other", "resume_from_checkpoint=true", "max_steps=6")
        #expect(resumed.status == 65)
        #expect(
            resumed.progress.contains("checkpoint-4: its config.json says rope_theta 10000, the model's 1000000"),
            "\(resumed.progress)")
    }

    @Test func theSameSeedIsTheSameRunAndAnotherSeedIsNot() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4")
        for (run, seed) in [("one", 1), ("two", 1), ("other", 2)] {
            #expect(try place.train(job, "output_dir=\(run)", "seed=\(seed)").status == 0)
        }
        #expect(try place.bytes("one/model.safetensors") == place.bytes("two/model.safetensors"))
        #expect(try place.metrics("one") == place.metrics("two"))
        #expect(try place.bytes("one/model.safetensors") != place.bytes("other/model.safetensors"))
    }

    @Test func howABatchIsCutChangesNothingButRounding() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4")
        #expect(try place.train(job, "output_dir=whole").status == 0)
        #expect(try place.train(job, "output_dir=cut", "max_tokens_per_micro_batch=16").status == 0)
        for (whole, cut) in zip(try place.metrics("whole"), try place.metrics("cut")) {
            #expect(abs((whole["grad_norm"] ?? 0) - (cut["grad_norm"] ?? 1)) < 1e-3 * (whole["grad_norm"] ?? 0) + 1e-6)
            #expect(whole["reward"] == cut["reward"])
        }
    }

    @Test func aRequestToStopEndsWithACheckpointThatGoesOnToTheBit() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nmax_steps: 400\nsave_steps: 1000\nlogging_steps: 1")
        #expect(try place.train(job, "output_dir=whole").status == 0)
        let running = try Command.start(["train", job, "output_dir=stopped"], in: place.folder)
        let metrics = place.folder.appending(path: "stopped/metrics.jsonl")
        for _ in 0..<24_000 where !FileManager.default.fileExists(atPath: metrics.path) { usleep(5_000) }
        running.process.terminate()
        let outcome = try running.wait()
        #expect(outcome.status == 75, "\(outcome.progress)")
        #expect(outcome.progress.contains("resume_from_checkpoint=true"))
        #expect(try place.train(job, "output_dir=stopped", "resume_from_checkpoint=true").status == 0)
        #expect(try place.bytes("whole/model.safetensors") == place.bytes("stopped/model.safetensors"))
        #expect(try place.metrics("whole") == place.metrics("stopped"))
    }
}
