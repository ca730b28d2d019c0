package import Records

/// What a job says of its rewards' weights: fixed ones, schedules, constraints, weights that follow what the run shows.
///
/// One reader for all of them, since they must agree on who owns which weight.
package struct RewardControl: Sendable {
    package let rewards: RewardCombination
    package let constraints: [Constraint]
    package let multipliers: MultiplierSettings
    package let dynamic: DynamicWeightSettings
    /// `nil` where limits stay.
    package let search: ThresholdSearchSettings?
    /// Draws the first points of a search.
    package var seed: UInt64 = 0
    /// `nil` where every weight stays.
    package let schedule: WeightSchedule?
    /// The largest scores of the rewards that RECAP weighs, by name; `nil` where it weighs none.
    private let ceilings: [String: Double]?
    /// What is normalized on the way from kept-apart rewards to their sum, for rules that do not do so themselves.
    package let normalization: Normalization

    /// Steps from one measurement of the rewards' gradients to the next; 0 for none.
    private let gradientShareSteps: Int
    /// Whether the job gives weights itself.
    private let startsGiven: Bool
    /// Whether nothing was wrong: else nothing runs, and no controller is made of it.
    private let isSound: Bool
    private let known: [Reward]
    private let namesAreFinal: Bool

    /// `stream_normalization:`.
    package enum Normalization: String, SettingsChoice {
        /// Each reward's stream.
        case rewards
        /// The KL's too, as in the paper of the bounded forms: β then cancels.
        case all
        case none
    }

    /// Controllers that may stand side by side.
    package static let stacks =
        "one of constraints, dynamic_weights gradient, recap and weights by step per reward; recap together with constraints on other rewards; and with any of them dynamic_weights hypervolume, which multiplies all, and kl_target"

    /// What is known of a reward before the run.
    package struct Reward: Sendable {
        package var name: String
        /// Every score lies in here; `nil` where nobody says so.
        package var range: ClosedRange<Double>?

        package init(_ name: String, range: ClosedRange<Double>? = nil) {
            self.name = name
            self.range = range
        }
    }

    /// - Parameters:
    ///   - rewards: The job's, in its order.
    ///   - namesAreFinal: Whether the names are those that the rewards give themselves; else a reward that is not found
    ///     may still be one of them.
    package init(reading job: inout SettingsReader, rewards given: [Reward], namesAreFinal: Bool = true) {
        let problemsBefore = job.problems.count
        (known, self.namesAreFinal) = (given, namesAreFinal)
        let names = given.map(\.name)
        let weights: RewardWeights? = job.read(
            "reward_weights", optional: nil,
            "One weight per reward: a list in their order, or a section by name. A weight may depend on the optimizer step, {0: 1.0, 500: 0.2}. Combined reward = Σ weight × score over the rewards that scored. By default 1, or 0 for a constrained reward. A reward of weight 0 is a shadow: scored, logged and watched, not learned from."
        )
        let interpolation = job.read(
            "reward_weight_interpolation", default: WeightCurve.Interpolation.linear,
            "Between two steps of a weight: linear interpolates, steps keeps the earlier one's. Before the first and after the last, the weight is constant."
        )
        let constraints: [Constraint] = job.read(
            "constraints", default: [],
            "Limits on the mean score of rewards, each {reward, limit, kind: at_least|at_most|equal, scale, name}. Their weights are multipliers (arXiv:2310.04373). scale divides the distance to the limit: by default 1, or |limit| if larger. Every method with advantages takes them; the other rewards keep their reward_weights. With bvpo.online they limit each completion: one that breaks them is never chosen."
        )
        multipliers = MultiplierSettings(reading: &job, isUsed: !constraints.isEmpty)
        normalization = job.read(
            "stream_normalization", default: .rewards,
            "With constraints, each reward has its own advantages. rewards: each is normalized to mean 0 and deviation 1 over the step before they are added, the KL is not; all: the KL too, so that beta cancels; none. grpo and soft_grpo use scale_rewards instead."
        )
        gradientShareSteps = job.read(
            "gradient_share_steps", default: 0, .from(0, to: 1_000_000),
            "Measures each reward's share of the gradient, rewards/NAME/gradient_share, every so many rollout steps, at a forward and a backward pass per reward; 0 measures none."
        )
        job.ignore("gradient_share_steps", when: names.count < 2)
        dynamic = DynamicWeightSettings(reading: &job)
        let reading = RewardControlReading(given, constraints, multipliers.variant, namesAreFinal: namesAreFinal)
        self.constraints = reading.constraints
        search = ThresholdSearchSettings(
            reading: &job, constraints: reading.constraints, rewards: namesAreFinal ? names : nil)
        if search != nil, multipliers.variant == .saturated {
            job.refuse(
                "multipliers.variant",
                "multipliers.variant is ppo_sat, whose limits are part of the reward; threshold_search moves those of multipliers"
            )
        }
        reading.refuseUnfit(constraints, &job)
        let curves = reading.curves(weights, &job)
        job.resolve("reward_weights", to: RewardWeights(curves: curves))
        let isZero = curves.allSatisfy { curve in curve.points.allSatisfy { $0.weight == 0 } }
        if weights != nil, !curves.isEmpty, isZero, constraints.isEmpty {
            job.refuse(
                "reward_weights",
                "reward_weights are all 0, so nothing would be learned; expected at least one other")
        }
        var scheduled: [String: WeightCurve] = [:]
        for (name, curve) in zip(names, curves) where !curve.isConstant { scheduled[name] = curve }
        schedule = scheduled.isEmpty ? nil : WeightSchedule(scheduled, interpolation)
        job.ignore("reward_weight_interpolation", when: scheduled.isEmpty)
        job.ignore("stream_normalization", when: constraints.isEmpty && !dynamic.comparesGradients && !dynamic.balances)
        reading.refuseUnfit(
            dynamic, hasConstraints: !constraints.isEmpty, scheduled: scheduled.keys.sorted(), given: weights, &job)
        ceilings = dynamic.balances ? reading.ceilings(dynamic, curves, &job) : nil
        startsGiven = weights != nil
        for constraint in self.constraints where scheduled[constraint.reward] != nil {
            job.refuse(
                "reward_weights",
                "reward_weights has weights by step for \(constraint.reward), whose weight is the multiplier of a constraint; a weight has one owner. Allowed: \(Self.stacks)"
            )
        }
        let isApart =
            !constraints.isEmpty && multipliers.variant != .saturated || dynamic.comparesGradients || dynamic.balances
        rewards = RewardCombination(
            names: names, weights: curves.map(\.last), form: isApart ? .apart : .summed,
            shapes: reading.shapes)
        isSound = job.problems.count == problemsBefore && !names.isEmpty && Set(names).count == names.count
    }

    /// Moments by the names that their rewards give themselves, without those whose reward is not known yet; refuses
    /// what no reward can have, and what another owner of a weight stands against.
    package func moments(_ given: [MomentTarget], reading job: inout SettingsReader) -> [MomentTarget] {
        var found: [MomentTarget] = []
        for moment in given {
            guard let reward = RewardControlReading.reward(moment.reward, among: known) else {
                if namesAreFinal {
                    let near = nearestNames(to: moment.reward, among: known.map(\.name))
                    job.refuse(
                        "gdc.moments",
                        "gdc.moments: no reward is named '\(moment.reward)'; "
                            + (near.isEmpty
                                ? "reward_funcs has \(known.map(\.name).joined(separator: ", "))"
                                : "did you mean \(near[0])?"))
                }
                continue
            }
            if found.contains(where: { $0.reward == reward.name }) {
                job.refuse("gdc.moments", "gdc.moments has two targets for \(reward.name); expected one per reward")
                continue
            }
            found.append(MomentTarget(reward.name, target: moment.target))
            if let range = reward.range, moment.target <= range.lowerBound || moment.target >= range.upperBound {
                job.refuse(
                    "gdc.moments",
                    "gdc.moments: \(reward.name) should average \(moment.target.shown), but its scores lie from \(range.lowerBound.shown) to \(range.upperBound.shown); expected a target between them. For what every completion should have, set a weight in reward_weights and a small beta"
                )
            }
            let weight = zip(rewards.names, rewards.weights).first { $0.0 == reward.name }?.1 ?? 1
            if schedule?.curves[reward.name] != nil || (weight != 0 && weight != 1) {
                job.refuse(
                    "reward_weights",
                    "reward_weights has weights of \(reward.name), whose weight is fitted to its moment (gdc.moments); a weight has one owner"
                )
            }
        }
        if !given.isEmpty, !constraints.isEmpty {
            job.refuse(
                "gdc.moments", "gdc.moments stands beside constraints, which shape rewards too; expected one of them")
        }
        if !given.isEmpty, dynamic.isGuided, dynamic.target == .reward {
            job.refuse(
                "dynamic_weights.target",
                "dynamic_weights.target is reward, which would multiply what gdc.moments fits; expected advantage")
        }
        return found
    }

    /// Whether every reward has its own stream of advantages.
    package var keepsApart: Bool { rewards.form == .apart }

    /// What moves weights on the way.
    ///
    /// - Parameter optimizerStepsPerRollout: Those of the policy.
    package func controllers(optimizerStepsPerRollout: Int) -> [any RewardController] {
        guard isSound else { return [] }
        var all: [any RewardController] = []
        if !constraints.isEmpty {
            let steps = multipliers.isPerMinibatch ? optimizerStepsPerRollout : 1
            let held = LagrangianConstraints(constraints, multipliers, stepsPerRollout: steps)
            if let search { all.append(ThresholdSearch(held, search, seed: seed)) } else { all.append(held) }
        }
        if gradientShareSteps > 0, rewards.names.count > 1 {
            all.append(GradientShares(rewards.names, every: gradientShareSteps))
        }
        if let schedule { all.append(schedule) }
        if dynamic.comparesGradients {
            all.append(
                GradientWeighting(
                    rewards.names, initial: startsGiven ? rewards.weights : nil, stepSize: dynamic.stepSize,
                    temperature: dynamic.temperature, floor: dynamic.floor))
        }
        if let ceilings {
            all.append(
                RECAP(
                    ceilings: ceilings, replays: dynamic.replay != nil, window: dynamic.window,
                    temperature: dynamic.temperature ?? 5))
        }
        if dynamic.isGuided {
            let axes = rewards.names.enumerated().map { index, name in
                HypervolumeWeighting.Axis(
                    name, isMinimized: dynamic.minimized.contains(name),
                    span: dynamic.spans.indices.contains(index) ? dynamic.spans[index] : nil)
            }
            all.append(HypervolumeWeighting(axes, target: dynamic.target))
        }
        return all
    }

    /// What is normalized of a rule's streams.
    ///
    /// - Parameter own: What the rule does with one reward.
    package func mixer(_ own: Mixer) -> Mixer {
        guard keepsApart else { return own }
        return switch normalization {
        case .rewards: Mixer(.rewards)
        case .all: Mixer(.eachStream)
        case .none: Mixer()
        }
    }
}
