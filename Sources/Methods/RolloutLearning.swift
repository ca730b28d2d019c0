internal import Algorithms
internal import Coordinator
internal import Credit
internal import PolicyUpdater
internal import Records

/// What every method reads that learns from completions of its own.
struct RolloutLearning {
    let rewards: RewardCombination
    let overlong: OverlongHandling
    let replay: ReplaySettings?
    /// What a method makes of rewards that are kept apart.
    enum Streams {
        /// It has none.
        case none
        /// Its rule decides their scale.
        case scaled
        /// They are brought to one scale where they are mixed.
        case mixed
    }

    private let rethinking: ForcedRethinking?
    private let kl: KLTerm?
    private let sync: ReferenceSync?
    private let bypasses: Bool
    private let hasRatio: Bool
    /// Whether the policy's log-probs are compared with the sampler's.
    private let corrects: Bool
    private let shared: SharedSettings
    private let method: String
    /// Whether credit compares the policy with the reference without a KL term.
    private let comparesReference: Bool
    private let general: GeneralReplay?
    /// Whether advantages say what each reward adds to the gradient.
    private let comparesRewards: Bool

    /// - Parameters:
    ///   - kl: The method's KL term; `nil` for a method that has none.
    ///   - hasRatio: Whether the loss compares the policy with the one that produced the data.
    ///   - takesSeveralSteps: Whether a rollout may serve several optimizer steps without a ratio.
    ///   - takesReplay: Whether that ratio is one that kept completions need.
    ///   - streams: What the method makes of rewards that are kept apart.
    ///   - comparesReference: Whether credit needs the reference's log-probs without a KL term.
    ///   - demonstrates: Whether the method imitates demonstrations of its own.
    ///   - takesSumApart: Whether advantages of the rewards' sum can be taken apart into each reward's.
    init(
        reading job: inout SettingsReader, _ shared: SharedSettings, of method: String, kl: KLTerm?,
        hasRatio: Bool, takesSeveralSteps: Bool = false, takesReplay: Bool = false, streams: Streams = .mixed,
        comparesReference: Bool = false, demonstrates: Bool = false, takesSumApart: Bool = true
    ) {
        self.comparesReference = comparesReference
        self.method = method
        self.shared = shared
        self.kl = kl
        self.hasRatio = hasRatio
        rewards = shared.rewards ?? RewardCombination(names: ["reward"])
        if streams == .none { shared.refuseRewardsApart(of: method, &job) }
        let penalty = AdvantageStream.penaltyName
        if kl?.controller != nil, rewards.names.contains(penalty) {
            job.refuse(
                "kl_target",
                "kl_target moves the weight of the KL, named \(penalty), and a reward has that name too; give it another"
            )
        }
        if let horizon = kl?.controller?.horizon {
            let completions = shared.batches.completionsPerRolloutStep
            let least = Double(completions) / 5
            job.check(
                horizon > least, "kl_horizon",
                "above \(least), 0.2 × the \(completions) completions of a rollout step: one step far below kl_target would bring beta to 0 or below"
            )
        }
        job.ignore("stream_normalization", when: streams != .mixed)
        comparesRewards = takesSumApart || rewards.form == .apart
        job.ignore("gradient_share_steps", when: !comparesRewards && rewards.names.count > 1)
        overlong = OverlongHandling(reading: &job)
        sync = ReferenceSync(
            reading: &job, hasReference: comparesReference || kl.map { $0.coefficient > 0 } ?? false)
        general = shared.control?.dynamic.replay
        if general != nil, demonstrates {
            job.refuse(
                "dynamic_weights.replay",
                "dynamic_weights.replay is set, and \(method) imitates demonstrations of its own already")
        }
        shared.checkRowsBeside(general?.rows, "dynamic_weights.replay_rows", &job)
        bypasses =
            hasRatio
            ? job.read(
                "bypass_old_log_probs", default: false,
                "Uses the sampler's log-probs as the old policy's, which saves the pass that scores them again.")
            : false
        rethinking =
            takesReplay
            ? ForcedRethinking(reading: &job, maxCompletionLength: shared.sampling.maxCompletionLength) : nil
        replay = ReplaySettings(reading: &job)
        if replay != nil, !takesReplay {
            job.refuse(
                "replay_buffer_size",
                "replay_buffer_size is for grpo, whose loss has the ratio that replayed completions need")
        }
        if let replay {
            let least = shared.batches.optimizerStepsPerRollout * (1 + shared.maxStaleness)
            job.check(
                replay.maxAge >= least, "replay_max_age",
                "at least the \(least) optimizer steps of a rollout"
                    + (shared.maxStaleness > 0 ? " and of the one before" : "")
                    + ": what is kept would be gone before the next one")
        }
        if !hasRatio, !takesSeveralSteps { shared.batches.requireOneStepPerRollout(method, &job) }
        // Without filters the sampler's numbers are taken for the old policy's own: every weight is 1.
        corrects = job.isGiven("importance_sampling_correction")
        job.ignore("importance_sampling_correction", when: bypasses && !shared.sampling.filtersTokens)
        if shared.sampling.filtersTokens {
            job.notice(
                "top_p, top_k, min_p or repetition_penalty shape sampling but not scoring: the rollout policy is not the policy that is trained"
            )
        }
    }

    /// What is normalized of the streams of a rule.
    ///
    /// - Parameter own: What the rule does with one reward.
    func mixer(_ own: Mixer = Mixer()) -> Mixer { shared.control?.mixer(own) ?? own }

    /// Streams of advantages of a rule that has the KL as one of its own.
    var streamCount: Int { rewards.names.count + (kl?.penalty(.oneStep) == nil ? 0 : 1) }

    /// The plan of a step: sample and score, infer what loss and credit need, credit, train.
    func plan(
        _ objective: any Objective, credit: any CreditRule, greedy: Bool = false, critic: CriticPlan? = nil,
        softThinking: SoftThinking? = nil, demonstrations: DemonstrationSettings? = nil
    ) -> MethodPlan {
        let usesReference = comparesReference || kl.map { $0.coefficient > 0 } ?? false
        // A demonstration stands in for one of a group's completions.
        let samples = shared.batches.generations - (demonstrations == nil ? 0 : 1)
        var calls: [StepCall] = [.generate(samplesPerPrompt: samples, greedy: greedy)]
        if demonstrations != nil || general != nil { calls.append(.demonstrate) }
        if rethinking != nil { calls.append(.rethink) }
        if bypasses {
            calls.append(.infer(.sampler))
        } else if let call = StepRecipe.oldPolicyCall(for: oldPolicyUses, samplerIsExact: shared.samplerIsExact) {
            calls.append(call)
        }
        // The exact KL needs the reference's logits beside the policy's own, in the update.
        if usesReference, kl?.isExact != true { calls.append(.infer(.reference)) }
        if critic != nil { calls.append(.infer(.critic)) }
        let temperature = shared.sampling.distribution.temperature
        let moving =
            shared.control?.controllers(optimizerStepsPerRollout: shared.batches.optimizerStepsPerRollout) ?? []
        var plan = MethodPlan(
            recipe: StepRecipe(method: method, calls: calls + [.credit, .train]),
            parts: [PartPlan(objective, temperature: temperature)], credit: credit,
            controllers: (kl?.controller.map { [$0] } ?? [])
                + moving.filter { comparesRewards || !$0.readsGradients },
            reference: usesReference ? .init(sync: sync) : nil,
            critic: critic,
            replay: replay, softThinking: softThinking, demonstrations: demonstrations)
        if plan.controllers.contains(where: \.readsGradients) {
            plan.comparedStreams = rewards.form == .apart ? streamCount : rewards.names.count
        }
        if let general {
            plan.demonstrations = DemonstrationSettings(
                path: general.path, split: general.split, perStep: general.rows)
            plan.parts.append(
                PartPlan(SupervisedFineTuning(), on: .demonstrations, weight: general.weight, name: RECAP.replayName))
        }
        if let rethinking {
            plan.rethinking = rethinking
            plan.parts.append(
                PartPlan(
                    SupervisedFineTuning(), on: .demonstrations, weight: rethinking.imitationWeight,
                    temperature: temperature, name: "rethinking"))
        }
        return plan
    }

    /// What the log-probs of the policy that sampled are for: a ratio, where there are several optimizer steps or
    /// replayed completions that bring log-probs of their own, or where the update's own are those of a pass that drops
    /// something and a correction asks for the policy's; a KL in the reward.
    private var oldPolicyUses: OldPolicyUses {
        let needsOld =
            shared.batches.optimizerStepsPerRollout > 1 || replay != nil
            || shared.drops && (corrects || !shared.samplerIsExact)
        var uses: OldPolicyUses = hasRatio && needsOld ? .ratio : []
        if comparesReference || kl?.penalty(.completion) != nil { uses.insert(.rewardPenalty) }
        return uses
    }
}

extension SharedSettings {
    /// Refuses what keeps rewards apart, for a method that has no advantages of each.
    func refuseRewardsApart(of method: String, _ job: inout SettingsReader) {
        guard rewards?.form == .apart else { return }
        let (key, who) =
            control?.constraints.isEmpty == false
            ? ("constraints", "constraints need")
            : control?.dynamic.balances == true
                ? ("dynamic_weights.method", "dynamic_weights.method recap needs")
                : ("dynamic_weights.method", "dynamic_weights.method gradient needs")
        job.refuse(key, "\(who) a method with advantages of each reward; \(method) has none")
    }

    /// Refuses the factor on all advantages, for a method that does not learn by their size.
    func refuseGuidance(of method: String, _ job: inout SettingsReader) {
        guard control?.dynamic.isGuided == true else { return }
        job.refuse(
            "dynamic_weights.method",
            "dynamic_weights.method hypervolume needs a method that learns by the size of its advantages; \(method) does not"
        )
    }

    /// Refuses more rows beside a step's completions than their optimizer steps take: the part with the most decides
    /// how many steps there are, and a loss that was made for one would see the policy move.
    func checkRowsBeside(_ rows: Int?, _ key: String, _ job: inout SettingsReader) {
        let most = batches.optimizerStepsPerRollout / batches.iterations * batches.completionsPerOptimizerStep
        job.check(
            rows.map { $0 <= most } ?? true, key,
            "at most \(most), the rows of a rollout's optimizer steps; more rows would add steps")
    }
}
