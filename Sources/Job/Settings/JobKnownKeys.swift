internal import Records

/// Keys of TRL and of the Hugging Face trainer that a job file may bring along.
enum JobKnownKeys {
    /// Keys that are read under the name they have here.
    static let otherNames = ["torch_dtype": "dtype", "evaluation_strategy": "eval_strategy"]

    /// Keys that only TRL's SFT trainer reads.
    static let ofSFT = [
        "packing", "packing_strategy", "padding_free", "eval_packing", "completion_only_loss", "assistant_only_loss",
        "dataset_text_field", "dataset_kwargs", "max_length", "truncation_mode", "eos_token", "chat_template_path",
        "activation_offloading", "neftune_noise_alpha",
    ]

    /// Accepted with one notice: they have nothing to act on here, or their effect is always on.
    private static let withoutEffect: Set<String> = [
        "use_vllm", "push_to_hub", "attn_implementation", "disable_tqdm", "use_cpu",
        "remove_unused_columns", "log_level", "log_level_replica", "log_on_each_node", "logging_first_step",
        "logging_strategy", "logging_nan_inf_filter", "save_on_each_node", "save_safetensors",
        "save_only_model", "do_train", "do_eval", "do_predict",
        "local_rank", "ddp_backend", "ddp_broadcast_buffers", "ddp_bucket_cap_mb",
        "ddp_find_unused_parameters", "ddp_static_graph", "deepspeed", "fsdp", "fsdp_config",
        "ds3_gather_for_generation", "accelerator_config", "parallelism_config", "gradient_checkpointing_kwargs",
        "activation_checkpointing", "activation_checkpointing_kwargs", "torch_compile", "torch_compile_backend",
        "torch_compile_mode",
        "torch_empty_cache_steps", "use_liger_kernel", "liger_kernel_config", "tf32",
        "full_determinism", "dataset_num_proc", "dataset_streaming", "streaming",
        "pad_to_multiple_of",
        "pad_token", "packing_strategy", "padding_free", "per_device_eval_batch_size",
        "eval_accumulation_steps", "eval_do_concat_batches", "eval_use_gather_object", "batch_eval_metrics",
        "prediction_loss_only", "label_names", "length_column_name", "include_for_metrics",
        "include_num_input_tokens_seen", "average_tokens_across_devices", "skip_memory_metrics", "debug",
        "trust_remote_code", "hub_model_id", "hub_strategy", "hub_token", "hub_private_repo",
        "hub_always_push", "hub_revision", "log_multimodal", "log_unique_prompts", "log_completions_hub_repo",
        "cache_implementation", "use_cache", "cast_lm_head_to_fp32", "router_aux_loss_coef",
        "use_transformers_paged", "use_transformers_continuous_batching", "transformers_continuous_batching_config",
        "ignore_bias_buffers", "auto_find_batch_size", "enable_jit_checkpoint",
        "restore_callback_states_from_checkpoint",
        "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id",
        // Settings of losses and controls that are refused themselves.
        "sapo_temperature_neg", "sapo_temperature_pos", "vespo_k_pos", "vespo_k_neg", "vespo_lambda_pos",
        "vespo_lambda_neg", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target",
        "f_alpha_divergence_coef", "discopop_tau", "precompute_ref_batch_size",
        // Of earlier releases: how batches are padded and cut into passes, which changes no result here.
        "use_liger", "use_logits_to_keep", "label_pad_token_id", "padding_value", "dataset_batch_size",
        "local_rollout_forward_batch_size", "split_batches", "dispatch_batches",
    ]

    /// Families of keys without effect.
    private static let prefixesWithoutEffect = ["vllm_", "dataloader_", "wandb_", "hub_"]

    /// Values that switch something off, as they are written.
    static let off: Set<String> = ["false", "no", "none", "off", "-1"]

    /// What happens here anyway, whether it is asked for or not.
    private static let always: [String: Set<String>] = [
        "average_tokens_across_devices": ["true"], "dataloader_num_workers": ["0"], "dataloader_in_order": ["true"],
        "dataloader_pin_memory": ["true"],
        "do_train": ["true"], "full_determinism": ["true"],
        "log_multimodal": ["true"], "logging_nan_inf_filter": ["true"], "logging_strategy": ["steps"],
        "padding_free": ["true"], "pad_to_multiple_of": ["auto"], "remove_unused_columns": ["false", "true"],
        "save_safetensors": ["true"], "skip_memory_metrics": ["true"], "log_on_each_node": ["true"],
        "eval_do_concat_batches": ["true"], "hub_strategy": ["every_save"], "project": ["huggingface"],
        "log_level": ["passive"], "log_level_replica": ["warning"], "packing_strategy": ["bfd"],
        "length_column_name": ["length"], "truncation_mode": ["keep_start"],
        "sapo_temperature_neg": ["1.05"], "sapo_temperature_pos": ["1"], "vespo_k_pos": ["2"], "vespo_k_neg": ["3"],
        "vespo_lambda_pos": ["3"], "vespo_lambda_neg": ["2"], "entropy_coef_min": ["0"], "entropy_coef_max": ["1"],
        "entropy_coef_delta": ["0.005"], "entropy_target": ["0.2"], "f_alpha_divergence_coef": ["0.5"],
        "discopop_tau": ["0.05"], "ds3_gather_for_generation": ["true"], "per_device_eval_batch_size": ["8"],
        "loss_type": ["nll"],
    ]

    /// Keys that say something only where another one is on.
    private static func switchOf(_ key: String) -> String? {
        if key.hasPrefix("vllm_") { return "use_vllm" }
        if key.hasPrefix("lora_") || ["use_rslora", "use_dora"].contains(key) { return "use_peft" }
        return key.hasPrefix("bnb_") || key == "use_bnb_nested_quant" ? "load_in_4bit" : nil
    }

    /// Whether the job switches off what the key is about.
    static func isSwitchedOff(_ key: String, _ job: SettingsReader) -> Bool {
        switchOf(key).flatMap(job.node).flatMap(Bool.read) == false
    }

    static func isWithoutEffect(_ key: String) -> Bool {
        withoutEffect.contains(key) || prefixesWithoutEffect.contains(where: key.hasPrefix)
    }

    /// Whether a key asks for what happens here anyway.
    static func happensAnyway(_ key: String, _ node: SettingsNode) -> Bool {
        always[key].map { JobConditionalKey($0, .notice("")).isHarmless(node) } ?? false
    }

    /// Whether a key without effect asks for what happens here anyway, or for nothing.
    static func isMoot(_ key: String, _ node: SettingsNode) -> Bool {
        JobConditionalKey(off.union(always[key] ?? []), .notice("")).isHarmless(node)
    }

    /// Known to TRL's users and not built here, each with what to do instead.
    static let notBuilt: [String: String] = [
        "lora_target_parameters": "adapters go to projections; name them in lora_target_modules",
        "lora_modules_to_save": "training whole modules beside adapters is not built",
        "use_dora": "DoRA is not built; LoRA is",
        "load_in_4bit": "quantised training is not built",
        "bnb_4bit_quant_type": "quantised training is not built",
        "use_bnb_nested_quant": "quantised training is not built",
        "bnb_4bit_quant_storage": "quantised training is not built",
        "max_tool_calling_iterations": "tools and several turns are not built",
        "use_adaptive_entropy": "the adaptive entropy coefficient is not built; set entropy_coef",
        "generation_kwargs": "set temperature, top_p, top_k, min_p, repetition_penalty or stop_strings themselves",
        "neftune_noise_alpha": "noise on embeddings is not built",
        "chat_template_path": "the template of the model's folder is used",
        "assistant_only_loss": "the loss on assistant turns alone is not built; the completion is what is trained",
        "dataset_kwargs": "rows are read as they are; column_map names their columns",
        "eos_token": "the tokenizer's own end-of-text token is used",
        "kl_coef": "it is called beta", "cliprange": "it is called epsilon",
        "num_ppo_epochs": "it is called num_iterations",
        "num_mini_batches": "set steps_per_generation: optimizer steps per pass over the rollouts",
        "response_length": "it is called max_completion_length",
        "value_model_path": "it is called critic_model_name_or_path",
        "activation_offloading": "offloading activations is not built; set gradient_checkpointing",
        "eval_on_start": "run plumbline eval on the model",
        "desirable_weight": "KTO is not built; dpo learns from pairs",
        "undesirable_weight": "KTO is not built; dpo learns from pairs",
        "cpo_alpha": "CPO is not built; simpo is", "rpo_alpha": "imitation beside a preference loss is not built",
        "reward_model_path": "a reward model is an entry of reward_funcs: {model: FOLDER}",
        "reward_model": "a reward model is an entry of reward_funcs: {model: FOLDER}",
        "sft_model_path": "the policy starts from model_name_or_path",
        "ref_model_name_or_path": "the reference is the policy as it starts, model_name_or_path",
        "teacher_tokenizer_name_or_path": "the teacher must share the policy's tokenizer",
        "num_sample_generations": "set eval_steps, which samples the test split",
        "stop_token": "completions end as the model's generation_config.json says; stop_strings adds texts",
        "stop_token_id": "completions end as the model's generation_config.json says; stop_strings adds texts",
        "peft_config": "set use_peft: true with lora_r, lora_alpha, lora_target_modules",
        "quantization_config": "set load_in_8bit with use_peft",
        "max_seq_length": "it is called max_length", "max_new_tokens": "it is called max_completion_length",
        "epsilon_low": "it is called epsilon", "kl_coeff": "it is called beta",
        "rloo_k": "it is called num_generations",
        "normalize_reward": "the nearest is normalize_advantages, after the baseline is subtracted",
        "lr": "it is called learning_rate", "epochs": "it is called num_train_epochs",
        "num_epochs": "it is called num_train_epochs", "ppo_epochs": "it is called num_iterations",
        "total_episodes": "set max_steps or num_train_epochs", "exp_name": "it is called run_name",
        "batch_size": "it is called per_device_train_batch_size, and counts completions",
        "mini_batch_size": "it is called per_device_train_batch_size, and counts completions",
        "model": "it is called model_name_or_path", "dataset": "it is called dataset_name",
        "input_key": "name the column in column_map: {prompt: NAME}",
        "label_key": "name the column in column_map: {answer: NAME}, or as the reward asks for it",
        "train_dataset": "it is called dataset_name", "rewards": "it is called reward_funcs",
        "<<": "merge keys are not read; write the lines themselves",
    ]
}
