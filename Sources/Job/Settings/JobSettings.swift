package import Records

/// Everything a job file says, with TRL's defaults where the file is silent.
///
/// The names and meanings of the fields are in the tables of ``JobFields``; one table serves the file, the overrides, the
/// resolved job and `plumbline explain`.
package struct JobSettings: Sendable, Equatable {
    package init() {}

    // Model, data, files
    package var algorithm = JobAlgorithm.grpo
    package var modelPath: String?
    package var datasetName: String?
    package var datasets: [JobDataset] = []
    package var trainSplit = "train"
    package var testSplit: String?
    package var columnMap: [JobColumn] = []
    package var outputDirectory: String?
    package var overwritesOutput = false
    package var resumeFromCheckpoint: String?
    package var chatTemplateVariables: [JobColumn] = []

    // Rewards
    package var rewards: [JobReward] = []
    package var rewardWeights: [Double]?
    package var aggregation = JobAggregation.sumThenNormalize
    package var scaleRewards = JobRewardScale.group
    package var rewardErrorBudget = 0.05
    package var rewardTimeoutSeconds = 60.0

    // Generation
    package var numGenerations: Int?
    package var maxCompletionLength = 512
    package var temperature = 1.0
    package var topP = 1.0
    package var topK = 0
    package var minP: Double?
    package var repetitionPenalty = 1.0
    package var stopStrings: [String] = []
    package var maxConcurrentCompletions: Int?

    // The method
    package var beta: Double?
    package var klEstimator: JobKLEstimator?
    package var klPlacement: JobKLPlacement?
    package var lossType: JobLossType?
    package var epsilon = 0.2
    package var epsilonHigh: Double?
    package var delta: Double?
    package var importanceSamplingLevel = JobImportanceLevel.token
    package var maskTruncatedCompletions = false
    package var numIterations: Int?
    package var entropyCoefficient = 0.0
    package var usesBiasCorrectedKL = true
    package var syncReferenceModel = false
    package var referenceMixup = 0.6
    package var referenceSyncSteps = 512
    package var remaxReduction: JobReMaxReduction?
    package var remaxKL = JobKLReach.toGo
    package var remaxRewardClip: Double?
    package var remaxCompatibility = JobCompatibility.none
    package var normalizesAdvantages = false
    package var deadGroupsTakeKL = true
    package var klTarget: Double?
    package var klHorizon = 10_000.0
    package var importanceCorrection = JobImportanceCorrection.none
    package var importanceMinimum: Double?
    package var importanceMaximum: Double? = 3.0
    package var bypassesOldLogProbabilities = false
    package var offPolicyMaskThreshold: Double?
    package var bestOfKThreshold: Double?
    package var criticSharesTrunk = false
    package var criticPath: String?
    package var criticLearningRate = 1e-5
    package var valueCoefficient = 0.1
    package var valueClip: Double? = 0.2
    package var discount = 1.0
    package var gaeLambda = 0.95
    package var missingEndPenalty = 0.0
    package var bootstrapsTruncated = false
    package var dynamicSampling = false
    package var dynamicSamplingMetric: String?
    package var dynamicSamplingMaxWaves = 10
    package var dynamicSamplingExhausted = JobExhausted.fail
    package var replayCapacity = 0
    package var replayMaxAge = 2
    package var replayAlpha = 1.0
    package var softThinking = JobSoftThinking()

    // Batches and steps
    package var trainBatchSize = 8
    package var gradientAccumulationSteps = 1
    package var stepsPerGeneration: Int?
    package var shufflesMiniBatches: Bool?
    package var maxTokensPerMicroBatch = 16_384
    package var maxSteps = -1
    package var epochs = 3.0
    package var shufflesDataset = true
    package var maxPromptLength: Int?
    package var overlongPrompts = JobOverlongPrompts.error

    // Optimizer
    package var learningRate: Double?
    package var schedule = JobSchedule.linear
    package var warmupSteps = 0.0
    package var warmupRatio: Double?
    package var weightDecay = 0.0
    package var adamBeta1 = 0.9
    package var adamBeta2 = 0.999
    package var adamEpsilon = 1e-8
    package var maxGradNorm = 1.0
    package var gradientCheckpointing = false

    // Logging, evaluation, saving
    package var loggingSteps = 10
    package var logCompletions = true
    package var completionsToPrint: Int?
    package var saveSteps = 500
    package var saveTotalLimit: Int?
    package var evaluationSteps: Int?
    package var evaluationGenerations: Int?
    package var evaluationLimit: Int?
    package var bestModelMetric: String?
    package var bestIsGreater = true
    package var logProbabilityGapLimit = 0.01

    // The machine
    package var seed = 42
    package var threads: Int?
    package var dtype = JobElementType.float32
}

/// The method: `algorithm:`.
package enum JobAlgorithm: String, JobChoice {
    case sft, grpo, remax, rloo, reinforce, ppo
    case reinforcePlusPlus = "reinforce_pp"
    case bestOfK = "best_of_k"
    case softGRPO = "soft_grpo"

    package static var expectation: String {
        "one of " + (allCases.map(\.rawValue) + JobPresets.variants.keys.sorted()).joined(separator: ", ")
    }
}

/// `importance_sampling_correction:`, which weights correct for a sampler that is not quite the trainer's policy.
package enum JobImportanceCorrection: String, JobChoice {
    case none
    case tokenTruncate = "token_truncate"
    case tokenMask = "token_mask"
    case sequenceTruncate = "sequence_truncate"
    case sequenceMask = "sequence_mask"
}

/// `dynamic_sampling_exhausted:`.
package enum JobExhausted: String, JobChoice {
    case fail, partial
}

/// How several rewards become one advantage: `multi_objective_aggregation:`.
package enum JobAggregation: String, JobChoice {
    case sumThenNormalize = "sum_then_normalize"
    case normalizeThenSum = "normalize_then_sum"
}

/// What a reward's deviation from its baseline is divided by: `scale_rewards:`.
package enum JobRewardScale: String, JobChoice {
    case group, batch, none

    /// TRL also takes truth values: true is `group`, false is `none`.
    package static func read(_ node: JobNode) -> Self? {
        if let truth = Bool.read(node) { return truth ? .group : JobRewardScale.none }
        guard case .scalar(let text, _) = node.content else { return nil }
        return Self(rawValue: text)
    }
}

/// `loss_type:`. `bnpo` is defined by the micro-batch and taken as `dapo`.
package enum JobLossType: String, JobChoice {
    case grpo, dapo, cispo, bnpo
    case drGRPO = "dr_grpo"
}

/// `kl_estimator:`.
package enum JobKLEstimator: String, JobChoice {
    case k1, k2, k3, full
}

extension JobSettings {
    /// Whether the run loads the frozen reference policy.
    var usesReference: Bool {
        guard beta ?? 0 > 0 else { return false }
        return switch algorithm {
        case .sft, .bestOfK: false
        case .remax, .reinforce: remaxKL != .none
        case .grpo, .rloo, .reinforcePlusPlus, .ppo, .softGRPO: true
        }
    }

    /// Where the method's source has its KL term. REINFORCE++ has it in the reward, and with groups in the loss.
    var ownKLPlacement: JobKLPlacement {
        switch algorithm {
        case .remax, .rloo, .reinforce, .ppo: .reward
        case .reinforcePlusPlus: numGenerations ?? 1 > 1 ? .loss : .reward
        case .grpo, .softGRPO, .sft, .bestOfK: .loss
        }
    }
}

/// `kl_placement:`.
package enum JobKLPlacement: String, JobChoice {
    case loss, reward
}

/// `importance_sampling_level:`.
package enum JobImportanceLevel: String, JobChoice {
    case token, sequence
}

/// `remax_reduction:`.
package enum JobReMaxReduction: String, JobChoice {
    case tokenMean = "token_mean"
    case sequenceSum = "sequence_sum"
}

/// `remax_kl:`.
package enum JobKLReach: String, JobChoice {
    case toGo = "to_go"
    case oneStep = "one_step"
    case none
}

/// `remax_compat:` and `soft_thinking.compat:`, whether choices are those of the authors' code where it departs from the paper.
package enum JobCompatibility: String, JobChoice {
    case none, release
}

/// `overlong_prompts:`.
package enum JobOverlongPrompts: String, JobChoice {
    case error, drop
}

/// `lr_scheduler_type:`.
package enum JobSchedule: String, JobChoice {
    case constant, linear, cosine
    case constantWithWarmup = "constant_with_warmup"
    case warmupStableDecay = "warmup_stable_decay"
}

/// `dtype:`, the element type that passes over the model compute in.
///
/// Weights are trained in the same type, but those of bfloat16 in float32: sampling and scoring read copies in bfloat16.
package enum JobElementType: String, JobChoice {
    case float32, bfloat16, float64
}

/// One renaming of `column_map:` or one variable of `chat_template_kwargs:`.
package struct JobColumn: Sendable, Equatable {
    package var name: String
    package var value: JSONValue

    package init(name: String, value: JSONValue) {
        self.name = name
        self.value = value
    }
}

/// One entry of `reward_funcs:`: a name of the catalogue or a place outside, with its settings.
package struct JobReward: Sendable, Equatable {
    /// As written: `accuracy_reward`, `rewards.py:score`, `command: …`, `url: …`, `model: …`.
    package var reference: String
    /// Everything else of the entry, handed to the reward.
    package var settings: [String: JSONValue]

    package init(reference: String, settings: [String: JSONValue] = [:]) {
        self.reference = reference
        self.settings = settings
    }

    /// The folder or name of a reward model; `nil` for every other kind of reward.
    var modelReference: String? {
        guard reference.hasPrefix("model:") else { return nil }
        return String(reference.dropFirst("model:".count).drop { $0 == " " })
    }
}
