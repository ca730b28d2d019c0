import Coordinator
import Credit
import Records
import Testing

@Suite("A run that is cancelled or diverges keeps what is worth keeping")
struct CancellationTests {
    private let recipe = StepRecipe(
        method: "grpo", calls: [.generate(samplesPerPrompt: 2, greedy: false), .credit, .train])
    private let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 4, saveSteps: 2)

    private func coordinator(_ world: World, _ stop: StopSignal = StopSignal()) throws -> Coordinator {
        try Coordinator(recipe: recipe, schedule: schedule, parts: world.parts(), stop: stop)
    }

    /// Row 6 comes in the fourth step: three are done, two of them saved.
    @Test(arguments: [true, false])
    func aRewardThatTakesAnHourIsNotWaitedFor(_ isSignalled: Bool) async throws {
        let stop = StopSignal()
        let world = World(slowRow: 6)
        let coordinator = try coordinator(world, stop)
        let start = ContinuousClock.now
        let run = Task { try await coordinator.run() }
        while await !world.log.contains("slow") { await Task.yield() }
        if isSignalled { stop.request() }
        run.cancel()
        #expect(try await run.value == .stopped(RunProgress(step: 3, rolloutStep: 3, tokens: 30)))
        #expect(ContinuousClock.now - start < .seconds(1800))
        #expect(await world.saves.map(\.step) == [2, 3])
        #expect(await world.nextRow == 6)  // the abandoned step's prompts come again
    }

    /// A reward whose program was killed by the same Ctrl-C fails: the run is stopped, not broken.
    @Test func whatBreaksWhileTheRunIsStoppedIsNoFailure() async throws {
        let stop = StopSignal()
        let world = World(stopAt: (.generate, step: 1), signal: stop, rewardFailsAtRow: 2)
        #expect(try await coordinator(world, stop).run() == .stopped(RunProgress(step: 1, rolloutStep: 1, tokens: 10)))
        #expect(await world.saves.map(\.step) == [1])
    }

    /// Steps from 0: the third optimizer step leaves weights that are not finite.
    @Test func aDivergedRunSavesNothingMoreAndNamesTheLastGoodCheckpoint() async throws {
        let world = World(trainFailsAt: 3, trainFailure: NotFinite("the weights after an optimizer step"))
        let error = await #expect(throws: CoordinatorError.self) { _ = try await coordinator(world).run() }
        #expect(
            error
                == .diverged(
                    step: 4, NotFinite("the weights after an optimizer step", since: 4), lastGoodCheckpoint: 2))
        #expect(error?.description.contains("diverged at step 4") == true)
        #expect(error?.description.contains("the last good checkpoint is checkpoint-2") == true)
        #expect(await world.saves.map(\.step) == [2])
    }

    /// What is found late has a step of its own: a checkpoint from after it is not good.
    @Test func aDivergenceThatIsFoundLateNamesAnEarlierCheckpoint() async throws {
        let world = World(trainFailsAt: 3, trainFailure: NotFinite("the losses", since: 2))
        let error = await #expect(throws: CoordinatorError.self) { _ = try await coordinator(world).run() }
        #expect(error == .diverged(step: 2, NotFinite("the losses", since: 2), lastGoodCheckpoint: nil))
        #expect(error?.description.contains("there is no checkpoint from before") == true)
    }
}
