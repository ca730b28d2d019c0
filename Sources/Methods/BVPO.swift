internal import Algorithms
package import Credit
internal import PolicyUpdater
package import Records

/// Bias–Variance optimised Preference Optimization (arXiv:2510.05095): DPO on pairs with thinking, mixed with DPO on
/// pairs behind an empty block of thinking.
///
///     L = α·L_t + (1 − α)·L_e      both divided by the prompts of the step
///
/// α = 1 is DPO on the pairs with thinking, to the bit, and α = 0 on those without; `algorithm: dpo` on the same file
/// is DPO on their union.
package struct BVPOMethod: Method {
    /// `bvpo.alpha_mode:`.
    private enum AlphaMode: String, SettingsChoice { case fixed, estimated }

    package static let name = "bvpo"
    package static let title =
        "Bias-variance optimised preference optimization of thinking models (arXiv:2510.05095), on a file from plumbline pairs make, or with bvpo.online on pairs made in every step"
    package static let defaults = MethodDefaults(batches: nil, comparesPairs: true)

    package static func defaults(reading job: inout SettingsReader) -> MethodDefaults {
        guard isOnline(job) else { return defaults }
        return MethodDefaults(
            temperature: 0.8,
            batches: .init(generations: 4, least: (2, "a pair has two sides"), learned: 2))
    }

    private static func isOnline(_ job: SettingsReader) -> Bool { job.node("bvpo.online").flatMap(Bool.read) ?? false }

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let isOnline = job.read(
            "bvpo.online", default: false,
            "true: each step samples num_generations completions per prompt with thinking and as many without, and pairs the best with the worst of each. false: pairs are read from the set."
        )
        let alpha = job.read(
            "bvpo.alpha", default: 0.5, .from(0, to: 1),
            "α, the weight of the pairs with thinking: L = α·L_thinking + (1 − α)·L_empty. If estimated, it starts here."
        )
        let mode = job.read(
            "bvpo.alpha_mode", default: AlphaMode.fixed,
            "fixed keeps α. estimated moves it towards the α that minimizes the gradient's mean squared error (arXiv:2510.05095, Th. 2), from fresh traces of a few pairs; only with pairs from a file, loss_type sigmoid and no label_smoothing."
        )
        let calibration = ThinkingBalanceCalibration(reading: &job, isWanted: mode == .estimated)
        let thinking = ThinkingSettings(reading: &job)
        let loss = DPOSettings(reading: &job)
        let pairs = PairPlan(
            reading: &job, needsReference: loss.needsReference, thinking: thinking, isOnline: isOnline)
        let sync = ReferenceSync(reading: &job, hasReference: loss.needsReference)
        pairs.refuseSync(sync, &job)
        var source = pairs.calls(needsReference: loss.needsReference)
        source.removeLast()
        var credit: PairsOfGroups?
        var controllers: [any RewardController] = []
        if isOnline {
            source =
                [.generate(samplesPerPrompt: shared.batches.generations, greedy: false, variants: thinking.variants)]
                + [.credit] + (loss.needsReference ? [.infer(.reference)] : [])
            var rewards = shared.rewards ?? RewardCombination(names: ["reward"])
            rewards.form = .summed
            credit = PairsOfGroups(
                rewards: rewards, limits: Self.limits(shared, &job),
                forms: [
                    (ThinkingSettings.thinkingName, PreferencePairing(thinkEnd: thinking.end)),
                    (ThinkingSettings.emptyName, PreferencePairing(markers: thinking.markers)),
                ])
            controllers = Self.controllers(shared, &job)
            if job.entry("dynamic_sampling")?.value == true.yaml {
                job.refuse(
                    "dynamic_sampling",
                    "dynamic_sampling is true, which may keep a prompt with thinking and drop it without, and bvpo.online needs the same prompts for both; expected false"
                )
            }
        }
        if mode == .estimated, isOnline || loss.lossType != .sigmoid || loss.labelSmoothing > 0 || loss.isReferenceFree
        {
            job.refuse(
                "bvpo.alpha_mode",
                "bvpo.alpha_mode is estimated; expected fixed with bvpo.online, reference_free, label_smoothing or a loss_type other than sigmoid: the estimate is of DPO's gradient on given pairs"
            )
        }
        // Fresh traces are scored under the reference too.
        let needsHeld = loss.needsReference && (!pairs.precomputesReference || mode == .estimated)
        plan = MethodPlan(
            recipe: StepRecipe(method: Self.name, calls: source + [.weigh, .train]),
            parts: [
                PartPlan(loss, on: .pairs, name: ThinkingSettings.thinkingName),
                PartPlan(loss, on: .pairs, name: ThinkingSettings.emptyName),
            ], credit: credit, controllers: controllers, reference: needsHeld ? .init(sync: sync) : nil, pairs: pairs,
            weighing: .thinkingBalance(
                ThinkingBalancePlan(
                    weight: ThinkingBalance(alpha: alpha), calibration: mode == .estimated ? calibration : nil,
                    beta: loss.beta)))
    }

    /// What a completion must keep to be chosen: `constraints` are limits on each completion here, as pairs have no mean
    /// that a multiplier could hold.
    private static func limits(_ shared: SharedSettings, _ job: inout SettingsReader) -> [Constraint] {
        guard let control = shared.control, !control.constraints.isEmpty else { return [] }
        if let equal = control.constraints.first(where: { $0.kind == .equal }) {
            job.refuse(
                "constraints",
                "constraints: \(equal.name) is \(equal.kind.rawValue), and \(name) applies limits to each completion; expected at_least or at_most"
            )
        }
        if control.multipliers.variant != .textbook {
            job.refuse(
                "multipliers.variant",
                "multipliers.variant is \(control.multipliers.variant.rawValue), and \(name) has no multipliers: a completion that breaks a limit is never chosen"
            )
        }
        if control.search != nil {
            job.refuse("threshold_search", "threshold_search moves the limits of multipliers; \(name) has none")
        }
        job.ignore(
            "multipliers.learning_rate", "multipliers.momentum", "multipliers.max_grad_norm", "multipliers.initial",
            "multipliers.max", "multipliers.proportional", "multipliers.normalize", "multipliers.per_minibatch",
            "multipliers.length_weighted")
        return control.constraints
    }

    /// What moves the weights by which completions are paired. There are no advantages that could be weighed, and no
    /// gradients of rewards to be compared.
    private static func controllers(
        _ shared: SharedSettings, _ job: inout SettingsReader
    ) -> [any RewardController] {
        guard let control = shared.control else { return [] }
        for (isAsked, method) in [
            (control.dynamic.comparesGradients, "gradient"), (control.dynamic.balances, "recap"),
            (control.dynamic.isGuided, "hypervolume"),
        ] where isAsked {
            job.refuse(
                "dynamic_weights.method",
                "dynamic_weights.method is \(method), which weighs advantages; \(name) has none")
        }
        job.ignore("gradient_share_steps", when: control.rewards.names.count > 1)
        return control.controllers(optimizerStepsPerRollout: shared.batches.optimizerStepsPerRollout)
            .filter { !$0.readsGradients && !($0 is LagrangianConstraints) }
    }
}

/// How the parts of BVPO are weighed.
package struct ThinkingBalancePlan: Sendable, Equatable {
    /// α as a run begins.
    package var weight: ThinkingBalance
    /// `nil` leaves α.
    package var calibration: ThinkingBalanceCalibration?
    /// β of the loss.
    package var beta: Double
}

/// How α is estimated on the way.
package struct ThinkingBalanceCalibration: Sendable, Equatable {
    /// Which weights' gradients are looked at: `bvpo.calibration_weights`.
    package enum Weights: String, SettingsChoice {
        case lastBlock = "last_block"
        case all
    }

    /// Optimizer steps between two calibrations.
    package var steps: Int
    /// Prompts of each.
    package var prompts: Int
    /// Replicated traces for each side of a pair, R.
    package var traces: Int
    /// Further traces for the marginal gradient.
    package var marginalTraces: Int
    /// Tokens a trace may have.
    package var traceLength: Int
    package var weights: Weights
    /// Numbers of a gradient's sketch.
    package var sketchSize: Int

    /// Traces that each prompt needs.
    package var neededTraces: Int { 2 * traces + marginalTraces }
    /// Traces that are drawn of each, so that some may stay open.
    package var drawnTraces: Int { neededTraces + neededTraces / 2 }

    init(reading job: inout SettingsReader, isWanted: Bool) {
        steps = job.read(
            "bvpo.calibration_steps", default: 50, .atLeast(1), "Optimizer steps between two estimates of α.")
        prompts = job.read(
            "bvpo.calibration_prompts", default: 32, .atLeast(2),
            "Prompts with both pairs used per estimate, spread over the set.")
        traces = job.read(
            "bvpo.calibration_traces", default: 4,
            SettingsBound("that is even and at least 4") { $0 >= 4 && $0.isMultiple(of: 2) },
            "Fresh traces per side of a pair; the spread of their gradients is the variance of thinking.")
        marginalTraces = job.read(
            "bvpo.calibration_marginal_traces", default: 16,
            SettingsBound("that is even and at least 2") { $0 >= 2 && $0.isMultiple(of: 2) },
            "Further traces; the ideal gradient uses their mean probability.")
        traceLength = job.read(
            "bvpo.calibration_trace_length", default: 512, .from(1, to: 1_000_000),
            "Most tokens of a fresh trace; one not closed by then is left out and counted.")
        weights = job.read(
            "bvpo.calibration_weights", default: .lastBlock,
            "Which gradients are compared: last_block, those of the last transformer block, or all.")
        sketchSize = job.read(
            "bvpo.calibration_sketch", default: 4096, .from(16, to: 1 << 20),
            "Size of a gradient's count-sketch, which keeps inner products on average.")
        guard !isWanted else { return }
        job.ignore(
            "bvpo.calibration_steps", "bvpo.calibration_prompts", "bvpo.calibration_traces",
            "bvpo.calibration_marginal_traces", "bvpo.calibration_trace_length", "bvpo.calibration_weights",
            "bvpo.calibration_sketch")
    }
}
