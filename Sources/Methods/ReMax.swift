internal import Algorithms
internal import Credit
package import Records

/// ReMax (Li et al. 2024, arXiv:2310.10505): the greedy completion's reward as baseline (``Credit/GreedyBaseline``),
/// the loss ``Algorithms/ReMax``.
package struct ReMaxMethod: Method {
    package static let name = "remax"
    package static let title =
        "ReMax (arXiv:2310.10505). β is 0 unless set, so that no reference is loaded unasked; the paper's β, rate and schedule are preset: remax"
    package static let defaults = MethodDefaults(batches: .init(generations: 1))
    package static let presets = [
        Preset(
            "remax", paper,
            source: "arXiv:2310.10505, the 7B script"),
        Preset(
            "remax_release",
            paper + [
                ("remax_kl", "one_step"), ("remax_reward_clip", "5"), ("gamma", "0.99"), ("remax_compat", "release"),
                ("top_p", "0.9"),
            ], source: "ReMax as its authors' code runs it, where that departs from arXiv:2310.10505"),
    ]
    private static let paper = [
        ("beta", "0.05"), ("learning_rate", "1e-6"), ("lr_scheduler_type", "cosine"), ("weight_decay", "0.1"),
        ("num_train_epochs", "1"), ("max_completion_length", "256"),
    ]

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let reach = KLReach(reading: &job)
        let kl = KLTerm(reading: &job, reach.form(of: Self.name))
        let isClipped = job.read(
            "ratio_clip", default: false,
            "Clips the ratio to the old policy, so that a rollout can serve several optimizer steps: per completion for rloo, as in TRL; per token for remax, whose paper has no clip. false is the papers' estimator (arXiv:1707.06347)."
        )
        let loss = ReMaxSettings(
            reading: &job, reduction: .tokenMean,
            ratioClip: isClipped ? ClippedSurrogate(reading: &job, takesDelta: false) : nil)
        let learning = RolloutLearning(reading: &job, shared, of: Self.name, kl: kl, hasRatio: isClipped)
        let baseline = GreedyBaselineSettings(reading: &job, penalty: reach.penalty(of: kl))
        plan = learning.plan(
            loss,
            credit: GreedyBaseline(
                rewards: learning.rewards, settings: baseline, overlong: learning.overlong, mixer: learning.mixer()),
            greedy: true)
    }
}

/// How far a token's KL penalty reaches: `remax_kl:`.
enum KLReach: String, SettingsChoice {
    case toGo = "to_go"
    case oneStep = "one_step"
    case none

    init(reading job: inout SettingsReader) {
        self = job.read(
            "remax_kl", default: .toGo,
            "How far a token's KL penalty reaches: to_go sums over the rest of the completion (the gradient of the KL of whole completions), one_step is the token's own (ReMax's published code), none (arXiv:2310.10505)."
        )
    }

    /// The KL term of a method that has it in its reward, with this reach.
    func form(of method: String) -> KLTerm.Form {
        KLTerm.Form(method: method, placement: .reward, leftOutBy: self == .none ? "remax_kl" : nil)
    }

    func penalty(of kl: KLTerm) -> KLToGo? {
        switch self {
        case .toGo: kl.penalty(.toGo)
        case .oneStep: kl.penalty(.oneStep)
        case .none: nil
        }
    }
}
