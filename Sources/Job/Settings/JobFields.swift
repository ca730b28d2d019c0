/// Every key a job file may have.
package enum JobFields {
    /// The keys that do something, in the order in which a resolved job lists them.
    /// Methods with a reward.
    static let rewarded = Set(JobAlgorithm.allCases).subtracting([.sft])
    /// Methods whose loss or reward may hold a KL to the reference policy.
    static let learningFromRewards = rewarded.subtracting([.bestOfK])
    /// Methods on GRPO's loss and group baseline.
    static let grouped: Set<JobAlgorithm> = [.grpo, .softGRPO]
    /// Methods with the clipped surrogate.
    static let clipping = grouped.union([.ppo, .reinforcePlusPlus])
    /// Methods with a ratio to the old policy.
    static let withRatio = clipping.union([.rloo])

    package static let supported: [JobField] =
        model + rewards + generation + method + softThinking + batches + optimizer + records

    static let byName: [String: JobField] = Dictionary(uniqueKeysWithValues: supported.map { ($0.name, $0) })

    static let model: [JobField] = [
        JobField(
            "algorithm", \.algorithm,
            "The method: its loss, credit rule and step recipe, with TRL's defaults. dr_grpo, dapo, gspo and cispo are grpo with the values of their papers."
        ),
        JobField(
            "model_name_or_path", \.modelPath,
            "A Hugging Face folder (config.json, safetensors, tokenizer.json), relative to the working directory, or a name in the local Hugging Face cache."
        ),
        JobField(
            "dataset_name", \.datasetName,
            "A prompt file (JSON Lines, JSON, CSV, TSV, also .gz; Parquet), or a folder with train.jsonl and eval.jsonl, relative to the job file."
        ),
        JobField(
            datasets: "datasets", \.datasets,
            "Several prompt sets as one: a list of sections with path, and if wanted split, fraction, columns (those kept) and column_map. fraction f_i is the set's share of the mixture, as in TRL: the mixture has N = min(n_i / f_i) rows, and the first round(f_i N) rows of each set are taken; without fractions, all rows of all sets. Instead of dataset_name."
        ),
        JobField(
            "dataset_train_split", \.trainSplit, "Which file of the folder training reads: train means train.jsonl."),
        JobField(
            "dataset_test_split", \.testSplit,
            "Which file of the folder evaluation reads; by default eval.jsonl, else test.jsonl."),
        JobField(
            columns: "column_map", \.columnMap, "Names of your columns for the ones expected here: {prompt: question}."),
        JobField(
            "output_dir", \.outputDirectory,
            "The run folder: config.yaml, metrics.jsonl, completions/, checkpoint-<step>/ and the final model. Relative to the working directory."
        ),
        JobField(
            "overwrite_output_dir", \.overwritesOutput,
            "Starts anew in a folder that holds an earlier run: its metrics go, its checkpoints are set aside."),
        JobField(
            resume: "resume_from_checkpoint", \.resumeFromCheckpoint,
            "A checkpoint folder, or true for the newest complete one in output_dir. The continued run equals an uninterrupted one to the bit."
        ),
        JobField(
            columns: "chat_template_kwargs", \.chatTemplateVariables,
            "Variables handed to the chat template as they are."),
        JobField(
            "dtype", \.dtype,
            "What passes over the model compute in; bfloat16 trains float32 weights and reads copies of them."),
        JobField(
            "seed", \.seed, in: 0...Int.max,
            "Addresses every random draw: same seed, machine and thread count, same run to the bit."),
        JobField(
            "threads", \.threads, least: 1,
            "Threads of the tensor engine; by default the machine's cores, and one for a model below 2 M weights."),
    ]

    static let rewards: [JobField] = [
        JobField(
            rewards: "reward_funcs", \.rewards,
            "Rewards by name (plumbline reward list), path/file.py:function, package.module.function, {command: …}, {url: …} or {model: folder}; an entry may be a section with the reward's own settings."
        ),
        JobField(
            "reward_weights", \.rewardWeights,
            "One factor per reward. Combined reward = Σ weight × score over the rewards that scored; by default every weight is 1."
        ).only(rewarded),
        JobField(
            "multi_objective_aggregation", \.aggregation,
            "sum_then_normalize: advantages of the weighted sum. normalize_then_sum: each reward's own advantages, weighted and added (GDPO)."
        ).only(grouped),
        JobField(
            "scale_rewards", \.scaleRewards,
            "What r − mean(group) is divided by: the group's standard deviation + 1e-4, the batch's, or nothing (Dr. GRPO, arXiv:2503.20783)."
        ).only(grouped),
        JobField(
            "reward_error_budget", \.rewardErrorBudget, .fraction,
            "Largest share of scores that may fail or time out before the run stops with the first failure and its sample."
        ),
        JobField(
            "reward_timeout", \.rewardTimeoutSeconds, .positive,
            "Seconds one call of a reward outside this process may take, counted from when it starts."),
    ]

    static let generation: [JobField] = [
        JobField(
            "num_generations", \.numGenerations, least: 1,
            "Completions per prompt, G. 8 for grpo, 2 for rloo, 1 for remax unless set. A group baseline needs at least 2."
        ),
        JobField(
            "max_completion_length", \.maxCompletionLength, in: 1...1_000_000,
            "Tokens a completion may have; longer ones are truncated and counted."),
        JobField(
            "temperature", \.temperature, .positive, "Logits are divided by this for sampling and for scoring alike."
        ).only(rewarded),
        JobField(
            "top_p", \.topP, .share,
            "Sampling keeps the smallest set of tokens with at least this mass; 1 keeps all. Not applied when scoring: below 1 the estimators are no longer unbiased."
        ),
        JobField(
            "top_k", \.topK, in: 0...Int.max,
            "Sampling keeps this many of the likeliest tokens; 0 keeps all. Not applied when scoring."),
        JobField(
            "min_p", \.minP, .fraction, "Sampling drops tokens below this share of the likeliest one's probability."),
        JobField(
            "repetition_penalty", \.repetitionPenalty, .positive,
            "Divides the positive and multiplies the negative logits of tokens already in the text; 1 is off."),
        JobField("stop_strings", \.stopStrings, "A completion ends when one of these appears in its text."),
        JobField(
            "max_concurrent_completions", \.maxConcurrentCompletions, least: 1,
            "Rows decoded at once; by default as many as the step has, up to 256."),
    ]
}
