package import Records

/// How many groups are kept to stand in for others, and for how long.
package struct ReplaySettings: Sendable, Equatable {
    package let capacity: Int
    package let maxAge: Int
    package let alpha: Double

    /// `nil` where none is kept.
    package init?(reading job: inout SettingsReader) {
        capacity = job.read(
            "replay_buffer_size", default: 0, .from(0, to: 1_000_000),
            "Groups kept to stand in for groups whose rewards are all equal (Selective Sample Replay, arXiv:2504.08837); 0 is off. Their ratio uses the log-probs of the policy that wrote them."
        )
        maxAge = job.read(
            "replay_max_age", default: 16, .atLeast(1), "Optimizer steps after which a kept group leaves.")
        alpha = job.read(
            "replay_alpha", default: 1.0, .atLeast(0),
            "A kept group is drawn with a weight of its mean |advantage| to this power.")
        guard capacity > 0 else {
            job.ignore("replay_max_age", "replay_alpha")
            return nil
        }
    }
}
