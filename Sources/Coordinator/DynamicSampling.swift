package import Records

/// Samples until a step has enough prompts with something to learn from (DAPO, Yu et al. 2025, arXiv:2503.14476, §3.2).
///
/// Prompts come in waves of a step's size. A group is kept when the scores of one reward, the task's own and not a shaped
/// sum, are not all equal. What is kept beyond the step's size is left out, never carried over.
package struct DynamicSampling: Sendable, Equatable {
    /// What becomes of a step whose last wave still leaves it short.
    package enum Exhausted: Sendable, Equatable {
        /// The run ends with an error.
        case fail
        /// The step learns from what was kept.
        case partial
    }

    /// The place among the rewards of the one that decides.
    package var reward: Int
    /// Most waves of a step.
    package var maxWaves: Int
    package var exhausted: Exhausted

    package init(reward: Int, maxWaves: Int = 10, exhausted: Exhausted = .fail) {
        self.reward = reward
        self.maxWaves = maxWaves
        self.exhausted = exhausted
    }

    /// Whether the deciding reward tells the group's completions apart. Completions it did not score do not count.
    package func keeps(_ group: ScoredGroup) -> Bool {
        let scores = group.scores.compactMap { $0[reward].score }
        guard let first = scores.first else { return false }
        return group.scores.count == 1 || scores.contains { $0 != first }
    }
}
