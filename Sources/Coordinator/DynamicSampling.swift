package import Records

/// Samples until a step has enough prompts with something to learn from (DAPO, Yu et al. 2025, arXiv:2503.14476, §3.2).
///
/// Prompts come in waves of a step's size. A group is kept when the scores of one reward, the task's own and not a
/// shaped sum, are not all equal. What is kept beyond the step's size is left out, never carried over.
package struct DynamicSampling: Sendable, Equatable {
    /// What becomes of a step whose last wave still leaves it short: `dynamic_sampling_exhausted:`.
    package enum Exhausted: String, SettingsChoice {
        /// The run ends with an error.
        case fail
        /// The step learns from what was kept.
        case partial
    }

    /// The index among the rewards of the one that decides.
    package var reward: Int
    /// The indices of others that have advantages of their own: a group in which one of them differs teaches something
    /// too.
    package var streams: [Int] = []
    /// Most waves of a step; `nil` for no limit.
    package var maxWaves: Int?
    package var exhausted: Exhausted

    package init(reward: Int, maxWaves: Int? = 10, exhausted: Exhausted = .fail) {
        self.reward = reward
        self.maxWaves = maxWaves
        self.exhausted = exhausted
    }

    /// `nil` where every group is taken.
    ///
    /// - Parameters:
    ///   - rewards: The job's, as it names them.
    ///   - streams: Those of them that have advantages of their own beside the deciding one's.
    package init?(
        reading job: inout SettingsReader, rewards: [String], streams: [String] = [], generations: Int
    ) {
        self.streams = rewards.indices.filter { streams.contains(rewards[$0]) }
        let isWanted = job.read(
            "dynamic_sampling", default: false,
            "Samples more prompts until the step has enough groups whose completions, including the demonstration of luffy and srft, differ in dynamic_sampling_metric (DAPO, arXiv:2503.14476). Surplus groups are left out."
        )
        let metric: String? = job.read(
            "dynamic_sampling_metric", optional: nil,
            "The reward that decides: the task's own, not a length term. The only reward unless set (arXiv:2503.14476)."
        )
        let waves = job.read(
            "dynamic_sampling_max_waves", default: 10, .from(0, to: 1_000_000),
            "Most waves per step, each of its number of prompts; 0 is no limit; generation_ranks need one (arXiv:2503.14476)."
        )
        maxWaves = waves == 0 ? nil : waves
        exhausted = job.read(
            "dynamic_sampling_exhausted", default: .fail,
            "fail: a step that stays short after the last wave ends the run. partial: it learns from what was kept (arXiv:2503.14476)."
        )
        let name = metric ?? (rewards.count == 1 ? rewards[0] : nil)
        reward = rewards.firstIndex { $0 == name } ?? 0
        guard isWanted else {
            job.ignore("dynamic_sampling_metric", "dynamic_sampling_max_waves", "dynamic_sampling_exhausted")
            return nil
        }
        job.ignore("dynamic_sampling_exhausted", when: waves == 0)
        job.resolve("dynamic_sampling_metric", to: name)
        if name.map({ !rewards.contains($0) }) ?? true {
            job.refuse(
                job.isGiven("dynamic_sampling_metric") ? "dynamic_sampling_metric" : "dynamic_sampling",
                "dynamic_sampling_metric must name the reward that tells completions apart, one of "
                    + rewards.joined(separator: ", "))
        }
        if generations < 2 {
            job.refuse(
                "dynamic_sampling",
                "dynamic_sampling compares the completions of a prompt; expected num_generations of at least 2")
        }
    }

    /// Whether the deciding reward tells the group's completions apart, or another that has advantages of its own; a
    /// greedy completion or a demonstration that they are compared with is one of them. Completions that a reward did
    /// not score do not count for it.
    package func keeps(_ group: ScoredGroup) -> Bool {
        let compared = group.compared
        return ([reward] + streams).contains { index in
            let scores = compared.compactMap { $0[index].score }
            guard let first = scores.first else { return false }
            return compared.count == 1 || scores.contains { $0 != first }
        }
    }
}
