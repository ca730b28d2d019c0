internal import Algorithms
internal import PolicyUpdater
package import Records

/// Direct Preference Optimization (arXiv:2305.18290) and its kin, on a file of preferences (``Algorithms/DPO``).
package struct DPOMethod: Method {
    package static let name = "dpo"
    package static let title =
        "Direct Preference Optimization (arXiv:2305.18290), with TRL's defaults; per_device_train_batch_size counts pairs"
    package static let defaults = MethodDefaults(batches: nil, comparesPairs: true)

    /// Their mathematics alone.
    package static let variants = [
        Preset("ipo", [("loss_type", "ipo")], source: "arXiv:2310.12036"),
        Preset("robust_dpo", [("loss_type", "robust"), ("label_smoothing", "0.1")], source: "arXiv:2403.00409"),
        Preset("simpo", [("loss_type", "simpo"), ("beta", "2.0"), ("simpo_gamma", "1.0")], source: "arXiv:2405.14734"),
    ]

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let loss = DPOSettings(reading: &job)
        let pairs = PairPlan(reading: &job, needsReference: loss.needsReference)
        let sync = ReferenceSync(reading: &job, hasReference: loss.needsReference)
        pairs.refuseSync(sync, &job)
        plan = MethodPlan(
            recipe: StepRecipe(method: Self.name, calls: pairs.calls(needsReference: loss.needsReference)),
            parts: [PartPlan(loss, on: .pairs)],
            reference: loss.needsReference && !pairs.precomputesReference ? .init(sync: sync) : nil, pairs: pairs)
    }
}

/// What a method that compares pairs takes of a set of preferences, and how.
package struct PairPlan: Sendable, Equatable {
    /// `truncation_mode:`.
    package enum Truncation: String, SettingsChoice {
        /// A completion that is too long loses its end, its stop token included.
        case keepStart = "keep_start"
        /// A pair with a completion that is too long is left out.
        case drop
    }

    /// Most tokens of a prompt with one of its completions.
    package let maxLength: Int
    package let truncation: Truncation
    /// Whether the reference's log-probs are worked out once, before the first step.
    package let precomputesReference: Bool
    /// How rows with thinking and without are told apart, to be learned from in two parts; `nil` takes all alike.
    package let thinking: ThinkingSettings?

    /// - Parameters:
    ///   - needsReference: Whether the loss reads the reference's log-probs.
    ///   - usual: `truncation_mode` where it is not set and no completion thinks.
    ///   - isOnline: Whether pairs are made on the way, of what the policy writes.
    init(
        reading job: inout SettingsReader, needsReference: Bool, thinking: ThinkingSettings? = nil,
        truncation usual: Truncation = .keepStart, isOnline: Bool = false
    ) {
        self.thinking = thinking
        guard !isOnline else {
            (maxLength, truncation, precomputesReference) = (.max, .drop, false)
            return
        }
        maxLength = job.read(
            "max_length", default: 1024, .atLeast(2),
            "Most tokens of a prompt with one of its completions, at most the model's context. A pair whose prompt alone fills it is left out and counted."
        )
        truncation = job.read(
            "truncation_mode", default: thinking == nil ? usual : .drop,
            "What happens to a completion beyond max_length: keep_start cuts off its end as TRL does, drop leaves the pair out. Both are counted. bvpo drops, since an answer after its thinking must not be cut, and so does reward_model, as in TRL."
        )
        let precomputes = job.read(
            "precompute_ref_log_probs", default: needsReference,
            "Computes the reference's log-probs of all pairs once, before the first step, and keeps them in the run folder; no reference is loaded while training. false computes them in every step (TRL's default). The result is the same."
        )
        precomputesReference = needsReference && precomputes
        job.check(
            thinking == nil || truncation == .drop, "truncation_mode", "drop: an answer behind its thinking is not cut")
        job.ignore("precompute_ref_log_probs", when: !needsReference)
        for key in ["max_prompt_length", "overlong_prompts"] { job.ignore(key) }
    }

    /// Refuses a reference that moves, where it is worked out before.
    func refuseSync(_ sync: ReferenceSync?, _ job: inout SettingsReader) {
        guard sync != nil, precomputesReference else { return }
        job.refuse(
            job.isGiven("precompute_ref_log_probs") ? "precompute_ref_log_probs" : "sync_ref_model",
            "sync_ref_model moves the reference, and precompute_ref_log_probs is true; expected false")
    }

    /// A step's calls.
    func calls(needsReference: Bool) -> [StepCall] {
        [.compare] + (needsReference && !precomputesReference ? [.infer(.reference)] : []) + [.train]
    }
}
