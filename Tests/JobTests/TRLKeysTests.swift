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
    private struct Fields: Decodable {
        var fields: [String: [String]]
    }

    private enum Kind: Equatable { case supported, withoutEffect, noticed, notSupported, unknown }

    /// What becomes of a key that is given a value nobody expects.
    private func kind(of key: String) throws -> Kind {
        if JobKeys().supported.contains(where: { $0.entry.key == key }) { return .supported }
        do {
            let notice = try #require(read("\(key): something").notices.first)
            return notice == "without effect here: \(key)" ? .withoutEffect : .noticed
        } catch let error as JobError {
            return "\(error)".contains("unknown key") ? .unknown : .notSupported
        }
    }

    /// The names are every field of TRL 1.16's classes, written by Tests/References/trl_fields.py.
    @Test(arguments: [
        ("GRPOConfig", 191, 52), ("SFTConfig", 135, 26), ("DPOConfig", 139, 31), ("ModelConfig", 19, 2),
        ("GRPOScriptArguments", 8, 4),
    ])
    func everyFieldOfTRLIsKnown(_ name: String, _ count: Int, _ supported: Int) throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "trl_fields.json")
        let fields = try #require(
            JSONDecoder().decode(Fields.self, from: Data(contentsOf: file)).fields[name])
        #expect(fields.count == count)
        let kinds = try fields.map { ($0, try kind(of: $0)) }
        #expect(kinds.filter { $0.1 == .unknown }.map(\.0) == [])
        #expect(kinds.count { $0.1 == .supported } == supported)
        #expect(kinds.contains { $0.1 == .notSupported } || name == "GRPOScriptArguments" || name == "SFTConfig")
    }

    @Test func aKeyNobodyKnowsIsAnError() throws {
        #expect(try kind(of: "learning_rat") == .unknown)
        #expect(throws: JobError.self) { try read("bf_16: true") }
    }

    /// Values that would change the result say so or stop the job.
    @Test(arguments: [
        ("bf16: true", "dtype"), ("fp16: true", "dtype"), ("load_best_model_at_end: true", "newest"),
        ("packing: true", "not joined"), ("eval_strategy: epoch", "eval_steps"), ("save_strategy: epoch", "save_steps"),
        ("data_seed: 3", "seed"),
    ])
    func aValueThatIsNotTakenIsNoticed(_ line: String, _ instead: String) throws {
        let notices = try read(line).notices
        #expect(notices.count == 1)
        #expect(notices[0].contains("is not taken") && notices[0].contains(instead), "\(notices)")
    }

    @Test(arguments: [
        ("dataset_config: main", "dataset_name"), ("completion_only_loss: false", "only the completion"),
        ("optim: lion_32bit", "AdamW"), ("optim_args: a=1", "adam_beta1"), ("torch_dtype: bfloat16", "dtype"),
        ("model_init_kwargs: {dtype: bfloat16}", "dtype"), ("model_revision: v2", "snapshot"),
        ("train_sampling_strategy: sequential", "shuffle_dataset"), ("label_smoothing_factor: 0.1", "not built"),
        ("top_entropy_quantile: 0.2", "entropy"), ("vllm_structured_outputs_regex: a+", "guided"),
        ("use_peft: true", "LoRA"), ("lora_r: 16", "LoRA"), ("max_length: 1024", "max_prompt_length"),
        ("generation_batch_size: 64", "steps_per_generation"), ("load_in_4bit: true", "quantised"),
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
        "neftune_noise_alpha: null", "model_init_kwargs: {}", "load_best_model_at_end: false",
    ])
    func aValueThatAsksForNothingIsAccepted(_ line: String) throws {
        let notices = try read(line).notices
        #expect(notices.count == 1)
        #expect(notices[0].hasPrefix("without effect here: "), "\(notices)")
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
        #expect(job.notices.count { $0.contains("bf16") } == 1)
        let quiet = try #require(job.notices.first { $0.hasPrefix("without effect here: ") })
        #expect(quiet.contains("vllm_mode") && quiet.contains("attn_implementation"))
    }
}
