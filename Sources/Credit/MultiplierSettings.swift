package import Records

/// How the multipliers of constraints move and what they weigh: `multipliers:`.
///
/// With J the mean score of a rollout, θ the limit, s the constraint's scale, σ = 1 for `at_least` and `equal`, −1 for
/// `at_most`:
///
///     variant     λ of a parameter ℓ            stream weights                                moves
///     textbook    ℓ, at least 0 but for equal   own/(1 + Σ|λ|), constrained + σλ/(1 + Σ|λ|)   ℓ ← ℓ + η·σ(θ − J)/s
///     mu_ppo      logistic(ℓ)                   own·(N − Σλ), constrained + σλ              ℓ ← ℓ + η·λ′(ℓ)·σ(θ − J)/s
///     xi_ppo      tanh(ℓ)                       as mu_ppo                                     as mu_ppo
///     all_ppo     logistic(ℓ)                   as mu_ppo, own weights of all rewards 1       as mu_ppo
///     ppo_sat     –                             reward −Σ((J_i − θ_i)/s_i)² of completions    –
///
/// With K the `proportional` setting the textbook's λ is ℓ + K·e, at least 0 but for equal, where e is what a mean of
/// the last rollouts finds of σ(θ − J)/s: the first two terms of a PID controller (Stooke, Achiam and Abbeel 2020,
/// arXiv:2007.03964). ℓ alone only turns when the limit is crossed, and circles around it; K·e brakes before.
///
/// All but the textbook's form are those of Moskovitz et al. 2023 (arXiv:2310.04373). There the KL to the reference is
/// one of the own streams; so it is here.
package struct MultiplierSettings: Sendable, Equatable {
    package enum Variant: String, SettingsChoice {
        case textbook
        case muPPO = "mu_ppo"
        case xiPPO = "xi_ppo"
        case allPPO = "all_ppo"
        case saturated = "ppo_sat"

        /// Kinds of constraints that its multipliers can hold.
        var kinds: [Constraint.Kind] {
            switch self {
            case .textbook: Constraint.Kind.allCases
            case .muPPO: [.atLeast, .atMost]
            case .xiPPO, .saturated: [.equal]
            case .allPPO: [.atMost]
            }
        }
        /// Whether λ has bounds.
        var isBounded: Bool { self == .muPPO || self == .xiPPO || self == .allPPO }
    }

    /// What happens when a bounded multiplier has been at its bound for long.
    package enum Saturation: String, SettingsChoice { case warn, textbook }

    package var variant: Variant
    /// η of the dual step.
    package var learningRate: Double
    package var momentum: Double
    /// The norm that the dual gradients of all constraints are clipped to; `nil` for none.
    package var maxGradientNorm: Double?
    /// λ of the textbook form, ℓ of the others, before the first step.
    package var initial: Double
    /// The largest |λ| of the textbook form; `nil` for none.
    package var limit: Double?
    /// K of the textbook form; 0 for none.
    package var proportional: Double
    /// Whether the textbook form divides all weights by 1 + Σ|λ|.
    package var isNormalized: Bool
    /// Whether a rollout has as many dual steps as optimizer steps, else one.
    package var isPerMinibatch: Bool
    /// Whether J is the mean over a rollout's tokens, each with the score of its completion, as in the published code;
    /// else over completions.
    package var weighsLengths: Bool
    package var onSaturation: Saturation

    package init(
        _ variant: Variant = .textbook, learningRate: Double? = nil, momentum: Double? = nil,
        maxGradientNorm: Double?? = nil, initial: Double = 0, limit: Double? = nil, proportional: Double = 0,
        isNormalized: Bool = true, isPerMinibatch: Bool = false, weighsLengths: Bool = false,
        onSaturation: Saturation = .warn
    ) {
        self.variant = variant
        self.learningRate = learningRate ?? Self.learningRate(variant)
        self.momentum = momentum ?? Self.momentum(variant)
        self.maxGradientNorm = maxGradientNorm ?? (variant.isBounded ? 0.5 : nil)
        self.initial = initial
        self.limit = limit
        self.proportional = proportional
        self.isNormalized = isNormalized
        self.isPerMinibatch = isPerMinibatch
        self.weighsLengths = weighsLengths
        self.onSaturation = onSaturation
    }

    private static func learningRate(_ variant: Variant) -> Double { variant.isBounded ? 1 : 0.1 }
    private static func momentum(_ variant: Variant) -> Double { variant.isBounded ? 0.1 : 0 }

    /// - Parameter isUsed: Whether the job has constraints.
    package init(reading job: inout SettingsReader, isUsed: Bool) {
        let variant = job.read(
            "multipliers.variant", default: Variant.textbook,
            "How constraints are enforced. textbook: λ ← [λ + η(θ − J)]₊. mu_ppo (at_least, at_most), xi_ppo (equal), all_ppo (at_most): a logistic function or tanh bounds λ, and the other rewards weigh N − Σλ. ppo_sat: no multiplier, the reward −Σ((r − θ)/scale)² (arXiv:2310.04373)."
        )
        self.variant = variant
        learningRate = job.read(
            "multipliers.learning_rate", default: Self.learningRate(variant), .above(0),
            "η of the dual step on (θ − J)/scale, one per rollout.")
        momentum = job.read(
            "multipliers.momentum", default: Self.momentum(variant), .from(0, below: 1), "Momentum of the dual step.")
        maxGradientNorm = job.read(
            "multipliers.max_grad_norm", optional: variant.isBounded ? 0.5 : nil, .above(0),
            "Clips the joint norm of all constraints' dual gradients; null for none.")
        initial = job.read(
            "multipliers.initial", default: 0.0, .from(-1e6, to: 1e6),
            "The initial λ of textbook; for the bounded forms the initial ℓ, of which λ is the logistic function or tanh."
        )
        limit = job.read("multipliers.max", optional: nil, .above(0), "The largest |λ| of textbook; none unless set.")
        proportional = job.read(
            "multipliers.proportional", default: 0.0, .from(0, to: 1e6),
            "K for textbook: adds to λ K times the distance of the recent mean (about five rollouts) from the limit, as a share of scale (arXiv:2007.03964). It brakes before the limit is crossed; at 0 the mean circles around it."
        )
        isNormalized = job.read(
            "multipliers.normalize", default: true,
            "Divides textbook's weights by 1 + Σ|λ|, so that a large λ turns the update without lengthening it."
        )
        isPerMinibatch = job.read(
            "multipliers.per_minibatch", default: false,
            "Takes one dual step per optimizer step of the policy, as the published code does, all on the rollout's mean."
        )
        weighsLengths = job.read(
            "multipliers.length_weighted", default: false,
            "Averages a constrained score over a rollout's tokens, each with its completion's score, as the published code does: long completions count more than short ones (arXiv:2310.04373)."
        )
        onSaturation = job.read(
            "multipliers.on_saturation", default: .warn,
            "When a bounded |λ| has been above 0.98 for 20 rollouts: warn, or switch to textbook from the multiplier reached, λ/(N − Σλ)."
        )
        job.ignore(
            "multipliers.max", "multipliers.normalize", "multipliers.proportional",
            when: variant != .textbook && onSaturation == .warn)
        job.ignore("multipliers.on_saturation", when: !variant.isBounded)
        job.ignore(
            "multipliers.learning_rate", "multipliers.momentum", "multipliers.max_grad_norm",
            "multipliers.per_minibatch", "multipliers.initial", when: variant == .saturated)
        if initial < 0, variant == .textbook {
            job.refuse("multipliers.initial", "multipliers.initial is \(initial); expected at least 0 for textbook")
        }
        job.ignore(
            "multipliers.variant", "multipliers.learning_rate", "multipliers.momentum", "multipliers.max_grad_norm",
            "multipliers.initial", "multipliers.max", "multipliers.proportional", "multipliers.normalize",
            "multipliers.per_minibatch", "multipliers.length_weighted", "multipliers.on_saturation", when: !isUsed)
    }
}
