internal import Records

/// A key of TRL's whose value decides: some values ask for what happens here anyway, others for something else.
struct JobConditionalKey: Sendable {
    enum Otherwise: Sendable {
        /// The run would not be the one that was asked for.
        case refuse(String)
        /// The run goes on; the text says what happens instead.
        case notice(String)
    }

    /// Values that change nothing, as they are written; no value and an empty section never do.
    let harmless: Set<String>
    let otherwise: Otherwise

    init(_ harmless: Set<String> = [], _ otherwise: Otherwise) {
        self.harmless = harmless
        self.otherwise = otherwise
    }

    func isHarmless(_ node: SettingsNode) -> Bool {
        switch node.content {
        case .null: true
        case .list(let items): items.isEmpty
        case .map(let members): members.isEmpty
        case .scalar(let text, _):
            text.isEmpty || harmless.contains(text.lowercased())
                || harmless.contains { Double($0) != nil && Double($0) == Double(text) }
        }
    }
}

extension JobKnownKeys {
    /// Keys whose effect depends on their value. They stand in none of the other tables.
    static let conditional: [String: JobConditionalKey] = precision.merging(training) { first, _ in first }.merging(
        data
    ) { first, _ in first }

    private static let precision: [String: JobConditionalKey] = [
        "bf16": JobConditionalKey(off, .notice("model passes compute in dtype; set dtype: bfloat16 for that")),
        "fp16": JobConditionalKey(off, .notice("model passes compute in dtype")),
        "bf16_full_eval": JobConditionalKey(off, .notice("evaluation computes in dtype, as training does")),
        "fp16_full_eval": JobConditionalKey(off, .notice("evaluation computes in dtype, as training does")),
        "model_init_kwargs": JobConditionalKey([], .refuse("a model is loaded as its folder says; set dtype")),
        "model_revision": JobConditionalKey(
            ["main"], .refuse("a revision is not looked up; name the snapshot's folder in model_name_or_path")),
        "teacher_model_init_kwargs": JobConditionalKey([], .refuse("a model is loaded as its folder says")),
        "teacher_model_revision": JobConditionalKey(
            ["main"], .refuse("a revision is not looked up; name the snapshot's folder in teacher_model_name_or_path")),
    ]

    private static let training: [String: JobConditionalKey] = [
        "optim_args": JobConditionalKey(
            [],
            .refuse(
                "an optimizer's settings are keys of their own, such as adam_beta1 and low_rank.rank; explain has them")
        ),
        "lora_task_type": JobConditionalKey(
            ["causal_lm", "seq_cls"], .refuse("adapters are those of a language model or of a reward model")),
        "optim_target_modules": JobConditionalKey(
            off.union(["all-linear", "all_linear"]),
            .refuse("low_rank projects every matrix but embedding and head; trainable chooses what is trained")),
        "save_strategy": JobConditionalKey(
            ["steps"], .notice("checkpoints are written every save_steps and at the end")),
        "logging_dir": JobConditionalKey([], .notice("TensorBoard's event files are in output_dir/tensorboard")),
        "env": JobConditionalKey([], .notice("a job sets no environment variables; set them for the command")),
        "ignore_data_skip": JobConditionalKey(
            off, .notice("a continued run goes on with the prompt it stopped at")),
        "ld_alpha": JobConditionalKey(["1"], .refuse("a loss on parts of a completion is not built")),
        "f_divergence_type": JobConditionalKey(
            ["reverse_kl"], .refuse("only the reverse KL is built")),
        "use_weighting": JobConditionalKey(off, .refuse("weights by probability (WPO) are not built")),
        "loss_weights": JobConditionalKey(["1"], .refuse("one loss_type is minimized, with the weight 1")),
        "label_smoothing_factor": JobConditionalKey(["0"], .refuse("label smoothing is not built")),
        "force_use_ref_model": JobConditionalKey(
            off, .refuse("the reference is the policy as it starts, model_name_or_path")),
        "generate_during_eval": JobConditionalKey(off, .notice("pairs are compared, none sampled; run plumbline eval")),
        "is_encoder_decoder": JobConditionalKey(off, .refuse("encoder-decoder models are not built")),
        "num_labels": JobConditionalKey(["1"], .refuse("set reward_heads, a name for each")),
        "token_level_kl": JobConditionalKey(
            off, .refuse("rloo subtracts the KL of whole completions from their reward")),
        "whiten_rewards": JobConditionalKey(off, .refuse("rewards are not whitened; advantages are")),
        "group_by_length": JobConditionalKey(
            off, .notice("rows are packed without padding, in the order that shuffle_dataset says")),
        "top_entropy_quantile": JobConditionalKey(["1"], .refuse("token selection by entropy is not built")),
        "eval_delay": JobConditionalKey(["0"], .refuse("set eval_steps")),
        "vllm_structured_outputs_regex": JobConditionalKey([], .refuse("guided decoding is not built")),
        "vllm_guided_decoding_regex": JobConditionalKey([], .refuse("guided decoding is not built")),
    ]

    private static let data: [String: JobConditionalKey] = [
        "dataset_text_field": JobConditionalKey(["text"], .refuse("name the column in column_map: {text: NAME}")),
        "test_split_size": JobConditionalKey(
            [], .refuse("rows are not held out; put them into a file of their own (eval.jsonl of the folder)")),
        "data_seed": JobConditionalKey([], .notice("seed also sets the order of prompts")),
        "train_sampling_strategy": JobConditionalKey(["random"], .refuse("set shuffle_dataset")),
        "completion_only_loss": JobConditionalKey(
            ["true", "yes", "on"], .refuse("the loss on prompt tokens is not built; only the completion is trained")),
        "packing": JobConditionalKey(
            off, .notice("demonstrations are not joined; per_device_train_batch_size counts demonstrations")),
        "eval_packing": JobConditionalKey(off, .notice("demonstrations are not joined")),
    ]
}
