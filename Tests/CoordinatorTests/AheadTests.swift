import Coordinator
import Credit
import Foundation
import Records
import TestSupport
import Testing

private let recipe = StepRecipe(
    method: "grpo", calls: [.generate(samplesPerPrompt: 2, greedy: false), .infer(.sampler), .credit, .train])

private func schedule(
    staleness: Int = 1, maxSteps: Int = 3, saveSteps: Int? = nil, _ dynamic: DynamicSampling? = nil
) -> StepSchedule {
    StepSchedule(
        promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: maxSteps, saveSteps: saveSteps,
        dynamicSampling: dynamic, maxStaleness: staleness)
}

extension StepReport {
    fileprivate var rows: [Int] { groups.map(\.group.prompt.prompt.row) }
    fileprivate var versions: [Int] { groups.map(\.group.policyVersion.number) }
}

@Suite("Sampling a step ahead")
struct AheadTests {
    private func run(
        _ world: World, _ schedule: StepSchedule, from progress: RunProgress = RunProgress(),
        ahead: RolloutsAhead? = nil, replay: ReplayBuffer? = nil, saver: (any Saving)? = nil,
        stop: StopSignal = StopSignal()
    ) async throws -> RunOutcome {
        var parts = try world.parts()
        parts.ahead = ahead
        parts.replay = replay
        if let saver { parts.saver = saver }
        return try await Coordinator(
            recipe: recipe, schedule: schedule, parts: parts, stop: stop, progress: progress
        ).run()
    }

    /// Each step's weights have one update more. The last step has no next one to sample for.
    @Test func theNextBatchIsSampledBeforeTheUpdate() async throws {
        let world = World()
        let outcome = try await run(world, schedule(saveSteps: 2))
        let sampling = ["generating", "scoring"]
        let training = ["updating", "train 4"]
        #expect(
            await world.log
                == sampling + sampling + training + sampling + training + ["saving"] + training + ["saving"])
        #expect(await world.generateSteps == [0, 1, 2])
        let reports = await world.reports
        #expect(reports.map(\.rows) == [[0, 1], [2, 3], [4, 5]])
        #expect(reports.map(\.versions) == [[0, 0], [0, 0], [1, 1]])
        #expect(reports.map { $0.metrics["staleness/steps"] } == [0, 1, 1])
        #expect(outcome == .finished(RunProgress(step: 3, rolloutStep: 3, tokens: 30, newestSince: 2)))
        #expect(await world.nextRow == 6)
    }

    @Test func withoutStalenessEachStepSamplesItsOwn() async throws {
        let world = World()
        let outcome = try await run(world, schedule(staleness: 0, saveSteps: 2))
        let step = ["generating", "scoring", "updating", "train 4"]
        #expect(await world.log == step + step + ["saving"] + step + ["saving"])
        #expect(await world.reports.map(\.versions) == [[0, 0], [1, 1], [2, 2]])
        #expect(await world.reports.allSatisfy { $0.metrics["staleness/steps"] == nil })
        #expect(outcome == .finished(RunProgress(step: 3, rolloutStep: 3, tokens: 30)))
    }

    /// Stamps one version too old: a step may be one behind, and that is two.
    @Test(arguments: [
        (0, CoordinatorError.stale(step: 2, sampledBy: .init(0), learnedBy: .init(1), bound: 0)),
        (1, CoordinatorError.stale(step: 3, sampledBy: .init(0), learnedBy: .init(2), bound: 1)),
    ])
    func aStampBeyondTheBoundEndsTheRun(_ staleness: Int, _ error: CoordinatorError) async throws {
        await #expect(throws: error) {
            _ = try await run(World(stampLag: 1), schedule(staleness: staleness))
        }
        #expect("\(error)".contains("max_staleness allows \(staleness) optimizer steps"))
    }

    /// Weights that are older than the batch cannot have sampled it.
    @Test func aBatchOfLaterWeightsIsNotLearnedFrom() async throws {
        await #expect(throws: CoordinatorError.stale(step: 1, sampledBy: .init(0), learnedBy: .init(-1), bound: 0)) {
            _ = try await run(World(version: -1), schedule())
        }
    }

    /// Keeps what a checkpoint after one step would.
    private actor Keeper: Saving {
        private let step: Int
        private let world: World
        private let ahead: RolloutsAhead
        private let folder: URL
        private(set) var kept: (progress: RunProgress, row: Int)?

        init(of step: Int, _ world: World, _ ahead: RolloutsAhead, _ folder: URL) {
            (self.step, self.world, self.ahead, self.folder) = (step, world, ahead, folder)
        }

        func save(_ progress: RunProgress, metrics: Metrics) async throws {
            guard progress.step == step else { return }
            try ahead.save(to: folder)
            kept = (progress, await world.nextRow)
        }
    }

    /// The position in the prompts stays before the batch that waits, which brings no prompts of its own.
    @Test func aResumedRunLearnsFromTheBatchOfItsCheckpoint() async throws {
        let folder = try TemporaryFolder()
        let (whole, ahead) = (World(), RolloutsAhead())
        let keeper = Keeper(of: 2, whole, ahead, folder.url)
        let outcome = try await run(whole, schedule(maxSteps: 4, saveSteps: 1), ahead: ahead, saver: keeper)
        let kept = try #require(await keeper.kept)
        #expect(kept.row == 4 && kept.progress.newestSince == 1)

        let (resumed, restored) = (World(firstRow: kept.row, version: 2), RolloutsAhead())
        try restored.restore(from: folder.url)
        let end = try await run(resumed, schedule(maxSteps: 4), from: kept.progress, ahead: restored)
        #expect(end == outcome)
        #expect(await resumed.generateSteps == [3])  // of the four batches the last alone
        let (batches, reports) = (await whole.batches.suffix(2), await whole.reports.suffix(2))
        #expect(await resumed.batches == Array(batches))
        #expect(await resumed.reports.map(\.groups) == reports.map(\.groups))
        #expect(await resumed.reports.map(\.versions) == [[1, 1], [2, 2]])
    }

    /// A run that did not sample ahead until now begins with a batch of its own weights.
    @Test func aCheckpointWithoutABatchIsGoneOnFrom() async throws {
        let folder = try TemporaryFolder()
        try RolloutsAhead().save(to: folder.url)
        let (world, restored) = (World(firstRow: 4, version: 2), RolloutsAhead())
        try restored.restore(from: folder.url)
        let outcome = try await run(
            world, schedule(maxSteps: 4), from: RunProgress(step: 2, rolloutStep: 2, tokens: 20), ahead: restored)
        #expect(outcome == .finished(RunProgress(step: 4, rolloutStep: 4, tokens: 40, newestSince: 3)))
        #expect(await world.reports.map(\.versions) == [[2, 2], [2, 2]])
    }

    /// Two prompts a step became three: the batch that waits is none of the job's any more.
    @Test func aBatchOfOtherPromptsIsRefused() async throws {
        let (folder, ahead) = (try TemporaryFolder(), RolloutsAhead())
        let world = World()
        let keeper = Keeper(of: 1, world, ahead, folder.url)
        _ = try await run(world, schedule(saveSteps: 1), ahead: ahead, saver: keeper)
        let progress = try #require(await keeper.kept).progress
        for (row, prompts) in [(2, 3), (3, 2)] {
            let restored = RolloutsAhead()
            try restored.restore(from: folder.url)
            var other = schedule()
            other.promptsPerStep = prompts
            await #expect(throws: CoordinatorError.foreignBatch(step: 2)) {
                _ = try await run(World(firstRow: row, version: 1), other, from: progress, ahead: restored)
            }
        }
    }

    /// The second step is stopped while it samples for the third: the batch it was to learn from still waits.
    @Test func aStopWhileSamplingAheadLeavesTheWaitingBatch() async throws {
        let (folder, ahead, stop) = (try TemporaryFolder(), RolloutsAhead(), StopSignal())
        let world = World(stopAt: (.generate, step: 2), signal: stop)
        let reached = RunProgress(step: 1, rolloutStep: 1, tokens: 10, newestSince: 0)
        #expect(try await run(world, schedule(), ahead: ahead, stop: stop) == .stopped(reached))
        #expect(await world.saves == [reached])
        #expect(await world.nextRow == 2)
        try ahead.save(to: folder.url)
        let (resumed, restored) = (World(firstRow: 2, version: 1), RolloutsAhead())
        try restored.restore(from: folder.url)
        let outcome = try await run(resumed, schedule(), from: reached, ahead: restored)
        #expect(outcome == .finished(RunProgress(step: 3, rolloutStep: 3, tokens: 30, newestSince: 2)))
        #expect(await resumed.generateSteps == [2])
        #expect(await resumed.reports.map(\.rows) == [[2, 3], [4, 5]])
    }

    /// As without staleness: waves of rows 0 1 | 2 3, of which 0 and 3 differ, then 4 5 | 6 7 | 8 9: 6 and 9.
    @Test func wavesAreSampledAheadToo() async throws {
        let world = World(liveRows: 3)
        let outcome = try await run(world, schedule(maxSteps: 2, DynamicSampling(reward: 0)))
        let reports = await world.reports
        #expect(reports.map(\.rows) == [[0, 3], [6, 9]] && reports.map(\.versions) == [[0, 0], [0, 0]])
        #expect(reports.map { $0.metrics["dynamic_sampling/waves"] } == [2, 3])
        #expect(await world.generateSteps == [0, 1, 2, 3, 4])
        #expect(outcome == .finished(RunProgress(step: 2, rolloutStep: 5, tokens: 20, newestSince: 1)))
    }

    /// Every even row teaches. What step 2 learns from was written before the first update, as what step 1 did: both are
    /// two updates old in step 3.
    @Test func whatIsReplayedIsAsOldAsTheWeightsThatWroteIt() async throws {
        let world = World(liveRows: 2)
        _ = try await run(world, schedule(), replay: ReplayBuffer(capacity: 4, seed: 1))
        #expect(await world.reports.map { $0.metrics["replay/age"] } == [nil, 1, 2])
    }

    /// A step of two optimizer steps: the last batch is the one that reaches the end.
    @Test func nothingIsSampledBeyondTheLastStep() async throws {
        let world = World()
        var longer = schedule(maxSteps: 4)
        (longer.completionsPerOptimizerStep, longer.optimizerStepsPerRollout) = (2, 2)
        _ = try await run(world, longer)
        #expect(await world.generateSteps == [0, 1])
        #expect(await world.reports.map { $0.metrics["staleness/steps"] } == [0, 2])
        #expect(await world.log.filter { $0.hasPrefix("train") } == Array(repeating: "train 2", count: 4))
    }

    /// The second optimizer step of the first batch breaks, once: what goes on from there has the second batch, which is
    /// as old as that step.
    @Test func aBatchWaitsBehindAStepThatBreaks() async throws {
        let (folder, ahead) = (try TemporaryFolder(), RolloutsAhead())
        let world = World(trainFailsAt: 1)
        var longer = schedule(maxSteps: 4)
        (longer.completionsPerOptimizerStep, longer.optimizerStepsPerRollout) = (2, 2)
        await #expect(throws: World.UpdaterBroke.self) { _ = try await run(world, longer, ahead: ahead) }
        let reached = RunProgress(step: 1, rolloutStep: 1, tokens: 5, newestSince: 0)
        #expect(await world.saves == [reached])
        try ahead.save(to: folder.url)
        let (resumed, restored) = (World(firstRow: 2, version: 1), RolloutsAhead())
        try restored.restore(from: folder.url)
        _ = try await run(resumed, longer, from: reached, ahead: restored)
        #expect(await resumed.reports.map { $0.metrics["staleness/steps"] } == [1, 2])
        #expect(await resumed.reports.map(\.rows) == [[2, 3], [4, 5]])
    }

    @Test(arguments: [
        StepRecipe(method: "sft", calls: [.demonstrate, .train]),
        StepRecipe(
            method: "grpo", calls: recipe.calls, interlude: .init(share: 0.5, calls: [.demonstrate, .train])),
        StepRecipe(method: "amft", calls: recipe.calls, warmup: .init(steps: 1, calls: [.demonstrate, .train])),
    ])
    func otherRecipesAreRefused(_ recipe: StepRecipe) throws {
        #expect(throws: CoordinatorError.cannotSampleAhead(recipe: recipe.words)) {
            _ = try Coordinator(recipe: recipe, schedule: schedule(), parts: World().parts(), stop: StopSignal())
        }
    }
}
