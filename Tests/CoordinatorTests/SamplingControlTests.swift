import Coordinator
import Credit
import Foundation
import Records
import TestSupport
import Testing

@Suite("Dynamic sampling, replay and the KL controller")
struct SamplingControlTests {
    private let recipe = StepRecipe(
        method: "grpo",
        calls: [.generate(samplesPerPrompt: 2, greedy: false), .score, .infer(.sampler), .credit, .train])

    /// Rows that divide by `live` have completions with different rewards.
    private func run(
        live: Int, maxWaves: Int = 10, exhausted: DynamicSampling.Exhausted = .fail, steps: Int = 2
    ) async throws -> (world: World, outcome: RunOutcome) {
        let world = World(liveRows: live)
        let schedule = StepSchedule(
            promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: steps,
            dynamicSampling: DynamicSampling(reward: 0, maxWaves: maxWaves, exhausted: exhausted))
        let coordinator = try Coordinator(recipe: recipe, schedule: schedule, parts: world.parts(), stop: StopSignal())
        return (world, try await coordinator.run())
    }

    @Test func wavesGoOnUntilEnoughGroupsDiffer() async throws {
        // Waves of rows 0 1 | 2 3 | 4 5: rows 0 and 3 differ, so the first step takes two waves. Then 4 5 | 6 7 | 8 9: 6, 9.
        let (world, outcome) = try await run(live: 3)
        let reports = await world.reports
        #expect(reports.map { $0.groups.map(\.group.prompt.prompt.row) } == [[0, 3], [6, 9]])
        #expect(reports.map { $0.metrics["dynamic_sampling/waves"] } == [2, 3])
        #expect(reports.map { $0.metrics["dynamic_sampling/kept"] } == [0.5, 1.0 / 3])
        #expect(reports[0].metrics["dynamic_sampling/reward"] == (0.5 + 1 + 1 + 0.5) / 4)
        #expect(outcome == .finished(RunProgress(step: 2, rolloutStep: 5, tokens: 20)))  // each wave has its own draws
    }

    @Test func surplusGroupsAreLeftOut() async throws {
        let world = try await run(live: 1, steps: 1).world
        #expect(await world.reports[0].groups.count == 2)
        #expect(await world.reports[0].metrics["dynamic_sampling/waves"] == 1)
    }

    @Test func aStepThatStaysShortFailsOrLearnsFromWhatThereIs() async throws {
        await #expect(throws: CoordinatorError.tooFewLiveGroups(kept: 1, wanted: 2, waves: 2, reward: "one")) {
            _ = try await run(live: 50, maxWaves: 2)
        }
        let world = try await run(live: 50, maxWaves: 2, exhausted: .partial, steps: 1).world
        #expect(await world.reports[0].groups.map(\.group.prompt.prompt.row) == [0])
    }

    @Test func aStopInALaterWaveLeavesNoTrace() async throws {
        let stop = StopSignal()
        let world = World(stopAt: (.generate, step: 1), signal: stop, liveRows: 50)
        let schedule = StepSchedule(
            promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2, dynamicSampling: DynamicSampling(reward: 0))
        let coordinator = try Coordinator(recipe: recipe, schedule: schedule, parts: world.parts(), stop: stop)
        #expect(try await coordinator.run() == .stopped(RunProgress()))
        #expect(await world.nextRow == 0)
    }

    /// With a length penalty beside it, a prompt that everybody solves would never look solved.
    @Test func theTasksOwnRewardDecidesAndNotAShapedSum() {
        let sampling = DynamicSampling(reward: 1)
        func keeps(_ scores: [[RewardScore]]) -> Bool {
            let prompt = TokenizedPrompt(prompt: Prompt(row: 0, source: "test", content: .text("?")), tokenIDs: [1])
            let group = RolloutGroup(prompt: prompt, rollouts: [], policyVersion: PolicyVersion(0))
            return sampling.keeps(ScoredGroup(group: group, scores: scores))
        }
        #expect(!keeps([[.value(-0.2), .value(1)], [.value(0), .value(1)]]))
        #expect(keeps([[.value(0), .value(0)], [.value(0), .value(1)]]))
        // one score tells nothing apart
        #expect(!keeps([[.value(0), .value(1)], [.value(1), .abstained(reason: "-")]]))
        #expect(!keeps([[.value(0), .failed(message: "-")], [.value(1), .abstained(reason: "-")]]))
        #expect(keeps([[.value(0), .value(1)]]))  // a single completion is kept, as in verl
    }

    // MARK: Replay

    /// Of rows 0 1 | 2 3 only row 0 has completions that differ; the sampler's log-probs are −(row + 1)/8.
    @Test func aReplayedGroupIsTrainedWithTheLogProbsItWasWrittenWith() async throws {
        let world = World(liveRows: 50)
        var parts = try world.parts()
        parts.replay = ReplayBuffer(capacity: 4, maxAge: 9, seed: 1)
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2)
        _ = try await Coordinator(recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal()).run()
        let batches = await world.batches
        #expect(batches.map { $0.groups.map(\.promptTokenIDs) } == [[[0], [1]], [[0], [3]]])
        let old = batches[1].groups.map { $0.completions.map(\.oldLogProbabilities) }
        #expect(old == [[[-0.125, -0.125], [-0.125, -0.125]], [[-0.5, -0.5], [-0.5, -0.5]]])
        #expect(batches[1].groups[0] == batches[0].groups[0])
        #expect(await world.reports[1].metrics["replay/age"] == 1)
    }

    private func group(_ token: Int, advantage: Double) -> UpdateGroup {
        UpdateGroup(
            promptTokenIDs: [token],
            completions: [
                UpdateCompletion(tokenIDs: [token], advantages: [advantage], oldLogProbabilities: [-0.5]),
                UpdateCompletion(tokenIDs: [token], advantages: [-advantage], oldLogProbabilities: [-0.25]),
            ])
    }

    @Test func deadGroupsGiveTheirPlacesToKeptOnes() async throws {
        let buffer = ReplayBuffer(capacity: 8, maxAge: 3, seed: 1)
        let first = await buffer.exchange([group(1, advantage: 1), group(2, advantage: 0)], step: 0)
        #expect(first.groups.map { $0.promptTokenIDs[0] } == [1, 2])  // nothing is kept yet
        let second = await buffer.exchange([group(3, advantage: 0), group(4, advantage: 2)], step: 2)
        #expect(second.groups.map { $0.promptTokenIDs[0] } == [4, 1])
        #expect(second.groups[1] == group(1, advantage: 1))  // with the log-probs of the policy that wrote it
        #expect(second.metrics["replay/age"] == 2)
        #expect(second.metrics["replay/replaced"] == 0.5)
        let late = await buffer.exchange([group(5, advantage: 0), group(6, advantage: 0)], step: 5)
        #expect(late.groups.map { $0.promptTokenIDs[0] } == [4, 6])  // group 1 is 5 steps old and gone
    }

    /// Groups of a step that was given up were never kept: the step comes again and brings them itself.
    @Test func anAbandonedStepLeavesTheBufferAsItWas() async throws {
        let buffer = ReplayBuffer(capacity: 1, maxAge: 3, seed: 1)
        _ = await buffer.exchange([group(1, advantage: 1)], step: 0)
        await buffer.mark()
        _ = await buffer.exchange([group(2, advantage: 1)], step: 1)  // pushes the first out
        await buffer.rewind()
        let again = await buffer.exchange([group(2, advantage: 1), group(3, advantage: 0)], step: 1)
        #expect(again.groups.map { $0.promptTokenIDs[0] } == [2, 1])
    }

    @Test func drawsFollowTheWeightOfAdvantages() async throws {
        var counts = [0, 0, 0]
        for seed in 0..<400 {
            let buffer = ReplayBuffer(capacity: 8, maxAge: 9, seed: UInt64(seed))
            _ = await buffer.exchange(
                [group(0, advantage: 1), group(1, advantage: 2), group(2, advantage: 5)], step: 0)
            let drawn = await buffer.exchange([group(9, advantage: 0)], step: 1).groups[0].promptTokenIDs[0]
            counts[drawn] += 1
        }
        // expected 50, 100, 250; three standard deviations are 20, 26, 29
        #expect(abs(counts[0] - 50) < 20 && abs(counts[1] - 100) < 26 && abs(counts[2] - 250) < 29, "\(counts)")
    }

    @Test func aRestoredBufferGoesOnAlike() async throws {
        let folder = try TemporaryFolder()
        let buffer = ReplayBuffer(capacity: 2, maxAge: 9, seed: 3)
        _ = await buffer.exchange([group(1, advantage: 0.1), group(2, advantage: 1), group(3, advantage: 1)], step: 0)
        try await buffer.save(to: folder.url)
        let other = ReplayBuffer(capacity: 2, maxAge: 9, seed: 3)
        try await other.restore(from: folder.url)
        let dead = [group(7, advantage: 0), group(8, advantage: 0)]
        let (one, two) = (await buffer.exchange(dead, step: 1), await other.exchange(dead, step: 1))
        #expect(one.groups == two.groups)
        #expect(one.groups.map { $0.promptTokenIDs[0] }.sorted() == [2, 3])  // the oldest left when the buffer was full
    }
}
