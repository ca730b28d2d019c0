import Foundation
import Job
import Testing

/// A job with these lines first.
private func read(_ text: String) throws -> ResolvedJob {
    let rest = ["model_name_or_path: m", "dataset_name: p", "output_dir: o", "reward_funcs: accuracy_reward"].filter {
        !text.contains($0.prefix { $0 != ":" } + ":")
    }
    let whole = ([text] + rest).joined(separator: "\n")
    return try ResolvedJob(JobFile(text: whole, name: "job.yaml", folder: URL(filePath: "/jobs")))
}

@Suite("Job files written for TRL")
struct TRLKeysTests {
    /// Each field of a class with its default as YAML; JSON is YAML.
    private func fields(of name: String) throws -> [(key: String, yaml: String)] {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "trl_fields.json")
        let json = try #require(JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
        let fields = try #require((json["fields"] as? [String: Any])?[name] as? [String: Any])
        return try fields.sorted { $0.key < $1.key }.map { key, value in
            let yaml = try JSONSerialization.data(withJSONObject: value, options: .fragmentsAllowed)
            return (key, String(decoding: yaml, as: UTF8.self))
        }
    }

    private enum Kind: Equatable { case supported, withoutEffect, noticed, notSupported, unknown }

    /// What becomes of a key that is given a value nobody expects.
    private func kind(of key: String) throws -> Kind {
        if JobKeys().supported.contains(where: { $0.entry.key == key }) { return .supported }
        do {
            guard let notice = try read("\(key): something").notices.first else { return .withoutEffect }
            return notice == "without effect here: \(key)" ? .withoutEffect : .noticed
        } catch let error as JobError {
            return "\(error)".contains("unknown key") ? .unknown : .notSupported
        }
    }

    /// The names are every field of TRL 1.16's classes, written by Tests/References/trl_fields.py.
    @Test(arguments: [
        ("GRPOConfig", 191, 61), ("SFTConfig", 135, 33), ("RLOOConfig", 165, 55), ("DPOConfig", 139, 39),
        ("ModelConfig", 19, 9), ("GRPOScriptArguments", 8, 6),
    ])
    func everyFieldOfTRLIsKnown(_ name: String, _ count: Int, _ supported: Int) throws {
        let fields = try fields(of: name).map(\.key)
        #expect(fields.count == count)
        let kinds = try fields.map { ($0, try kind(of: $0)) }
        #expect(kinds.filter { $0.1 == .unknown }.map(\.0) == [])
        #expect(kinds.count { $0.1 == .supported } == supported)
        #expect(kinds.contains { $0.1 == .notSupported } || name == "GRPOScriptArguments" || name == "SFTConfig")
    }

    /// Fields that KTOConfig, RewardConfig, DistillationConfig and GKDConfig add to those above.
    @Test(arguments: [
        ("desirable_weight", false), ("undesirable_weight", false), ("teacher_model_init_kwargs", false),
        ("teacher_model_revision", false), ("max_new_tokens", false), ("teacher_model_name_or_path", true),
        ("center_rewards_coefficient", true), ("lmbda", true), ("seq_kd", true),
    ])
    func fieldsOfOtherTrainersAreKnown(_ key: String, _ isSupported: Bool) throws {
        #expect(try kind(of: key) == (isSupported ? .supported : .notSupported))
    }

    /// Names of earlier releases of TRL and of other trainers, each with what to write.
    @Test(arguments: [
        ("max_new_tokens: 64", "it is called max_completion_length"), ("lr: 1e-5", "it is called learning_rate"),
        ("max_seq_length: 64", "it is called max_length"), ("epsilon_low: 0.2", "it is called epsilon"),
        ("kl_coeff: 0.1", "it is called beta"), ("batch_size: 8", "per_device_train_batch_size"),
        ("total_episodes: 9", "set max_steps"), ("reward_model_path: rm", "{model: FOLDER}"),
        ("ref_model_name_or_path: r\nmodel_name_or_path: m", "as it starts"), ("rpo_alpha: 1.0", "is not built"),
        ("peft_config: {r: 8}", "set use_peft: true"), ("num_labels: 3", "reward_heads"),
        ("whiten_rewards: true", "advantages are"), ("teacher_model_revision: v2", "teacher_model_name_or_path"),
        ("loss_weights: [1, 0.5]", "one loss_type"), ("ld_alpha: 0.5", "not built"),
        ("input_key: question", "column_map: {prompt: NAME}"), ("label_key: label", "column_map: {answer: NAME}"),
    ])
    func aNameOfAnotherTrainerIsToldWhatItIsHere(_ line: String, _ instead: String) throws {
        let error = try #require(throws: JobError.self) { try read(line) }
        #expect(error.problems.count == 1 && error.problems[0].place == "job.yaml line 1", "\(error)")
        #expect("\(error)".contains("is not supported") && "\(error)".contains(instead), "\(error)")
        #expect(!"\(error)".contains("did you mean"))
    }

    @Test(arguments: [
        "num_labels: 1", "whiten_rewards: false", "generate_during_eval: false", "group_by_length: false",
        "is_encoder_decoder: false", "teacher_model_revision: main", "rpo_alpha:",
    ])
    func aNameOfAnotherTrainerThatAsksForNothingNeedsNoWord(_ line: String) throws {
        #expect(try read(line).notices == [])
    }

    /// A file that files a trainer's settings under its class.
    @Test func aSectionOfKeysOfAJobIsToldWhereTheyStand() throws {
        let error = try #require(throws: JobError.self) {
            try read("seed: 1\nGRPOConfig:\n  learning_rate: 1e-6\n  other: 2\nextras:\n  other: 3")
        }
        #expect(
            error.problems.map(\.description) == [
                "job.yaml line 2: unknown key 'GRPOConfig'; keys such as learning_rate stand at the top of a job file",
                "job.yaml line 5: unknown key 'extras'",
            ])
    }

    /// A file that writes out every default of TRL's is a job, and is told of what is done otherwise only.
    @Test(arguments: [("grpo", "GRPOConfig"), ("rloo", "RLOOConfig"), ("sft", "SFTConfig")])
    func everyDefaultOfTRLIsAccepted(_ method: String, _ name: String) throws {
        let own = ["model_name_or_path", "dataset_name", "output_dir", "reward_funcs", "reward_model_name_or_path"]
        let all = try fields(of: name) + fields(of: "ModelConfig")
        let lines = all.filter { !own.contains($0.key) }.map { "\($0.key): \($0.yaml)" }
        let job = try read((["algorithm: \(method)"] + lines).joined(separator: "\n"))
        // The line that every job of these tests has.
        #expect(job.notices.filter { $0 != "without effect for sft: reward_funcs" } == [], "\(job.notices)")
    }

    @Test func aKeyNobodyKnowsIsAnError() throws {
        #expect(try kind(of: "learning_rat") == .unknown)
        #expect(throws: JobError.self) { try read("bf_16: true") }
    }

    /// Values that would change the result say so or stop the job.
    @Test(arguments: [
        ("bf16: true", "dtype"), ("fp16: true", "dtype"),
        ("packing: true", "not joined"), ("eval_strategy: epoch", "eval_steps"),
        ("bf16: true\ndtype: float32", "dtype"), ("save_strategy: epoch", "save_steps"),
        ("data_seed: 3", "seed"),
    ])
    func aValueThatIsNotTakenIsNoticed(_ line: String, _ instead: String) throws {
        let notices = try read(line).notices
        #expect(notices.count == 1)
        #expect(notices[0].contains("is not taken") && notices[0].contains(instead), "\(notices)")
    }

    @Test(arguments: [
        ("completion_only_loss: false", "only the completion"),
        ("optim: lion_8bit", "optim: lion"), ("optim_args: a=1", "adam_beta1"),
        ("model_init_kwargs: {dtype: bfloat16}", "dtype"), ("model_revision: v2", "snapshot"),
        ("train_sampling_strategy: sequential", "shuffle_dataset"), ("label_smoothing_factor: 0.1", "not built"),
        ("top_entropy_quantile: 0.2", "entropy"), ("vllm_structured_outputs_regex: a+", "guided"),
        ("use_dora: true", "DoRA"), ("lora_modules_to_save: [lm_head]", "adapters"),
        ("dataset_text_field: content", "column_map: {text: NAME}"),
        ("load_in_4bit: true", "quantised"),
        ("chat_template_path: x.jinja", "template"), ("assistant_only_loss: true", "assistant"),
    ])
    func aValueThatWouldChangeTheResultIsRefused(_ line: String, _ instead: String) throws {
        let error = try #require(throws: JobError.self) { try read(line) }
        #expect("\(error)".contains("is not supported") && "\(error)".contains(instead), "\(error)")
        #expect("\(error)".contains("job.yaml line 1"), "\(error)")
    }

    @Test(arguments: [
        "bf16: false", "bf16:", "packing: false", "optim: adamw_torch_fused", "completion_only_loss: true",
        "completion_only_loss: null", "dataset_config:", "label_smoothing_factor: 0.0", "top_entropy_quantile: 1.0",
        "model_revision: main", "save_strategy: steps", "eval_strategy: 'no'", "use_peft: false",
        "neftune_noise_alpha: null", "model_init_kwargs: {}", "use_vllm: false",
        "push_to_hub: false", "report_to: none", "padding_free: true", "remove_unused_columns: false",
        "bf16: true\ndtype: bfloat16", "data_seed: 42", "use_peft: false\nlora_r: 16",
        "eval_strategy: steps\neval_steps: 5\nnum_generations_eval: 1", "generation_kwargs: {}", "peft_config: {}",
        "full_determinism: true", "dataset_text_field: text", "logging_strategy: steps",
    ])
    func aValueThatAsksForNothingOrForWhatHappensAnywayNeedsNoWord(_ line: String) throws {
        #expect(try read(line).notices == [])
    }

    @Test(arguments: ["use_vllm: true", "dataloader_num_workers: 4", "attn_implementation: sdpa"])
    func aValueThatAsksForSomethingElseIsToldToHaveNoEffect(_ line: String) throws {
        #expect(try read(line).notices == ["without effect here: \(line.prefix { $0 != ":" })"])
    }

    @Test func otherNamesOfTRLsAreRead() throws {
        #expect(try read("torch_dtype: bfloat16").model.dtype == .bfloat16)
        #expect(try read("torch_dtype: torch.float64")["dtype"] == "float64")
        #expect(try read("dtype: auto")["dtype"] == "float32")
        let both = try #require(throws: JobError.self) { try read("torch_dtype: float32\ndtype: bfloat16") }
        #expect("\(both)".contains("job.yaml line 1: torch_dtype is another name of dtype, which is given too"))
        let wrong = try #require(throws: JobError.self) { try read("torch_dtype: float16") }
        #expect("\(wrong)".contains("job.yaml line 1: dtype is 'float16'; expected one of float32, bfloat16, float64"))
        #expect(try read("evaluation_strategy: steps\neval_steps: 7").run.evaluation?.steps == 7)
    }

    @Test func evaluationIsAskedForAsInTRL() throws {
        #expect(try read("eval_strategy: steps\nlogging_steps: 3").run.evaluation?.steps == 3)
        #expect(try read("eval_steps: 5").run.evaluation?.steps == 5)
        let off = try read("eval_strategy: no\neval_steps: 5")
        #expect(off.run.evaluation == nil && off["eval_steps"] == "null")
        #expect(off.notices == ["without effect for grpo: eval_steps"])
        let share = try read("eval_strategy: no\neval_steps: 0.1")
        #expect(share.run.evaluation == nil && share["eval_steps"] == "null")
        let used = #expect(throws: JobError.self) { try read("eval_strategy: steps\neval_steps: 0.1") }
        #expect(used?.description.contains("eval_steps is 0.1, a share of max_steps") == true)
        #expect(try read("seed: 1").run.evaluation == nil)
    }

    /// As transformers does: rounded up.
    @Test func aShareOfTheStepsIsRoundedUp() throws {
        let job = try read("max_steps: 101\nlogging_steps: 0.1\nsave_steps: 0.5\neval_steps: 0.001")
        #expect(job.run.loggingSteps == 11 && job.run.saveSteps == 51 && job.run.evaluation?.steps == 1)
        #expect(job["logging_steps"] == "11" && job["save_steps"] == "51" && job["eval_steps"] == "1")
        let byEpochs = try #require(throws: JobError.self) { try read("save_steps: 0.25") }
        #expect("\(byEpochs)".contains("save_steps is 0.25, a share of max_steps, which is not set"), "\(byEpochs)")
        for value in ["0", "-5", "1.5"] {
            let error = try #require(throws: JobError.self) { try read("max_steps: 9\nsave_steps: \(value)") }
            #expect("\(error)".contains("expected a whole number of at least 1, or a share of max_steps"), "\(error)")
        }
    }

    /// TRL evaluates with as many completions as it trains with.
    @Test func anEvaluationOfOneCompletionAPromptIsSaid() throws {
        let said = try read("eval_steps: 5").notices
        #expect(said.count == 1 && said[0].contains("num_generations_eval"), "\(said)")
        for quiet in ["eval_steps: 5\nnum_generations_eval: 8", "seed: 1", "algorithm: remax\neval_steps: 5"] {
            #expect(try read(quiet).notices.filter { $0.contains("num_generations_eval") } == [], "\(quiet)")
        }
    }

    @Test func aRewardModelIsTheFirstReward() throws {
        let job = try read("model_name_or_path: m\nreward_model_name_or_path: org/rm")
        #expect(job.rewards?.entries.map(\.reference) == ["model: org/rm", "accuracy_reward"])
        #expect(job["reward_model_name_or_path"] == "null")
        let again = try ResolvedJob(JobFile(text: job.yaml, name: "config.yaml", folder: URL(filePath: "/jobs")))
        #expect(again.rewards?.entries == job.rewards?.entries && again.yaml == job.yaml)
    }

    @Test func generationBatchSizeIsAnotherWayToSayStepsPerGeneration() throws {
        // 32 completions a rollout step of 8 a device: 4 steps per generation, 4 prompts of 8 completions.
        let job = try read("generation_batch_size: 32")
        #expect(job["steps_per_generation"] == "4" && job.batches.promptsPerStep == 4)
        #expect(try read("generation_batch_size: 32\nsteps_per_generation: 4").batches == job.batches)
        let both = try #require(throws: JobError.self) {
            try read("generation_batch_size: 64\nsteps_per_generation: 4")
        }
        #expect(
            "\(both)".contains("generation_batch_size is 64") && "\(both)".contains("= 32, or one of the two left out"))
        let odd = try #require(throws: JobError.self) { try read("generation_batch_size: 12") }
        #expect("\(odd)".contains("generation_batch_size is 12") && "\(odd)".contains("a whole number"))
    }

    @Test func topKOfMinusOneKeepsAllAsInVLLM() throws {
        #expect(try read("top_k: -1").sampling == read("top_k: 0").sampling)
        #expect(throws: JobError.self) { try read("top_k: -2") }
    }

    @Test func aFileForTRLsSFTIsToldOfTheAlgorithm() throws {
        func message(_ lines: String) throws -> String {
            let text = "model_name_or_path: m\ndataset_name: p\noutput_dir: o\n" + lines
            let error = try #require(throws: JobError.self) {
                try ResolvedJob(JobFile(text: text, name: "job.yaml", folder: URL(filePath: "/jobs")))
            }
            return "\(error)"
        }
        #expect(
            try message("packing: true\nmax_length: 512").contains(
                "looks like a file for TRL's SFTTrainer: algorithm: sft"))
        #expect(try message("seed: 1").contains("algorithm: sft learns from demonstrations instead"))
        #expect(try !message("algorithm: grpo").contains("sft"))
    }

    /// A GRPO job with the keys that TRL's own examples use.
    @Test func aWholeExampleIsRead() throws {
        let job = try read(
            """
            model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
            dataset_name: prompts/arithmetic
            output_dir: runs/grpo
            dtype: float32
            bf16: true
            attn_implementation: flash_attention_2
            gradient_checkpointing: true
            gradient_checkpointing_kwargs:
              use_reentrant: false
            reward_funcs:
              - think_format_reward
              - accuracy_reward
            reward_weights: [0.2, 1.0]
            learning_rate: 1.0e-6
            lr_scheduler_type: cosine
            warmup_ratio: 0.1
            per_device_train_batch_size: 8
            gradient_accumulation_steps: 2
            num_generations: 8
            max_completion_length: 128
            max_steps: 10
            use_vllm: true
            vllm_mode: colocate
            vllm_gpu_memory_utilization: 0.3
            log_completions: true
            report_to: [wandb]
            push_to_hub: false
            save_strategy: steps
            save_steps: 5
            use_peft: false
            seed: 42
            """)
        #expect(job.rewards?.entries.count == 2 && job.model.seed == 42)
        #expect(job.notices.count { $0.contains("bf16") } == 1 && !job.notices.contains { $0.contains("push_to_hub") })
        let quiet = try #require(job.notices.first { $0.hasPrefix("without effect here: ") })
        #expect(quiet.contains("vllm_mode") && quiet.contains("attn_implementation"))
    }
}
