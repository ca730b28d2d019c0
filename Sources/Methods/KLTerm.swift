internal import Credit
internal import Records

/// The KL to the reference policy: its weight, its estimator, and whether it stands in the loss or in the reward.
struct KLTerm {
    /// `kl_placement:`.
    enum Place: String, SettingsChoice { case loss, reward }
    /// `kl_estimator:`.
    enum Estimator: String, SettingsChoice {
        case k1, k2, k3, full

        /// An exact KL is no estimate; what reads it looks for ``KLTerm/isExact`` first.
        var sampled: KLEstimator {
            switch self {
            case .k1: .k1
            case .k2: .k2
            case .k3, .full: .k3
            }
        }
    }

    /// β; 0 for no term.
    let coefficient: Double
    let placement: Place
    let estimator: Estimator
    /// What moves β; `nil` leaves it.
    let controller: AdaptiveKL?

    /// What a method has of it.
    struct Form {
        var method: String
        /// Where the method's source has the term.
        var placement: Place
        var beta = 0.0
        /// Whether a job may have it elsewhere.
        var mayMove = false
        /// In the loss.
        var estimator = Estimator.k3
        /// Whether the loss may take the KL over the whole vocabulary.
        var takesExact = false
        /// Whether the term is left out whatever its weight: the reason's key.
        var leftOutBy: String?
    }

    init(reading job: inout SettingsReader, _ form: Form) {
        let beta = job.read(
            "beta", default: form.beta, .atLeast(0),
            "Weight of the KL to the reference policy; 0 loads no reference. In the loss for grpo, soft_grpo and reinforce_pp with groups, in the reward for the others (arXiv:1909.08593, 2402.03300)."
        )
        let placement = job.read(
            "kl_placement", default: form.placement,
            "Where the KL term goes: loss (GRPO), or reward, where a completion's estimates are summed and subtracted from its reward before the baseline. Only grpo may place it elsewhere than its paper (arXiv:2402.03300)."
        )
        let fallback: Estimator = placement == .reward ? .k1 : form.estimator
        estimator = job.read(
            "kl_estimator", default: fallback,
            "With d = log π − log π_ref of the sampled token: k1 = d, k2 = d²/2, k3 = e^(−d) − 1 + d. In the loss, k2 descends the next-token KL(π‖π_ref) at each visited state and k3 the next-token KL(π_ref‖π) (times the token's ratio, as in grpo, also KL(π‖π_ref)). In the reward, only k1 has a KL's gradient: that of whole completions if a token gets the sum to go. full, in grpo's loss: Σ_v π(v)·(log π(v) − log π_ref(v)) at each token's position, without the noise of the sampled token; every update then includes a reference pass."
        )
        self.placement = placement
        coefficient = form.leftOutBy == nil ? beta : 0
        controller = AdaptiveKL(reading: &job, initial: placement == .reward ? coefficient : 0)
        if form.leftOutBy != nil { job.ignore("beta") }
        job.ignore("kl_estimator", "kl_placement", when: coefficient == 0)
        check(&job, form, fallback)
    }

    private func check(_ job: inout SettingsReader, _ form: Form, _ fallback: Estimator) {
        if placement != form.placement, !form.mayMove {
            job.refuse(
                "kl_placement",
                "kl_placement is \(placement.rawValue); \(form.method) has its KL term in the \(form.placement.rawValue)"
            )
        }
        if estimator == .full, !form.takesExact || placement == .reward {
            job.refuse(
                "kl_estimator",
                "kl_estimator is full, which is for grpo's loss; expected \(fallback.rawValue) for \(form.method)"
                    + (form.takesExact ? " with kl_placement reward" : ""))
        } else if coefficient > 0, placement == .reward, estimator != .k1 {
            job.refuse(
                "kl_estimator",
                "kl_estimator is \(estimator.rawValue) with the KL term in the reward, where its own gradient is lost: what remains of \(estimator.rawValue) vanishes near the reference, and further away points away from it; expected k1"
            )
        } else if form.estimator == .k2, placement == .loss, estimator != .k2 {
            job.refuse(
                "kl_estimator",
                "kl_estimator is \(estimator.rawValue); \(form.method) with groups has k2 in its loss (arXiv:2501.03262)"
            )
        }
    }

    /// Whether the loss takes the KL over the whole vocabulary.
    var isExact: Bool { estimator == .full }
    /// β of a term in the loss; 0 for none.
    var inLoss: Double { placement == .loss ? coefficient : 0 }

    /// The term in the reward; `nil` for none.
    func penalty(_ reach: KLToGo.Reach) -> KLToGo? {
        guard placement == .reward, coefficient > 0 else { return nil }
        return KLToGo(coefficient: coefficient, estimator: estimator.sampled, reach: reach)
    }
}
