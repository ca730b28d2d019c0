import Foundation
import Job
import Models
import PolicyUpdater
import Tensors
import Testing

/// A job with these lines first.
private func read(_ text: String) throws -> ResolvedJob {
    let rest = ["model_name_or_path: m", "dataset_name: p", "output_dir: o", "reward_funcs: accuracy_reward"]
    return try ResolvedJob(
        JobFile(text: ([text] + rest).joined(separator: "\n"), name: "job.yaml", folder: URL(filePath: "/jobs")))
}

@Suite("The keys of the optimizer")
struct OptimizerKeysTests {
    @Test(arguments: [
        ("adamw_torch", OptimizerRule.adamW), ("adamw_torch_fused", .adamW), ("paged_adamw_32bit", .adamW),
        ("ADAMW_HF", .adamW), ("adamw_8bit", .adamW8bit), ("adamw_bnb_8bit", .adamW8bit),
        ("paged_adamw_8bit", .adamW8bit), ("adamw_torch_8bit", .adamW8bit), ("lion", .lion), ("lion_32bit", .lion),
        ("paged_lion_32bit", .lion), ("low_rank", .lowRank(LowRankSettings(rank: 128, scale: 0.25))),
    ])
    func namesOfTransformersAreRead(_ name: String, _ rule: OptimizerRule) throws {
        let job = try read("optim: \(name)")
        #expect(job.optimizer.rule == rule && job.notices == [])
        #expect(job["optim"] == rule.name)
        #expect(try read("seed: 1").optimizer.rule == .adamW)
    }

    /// Every name that transformers 5.23 has for `optim` is one of these or one of those that are read.
    @Test(arguments: [
        ("adafactor", "adamw_8bit, lion and low_rank"), ("adamw_anyprecision", "float32"),
        ("adamw_torch_4bit", "optim: adamw_8bit"), ("ademamix", "AdEMAMix"), ("ademamix_8bit", "AdEMAMix"),
        ("sgd", "SGD"), ("adagrad", "Adagrad"), ("lion_8bit", "optim: lion"), ("paged_lion_8bit", "optim: lion"),
        ("paged_ademamix_32bit", "AdEMAMix"), ("rmsprop", "RMSprop"), ("rmsprop_bnb_8bit", "RMSprop"),
        ("galore_adamw", "optim: low_rank"), ("galore_adamw_8bit_layerwise", "optim: low_rank"),
        ("galore_adafactor", "optim: low_rank"), ("lomo", "LOMO"), ("adalomo", "LOMO"), ("grokadamw", "GrokAdamW"),
        ("schedule_free_sgd", "schedule-free"), ("apollo_adamw", "fira"), ("stable_adamw", "stable_spam: true"),
    ])
    func othersAreRefusedWithWhatIsHereInstead(_ name: String, _ instead: String) throws {
        let error = try #require(throws: JobError.self) { try read("optim: \(name)") }
        #expect("\(error)".contains("job.yaml line 1: optim: '\(name)' is not supported: "), "\(error)")
        #expect("\(error)".contains(instead), "\(error)")
    }

    @Test(arguments: [
        ("optim: adam", "optim is 'adam'; expected one of adamw_torch, adamw_8bit, lion, low_rank"),
        ("optim: low_rank\nlow_rank: {rank: 0}", "low_rank.rank is '0'; expected a whole number from 1 to 65536"),
        ("low_rank: {projector: qr}", "low_rank.projector is 'qr'; expected one of svd, dct"),
        ("low_rank: {remainder: sgd}", "low_rank.remainder is 'sgd'; expected one of none, sign_sgd, fira"),
        ("low_rank: {update_every: 0}", "low_rank.update_every is '0'; expected a whole number of at least 1"),
        ("low_rank: {scale: 0}", "low_rank.scale is '0'; expected a finite number above 0"),
        ("low_rank: {ranks: 3}", "unknown key 'low_rank.ranks'; did you mean low_rank.rank"),
        ("low_rank: 3", "low_rank is '3'; expected a section"),
        ("optim_args: rank=64", "low_rank.rank"), ("optim_target_modules: [attn, mlp]", "embedding and head"),
        ("stable_spam_clip_decay: 1", "stable_spam_clip_decay is '1'; expected a finite number from 0"),
        ("lr_scheduler_kwargs: {min_lr_ratio: 2}", "lr_scheduler_kwargs.min_lr_ratio is '2'"),
        ("lr_scheduler_type: cosine_with_min_lr", "expected one of lr_scheduler_kwargs.min_lr and"),
        (
            "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1e-7, min_lr_rate: 0.1}",
            "expected one of lr_scheduler_kwargs.min_lr and"
        ),
        (
            "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1e-5}",
            "lr_scheduler_kwargs.min_lr is 1e-05; expected at most learning_rate"
        ),
        (
            "lr_scheduler_type: warmup_stable_decay\nlr_scheduler_kwargs: {num_decay_steps: 9}\n"
                + "warmup_steps: 4\nmax_steps: 12",
            "4 steps of warm-up and 9 of decay do not fit into the run's 12"
        ),
    ])
    func badValuesAreNamed(_ lines: String, _ problem: String) throws {
        let error = try #require(throws: JobError.self) { try read(lines) }
        #expect("\(error)".contains(problem), "\(error)")
    }

    /// Settings of GaLore, FRUGAL and Fira unless the job has its own.
    @Test func theScaleOfALowRankStepIsItsPapers() throws {
        func settings(_ lines: String) throws -> LowRankSettings? {
            guard case .lowRank(let settings) = try read("optim: low_rank\nlow_rank: {\(lines)}").optimizer.rule else {
                return nil
            }
            return settings
        }
        #expect(try settings("rank: 8") == LowRankSettings(rank: 8, scale: 0.25))
        #expect(
            try settings("remainder: sign_sgd, update_every: 50")
                == LowRankSettings(rank: 128, updateEvery: 50, scale: 1, remainder: .signSGD, remainderScale: 0.1))
        #expect(
            try settings("remainder: fira, projector: dct")
                == LowRankSettings(rank: 128, projector: .dct, scale: 1, remainder: .fira, remainderScale: 1))
        #expect(try settings("remainder: fira, scale: 0.5, remainder_scale: 0.2")?.remainderScale == 0.2)
        #expect(try read("optim: low_rank\nlow_rank: {remainder: fira}")["low_rank.scale"] == "1.0")
        let unused = try read("optim: low_rank\nlow_rank: {remainder_scale: 0.5}").notices
        #expect(unused == ["without effect for grpo: low_rank.remainder_scale"])
        #expect(try read("low_rank: {rank: 4}").notices == ["without effect for grpo: low_rank.rank"])
    }

    @Test func lionHasThePapersMomentum() throws {
        #expect(try read("optim: lion").optimizer.beta2 == 0.99)
        #expect(try read("optim: lion\nadam_beta2: 0.999").optimizer.beta2 == 0.999)
        #expect(try read("optim: adamw_8bit").optimizer.beta2 == 0.999)
        #expect(try read("optim: lion\nadam_epsilon: 1e-6").notices == ["without effect for grpo: adam_epsilon"])
    }

    /// Its clipping takes the place of the norm's, which is on by default.
    @Test func stableSPAMTakesThePlaceOfTheNorm() throws {
        let job = try read("stable_spam: true\nstable_spam_reset_steps: 0\noptim: adamw_8bit")
        #expect(job.optimizer.stabilization == StableSPAM(resetSteps: nil))
        #expect(job.optimizer.maxGradientNorm == nil)
        #expect(try read("stable_spam: true\nmax_grad_norm: 2").optimizer.maxGradientNorm == 2)
        let plain = try read("stable_spam_reset_steps: 5")
        #expect(plain.optimizer.stabilization == nil && plain.optimizer.maxGradientNorm == 1)
        #expect(plain.notices == ["without effect for grpo: stable_spam_reset_steps"])
    }

    @Test func theDecayOfAScheduleIsTransformers() throws {
        let job = try read(
            "lr_scheduler_type: warmup_stable_decay\nlr_scheduler_kwargs: {num_decay_steps: 5, min_lr_ratio: 0.1}")
        let schedule = try job.optimizer.with(totalSteps: 20).schedule
        #expect(schedule.shape == .warmupStableDecay(decaySteps: 5, minimumRatio: 0.1))
        #expect(schedule.factor(step: 14) == 1 && abs(schedule.factor(step: 20) - 0.1) < 1e-15)
        let unused = try read("lr_scheduler_kwargs: {num_decay_steps: 5}").notices
        #expect(unused == ["without effect for grpo: lr_scheduler_kwargs.num_decay_steps"])
    }

    @Test func aCosineMayEndAboveZero() throws {
        func schedule(_ settings: String) throws -> LearningRateSchedule {
            try read(
                "learning_rate: 4e-6\nlr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {\(settings)}"
            ).optimizer.with(totalSteps: 10).schedule
        }
        #expect(try schedule("min_lr: 1e-6").shape == .cosineWithMinimum(ratio: 0.25))
        #expect(try schedule("min_lr_rate: 0.1").shape == .cosineWithMinimum(ratio: 0.1))
        #expect(try abs(schedule("min_lr_rate: 0.1").factor(step: 10) - 0.1) < 1e-15)
        #expect(try read("lr_scheduler_kwargs: {}").notices == [])
        let unused = try read("lr_scheduler_kwargs: {min_lr: 1e-7}").notices
        #expect(unused == ["without effect for grpo: lr_scheduler_kwargs.min_lr"])
    }

    /// A resolved job is the job again, and says every choice.
    @Test(arguments: [
        "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1e-7}",
        "optim: lion_32bit", "optim: paged_adamw_8bit\nstable_spam: true",
        "optim: low_rank\nlow_rank: {rank: 8, projector: dct, remainder: sign_sgd}",
        "lr_scheduler_type: warmup_stable_decay\nlr_scheduler_kwargs: {num_decay_steps: 5}",
    ])
    func aResolvedJobIsTheJobAgain(_ lines: String) throws {
        let job = try read(lines)
        let again = try ResolvedJob(JobFile(text: job.yaml, name: "config.yaml", folder: URL(filePath: "/jobs")))
        #expect(again.optimizer == job.optimizer && again.yaml == job.yaml && again.notices == [])
    }

    /// A look-ahead is differentiated through the step, where the step can be.
    @Test func aStepThatCannotBeDifferentiatedIsRefusedByName() throws {
        func amft(_ lines: String, _ more: String = "") throws -> ResolvedJob {
            try read("algorithm: amft\namft: {validation: held.jsonl\(more)}\n\(lines)")
        }
        #expect(throws: Never.self) { try amft("optim: adamw_8bit") }
        #expect(throws: Never.self) { try amft("optim: lion", ", step_model: plain") }
        for (lines, name) in [
            ("optim: lion", "lion"), ("optim: low_rank", "low_rank"),
            ("stable_spam: true", "adamw_torch with stable_spam"),
        ] {
            let error = try #require(throws: JobError.self) { try amft(lines) }
            #expect(
                "\(error)".contains(
                    "amft.step_model is adam, and a step of \(name) cannot be differentiated; expected plain"),
                "\(error)")
        }
        // Nothing is foreseen without held-out rows, nor by another method.
        for lines in ["algorithm: amft\noptim: lion", "optim: lion"] {
            #expect(throws: Never.self) { try read(lines) }
        }
    }

    /// What `explain` says of each key names where it is from.
    @Test(arguments: [
        ("optim", ["1711.05101", "2110.02861", "2302.06675"]), ("low_rank.projector", ["2403.03507", "2505.17967"]),
        ("low_rank.remainder", ["2403.03507", "2411.07837", "2410.01623"]), ("low_rank", ["low_rank.update_every"]),
        ("stable_spam", ["2502.17055"]), ("lr_scheduler_type", ["2410.05192"]),
        ("lr_scheduler_kwargs", ["lr_scheduler_kwargs.num_decay_steps"]),
    ])
    func explainNamesThePapers(_ key: String, _ found: [String]) throws {
        let text = try JobExplanation.text(of: key)
        for part in found { #expect(text.contains(part), "\(text)") }
    }

    /// What README.md says that each keeps of a model of 135 M parameters, in bytes.
    @Test(arguments: [
        (OptimizerRule.adamW, 1_076_120_064), (.lion, 538_060_032), (.adamW8bit, 442_427_904),
        (.lowRank(LowRankSettings(rank: 128)), 489_245_184), (.lowRank(LowRankSettings(rank: 32)), 292_391_424),
        (.lowRank(LowRankSettings(rank: 32, projector: .dct)), 279_911_424),
    ])
    func theTableOfTheReadmeIsRight(_ rule: OptimizerRule, _ bytes: Int) throws {
        let model = try ModelConfiguration(
            json: """
                {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 49152, "hidden_size": 576,
                 "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
                 "num_key_value_heads": 3, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
                 "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true}
                """)
        let settings = OptimizerSettings(rule: rule, schedule: LearningRateSchedule(.constant, totalSteps: 1))
        let found = model.parameterShapes.reduce(0) {
            $0 + settings.stateBytes(of: $1.name, shape: $1.shape, .float32)
        }
        #expect(found == bytes)
    }

    /// A model of 69 952 numbers, of which 32 768 are the embedding's, worked by hand:
    ///
    ///     adamw_8bit   8·32768, 8·(2·2048 + 320) of what is small, 2·(n + 4·n/256) of the five others
    ///     low_rank     8·32768, 8·320, and of each matrix `[m, n]`, m ≥ n: 4·16·(2m + n)
    @Test func theMemoryEstimateKnowsEachOptimizer() throws {
        let model = try ModelConfiguration(
            json: """
                {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 512, "hidden_size": 64,
                 "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
                 "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
                 "tie_word_embeddings": true}
                """)
        #expect(model.parameterCount == 69_952)
        func estimate(_ rule: OptimizerRule, hasCritic: Bool = false) -> MemoryEstimate {
            var run = MemoryEstimate.Settings(
                model,
                MemoryEstimate.Sizes(
                    promptLength: 8, completionLength: 8, completionsPerPrompt: 2, completionsPerOptimizerStep: 2,
                    rows: 2, maxTokensPerMicroBatch: 64))
            run.optimizer = OptimizerSettings(
                rule: rule, schedule: LearningRateSchedule(.constant, totalSteps: 1))
            if hasCritic { run.critic = model }
            return MemoryEstimate(run)
        }
        let whole = estimate(.adamW)
        #expect(whole.policy.optimizerState == 8 * 69_952 && whole.policy.training == 16 * 69_952)
        let others: [(OptimizerRule, Int)] = [
            (.lion, 4 * 69_952), (.adamW8bit, 364_032), (.lowRank(LowRankSettings(rank: 16)), 371_200),
        ]
        for (rule, bytes) in others {
            let own = estimate(rule)
            #expect(own.policy.optimizerState == bytes, "\(rule.name)")
            #expect(whole.policy.training - own.policy.training == 8 * 69_952 - bytes)
            #expect(own.peak < whole.peak)
            // A critic's state is as large as the policy's again.
            let saved = estimate(.adamW, hasCritic: true).peak - estimate(rule, hasCritic: true).peak
            #expect(saved == 2 * (8 * 69_952 - bytes))
        }
    }
}
