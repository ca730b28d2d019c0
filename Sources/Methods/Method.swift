package import Algorithms
package import Coordinator
package import Credit
package import PolicyUpdater
package import Records
package import RolloutEngine

/// A way of learning, as one value: what a job file says of it, what it refuses, and its plan of a step.
///
/// To add one: a file with a type that conforms, and one line in ``MethodCatalogue``. Its `init` reads the method's own
/// keys and those of the parts it is put together from, each in the line of the type that uses it.
package protocol Method: Sendable {
    /// As `algorithm:` spells it.
    static var name: String { get }
    /// What it is called in full, with its source.
    static var title: String { get }
    /// Where it departs from what the other methods start from.
    static var defaults: MethodDefaults { get }
    /// The same for a job whose own values decide them.
    static func defaults(reading job: inout SettingsReader) -> MethodDefaults
    /// Names that stand for this method with other values: `algorithm:` takes them too.
    static var variants: [Preset] { get }
    /// Papers' settings with their sizes: `preset:`.
    static var presets: [Preset] { get }

    /// Reads the method's settings and refuses what does not fit together.
    init(reading job: inout SettingsReader, _ shared: SharedSettings)

    /// What a step is made of.
    var plan: MethodPlan { get }
}

extension Method {
    package static var defaults: MethodDefaults { MethodDefaults() }
    package static func defaults(reading job: inout SettingsReader) -> MethodDefaults { defaults }
    package static var variants: [Preset] { [] }
    package static var presets: [Preset] { [] }
}

/// Where methods differ in what every job reads. The defaults are those of TRL's GRPO trainer.
package struct MethodDefaults: Sendable {
    package var learningRate: Double
    package var temperature: Double
    /// `nil` for a method that does not generate.
    package var batches: BatchArithmetic.Defaults?
    /// Whether a row is a pair of completions, one of them preferred.
    package var comparesPairs: Bool
    /// Whether a job must name a reward.
    package var needsRewards: Bool

    package init(
        learningRate: Double = 1e-6, temperature: Double = 1, batches: BatchArithmetic.Defaults? = .init(),
        comparesPairs: Bool = false, needsRewards: Bool = true
    ) {
        self.comparesPairs = comparesPairs
        self.needsRewards = needsRewards
        self.learningRate = learningRate
        self.temperature = temperature
        self.batches = batches
    }
}

/// Named values. A key that the job gives itself always wins over them.
package struct Preset: Sendable {
    package let name: String
    /// As YAML.
    package let values: [(key: String, yaml: String)]
    /// Where the values are from.
    package let source: String

    package init(_ name: String, _ values: [(key: String, yaml: String)], source: String) {
        self.name = name
        self.values = values
        self.source = source
    }

    /// The same values with others behind them, under another or the same name.
    package func with(_ more: [(key: String, yaml: String)]) -> Preset {
        Preset(name, values + more, source: source)
    }
}

/// What every job has, read before its method.
package struct SharedSettings: Sendable {
    package var sampling: SamplingSettings
    package var batches: BatchArithmetic
    /// What the job says of its rewards' weights; `nil` for a method that does not generate.
    package var control: RewardControl?
    /// `nil` for a method that does not generate.
    package var rewards: RewardCombination? { control?.rewards }
    /// Whether the sampler computes what the trainer computes, to rounding in float32: not with narrower or older copies
    /// of the weights.
    package var samplerIsExact: Bool
    /// Steps that a batch may be behind the weights that learn from it.
    package var maxStaleness: Int
    /// Whether passes that train drop some of what adapters read: their log-probs are then not the policy's own.
    package var drops: Bool

    package init(
        sampling: SamplingSettings, batches: BatchArithmetic, control: RewardControl?, samplerIsExact: Bool,
        maxStaleness: Int = 0, drops: Bool = false
    ) {
        self.drops = drops
        self.maxStaleness = maxStaleness
        self.sampling = sampling
        self.batches = batches
        self.control = control
        self.samplerIsExact = samplerIsExact
    }
}

/// What a step of a method is made of: what the Coordinator runs and the updater minimizes.
package struct MethodPlan: Sendable {
    /// The ordered calls.
    package var recipe: StepRecipe
    /// What is learned from, each kind with its objective; in the order of an update batch's parts.
    package var parts: [PartPlan]
    /// `nil` for a method without rewards.
    package var credit: (any CreditRule)?
    /// What moves weights or coefficients on the way.
    package var controllers: [any RewardController]
    /// The reference policy; `nil` where none is loaded.
    package var reference: Reference?
    /// `nil` for a method without one.
    package var critic: CriticPlan?
    /// `nil` where no group is kept.
    package var replay: ReplaySettings?
    /// How completions think in mixtures of tokens; `nil` where they do not.
    package var softThinking: SoftThinking?
    /// What is taken of a set of preferences; `nil` for a method that reads none.
    package var pairs: PairPlan?
    /// Where a step that samples has its demonstrations from; `nil` where it has none.
    package var demonstrations: DemonstrationSettings?
    /// How completions are made to go on with a doubt; `nil` where they are not.
    package var rethinking: ForcedRethinking?
    /// Whether the steps that imitate take what the reference samples.
    package var teacherWrites = false
    /// Streams of advantages whose gradients a step compares; 0 where it compares none.
    package var comparedStreams = 0
    /// What weighs the parts of a batch; `nil` where their weights stay.
    package var weighing: WeighingPlan?
    /// The names of the heads of a reward model, which the run then trains and saves; `nil` where it trains a language
    /// model.
    package var heads: [String]?

    /// The frozen policy that a KL is taken to.
    package struct Reference: Sendable, Equatable {
        /// How it follows the policy; `nil` leaves it as loaded.
        package var sync: ReferenceSync?
        /// Another model, a teacher: a folder, or a name in the Hugging Face cache; `nil` for the policy as it starts.
        package var model: String?

        package init(sync: ReferenceSync? = nil, model: String? = nil) {
            self.sync = sync
            self.model = model
        }
    }

    package init(
        recipe: StepRecipe, parts: [PartPlan], credit: (any CreditRule)? = nil,
        controllers: [any RewardController] = [],
        reference: Reference? = nil, critic: CriticPlan? = nil, replay: ReplaySettings? = nil,
        softThinking: SoftThinking? = nil, pairs: PairPlan? = nil, demonstrations: DemonstrationSettings? = nil,
        weighing: WeighingPlan? = nil, heads: [String]? = nil
    ) {
        self.heads = heads
        self.pairs = pairs
        self.demonstrations = demonstrations
        self.weighing = weighing
        self.recipe = recipe
        self.parts = parts
        self.credit = credit
        self.controllers = controllers
        self.reference = reference
        self.critic = critic
        self.replay = replay
        self.softThinking = softThinking
    }
}

/// What weighs the parts of a batch.
package enum WeighingPlan: Sendable {
    /// Imitation against reward: μ of AMFT.
    case imitationBalance(ImitationBalancePlan)
    /// Pairs with thinking against pairs without: α of BVPO.
    case thinkingBalance(ThinkingBalancePlan)

    /// What a meta-gradient is taken of; `nil` where none is.
    package var utility: UtilitySettings? {
        switch self {
        case .imitationBalance(let plan): plan.utility
        case .thinkingBalance: nil
        }
    }

    /// How a weight is estimated from fresh traces; `nil` where none is.
    package var calibration: ThinkingBalanceCalibration? {
        switch self {
        case .imitationBalance: nil
        case .thinkingBalance(let plan): plan.calibration
        }
    }
}

/// Where PPO's values come from.
package struct CriticPlan: Sendable, Equatable {
    package enum Form: Sendable, Equatable {
        /// A linear head on the policy's own trunk.
        case sharedTrunk
        /// A model of its own: the folder or name it starts from, `nil` for the policy's, and its learning rate.
        case separate(model: String?, learningRate: Double)
    }

    package var form: Form
    /// Values it gives of each state: one of the sum, or one for each stream of advantages.
    package var heads: Int
    /// The value loss.
    package var settings: PPOSettings

    package init(_ form: Form, heads: Int = 1, _ settings: PPOSettings) {
        self.form = form
        self.heads = heads
        self.settings = settings
    }
}
