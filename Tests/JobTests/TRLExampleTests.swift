import Credit
import Foundation
import Job
import PolicyUpdater
import Testing

/// A job with the keys of one of TRL's example files, and what becomes of each key.
struct TRLExample: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let yaml: String
    /// Accepted, and named once as without effect.
    var withoutEffect: [String] = []
    /// Accepted with a notice of what happens instead: key, and a piece of it.
    var noticed: [(key: String, instead: String)] = []
    /// Refused: key, line, and a piece of what to do instead.
    var refused: [(key: String, line: Int, instead: String)] = []
    /// What the rest of the file comes to.
    let comesTo: @Sendable (ResolvedJob) -> Bool
}

extension TRLExample {
    /// The command-line interface's example, with the trainer's keys that its documentation adds.
    static let sft = TRLExample(
        testDescription: "sft",
        yaml: """
            algorithm: sft
            env:
              CUDA_VISIBLE_DEVICES: 0
            model_name_or_path:
              Qwen/Qwen2.5-0.5B
            dataset_name:
              demonstrations.jsonl
            dataset_train_split: train
            output_dir: runs/sft
            report_to:
              none
            learning_rate:
              0.0001
            lr_scheduler_type:
              cosine
            warmup_steps: 100
            num_train_epochs: 1
            packing: true
            max_length: 2048
            dataset_text_field: text
            assistant_only_loss: true
            neftune_noise_alpha: 5
            eos_token: <|im_end|>
            per_device_train_batch_size: 2
            per_device_eval_batch_size: 4
            gradient_accumulation_steps: 8
            gradient_checkpointing: true
            dataset_num_proc: 4
            dataloader_pin_memory: false
            remove_unused_columns: false
            trust_remote_code: false
            push_to_hub: true
            """,
        withoutEffect: [
            "per_device_eval_batch_size", "dataset_num_proc", "push_to_hub",
        ],
        noticed: [("env", "for the command"), ("packing", "not joined")],
        refused: [
            ("assistant_only_loss", 21, "the completion is what is trained"),
            ("neftune_noise_alpha", 22, "noise on embeddings"), ("eos_token", 23, "tokenizer's own end-of-text token"),
        ],
        comesTo: {
            $0.method == "sft" && $0.optimizer.learningRate == 1e-4 && $0.optimizer.schedule.shape == .cosine
                && $0.optimizer.schedule.warmupSteps == 100 && $0.checkpointsBlocks
                && $0.batches.completionsPerOptimizerStep == 16 && $0.model.path == "Qwen/Qwen2.5-0.5B"
                && $0.data.maxLength == 2048
        })

    /// A long-completion GRPO run: a batch of one and many accumulation steps, evaluation on the way.
    static let grpo = TRLExample(
        testDescription: "grpo",
        yaml: """
            model_name_or_path: Qwen/Qwen2.5-1.5B-Instruct
            dataset_name: prompts
            output_dir: outputs/grpo
            reward_funcs: accuracy_reward
            log_completions: true
            num_completions_to_print: 2
            learning_rate: 1.0e-5
            max_steps: 1000
            num_generations: 16
            per_device_train_batch_size: 1
            per_device_eval_batch_size: 1
            gradient_accumulation_steps: 256
            max_completion_length: 10000
            warmup_steps: 3
            lr_scheduler_type: "linear"
            optim: "adamw_torch_fused"
            weight_decay: 0.01
            vllm_importance_sampling_correction: true
            temperature: 1.0
            top_p: 0.999
            save_steps: 10
            eval_strategy: "steps"
            eval_steps: 10
            use_peft: true
            lora_r: 16
            lora_target_modules: all-linear
            """,
        withoutEffect: ["per_device_eval_batch_size", "vllm_importance_sampling_correction"],
        noticed: [("top_p", "shape sampling but not scoring"), ("num_generations_eval", "one completion a prompt")],
        comesTo: {
            $0.batches.completionsPerOptimizerStep == 256 && $0.batches.promptsPerStep == 16
                && $0.batches.optimizerStepsPerRollout == 1 && $0.run.evaluation?.steps == 10
                && $0.sampling.maxCompletionLength == 10_000 && $0.run.completionsToPrint == 2
                && $0["lora_r"] == "16" && $0["lora_target_modules"] == "all-linear"
        })

    static let rloo = TRLExample(
        testDescription: "rloo",
        yaml: """
            algorithm: rloo
            model_name_or_path: Qwen/Qwen2-0.5B-Instruct
            dataset_name: prompts
            output_dir: runs/rloo
            reward_funcs: [think_format_reward, get_soft_overlong_punishment]
            reward_weights: [1.0, 0.5]
            normalize_advantages: true
            reward_clip_range: [-5, 5]
            torch_dtype: bfloat16
            label_smoothing_factor: 0.1
            bf16: true
            beta: 0.1
            num_generations: 4
            max_prompt_length: 256
            ds3_gather_for_generation: true
            load_best_model_at_end: true
            eval_steps: 100
            save_steps: 200
            save_strategy: epoch
            save_total_limit: 2
            save_only_model: false
            """,
        withoutEffect: [],
        noticed: [
            ("the best of the checkpoints", "save_steps: 100"), ("save_strategy", "save_steps"),
            ("num_generations_eval", "one completion a prompt"),
        ],
        refused: [("label_smoothing_factor", 10, "label smoothing is not built")],
        comesTo: {
            guard let rule = $0.plan.credit as? LeaveOneOut else { return false }
            return rule.settings.penalty?.coefficient == 0.1 && rule.settings.normalizesAdvantages
                && rule.settings.rewardClip == -5...5 && rule.rewards.weights == [1, 0.5]
                && $0.model.dtype == .bfloat16 && $0.data.maxPromptLength == 256 && $0.run.saveTotalLimit == 2
                && $0.run.placesBest && $0.run.bestMetric == "eval_reward"
                && $0.batches.promptsPerStep == 2
        })
}

@Suite("TRL's example files: every key is taken, without effect, or refused with what to do instead")
struct TRLExampleTests {
    private func read(_ text: String) throws -> ResolvedJob {
        try ResolvedJob(JobFile(text: text, name: "job.yaml", folder: URL(filePath: "/jobs")))
    }

    @Test(arguments: [TRLExample.sft, .grpo, .rloo])
    func eachKeyLandsWhereItShould(_ example: TRLExample) throws {
        if !example.refused.isEmpty {
            let error = try #require(throws: JobError.self) { try read(example.yaml) }
            #expect(error.problems.map(\.place) == example.refused.map { "job.yaml line \($0.line)" })
            for (problem, refused) in zip(error.problems, example.refused) {
                #expect(
                    problem.message.contains(refused.key) && problem.message.contains(refused.instead), "\(problem)")
            }
        }
        let taken = example.yaml.split(separator: "\n").filter { line in
            !example.refused.contains { line.hasPrefix("\($0.key):") }
        }
        let job = try read(taken.joined(separator: "\n"))
        let quiet =
            example.withoutEffect.isEmpty
            ? [] : ["without effect here: " + example.withoutEffect.joined(separator: ", ")]
        #expect(job.notices.filter { $0.hasPrefix("without effect") } == quiet, "\(job.notices)")
        #expect(job.notices.count == example.noticed.count + quiet.count, "\(job.notices)")
        for (key, instead) in example.noticed {
            #expect(job.notices.contains { $0.contains(key) && $0.contains(instead) }, "\(key) in \(job.notices)")
        }
        #expect(example.comesTo(job), "\(job.yaml)")
    }
}
