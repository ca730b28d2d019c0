import Coordinator
import Foundation
import Job
import JSON
import Methods
import Records
import RewardInterface
import Testing

@Suite("max_staleness and generation_ranks in a job")
struct StalenessTests {
    @Test func unlessAskedForNothingIsSampledAhead() throws {
        let plain = try plainJob("")
        #expect(plain.staleness == .none && plain.staleness.line == nil)
        #expect(plain["importance_sampling_correction"] == "none" && plain.run.gapLimit == 0.01)
        #expect(try plainJob("algorithm: sft\nmax_staleness: 1").staleness == .none)
    }

    /// The loss weighs tokens by π_old/π_sampler; the gap between the two is no sign of a fault any more.
    @Test func whatIsSampledAheadIsCorrectedForUnlessTheFileSaysOtherwise() throws {
        let ahead = try plainJob("max_staleness: 1")
        #expect(ahead.staleness.maxSteps == 1 && ahead["importance_sampling_correction"] == "token_truncate")
        #expect(
            ahead.plan.parts[0].objective.weighsSampler && ahead.plan.parts[0].objective.needsRolloutLogProbabilities)
        #expect(ahead.run.gapLimit == nil)
        // One update: its own forward pass scores π_old. With several they are scored before the first.
        #expect(!ahead.plan.recipe.calls.contains(.infer(.oldPolicy)))
        #expect(try plainJob("max_staleness: 1\nnum_iterations: 2").plan.recipe.calls.contains(.infer(.oldPolicy)))
        let own = try plainJob(
            "max_staleness: 1\nimportance_sampling_correction: sequence_mask\nlogprob_gap_limit: 0.5")
        #expect(own["importance_sampling_correction"] == "sequence_mask" && own.run.gapLimit == 0.5)
        let again = try ResolvedJob(
            JobFile(text: ahead.yaml, name: "config.yaml", folder: URL(filePath: "/jobs")))
        #expect(again.yaml == ahead.yaml && again.run.gapLimit == nil)
    }

    /// A KL in the reward is between π_old and the reference: the sampler's numbers are those of neither.
    @Test func aPenaltyInTheRewardAsksTheTrainer() throws {
        let lines = "beta: 0.1\nkl_placement: reward\ngeneration_layout: shared\n"
        #expect(!(try plainJob(lines).plan.recipe.calls.contains(.infer(.oldPolicy))))
        #expect(try plainJob(lines + "max_staleness: 1").plan.recipe.calls.contains(.infer(.oldPolicy)))
    }

    @Test(arguments: [
        "algorithm: dapo", "algorithm: gspo", "algorithm: cispo\nepsilon_high: 5", "algorithm: soft_grpo",
        "algorithm: ppo\nbypass_old_log_probs: true", "bypass_old_log_probs: true",
        "algorithm: luffy\nbypass_old_log_probs: true", "replay_buffer_size: 8", "generation_ranks: 3",
        "dynamic_sampling: true\ndynamic_sampling_max_waves: 0", "generation_ranks: 1\ndynamic_sampling_max_waves: 0",
        "generation_ranks: 1\ndynamic_sampling: true",
    ])
    func whatCanBeSampledAheadIs(_ lines: String) throws {
        #expect(try plainJob("max_staleness: 1\n" + lines).staleness.maxSteps == 1)
    }

    @Test(arguments: [
        ("max_staleness: 2", "max_staleness is '2'; expected a whole number from 0 to 1"),
        ("generation_ranks: 1", "generation_ranks is 1; expected 0 with max_staleness 0"),
        (
            "max_staleness: 1\ngeneration_ranks: 1\ndynamic_sampling: true\ndynamic_sampling_max_waves: 0",
            "dynamic_sampling_max_waves is 0, and with generation_ranks a stop waits for the last wave; expected a limit"
        ),
        ("generation_ranks: -1\nmax_staleness: 1", "generation_ranks is '-1'; expected a whole number from 0"),
        (
            "max_staleness: 1\nimportance_sampling_correction: none",
            "importance_sampling_correction is none with max_staleness 1, where older weights have sampled"
        ),
        (
            "max_staleness: 1\nalgorithm: ppo",
            "max_staleness is 1, and ppo has no importance_sampling_correction; expected bypass_old_log_probs: true"
        ),
        (
            "max_staleness: 1\nalgorithm: remax",
            "the loss of remax has no ratio to the weights that sampled; expected 0"
        ),
        ("max_staleness: 1\nforced_rethinking: {probability: 0.5}", "max_staleness is 1 with forced_rethinking"),
        (
            "max_staleness: 1\nalgorithm: distill\nteacher_model_name_or_path: t\nlmbda: 0.5",
            "max_staleness is 1, and distill is generate"
        ),
        (
            "max_staleness: 1\nreplay_buffer_size: 8\nreplay_max_age: 1",
            "replay_max_age is 1; expected at least the 2 optimizer steps of a rollout and of the one before"
        ),
    ])
    func whatCannotIsRefusedByName(_ lines: String, _ says: String) {
        let error = #expect(throws: JobError.self) { try plainJob(lines) }
        #expect("\(error.map { "\($0)" } ?? "")".contains(says), "\(error.map { "\($0)" } ?? "")")
    }

    @Test func thePlanSaysWhoDoesWhat() throws {
        #expect(
            try plainJob("max_staleness: 1\ngeneration_ranks: 2").staleness.line?.hasSuffix(
                "(max_staleness: 1); the last 2 of the run's processes sample and score, the others learn") == true)
    }

    /// Both a number and a column of each completion.
    private struct Remarking: RewardSource {
        let names = ["remarking"]

        func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
            var scores = GroupScores(scores: group.rollouts.map { _ in [.value(1)] })
            scores.metrics = ["seen": Double(group.prompt.prompt.row) / 3]
            scores.extraColumns = ["echo": group.rollouts.map { .string($0.completion.text) }]
            return scores
        }
    }

    private func group(row: Int) -> RolloutGroup {
        let rollout = Rollout(
            completion: Completion(text: "of \(row)"), samplingLogProbabilities: [], policyLogProbabilities: [],
            sample: 0)
        let prompt = Prompt(row: row, source: "set", content: .text("?"))
        return RolloutGroup(
            prompt: TokenizedPrompt(prompt: prompt, tokenIDs: [1]), rollouts: [rollout],
            policyVersion: PolicyVersion(0))
    }

    /// Remarks on row 1 are sealed, and stand beside those on row 2 once they are opened: the mean of 1/3 and 2/3.
    @Test func remarksGoWithTheirBatch() async throws {
        let scorer = PanelScorer(try RewardPanel([Remarking()]))
        _ = try await scorer.score(group(row: 1))
        let sealed = try scorer.sealRemarks()
        #expect(scorer.takeRemarks().metrics.isEmpty)
        _ = try await scorer.score(group(row: 2))
        try scorer.unseal(sealed)
        let remarks = scorer.takeRemarks()
        #expect(remarks.metrics == ["seen": (2.0 / 3 + 1.0 / 3) / 2])
        for row in [1, 2] {
            let columns = remarks.columns[GroupAddress(row: row, variant: 0)]
            #expect(columns?["echo"]?.map(\.string) == ["of \(row)"])
        }
    }
}
