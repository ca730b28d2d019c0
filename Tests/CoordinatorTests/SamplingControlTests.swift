import Coordinator
import Credit
import Foundation
import Records
import TestSupport
import Testing

@Suite("Dynamic sampling and replay")
struct SamplingControlTests {
    private let recipe = StepRecipe(
        method: "grpo",
        calls: [.generate(samplesPerPrompt: 2, greedy: false), .infer(.sampler), .credit, .train])

    /// Rows that divide by `live` have completions with different rewards.
    private func run(
        live: Int, maxWaves: Int? = 10, exhausted: DynamicSampling.Exhausted = .fail, steps: Int = 2
    ) async throws -> (world: World, outcome: RunOutcome) {
        let world = World(liveRows: live)
        let schedule = StepSchedule(
            promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: steps,
            dynamicSampling: DynamicSampling(reward: 0, maxWaves: maxWaves, exhausted: exhausted))
        let coordinator = try Coordinator(recipe: recipe, schedule: schedule, parts: world.parts(), stop: StopSignal())
        return (world, try await coordinator.run())
    }

    @Test func wavesGoOnUntilEnoughGroupsDiffer() async throws {
        // Waves of rows 0 1 | 2 3 | 4 5: rows 0 and 3 differ, so the first step takes two waves. Then 4 5 | 6 7 | 8 9:
        // 6, 9.
        let (world, outcome) = try await run(live: 3)
        let reports = await world.reports
        #expect(reports.map { $0.groups.map(\.group.prompt.prompt.row) } == [[0, 3], [6, 9]])
        #expect(reports.map { $0.metrics["dynamic_sampling/waves"] } == [2, 3])
        #expect(reports.map { $0.metrics["dynamic_sampling/kept"] } == [0.5, 1.0 / 3])
        #expect(reports[0].metrics["dynamic_sampling/reward"] == (0.5 + 1 + 1 + 0.5) / 4)
        #expect(outcome == .finished(RunProgress(step: 2, rolloutStep: 5, tokens: 20)))  // each wave has its own draws
    }

    /// The first step's waves are rows 0 1 | 2 3, of which it learns from 0 and 3: a controller sees what the policy
    /// wrote, not a choice of it.
    @Test func controllersSeeWhatIsLeftOutToo() async throws {
        let world = World(liveRows: 3)
        var parts = try world.parts()
        parts.controllers = RewardControllers([Watcher()])
        let schedule = StepSchedule(
            promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 1, dynamicSampling: DynamicSampling(reward: 0))
        _ = try await Coordinator(recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal()).run()
        let watcher = try #require(parts.controllers.bank.controllers[0] as? Watcher)
        #expect(watcher.state.rows.map { $0.sorted() } == [[0, 1, 2, 3]])
        #expect(await world.reports[0].groups.map(\.group.prompt.prompt.row) == [0, 3])
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

    /// Of rows 0 1 | 2 3 | … | 50 51 the first and row 50 differ: the 26th wave.
    @Test func wavesMayBeWithoutLimit() async throws {
        let world = try await run(live: 50, maxWaves: nil, steps: 1).world
        let report = try #require(await world.reports.first)
        #expect(report.groups.map(\.group.prompt.prompt.row) == [0, 50])
        #expect(report.metrics["dynamic_sampling/waves"] == 26)
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

    /// One of a group's completions may be a greedy one or a demonstration.
    @Test func whatCompletionsAreComparedWithHasASay() {
        let prompt = TokenizedPrompt(prompt: Prompt(row: 0, source: "test", content: .text("?")), tokenIDs: [1])
        let group = RolloutGroup(prompt: prompt, rollouts: [], policyVersion: PolicyVersion(0))
        func keeps(_ own: [Double], greedy: Double? = nil, demonstration: Double? = nil) -> Bool {
            DynamicSampling(reward: 0).keeps(
                ScoredGroup(
                    group: group, scores: own.map { [.value($0)] }, greedyScores: greedy.map { [.value($0)] },
                    demonstrationScores: demonstration.map { [.value($0)] }))
        }
        #expect(keeps([0, 0, 0], demonstration: 1))
        #expect(!keeps([0, 0, 0], demonstration: 0) && !keeps([0, 0, 0]))
        #expect(keeps([0], demonstration: 1) && !keeps([0], demonstration: 0) && keeps([0]))
        #expect(keeps([1, 1], greedy: 0) && !keeps([1, 1], greedy: 1))
    }

    /// All completions score 1. Beside a demonstration of 0 every group differs, beside one of 1 none does. Each
    /// demonstration is scored once.
    @Test func aDemonstrationThatStandsInTheGroupIsScoredBeforeItIsChosen() async throws {
        let recipe = StepRecipe(
            method: "luffy",
            calls: [.generate(samplesPerPrompt: 2, greedy: false), .demonstrate, .infer(.sampler), .credit, .train])
        func run(_ score: Double) async throws -> World {
            let world = World(demonstrationScore: score)
            let schedule = StepSchedule(
                promptsPerStep: 2, completionsPerOptimizerStep: 6, maxSteps: 1,
                dynamicSampling: DynamicSampling(reward: 0, maxWaves: 2))
            _ = try await Coordinator(
                recipe: recipe, schedule: schedule, parts: world.parts(imitating: true), stop: StopSignal()
            ).run()
            return world
        }
        let world = try await run(0)
        let report = try #require(await world.reports.first)
        #expect(report.groups.map(\.group.prompt.prompt.row) == [0, 1])
        #expect(report.metrics["frac_reward_zero_std"] == 0 && report.metrics["demonstrations/reward"] == 0)
        #expect(await world.scored == 4)
        await #expect(throws: CoordinatorError.tooFewLiveGroups(kept: 0, wanted: 2, waves: 2, reward: "one")) {
            _ = try await run(1)
        }
    }

    // MARK: Replay

    /// Of rows 0 1 | 2 3 only row 0 has completions that differ; the sampler's log-probs are −(row + 1)/8.
    @Test func replayedCompletionsAreTrainedWithTheLogProbsTheyWereWrittenWith() async throws {
        let world = World(liveRows: 50)
        var parts = try world.parts()
        parts.replay = ReplayBuffer(capacity: 4, seed: 1)
        parts.controllers = RewardControllers([Watcher()])
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2)
        _ = try await Coordinator(recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal()).run()
        let batches = await world.batches
        #expect(batches.map { $0.groups.map(\.promptTokenIDs) } == [[[0], [1]], [[0], [3]]])
        let old = batches[1].groups.map { $0.completions.map(\.oldLogProbabilities) }
        #expect(old == [[[-0.125, -0.125], [-0.125, -0.125]], [[-0.5, -0.5], [-0.5, -0.5]]])
        var again = batches[0].groups[0]
        for index in again.completions.indices { again.completions[index].isReplayed = true }
        #expect(batches[1].groups[0] == again)
        #expect(!batches[0].hasReplayed && batches[1].hasReplayed)
        #expect(await world.reports[1].metrics["replay/age"] == 1)
        let watcher = try #require(parts.controllers.bank.controllers[0] as? Watcher)
        #expect(watcher.state.rows == [[0, 1], [2, 3]])  // a controller never sees what is replayed
    }

    /// Of rows 0 1 | 2 3 only row 0 teaches; a prompt of one token and its two completions of two are a mini-batch. Row
    /// 0's come again in place of row 2's, and nothing stands in for rows 1 and 3: the second mini-batch of each step
    /// is no step of the optimizer, and one of the schedule. Tokens read: 5 + 5.
    @Test func aMiniBatchInWhichNothingTeachesTakesNoOptimizerStep() async throws {
        for replay in [ReplayBuffer(capacity: 4, seed: 1), nil] {
            let world = World(liveRows: 50)
            var parts = try world.parts()
            parts.replay = replay
            let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 2, maxSteps: 4)
            let coordinator = try Coordinator(recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal())
            let outcome = try await coordinator.run()
            let tokens = replay == nil ? 4 * 5 : 2 * 5
            #expect(outcome == .finished(RunProgress(step: 4, rolloutStep: 2, tokens: tokens)))
            let sizes = replay == nil ? [2, 2, 2, 2] : [2, 0, 2, 0]
            #expect(await world.batches.map(\.completionCount) == sizes)
            let empty: [Double?] = replay == nil ? [nil, nil] : [1, 1]
            #expect(await world.reports.map { $0.metrics["empty_steps"] } == empty)
        }
    }

    /// A prompt's completions with an advantage each, and their number behind the prompt's as tokens.
    private func group(_ prompt: Int, _ advantages: [Double]) -> UpdateGroup {
        UpdateGroup(
            promptTokenIDs: [prompt],
            completions: advantages.enumerated().map { index, advantage in
                UpdateCompletion(
                    tokenIDs: [prompt, index], advantages: [[advantage, advantage]],
                    oldLogProbabilities: [-0.5, -Float(index)])
            })
    }

    private func exchange(_ buffer: ReplayBuffer, _ groups: [UpdateGroup], step: Int) async -> ReplayBuffer.Exchange {
        await buffer.exchange(UpdatePart(.rollouts, groups), step: step)
    }

    /// Prompt and number of each completion, in order.
    private func rows(_ exchange: ReplayBuffer.Exchange) -> [[Int]] {
        exchange.part.groups.flatMap(\.completions).map(\.tokenIDs)
    }

    @Test func completionsWithoutAnAdvantageAreReplacedByKeptOnes() async throws {
        let buffer = ReplayBuffer(capacity: 8, maxAge: 3, seed: 1)
        let first = await exchange(buffer, [group(1, [1, 0]), group(2, [0, 0])], step: 0)
        #expect(rows(first) == [[1, 0], [1, 1], [2, 0], [2, 1]])  // nothing is kept yet
        let second = await exchange(buffer, [group(3, [0, 2, 0]), group(4, [1])], step: 2)
        // in place of the first dead one, among what is fresh: behind its group's own, before the next group
        #expect(rows(second) == [[3, 1], [3, 2], [1, 0], [4, 0]])
        #expect(second.part.groups.map(\.promptTokenIDs) == [[3], [1], [4]])
        var written = group(1, [1, 0]).completions[0]
        written.isReplayed = true
        #expect(second.part.groups[1].completions == [written])  // as it was written
        #expect(second.metrics["replay/age"] == 2)
        #expect(second.metrics["replay/replaced"] == 0.25)
        let late = await exchange(buffer, [group(5, [0, 0, 0])], step: 5)
        #expect(rows(late) == [[5, 2], [3, 1], [4, 0]])  // the one of step 0 is 5 steps old and gone
    }

    @Test func itLeavesAfterTwoOptimizerStepsUnlessToldOtherwise() async throws {
        let buffer = ReplayBuffer(capacity: 8, seed: 1)
        _ = await exchange(buffer, [group(1, [1])], step: 4)
        let second = await exchange(buffer, [group(2, [0])], step: 6)
        #expect(rows(second) == [[1, 0]])
        let third = await exchange(buffer, [group(3, [0])], step: 7)
        #expect(rows(third) == [[3, 0]])
    }

    /// What is masked has an advantage and trains nothing: it is replaced and is not kept.
    @Test func aMaskedCompletionTeachesNothing() async throws {
        let buffer = ReplayBuffer(capacity: 8, seed: 1)
        var masked = group(1, [1, 3])
        masked.completions[1].isMasked = true
        _ = await exchange(buffer, [masked], step: 0)
        let next = await exchange(buffer, [masked], step: 1)
        #expect(rows(next) == [[1, 0], [1, 0]])
        #expect(next.metrics["replay/size"] == 1)
    }

    /// Completions of a step that was given up were never kept: the step comes again and brings them itself.
    @Test func anAbandonedStepLeavesTheBufferAsItWas() async throws {
        let buffer = ReplayBuffer(capacity: 1, maxAge: 3, seed: 1)
        _ = await exchange(buffer, [group(1, [1])], step: 0)
        await buffer.mark()
        _ = await exchange(buffer, [group(2, [1])], step: 1)  // pushes the first out
        await buffer.rewind()
        let again = await exchange(buffer, [group(2, [1]), group(3, [0])], step: 1)
        #expect(rows(again) == [[2, 0], [1, 0]])
    }

    /// Expected of 400 draws over 1, 2 and 5: shares of 1/8, 2/8, 5/8, and of their squares, 1/30, 4/30, 25/30.
    @Test(arguments: [(1.0, [50.0, 100, 250]), (2.0, [13.3, 53.3, 333.3])])
    func drawsFollowTheAdvantageOfEachCompletionToThePower(_ alpha: Double, _ expected: [Double]) async throws {
        var counts = [0.0, 0, 0]
        for seed in 0..<400 {
            let buffer = ReplayBuffer(capacity: 8, maxAge: 9, alpha: alpha, seed: UInt64(seed))
            _ = await exchange(buffer, [group(0, [1, -2]), group(1, [5])], step: 0)
            let drawn = rows(await exchange(buffer, [group(9, [0])], step: 1))[0]
            counts[drawn == [0, 0] ? 0 : drawn == [0, 1] ? 1 : 2] += 1
        }
        for (count, expected) in zip(counts, expected) {
            let deviation = (expected * (1 - expected / 400)).squareRoot()
            #expect(abs(count - expected) < 3 * deviation, "\(counts)")
        }
    }

    /// However small all advantages are, the first draw has the shares 1/10, 2/10, 3/10 and 4/10: of 400 draws 40, 80,
    /// 120 and 160.
    @Test(arguments: [1e-4, 1e-200]) func drawsFollowTheSharesOfTinyAdvantages(_ size: Double) async throws {
        var counts = [0.0, 0, 0, 0]
        for seed in 0..<400 {
            let buffer = ReplayBuffer(capacity: 8, maxAge: 9, seed: UInt64(seed))
            _ = await exchange(buffer, [group(0, [size, -2 * size, 3 * size, -4 * size])], step: 0)
            let drawn = rows(await exchange(buffer, [group(9, [0])], step: 1))[0]
            counts[drawn[1]] += 1
        }
        for (count, share) in zip(counts, [0.1, 0.2, 0.3, 0.4]) {
            let deviation = (400 * share * (1 - share)).squareRoot()
            #expect(abs(count - 400 * share) < 3 * deviation, "\(counts)")
        }
    }

    /// 1e-200 squared is 0: it waits for what has a weight.
    @Test func aWeightOfZeroIsTheLeast() async throws {
        for seed in 0..<20 {
            let buffer = ReplayBuffer(capacity: 8, maxAge: 9, alpha: 2, seed: UInt64(seed))
            _ = await exchange(buffer, [group(0, [1e-200, 1e-3])], step: 0)
            let one = await exchange(buffer, [group(9, [0])], step: 1)
            let both = await exchange(buffer, [group(9, [0, 0])], step: 2)
            #expect(rows(one) == [[0, 1]] && rows(both) == [[0, 0], [0, 1]])
        }
    }

    /// The size of an advantage is that of its streams' sum: 1 − 1 teaches nothing.
    @Test func theStreamsSumDecides() async throws {
        let buffer = ReplayBuffer(capacity: 8, seed: 1)
        func part(_ advantages: [[Double]]) -> UpdatePart {
            let completion = UpdateCompletion(tokenIDs: [1], advantages: advantages)
            return UpdatePart(
                .rollouts, [UpdateGroup(promptTokenIDs: [1], completions: [completion])], streamWeights: [1, 0.5])
        }
        _ = await buffer.exchange(part([[1], [-2]]), step: 0)
        #expect(await buffer.exchange(part([[1], [2]]), step: 0).metrics["replay/size"] == 0)
        #expect(await buffer.exchange(part([[1], [2]]), step: 0).metrics["replay/size"] == 1)
    }

    @Test func aRestoredBufferGoesOnAlike() async throws {
        let folder = try TemporaryFolder()
        let buffer = ReplayBuffer(capacity: 2, maxAge: 9, seed: 3)
        _ = await exchange(buffer, [group(1, [0.1]), group(2, [1, 1])], step: 0)
        try await buffer.save(to: folder.url)
        let other = ReplayBuffer(capacity: 2, maxAge: 9, seed: 3)
        try await other.restore(from: folder.url)
        let dead = [group(7, [0]), group(8, [0])]
        let one = await exchange(buffer, dead, step: 1)
        #expect(await exchange(other, dead, step: 1).part == one.part)
        #expect(rows(one) == [[2, 0], [2, 1]])  // the oldest left when the buffer was full
    }
}
