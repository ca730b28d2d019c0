internal import Records

/// The checks across settings of a job, made before any weight is read.
struct JobChecks {
    private(set) var problems: [JobProblem] = []
    private(set) var notices: [String] = []
    private let file: JobFile

    init(_ file: JobFile) { self.file = file }

    private mutating func refuse(_ key: String, _ message: String) {
        problems.append(JobProblem(place: file.places[key] ?? "the job", message: message))
    }

    private func isGiven(_ key: String) -> Bool { file.places[key] != nil }

    /// - Parameter settings: With the method's defaults filled in.
    mutating func run(_ settings: JobSettings) {
        requireNames(settings)
        checkRewards(settings)
        checkBatches(settings)
        checkMethod(settings)
        checkSampling(settings)
        checkSoftThinking(settings)
        if problems.isEmpty { checkParts(settings) }
        noticeUnused(settings)
    }

    private mutating func requireNames(_ settings: JobSettings) {
        if settings.modelPath == nil {
            refuse("model_name_or_path", "model_name_or_path is missing; name a model folder")
        }
        checkDatasets(settings)
        if settings.outputDirectory == nil { refuse("output_dir", "output_dir is missing; name the run's folder") }
    }

    private mutating func checkDatasets(_ settings: JobSettings) {
        if settings.datasets.isEmpty {
            if settings.datasetName == nil {
                refuse("dataset_name", "dataset_name is missing; name a prompt file or folder, or several in datasets")
            }
            return
        }
        if settings.datasetName != nil { notices.append("without effect beside datasets: dataset_name") }
        let fractions = settings.datasets.compactMap(\.fraction)
        if !fractions.isEmpty, fractions.count < settings.datasets.count {
            let without = settings.datasets.filter { $0.fraction == nil }.map(\.path).joined(separator: ", ")
            refuse("datasets", "datasets gives a fraction to some sets and none to \(without); expected all or none")
        }
    }

    private mutating func checkRewards(_ settings: JobSettings) {
        guard settings.algorithm != .sft else { return }
        if settings.rewards.isEmpty {
            refuse(
                "reward_funcs",
                "reward_funcs is missing; \(settings.algorithm.rawValue) learns from at least one reward")
        }
        if let weights = file.settings.rewardWeights, weights.count != settings.rewards.count {
            refuse(
                "reward_weights",
                "reward_weights has \(weights.count) numbers for \(settings.rewards.count) rewards; expected one each")
        }
        let names = settings.rewards.map(\.reference)
        if Set(names).count != names.count {
            refuse("reward_funcs", "reward_funcs names a reward twice; metrics need one name each")
        }
    }

    private mutating func checkBatches(_ settings: JobSettings) {
        let generations = settings.numGenerations ?? 1
        let perGeneration = settings.stepsPerGeneration ?? 1
        let completions = settings.trainBatchSize * perGeneration
        if completions % generations != 0 {
            let below = completions / generations * generations
            let near = [below, below + generations].filter { $0 > 0 }.map(String.init).joined(separator: " or ")
            refuse(
                isGiven("per_device_train_batch_size") ? "per_device_train_batch_size" : "num_generations",
                "per_device_train_batch_size × steps_per_generation = \(completions) completions cannot be shared out in groups of num_generations = \(generations); \(near) would do"
            )
        }
        if perGeneration % settings.gradientAccumulationSteps != 0 {
            refuse(
                "steps_per_generation",
                "steps_per_generation is \(perGeneration); expected a multiple of gradient_accumulation_steps = \(settings.gradientAccumulationSteps)"
            )
        }
    }

    private mutating func checkMethod(_ settings: JobSettings) {
        let generations = settings.numGenerations ?? 1
        let needsGroup: [JobAlgorithm] = [.grpo, .rloo, .softGRPO]
        if needsGroup.contains(settings.algorithm), generations < 2 {
            refuse(
                "num_generations",
                "num_generations is \(generations); one completion has no baseline, expected at least 2")
        }
        if let metric = settings.bestModelMetric, metric.hasPrefix("eval_"), settings.evaluationSteps == nil {
            refuse(
                "metric_for_best_model", "metric_for_best_model is \(metric), and nothing is evaluated; set eval_steps")
        }
        if settings.bestModelMetric?.hasPrefix("eval_") ?? false, let evaluations = settings.evaluationSteps,
            settings.saveSteps % evaluations != 0
        {
            refuse(
                isGiven("save_steps") ? "save_steps" : "metric_for_best_model",
                "metric_for_best_model ranks checkpoints by their evaluation, and save_steps is \(settings.saveSteps); expected a multiple of eval_steps, \(evaluations)"
            )
        }
        if settings.algorithm == .sft, settings.evaluationSteps != nil {
            refuse("eval_steps", "eval_steps is set; sft has no reward to evaluate with, leave it out")
        }
        if settings.algorithm == .sft, generations != 1 {
            refuse("num_generations", "num_generations is \(generations); sft does not generate, leave it out")
        }
        if settings.importanceSamplingLevel == .sequence, JobFields.grouped.contains(settings.algorithm),
            settings.lossType != .grpo
        {
            refuse(
                "importance_sampling_level",
                "importance_sampling_level sequence with loss_type \(settings.lossType?.rawValue ?? "dapo") would weight completions by their length; expected loss_type grpo (GSPO)"
            )
        }
        if [.remax, .reinforce].contains(settings.algorithm), BatchArithmetic(settings).optimizerStepsPerRollout > 1 {
            refuse(
                isGiven("num_iterations") ? "num_iterations" : "steps_per_generation",
                "\(settings.algorithm.rawValue) takes one optimizer step per rollout (it has no ratio to correct with), found \(BatchArithmetic(settings).optimizerStepsPerRollout)"
            )
        }
        if let placement = file.settings.klPlacement, settings.algorithm != .grpo {
            let own = settings.ownKLPlacement
            if placement != own {
                refuse(
                    "kl_placement",
                    "kl_placement is \(placement.rawValue); \(settings.algorithm.rawValue) has its KL term in the \(own.rawValue)"
                )
            }
        }
        if settings.algorithm == .reinforcePlusPlus, settings.klPlacement == .loss, settings.klEstimator != .k2 {
            refuse(
                "kl_estimator",
                "kl_estimator is \(settings.klEstimator?.rawValue ?? "k2"); reinforce_pp with groups has k2 in its loss (arXiv:2501.03262)"
            )
        }
        if settings.klEstimator == .full, settings.algorithm != .grpo || settings.klPlacement == .reward {
            refuse(
                "kl_estimator",
                "kl_estimator is full, which stands in grpo's loss; expected k1, k2 or k3 for \(settings.algorithm.rawValue)"
                    + (settings.algorithm == .grpo ? " with kl_placement reward" : ""))
        }
        if settings.klPlacement == .reward, settings.algorithm == .grpo, settings.aggregation == .normalizeThenSum {
            refuse(
                "kl_placement", "kl_placement reward needs one reward to take the KL from; expected sum_then_normalize")
        }
        if settings.syncReferenceModel, !settings.usesReference {
            refuse("sync_ref_model", "sync_ref_model needs a reference policy, and beta = 0 loads none")
        }
        if settings.syncReferenceModel, settings.dtype == .bfloat16 {
            refuse(
                "sync_ref_model",
                "sync_ref_model with dtype bfloat16: small moves of the reference would be lost to rounding; use float32"
            )
        }
        if settings.criticSharesTrunk, let path = settings.criticPath {
            refuse(
                "critic_model_name_or_path",
                "critic_model_name_or_path is \(path), and critic_shares_trunk makes the critic a head on the policy; leave one of them out"
            )
        }
        checkControl(settings)
        if file.settings.lossType == .bnpo {
            notices.append("loss_type bnpo depends on the micro-batch; taken as dapo, its limit for one micro-batch")
        }
    }

    /// Dynamic sampling, replay, and what moves the KL coefficient.
    private mutating func checkControl(_ settings: JobSettings) {
        if settings.dynamicSampling {
            let names = settings.rewards.map(\.reference)
            if !names.contains(settings.dynamicSamplingMetric ?? "") {
                refuse(
                    isGiven("dynamic_sampling_metric") ? "dynamic_sampling_metric" : "dynamic_sampling",
                    "dynamic_sampling_metric must name the reward that tells completions apart, one of "
                        + names.joined(separator: ", "))
            }
            if settings.numGenerations ?? 1 < 2 {
                refuse(
                    "dynamic_sampling",
                    "dynamic_sampling compares the completions of a prompt; expected num_generations of at least 2")
            }
        }
        if settings.replayCapacity > 0, settings.algorithm != .grpo {
            refuse(
                "replay_buffer_size",
                "replay_buffer_size is for grpo, whose loss has the ratio that replayed completions need")
        }
        if settings.klTarget != nil, settings.klPlacement != .reward || !settings.usesReference {
            refuse(
                "kl_target",
                "kl_target moves the coefficient of a KL term in the reward; expected beta above 0 and kl_placement reward"
            )
        }
        if settings.algorithm == .bestOfK, settings.numGenerations ?? 1 < 2 {
            refuse("num_generations", "best_of_k chooses among completions; expected num_generations of at least 2")
        }
    }

    private mutating func checkSampling(_ settings: JobSettings) {
        guard settings.algorithm != .sft else { return }
        if settings.topP < 1 || settings.topK > 0 || settings.minP != nil || settings.repetitionPenalty != 1 {
            notices.append(
                "top_p, top_k, min_p or repetition_penalty shape sampling but not scoring: the rollout policy is not the policy that is trained"
            )
        }
        if settings.stopStrings.contains("") { refuse("stop_strings", "stop_strings holds an empty text") }
    }

    private mutating func checkSoftThinking(_ settings: JobSettings) {
        guard settings.algorithm == .softGRPO else { return }
        let soft = settings.softThinking
        if soft.noise == .none {
            refuse(
                "soft_thinking.noise",
                "soft_thinking.noise is none; without noise thinking has no density to learn from, expected gumbel, dirichlet, gaussian or embedding_gaussian"
            )
        }
        if soft.compat == .release, soft.noise == .embeddingGaussian {
            refuse(
                "soft_thinking.compat",
                "soft_thinking.compat is release; the published code has no embedding_gaussian, expected none")
        }
        if soft.thinkEnd.isEmpty {
            refuse("soft_thinking.think_end", "soft_thinking.think_end is empty; no completion could end its thinking")
        }
        if settings.lossType == .cispo {
            refuse("loss_type", "loss_type is cispo, which weighs log-probs; soft_grpo takes grpo, dapo or dr_grpo")
        }
        if settings.klEstimator == .k1 {
            refuse("kl_estimator", "kl_estimator is k1, which has no gradient on average in a loss; expected k2 or k3")
        }
        if settings.entropyCoefficient != 0 {
            refuse(
                "entropy_coef",
                "entropy_coef is \(settings.entropyCoefficient); soft_grpo has no entropy bonus, expected 0")
        }
        if settings.offPolicyMaskThreshold != nil {
            refuse(
                "off_policy_mask_threshold",
                "off_policy_mask_threshold is in nats of a word; a soft step's density has another unit, expected none")
        }
        if settings.repetitionPenalty != 1 {
            refuse(
                "repetition_penalty",
                "repetition_penalty is \(settings.repetitionPenalty); a mixture of words is not a word already seen, expected 1"
            )
        }
    }

    /// Names what is given and changes nothing.
    private mutating func noticeUnused(_ settings: JobSettings) {
        let defaults = JobSettings()
        var unused = JobFields.supported.filter { field in
            field.methods.map { !$0.contains(settings.algorithm) } ?? false
                && field.yaml(file.settings) != field.yaml(defaults)
        }.map(\.name)
        if settings.algorithm == .ppo, settings.criticSharesTrunk { unused.append("critic_learning_rate") }
        if JobFields.learningFromRewards.contains(settings.algorithm), settings.beta ?? 0 > 0, !settings.usesReference {
            unused.append("beta")
        }
        if settings.aggregation == .normalizeThenSum { unused.append("scale_rewards") }
        if settings.schedule == .constant { unused += ["warmup_steps", "warmup_ratio"] }
        // Without filters the sampler's numbers are the old policy's own: every weight is 1.
        if settings.bypassesOldLogProbabilities, !settings.filtersTokens {
            unused.append("importance_sampling_correction")
        }
        let given = unused.filter(isGiven)
        if !given.isEmpty {
            notices.append("without effect for \(settings.algorithm.rawValue): " + given.joined(separator: ", "))
        }
        if JobFields.grouped.contains(settings.algorithm), settings.lossType == .cispo,
            settings.epsilonHigh ?? settings.epsilon < 1
        {
            notices.append(
                "epsilon_high is \(settings.epsilonHigh ?? settings.epsilon): with loss_type cispo it is the largest weight of a token, and caps all of them; the paper's runs have 5"
            )
        }
    }

    /// Builds the method, whose parts check their own settings, so that nothing is refused only once weights are read.
    private mutating func checkParts(_ settings: JobSettings) {
        let method = MethodAssembly(settings: settings)
        do throws(SettingsError) {
            _ = try method.objective()
            if settings.algorithm != .sft {
                _ = try method.creditRule(rewardNames: settings.rewards.map(\.reference))
                _ = try method.klController()
            }
            if settings.maxSteps > 0 { _ = try method.updaterSettings(maxSteps: settings.maxSteps) }
        } catch {
            for problem in error.problems {
                let key = Self.keys[problem.setting] ?? problem.setting
                let found = JobFields.byName[key]?.yaml(settings) ?? problem.found
                refuse(key, "\(key) is \(found); expected \(problem.expected)")
            }
        }
    }

    /// The keys of the settings that only a part checks.
    private static let keys = [
        "clip.upperBound": "delta", "upperBound": "delta", "minimum": "importance_sampling_min",
        "maximum": "importance_sampling_max", "mixupAlpha": "ref_model_mixup_alpha", "discount": "gamma",
        "decaySteps": "warmup_steps", "warmup": "warmup_steps", "klCoefficient": "beta", "klEstimator": "kl_estimator",
        "lossType": "loss_type", "epsilonHigh": "epsilon_high",
    ]
}

extension JobSettings {
    /// Whether tokens are drawn from another distribution than the policy's at the temperature.
    fileprivate var filtersTokens: Bool { topP < 1 || topK > 0 || minP ?? 0 > 0 || repetitionPenalty != 1 }
}
