package import Records

/// How far behind the policy a step's rollouts may be, and who samples them.
///
///     max_staleness 0    sample batch k with the weights of step k, learn from it
///     max_staleness 1    sample batch k + 1 with the weights of step k, learn from batch k
///
/// 1 is AReaL's η = 1 (Fu et al. 2025, arXiv:2505.24298) and what verl calls one step off policy. A run's first batch is
/// of its own weights. In one process both halves of a step come one after the other; with ranks for sampling alone
/// they run at once, and the numbers are the same.
package struct Staleness: Sendable, Equatable {
    /// Rollout steps between the weights that sampled a batch and those that learn from it, 0 or 1.
    package let maxSteps: Int
    /// Ranks, the last of the run's, that only sample and score; 0 where every rank does everything.
    package let generationRanks: Int

    /// Every step learns from what its own weights sampled.
    package static let none = Staleness()

    private init() { (maxSteps, generationRanks) = (0, 0) }

    package init(reading job: inout SettingsReader) {
        maxSteps = job.read(
            "max_staleness", default: 0, .from(0, to: 1),
            "Steps that a batch may lag behind the weights that learn from it. 0: each step samples its own batch. 1: the next step's batch is sampled before this step's update, or with generation_ranks during it (one step off policy). The loss then weighs tokens by π_old/π_sampler: importance_sampling_correction defaults to token_truncate (decoupled PPO, arXiv:2505.24298)."
        )
        generationRanks = job.read(
            "generation_ranks", default: 0, .from(0, to: 65_535),
            "This many of the last processes of plumbline launch or torchrun only sample and score the next batch while the others learn from this one. They get the new weights each step, adapters alone with use_peft. 0: every process does everything. Above 0 needs max_staleness: 1."
        )
        job.check(
            generationRanks == 0 || maxSteps > 0, "generation_ranks",
            "0 with max_staleness 0: sampling and learning take turns, so that each would wait for the other")
        if maxSteps > 0 {
            job.fill("importance_sampling_correction", "token_truncate", from: "max_staleness: \(maxSteps)")
        }
    }

    /// What comes of it, as `--dry-run` and the start of a run print it; `nil` where nothing does.
    package var line: String? {
        guard maxSteps > 0 else { return nil }
        let who =
            generationRanks == 0
            ? "" : "; the last \(generationRanks) of the run's processes sample and score, the others learn"
        return "each step learns from the batch that was sampled before the last update (max_staleness: 1)" + who
    }
}
