/// How far a run has come: the Coordinator's own state, saved in every checkpoint.
package struct RunProgress: Sendable, Equatable, Codable {
    /// Optimizer steps taken (`global_step`).
    package var step: Int
    /// Rollout steps so far, with each further wave of dynamic sampling counted as one; addresses the random draws of the
    /// next.
    package var rolloutStep: Int
    /// Tokens read in training so far (`num_tokens`).
    package var tokens: Int
    /// The optimizer step at which the newest rollout step began, while its evaluation and its checkpoint are still
    /// owed: a run that was stopped or broke in between makes up for them first.
    package var unconcludedSince: Int?
    /// The optimizer step at which the newest rollout step began, in a run that samples ahead: the batch that waits was
    /// sampled with the weights of that time or newer ones.
    package var newestSince: Int?

    package init(
        step: Int = 0, rolloutStep: Int = 0, tokens: Int = 0, unconcludedSince: Int? = nil, newestSince: Int? = nil
    ) {
        self.newestSince = newestSince
        self.step = step
        self.rolloutStep = rolloutStep
        self.tokens = tokens
        self.unconcludedSince = unconcludedSince
    }
}

/// How a run ended.
package enum RunOutcome: Sendable, Equatable {
    /// Every step was taken.
    case finished(RunProgress)
    /// Stopped on request; a checkpoint of this state is saved.
    case stopped(RunProgress)
    /// A controller has ended it before its last step; a checkpoint of this state is saved.
    case ended(RunProgress, reason: String)
}
