package import Records

/// Settings of ``ImitationBalanceController``: the section `amft:`.
package struct ImitationBalanceSettings: Sendable, Equatable {
    /// `amft.controller:`.
    package enum Controller: String, SettingsChoice { case adaptive, fixed }
    /// `amft.meta_norm:`.
    package enum MetaNorm: String, SettingsChoice { case cosine, raw }

    package var controller: Controller
    /// μ at the start.
    package var start: Double
    /// Where μ may go; all of 0 ... 1 for a fixed one.
    package var bounds: ClosedRange<Double>
    /// Steps between two meta-gradients, F.
    package var metaEvery: Int
    package var metaNorm: MetaNorm
    /// η_μ.
    package var metaRate: Double
    /// η_H, with the sign that the entropy term has.
    package var entropyRate: Double
    /// H* in nats; `nil` measures it.
    package var entropyTarget: Double?
    /// Steps that H* is measured over.
    package var entropyTargetSteps: Int

    package init(
        controller: Controller = .adaptive, start: Double = 0.8, bounds: ClosedRange<Double> = 0.05...0.95,
        metaEvery: Int = 20, metaNorm: MetaNorm = .cosine, metaRate: Double = 0.02, entropyRate: Double = 0.01,
        entropyTarget: Double? = nil, entropyTargetSteps: Int = 1
    ) {
        self.controller = controller
        self.start = start
        self.bounds = bounds
        self.metaEvery = metaEvery
        self.metaNorm = metaNorm
        self.metaRate = metaRate
        self.entropyRate = entropyRate
        self.entropyTarget = entropyTarget
        self.entropyTargetSteps = entropyTargetSteps
    }

    package init(reading job: inout SettingsReader) {
        let controller = job.read(
            "amft.controller", default: Controller.adaptive,
            "adaptive moves μ by the meta-gradient and the entropy (AMFT, arXiv:2508.06944). fixed keeps amft.mu: a fixed mix, or with mu 0 after a warm-up, SFT and then RL."
        )
        self.controller = controller
        start = job.read(
            "amft.mu", default: 0.8, .from(0, to: 1),
            "μ at the start, the weight of imitation: L = μ·L_SFT + (1 − μ)·L_RL.")
        let lowest = job.read("amft.mu_min", default: 0.05, .from(0, to: 1), "The lowest value of μ.")
        let highest = job.read("amft.mu_max", default: 0.95, .from(0, to: 1), "The highest value of μ.")
        metaEvery = job.read(
            "amft.meta_every", default: 20, .atLeast(1),
            "F, rollout steps between meta-gradients. Each costs the gradients of both parts, and one on validation rows."
        )
        metaNorm = job.read(
            "amft.meta_norm", default: MetaNorm.cosine,
            "cosine: the meta-gradient is the cosine between utility and mix, and its rate falls as 1/√k at the k-th. raw: dU/dμ itself, which scales with learning_rate."
        )
        metaRate = job.read(
            "amft.mu_learning_rate", default: 0.02, .atLeast(0), "η_μ: how far μ moves along the meta-gradient.")
        let entropyRate = job.read(
            "amft.entropy_learning_rate", default: 0.01, .atLeast(0),
            "η_H: how far μ moves per nat between the policy's mean entropy and its target.")
        let sign = job.read(
            "amft.entropy_sign", default: 1, SettingsBound("1 or -1") { $0 == 1 || $0 == -1 },
            "1: entropy above its target lowers μ, since reward sharpens a policy. -1: it raises μ.")
        self.entropyRate = entropyRate * Double(sign)
        entropyTarget = job.read(
            "amft.entropy_target", optional: nil, .atLeast(0),
            "H* in nats per token; by default the mean entropy of the first amft.entropy_target_steps steps after warm-up."
        )
        entropyTargetSteps = job.read(
            "amft.entropy_target_steps", default: 1, .atLeast(1), "Rollout steps over which H* is measured.")
        bounds = lowest < highest && controller == .adaptive ? lowest...highest : 0...1
        guard controller == .adaptive else {
            job.ignore(
                "amft.mu_min", "amft.mu_max", "amft.meta_every", "amft.meta_norm", "amft.mu_learning_rate",
                "amft.entropy_learning_rate", "amft.entropy_sign", "amft.entropy_target", "amft.entropy_target_steps")
            return
        }
        job.ignore("amft.entropy_target_steps", when: entropyTarget != nil)
        job.check(lowest < highest, "amft.mu_max", "above amft.mu_min, which is \(lowest)")
        if lowest < highest {
            job.check(bounds.contains(start), "amft.mu", "from amft.mu_min \(lowest) to amft.mu_max \(highest)")
        }
    }
}

/// Moves the weight of imitation in a step that imitates and is rewarded (AMFT, He et al. 2025, arXiv:2508.06944).
///
///     L = μ·L_SFT + (1 − μ)·L_RL
///     μ ← clip(μ + η_μ·g_μ + η_H·(H* − H), μ_min, μ_max)
///
/// g_μ is the slope of a utility on held-out rows (``Records/MetaGradient``), or its cosine with a rate that falls as
/// k^(−1/2) at the k-th: a signal of one size would chatter around its optimum. H is the mean entropy of the response
/// tokens in the step before, the newest that is known when a step is weighed; H* is what it was after the warm-up. The
/// clip is on μ itself, so that nothing winds up at a bound.
///
/// The published code adds −dU/dμ: it ascends the validation loss. Here the utility rises, see `ImitationBalanceTests`.
package struct ImitationBalanceController: Sendable, Equatable {
    package let settings: ImitationBalanceSettings
    package var state: State

    package struct State: Codable, Sendable, Equatable {
        /// μ.
        package var weight: Double
        /// H* in nats, once it is known.
        package var entropyTarget: Double?
        /// Steps weighed so far.
        package var steps = 0
        /// Meta-gradients taken, k.
        package var metaUpdates = 0
        /// Mean entropy in the last step, in nats.
        package var entropy: Double?
        /// Steps that passed because a number was not finite.
        package var skipped = 0
        /// What H* is measured from.
        package var measured: [Double] = []
    }

    package init(_ settings: ImitationBalanceSettings) {
        self.settings = settings
        state = State(weight: settings.start, entropyTarget: settings.entropyTarget)
    }

    /// Whether the next step's weighing has a use for a meta-gradient.
    package var wantsMetaGradient: Bool {
        settings.controller == .adaptive && state.steps % settings.metaEvery == 0
    }

    /// What the loss of the demonstrations counts in the step.
    package var demonstrationWeight: Double { state.weight }
    /// What the loss of the rollouts counts.
    package var rolloutWeight: Double { 1 - state.weight }

    /// Moves μ for the step that comes.
    ///
    /// - Parameter meta: `nil` where none was taken.
    /// - Returns: What it moved by; `nil` where an input is not finite: μ then stays, and the step counts as skipped.
    package mutating func weigh(_ meta: MetaGradient?) -> ControllerUpdate? {
        var next = state
        next.steps += 1
        var metrics = meta?.metrics ?? Metrics()
        var move = 0.0
        if settings.controller == .adaptive {
            if let meta {
                next.metaUpdates += 1
                let signal = settings.metaNorm == .cosine ? meta.cosine : meta.slope
                let decay = settings.metaNorm == .cosine ? Double(next.metaUpdates).squareRoot() : 1
                metrics["amft/meta_gradient"] = signal
                move += settings.metaRate / decay * signal
            }
            if let target = next.entropyTarget, let entropy = next.entropy {
                metrics["amft/entropy_gap"] = target - entropy
                move += settings.entropyRate * (target - entropy)
            }
            guard move.isFinite else {
                state.steps += 1  // a bad number is passed over, not waited for
                state.skipped += 1
                return nil
            }
            next.weight = min(max(next.weight + move, settings.bounds.lowerBound), settings.bounds.upperBound)
        }
        state = next
        metrics["amft/mu", .last] = state.weight
        metrics["amft/entropy_target", .last] = state.entropyTarget
        return ControllerUpdate(metrics: metrics)
    }

    /// Notes the mean entropy of a step's response tokens, in nats.
    ///
    /// - Returns: What a person should read once H* is known.
    package mutating func note(entropy: Double) -> String? {
        guard settings.controller == .adaptive, entropy.isFinite else { return nil }
        state.entropy = entropy
        guard state.entropyTarget == nil else { return nil }
        state.measured.append(entropy)
        guard state.measured.count >= settings.entropyTargetSteps else { return nil }
        let target = state.measured.reduce(0, +) / Double(state.measured.count)
        state.entropyTarget = target
        state.measured = []
        return "amft: the entropy target is \((target * 1e4).rounded() / 1e4) nats a token"
    }
}
