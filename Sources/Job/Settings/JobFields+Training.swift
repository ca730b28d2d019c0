extension JobFields {
    static let method: [JobField] =
        [
            JobField(
                "beta", \.beta, .notNegative,
                "Weight of the KL to the reference policy; 0 loads no reference. In the loss for grpo, in the reward for remax and rloo. 0 unless set; 0.05 for rloo, as in TRL."
            ).only(learningFromRewards),
            JobField(
                "kl_estimator", \.klEstimator,
                "With d = log π − log π_ref: k1 = d, k2 = d²/2, k3 = e^(−d) − 1 + d. k3 in the loss by default (GRPO), k1 in the reward. full, in grpo's loss: Σ_v π(v)·(log π(v) − log π_ref(v)) at each token's place, exact and without the noise of the sampled token; the reference's pass is then part of every update."
            ).only(learningFromRewards),
            JobField(
                "kl_placement", \.klPlacement,
                "Where grpo has its KL term: loss (the paper) or reward, where a completion's estimates are summed and taken from its reward before the baseline. remax and rloo have it in the reward."
            ),
            JobField(
                "loss_type", \.lossType,
                "Denominator of the loss. grpo: mean over each completion's tokens, then over completions. dapo: mean over all tokens of the optimizer step. dr_grpo: sum / (completions × max_completion_length). cispo: clipped weights, dapo's denominator. Fixed before the first backward, whatever the micro-batches."
            ).only(grouped),
            JobField(
                "epsilon", \.epsilon, .positive,
                "The ratio's lower clip is 1 − ε, its upper 1 + ε unless epsilon_high is set (PPO, arXiv:1707.06347)."
            ).only(withRatio),
            JobField(
                "epsilon_high", \.epsilonHigh, .positive,
                "The ratio's upper clip is 1 + ε_high (DAPO's clip-higher: 0.28, arXiv:2503.14476)."
            ).only(withRatio),
            JobField(
                "delta", \.delta, .aboveOne,
                "Two-sided clip: the unclipped term's ratio never exceeds δ (INTELLECT-2, arXiv:2505.07291). Off unless set."
            ).only(clipping),
            JobField(
                "importance_sampling_level", \.importanceSamplingLevel,
                "token: one ratio per token. sequence: the geometric mean over the completion (GSPO, arXiv:2507.18071)."
            ).only(grouped),
            JobField(
                "mask_truncated_completions", \.maskTruncatedCompletions,
                "Leaves truncated completions out of the loss and its denominator; their rewards still count in baselines (DAPO)."
            ).only(rewarded),
            JobField(
                "num_iterations", \.numIterations, least: 1,
                "Passes over the same rollouts, μ. Above 1 the rollout policy's log-probs are scored again first. 1 unless set; 4 for ppo, as in TRL."
            ).only(rewarded),
            JobField(
                "entropy_coef", \.entropyCoefficient, .notNegative,
                "Weight of the policy's entropy, subtracted from the loss."
            ).only([.grpo, .ppo]),
            JobField(
                "use_bias_correction_kl", \.usesBiasCorrectedKL,
                "Multiplies the KL term by the ratio π/π_old (DeepSeek-V3.2): its gradient is then that of KL(π‖π_ref) off policy too."
            ).only([.grpo]),
            JobField(
                "kl_on_zero_std_groups", \.deadGroupsTakeKL,
                "grpo: whether the KL term of the loss acts on groups whose rewards are all equal, as in TRL. With false they move nothing."
            ).only(grouped),
            JobField(
                "sync_ref_model", \.syncReferenceModel,
                "Moves the reference towards the policy every ref_model_sync_steps optimizer steps."),
            JobField("ref_model_mixup_alpha", \.referenceMixup, .fraction, "π_ref ← α π + (1 − α) π_ref at each sync."),
            JobField(
                "ref_model_sync_steps", \.referenceSyncSteps, in: 1...Int.max,
                "Optimizer steps between two syncs of the reference."),
            JobField(
                "remax_reduction", \.remaxReduction,
                "remax, reinforce: token_mean is Σ −A log π / tokens (the published code of ReMax); sequence_sum the mean over completions of the sum, the unbiased estimator (arXiv:2310.10505). token_mean for remax unless set, sequence_sum for reinforce."
            ).only([.remax, .reinforce]),
            JobField(
                "remax_kl", \.remaxKL,
                "remax, reinforce: how far a token's KL penalty reaches: to_go sums over the rest of the completion (the gradient of the sequence KL), one_step is the token's own (published code), none."
            ).only([.remax, .reinforce]),
            JobField(
                "remax_reward_clip", \.remaxRewardClip, .positive,
                "Clips r − b to ± this; off unless set (published code: 5)."
            ).only([.remax]),
            JobField(
                "remax_compat", \.remaxCompatibility,
                "release: gamma has one factor more at every token, the last included, as in the published code."
            ).only([.remax]),
            JobField(
                "normalize_advantages", \.normalizesAdvantages,
                "rloo: whitens advantages over the batch, (A − mean) / (std + 1e-4)."
            ).only([.rloo]),
        ] + control + sampling + critic

    private static let critic: [JobField] = [
        JobField(
            "critic_model_name_or_path", \.criticPath,
            "ppo: the model the critic's trunk starts from; model_name_or_path unless set. Its value head starts at 0."
        ).only([.ppo]),
        JobField("critic_learning_rate", \.criticLearningRate, .notNegative, "ppo: the critic's own learning rate.")
            .only([.ppo]),
        JobField(
            "critic_shares_trunk", \.criticSharesTrunk,
            "ppo: the critic is a linear head on the policy's own trunk instead of a model of its own. One optimizer, one loss: policy + vf_coef × value; the memory of a second model and its passes are saved. The head starts at 0."
        ).only([.ppo]),
        JobField("vf_coef", \.valueCoefficient, .notNegative, "ppo: weight of the value loss ½·mean (V − R)².").only([
            .ppo
        ]),
        JobField(
            "cliprange_value", \.valueClip, .positive,
            "ppo: how far a value may move from the old one before its loss goes flat; null for no clip."
        ).only([.ppo]),
        JobField(
            "gamma", \.discount, .fraction,
            "ppo: discount of later rewards in the advantage estimate. remax: γⁿ⁻ᵗ(r − b) at token t of n."
        ).only([.ppo, .remax]),
        JobField(
            "lam", \.gaeLambda, .fraction,
            "ppo: λ of generalized advantage estimation, from 0 (one step, little variance) to 1 (rewards to go, no bias) (arXiv:1506.02438)."
        ).only([.ppo]),
        JobField(
            "missing_eos_penalty", \.missingEndPenalty, .notNegative,
            "ppo: taken off the score of a completion that was cut off."
        ).only([.ppo]),
        JobField(
            "bootstrap_truncated", \.bootstrapsTruncated,
            "ppo: a completion that was cut off is still worth the critic's value of its last state, γ·V, in place of 0."
        ).only([.ppo]),
    ]

    private static let control: [JobField] = [
        JobField(
            "kl_target", \.klTarget, .positive,
            "Moves beta so that the KL per token stays near this: β ← β·(1 + clip(KL/target − 1, ±0.2)·completions/kl_horizon) (arXiv:1909.08593). For methods with the KL in the reward; off unless set."
        ),
        JobField("kl_horizon", \.klHorizon, .positive, "Completions over which kl_target's correction acts in full."),
        JobField(
            "importance_sampling_correction", \.importanceCorrection,
            "Weights w = π_old/π_sampler on grpo's policy term, for samplers that are not quite the trainer's policy (top_p below 1, bf16): per token or per sequence, truncated to the bounds or masked outside them (TIS, MIS). Off unless set."
        ).only(grouped),
        JobField(
            "importance_sampling_min", \.importanceMinimum, .notNegative, "The weights' lower bound; none unless set."
        ).only(grouped),
        JobField("importance_sampling_max", \.importanceMaximum, .positive, "The weights' upper bound; null for none.")
            .only(grouped),
        JobField(
            "bypass_old_log_probs", \.bypassesOldLogProbabilities,
            "Takes the sampler's log-probs for the old policy's: saves the pass that scores them again."
        ).only(withRatio),
        JobField(
            "off_policy_mask_threshold", \.offPolicyMaskThreshold, .positive,
            "Leaves out completions with a negative advantage whose mean log π_sampler − log π exceeds this many nats (DeepSeek-V3.2, arXiv:2512.02556). Off unless set."
        ).only([.grpo]),
        JobField(
            "best_of_k_threshold", \.bestOfKThreshold,
            "best_of_k: the least reward worth imitating; any unless set.", requirement: ("", { _ in true })
        ).only([.bestOfK]),
    ]

    private static let sampling: [JobField] = [
        JobField(
            "dynamic_sampling", \.dynamicSampling,
            "Samples further prompts until the step has enough groups whose completions differ in dynamic_sampling_metric (DAPO, arXiv:2503.14476). Surplus groups are left out."
        ),
        JobField(
            "dynamic_sampling_metric", \.dynamicSamplingMetric,
            "The reward that decides: the task's own, not a length term. The only reward unless set."),
        JobField(
            "dynamic_sampling_max_waves", \.dynamicSamplingMaxWaves, in: 1...1_000_000,
            "Most times a step samples its number of prompts."),
        JobField(
            "dynamic_sampling_exhausted", \.dynamicSamplingExhausted,
            "fail: a step that stays short after the last wave ends the run. partial: it learns from what was kept."),
        JobField(
            "replay_buffer_size", \.replayCapacity, in: 0...1_000_000,
            "Completions kept to stand in for completions without an advantage (Selective Sample Replay, arXiv:2504.08837); 0 is off. Their ratio uses the log-probs of the policy that wrote them."
        ),
        JobField(
            "replay_max_age", \.replayMaxAge, in: 1...Int.max, "Optimizer steps after which a kept completion leaves."),
        JobField(
            "replay_alpha", \.replayAlpha, .notNegative,
            "A kept completion is drawn with a weight of its |advantage| to this power."),
    ]

    static let batches: [JobField] =
        [
            JobField(
                "per_device_train_batch_size", \.trainBatchSize, in: 1...1_000_000,
                "Completions, not prompts, as in TRL. An optimizer step takes this × gradient_accumulation_steps."),
            JobField(
                "gradient_accumulation_steps", \.gradientAccumulationSteps, in: 1...1_000_000,
                "Factor of the optimizer step's completions. How they are cut into micro-batches is max_tokens_per_micro_batch and never changes the result."
            ),
            JobField(
                "steps_per_generation", \.stepsPerGeneration, least: 1,
                "Completions of one rollout step = per_device_train_batch_size × this. By default gradient_accumulation_steps: one optimizer step per rollout."
            ),
            JobField(
                "shuffle_mini_batches", \.shufflesMiniBatches,
                "Draws which completions each optimizer step takes, anew in every pass over the rollouts and addressed by the seed; false takes them in order. true for ppo, false for other methods."
            ).only(rewarded),
            JobField(
                "max_tokens_per_micro_batch", \.maxTokensPerMicroBatch, in: 1...Int.max,
                "Tokens of one forward and backward pass; a group that does not fit is cut between completions."),
            JobField(
                "max_steps", \.maxSteps, "Optimizer steps of the run; -1 takes num_train_epochs.",
                requirement: ("above 0, or -1 for num_train_epochs", { $0 > 0 || $0 == -1 })),
        ] + data

    private static let data: [JobField] = [
        JobField("num_train_epochs", \.epochs, .positive, "Passes over the prompt set when max_steps is -1."),
        JobField("shuffle_dataset", \.shufflesDataset, "Whether each epoch has its own order, addressed by the seed."),
        JobField(
            "max_prompt_length", \.maxPromptLength, least: 1,
            "Tokens a prompt may have; by default what the model's context leaves beside max_completion_length. Nothing is ever cut."
        ),
        JobField(
            "overlong_prompts", \.overlongPrompts,
            "error: a prompt over the limit ends the run before it starts. drop: such prompts are left out and counted."
        ),
    ]

    static let optimizer: [JobField] = [
        JobField(
            "learning_rate", \.learningRate, .notNegative,
            "AdamW's step size at the schedule's peak. 1e-6 unless set; 2e-5 for sft, as in TRL."),
        JobField("lr_scheduler_type", \.schedule, "How the learning rate moves over the run."),
        JobField(
            "warmup_steps", \.warmupSteps, .notNegative,
            "Optimizer steps of linear warm-up; below 1 it is a share of the run."),
        JobField("warmup_ratio", \.warmupRatio, .fraction, "Share of the run that warms up, when warmup_steps is 0."),
        JobField(
            "weight_decay", \.weightDecay, .notNegative,
            "Decoupled decay of the matrices; biases and norms are left out, as in the Hugging Face trainer."),
        JobField("adam_beta1", \.adamBeta1, .belowOne, "AdamW's decay of the first moment."),
        JobField("adam_beta2", \.adamBeta2, .belowOne, "AdamW's decay of the second moment."),
        JobField("adam_epsilon", \.adamEpsilon, .positive, "AdamW's guard against division by zero."),
        JobField(
            "max_grad_norm", \.maxGradNorm, .notNegative, "Gradients longer than this are scaled down to it; 0 is off."),
        JobField(
            "gradient_checkpointing", \.gradientCheckpointing,
            "Recomputes each block in the backward pass: less memory, a third more work. Off unless set (TRL: on)."),
    ]

    static let records: [JobField] = [
        JobField(
            "logging_steps", \.loggingSteps, in: 1...Int.max,
            "Optimizer steps between two rows of metrics on the terminal. metrics.jsonl has every step."),
        JobField("log_completions", \.logCompletions, "Writes every step's completions to completions/."),
        JobField(
            "num_completions_to_print", \.completionsToPrint, least: 0,
            "Completions shown on the terminal with each row."),
        JobField(
            "save_steps", \.saveSteps, in: 1...Int.max,
            "Optimizer steps between two checkpoints; one more is written at the end."),
        JobField(
            "save_total_limit", \.saveTotalLimit, least: 1,
            "Checkpoints kept; the best and the newest are never removed."),
        JobField(
            "eval_steps", \.evaluationSteps, least: 1,
            "Optimizer steps between two evaluations on the test split; off unless set."),
        JobField(
            "num_generations_eval", \.evaluationGenerations, least: 1,
            "Completions per prompt in evaluation; 1 unless set."),
        JobField(
            "eval_limit", \.evaluationLimit, least: 1, "Prompts of an evaluation during training; all unless set."),
        JobField(
            "metric_for_best_model", \.bestModelMetric,
            "The metric that names the best checkpoint, such as eval_reward."),
        JobField("greater_is_better", \.bestIsGreater, "Whether a larger metric_for_best_model is better."),
        JobField(
            "logprob_gap_limit", \.logProbabilityGapLimit, .positive,
            "The run stops when the mean difference between sampled and re-scored log-probs exceeds this many nats."),
    ]
}
