internal import Algorithms
package import Credit
package import PolicyUpdater
package import Records

/// Adaptive meta fine-tuning (He et al. 2025, arXiv:2508.06944): imitation and reward in one step, μ·L_SFT + (1 −
/// μ)·L_RL, with ``Credit/ImitationBalanceController`` moving μ. L_RL is another method's, whole: its keys, its credit,
/// its loss.
///
/// Its authors have asked to withdraw the paper, and the code published with it has random numbers for rollouts: the
/// idea is taken from it, the sign of the meta-gradient is not.
package struct AMFTMethod: Method {
    package static let name = "amft"
    package static let title =
        "Imitation and reward in one step, weighed by a meta-gradient and the entropy (the idea of arXiv:2508.06944); amft.controller: fixed gives a fixed mix, or SFT and then RL"
    package static let defaults = rlMethods.methods[0].defaults

    /// What `amft.rl` may name.
    private static let rlMethods = MethodCatalogue([
        GRPOMethod.self, ReMaxMethod.self, RLOOMethod.self, REINFORCEMethod.self, REINFORCEPlusPlusMethod.self,
        PPOMethod.self, BestOfKMethod.self, SofTGRPOMethod.self,
    ])

    package let plan: MethodPlan

    /// The defaults of the method that learns from rewards, whose own values a variant's name fills in.
    package static func defaults(reading job: inout SettingsReader) -> MethodDefaults {
        let named = rlMethod(&job)
        if let variant = named.variant {
            rlMethods.fill(in: variant, of: named.method, from: "amft.rl: \(variant.name)", &job)
        }
        return named.method.defaults
    }

    private static func rlMethod(_ job: inout SettingsReader) -> (method: any Method.Type, variant: Preset?) {
        let name = job.read(
            "amft.rl", default: GRPOMethod.name, .oneOf(rlMethods.names),
            "The method that learns from rewards; the job takes its keys too.")
        return rlMethods.method(named: name) ?? (GRPOMethod.self, nil)
    }

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        var plan = Self.rlMethod(&job).method.init(reading: &job, shared).plan
        let warmup = job.read(
            "amft.warmup_steps", default: 50, .atLeast(0),
            "W, optimizer steps at the start that only imitate. The entropy target is measured after them.")
        let balance = ImitationBalanceSettings(reading: &job)
        let demonstrations = DemonstrationSettings(reading: &job, mayHaveOwnOrder: true)
        if demonstrations.order == .own {
            shared.checkRowsBeside(demonstrations.perStep, "demonstrations.per_step", &job)
        }
        let utility = UtilitySettings(reading: &job, shared, isWanted: balance.controller == .adaptive)
        if plan.softThinking != nil, utility?.utility == .reward {
            job.refuse(
                "amft.utility",
                "amft.utility is reward, whose gradient is over words; with amft.rl soft_grpo expected loss")
        }
        if plan.rethinking != nil {
            job.refuse(
                "forced_rethinking.probability",
                "forced_rethinking is for grpo alone; amft imitates demonstrations already")
        }
        if plan.demonstrations != nil {
            job.refuse(
                "dynamic_weights.replay", "dynamic_weights.replay is set, and amft imitates demonstrations already")
            plan.parts.removeLast()
        }
        let index = plan.recipe.calls.firstIndex { if case .generate = $0 { true } else { false } } ?? 0
        plan.recipe.method = Self.name
        plan.recipe.calls.insert(.demonstrate, at: index + 1)
        plan.recipe.calls.insert(.weigh, at: plan.recipe.calls.count - 1)
        plan.recipe.warmup = warmup > 0 ? .init(steps: warmup, calls: [.demonstrate, .train]) : nil
        plan.parts.append(PartPlan(SupervisedFineTuning(), on: .demonstrations, name: "sft"))
        plan.demonstrations = demonstrations
        plan.weighing = .imitationBalance(
            ImitationBalancePlan(controller: ImitationBalanceController(balance), utility: utility))
        self.plan = plan
    }
}

/// What weighs imitation against reward, and what tells it which way.
package struct ImitationBalancePlan: Sendable {
    package let controller: ImitationBalanceController
    /// `nil` takes no meta-gradient.
    package let utility: UtilitySettings?
}

/// The utility that a meta-gradient is taken of: the rows it is measured on, and how.
package struct UtilitySettings: Sendable {
    /// `amft.utility:`.
    package enum Utility: String, SettingsChoice {
        /// The expected reward of fresh completions.
        case reward
        /// Minus the loss of demonstrations.
        case loss
    }

    package let utility: Utility
    /// A prompt file or folder, relative to the job file.
    package let path: String
    package let split: String
    /// Rows of a meta-gradient.
    package let prompts: Int
    /// Completions of each.
    package let generations: Int
    /// The rewards that count, one weight each.
    package let rewards: RewardCombination
    package let lookAhead: LookAhead

    /// `nil` where there are no held-out rows, or no use for them.
    init?(reading job: inout SettingsReader, _ shared: SharedSettings, isWanted: Bool) {
        let path: String? = job.read(
            "amft.validation", optional: nil,
            "A file or folder of held-out rows for the meta-gradient. None may be trained on or be in the test split. Without it, μ moves by the entropy alone."
        )
        split = job.read(
            "amft.validation_split", default: "validation", "Which file of the folder the held-out rows are in.")
        utility = job.read(
            "amft.utility", default: Utility.reward,
            "What the mix should improve on held-out rows: reward, of fresh completions, or loss, minus that of their demonstrations."
        )
        let reward: String? = job.read(
            "amft.utility_reward", optional: nil,
            "The reward used as the utility, such as the task's own; by default the job's weighted rewards, each counted as in training."
        )
        prompts = job.read(
            "amft.validation_prompts", default: 16, .from(1, to: 1_000_000), "Held-out rows per meta-gradient.")
        generations = job.read(
            "amft.validation_generations", default: 8, .from(2, to: 65_535),
            "Completions per held-out row, compared with each other.")
        let own = shared.rewards ?? RewardCombination(names: ["reward"])
        rewards =
            reward.map { name in
                RewardCombination(names: own.names, weights: own.names.map { $0 == name ? 1 : 0 })
            } ?? RewardCombination(names: own.names, weights: own.weights, shapes: own.shapes)
        let temperature = utility == .reward ? shared.sampling.distribution.temperature : 1
        lookAhead = LookAhead(
            reading: &job,
            utility: utility == .loss
                ? PartPlan(SupervisedFineTuning(), on: .demonstrations)
                : PartPlan(RLOOSettings(ratioClip: ClippedSurrogate(epsilon: 1e9)), temperature: temperature))
        if let reward, !own.names.contains(reward) {
            job.refuse(
                "amft.utility_reward",
                "amft.utility_reward is \(reward); expected one of \(own.names.joined(separator: ", "))")
        }
        job.ignore("amft.utility_reward", "amft.validation_generations", when: utility == .loss)
        guard isWanted, let path else {
            job.ignore(
                "amft.validation", "amft.validation_split", "amft.utility", "amft.utility_reward",
                "amft.validation_prompts", "amft.validation_generations", "amft.look_ahead", "amft.step_model")
            if isWanted {
                job.notice(
                    "no validation rows (amft.validation): the meta-gradient is 0, and μ moves by the entropy alone")
            }
            return nil
        }
        self.path = path
    }
}
