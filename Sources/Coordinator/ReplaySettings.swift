package import Records

/// How many completions are kept to stand in for others, and for how long (``ReplayBuffer``).
package struct ReplaySettings: Sendable, Equatable {
    package let capacity: Int
    package let maxAge: Int
    package let alpha: Double

    /// `nil` where none is kept.
    package init?(reading job: inout SettingsReader) {
        capacity = job.read(
            "replay_buffer_size", default: 0, .from(0, to: 1_000_000),
            "Past completions kept to replace ones without an advantage (Selective Sample Replay, arXiv:2504.08837); 0 is off. Their ratio uses the log-probs of the policy that wrote them. A batch that still has no advantage takes no optimizer step, even with a KL term."
        )
        maxAge = job.read(
            "replay_max_age", default: 2, .atLeast(1), "Optimizer steps after which a kept completion is dropped.")
        alpha = job.read(
            "replay_alpha", default: 1.0, .atLeast(0),
            "A kept completion is drawn with weight |advantage| to this power.")
        guard capacity > 0 else {
            job.ignore("replay_max_age", "replay_alpha")
            return nil
        }
    }
}
