/// Keys of TRL and of the Hugging Face trainer that a job file may bring along.
enum JobKnownKeys {
    /// Accepted with one notice: they have nothing to act on here, or their effect is always on.
    private static let withoutEffect: Set<String> = [
        "use_vllm", "push_to_hub", "attn_implementation", "report_to", "run_name", "project", "disable_tqdm", "use_cpu",
        "remove_unused_columns", "log_level", "log_level_replica", "log_on_each_node", "logging_first_step",
        "logging_strategy", "logging_nan_inf_filter", "logging_dir", "save_on_each_node", "save_safetensors",
        "save_only_model", "do_train", "do_eval", "do_predict",
        "local_rank", "ddp_backend", "ddp_broadcast_buffers", "ddp_bucket_cap_mb",
        "ddp_find_unused_parameters", "ddp_static_graph", "ddp_timeout", "deepspeed", "fsdp", "fsdp_config",
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
        "cache_implementation", "use_cache", "disable_dropout", "cast_lm_head_to_fp32", "router_aux_loss_coef",
        "f_alpha_divergence_coef", "discopop_tau", "precompute_ref_batch_size",
        "use_transformers_paged", "use_transformers_continuous_batching", "transformers_continuous_batching_config",
        "ignore_bias_buffers", "auto_find_batch_size", "enable_jit_checkpoint",
        "restore_callback_states_from_checkpoint",
        "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id",
    ]

    /// Families of keys without effect.
    private static let prefixesWithoutEffect = ["vllm_", "dataloader_", "wandb_", "hub_"]

    static func isWithoutEffect(_ key: String) -> Bool {
        withoutEffect.contains(key) || prefixesWithoutEffect.contains(where: key.hasPrefix)
    }

    /// Known to TRL's users and not built here, each with what to do instead.
    static let notBuilt: [String: String] = [
        "use_peft": "LoRA is not built; train the whole model",
        "lora_r": "LoRA is not built; train the whole model",
        "lora_alpha": "LoRA is not built; train the whole model",
        "lora_dropout": "LoRA is not built; train the whole model",
        "lora_target_modules": "LoRA is not built; train the whole model",
        "lora_target_parameters": "LoRA is not built; train the whole model",
        "lora_modules_to_save": "LoRA is not built; train the whole model",
        "lora_task_type": "LoRA is not built; train the whole model",
        "use_rslora": "LoRA is not built; train the whole model",
        "use_dora": "LoRA is not built; train the whole model",
        "load_in_8bit": "quantised training is not built",
        "load_in_4bit": "quantised training is not built",
        "bnb_4bit_quant_type": "quantised training is not built",
        "use_bnb_nested_quant": "quantised training is not built",
        "bnb_4bit_quant_storage": "quantised training is not built",
        "max_tool_calling_iterations": "tools and several turns are not built",
        "reward_model_name_or_path": "a reward model is an entry of reward_funcs: {model: FOLDER}",
        "sapo_temperature_neg": "loss_type sapo is not built", "sapo_temperature_pos": "loss_type sapo is not built",
        "vespo_k_pos": "loss_type vespo is not built", "vespo_k_neg": "loss_type vespo is not built",
        "vespo_lambda_pos": "loss_type vespo is not built", "vespo_lambda_neg": "loss_type vespo is not built",
        "use_adaptive_entropy": "the adaptive entropy coefficient is not built; set entropy_coef",
        "entropy_coef_min": "the adaptive entropy coefficient is not built; set entropy_coef",
        "entropy_coef_max": "the adaptive entropy coefficient is not built; set entropy_coef",
        "entropy_coef_delta": "the adaptive entropy coefficient is not built; set entropy_coef",
        "entropy_target": "the adaptive entropy coefficient is not built; set entropy_coef",
        "generation_batch_size":
            "set steps_per_generation: completions per rollout step = per_device_train_batch_size × steps_per_generation",
        "generation_kwargs": "set temperature, top_p, top_k, min_p, repetition_penalty or stop_strings themselves",
        "lr_scheduler_kwargs": "the schedules take no further settings",
        "neftune_noise_alpha": "noise on embeddings is not built",
        "chat_template_path": "the template of the model's folder is used",
        "assistant_only_loss": "the loss on assistant turns alone is not built; the completion is what is trained",
        "max_length": "nothing is ever cut; set max_prompt_length and max_completion_length",
        "truncation_mode": "nothing is ever cut; set max_prompt_length and overlong_prompts",
        "dataset_text_field": "a row needs prompt and completion",
        "dataset_kwargs": "a row needs prompt and completion",
        "eos_token": "the tokenizer's own end-of-text token is used",
        "kl_coef": "it is called beta", "cliprange": "it is called epsilon",
        "num_ppo_epochs": "it is called num_iterations",
        "num_mini_batches": "set steps_per_generation: optimizer steps per pass over the rollouts",
        "response_length": "it is called max_completion_length",
        "value_model_path": "it is called critic_model_name_or_path",
        "activation_offloading": "offloading activations is not built; set gradient_checkpointing",
        "eval_on_start": "run plumbline eval on the model",
        "constraints": "constrained methods are not built", "dynamic_weights": "dynamic reward weights are not built",
        "amft": "AMFT is not built",
        "placement": "placement plans are not built; generation and training share the weights of one process",
    ]
}
