import Coordinator
import Credit
import Records
import Testing

@Suite("The Coordinator's order of work")
struct CoordinatorTests {
    private let recipe = StepRecipe(
        method: "grpo", calls: [.generate(samplesPerPrompt: 2, greedy: false), .score, .credit, .train])
    private let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 3, saveSteps: 2)

    private func coordinator(_ world: World, _ schedule: StepSchedule? = nil, stop: StopSignal = StopSignal()) throws
        -> Coordinator
    {
        try Coordinator(recipe: recipe, schedule: schedule ?? self.schedule, parts: world.parts(), stop: stop)
    }

    @Test func everyStepGeneratesScoresCreditsAndTrains() async throws {
        let world = World()
        let outcome = try await coordinator(world).run()
        #expect(outcome == .finished(RunProgress(step: 3, rolloutStep: 3, tokens: 3 * (2 * 1 + 4 * 2))))
        #expect(await world.log.filter { $0.hasPrefix("train") } == ["train 4", "train 4", "train 4"])
        #expect(await world.reports.map(\.step) == [1, 2, 3])
    }

    @Test func checkpointsComeOnTheirIntervalAndAtTheEnd() async throws {
        let world = World()
        _ = try await coordinator(world).run()
        #expect(await world.saves.map(\.step) == [2, 3])
    }

    @Test func groupsAreLearnedFromInPromptOrderWhateverTheOrderTheyEndIn() async throws {
        let world = World(reversesGroups: true)
        _ = try await coordinator(world).run()
        let rows = await world.reports.map { $0.groups.map(\.group.prompt.prompt.row) }
        #expect(rows == [[0, 1], [2, 3], [4, 5]])
    }

    @Test func scoringBeginsWhileOthersStillDecode() async throws {
        let world = World(holdsLastGroupUntilFirstIsScored: true)
        _ = try await coordinator(world, StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 1))
            .run()
        #expect(await world.reports.count == 1)  // ends only when the first group was scored before the last one came
    }

    @Test func aStopWhileGeneratingLeavesNoTraceAndSaves() async throws {
        let stop = StopSignal()
        let world = World(stopAt: (.generate, step: 1), signal: stop)
        let outcome = try await coordinator(world, stop: stop).run()
        #expect(outcome == .stopped(RunProgress(step: 1, rolloutStep: 1, tokens: 10)))
        #expect(await world.saves.map(\.step) == [1])
        #expect(await world.nextRow == 2)  // the abandoned step's prompts come again
    }

    /// A run resumed from another folder's checkpoint has none of its own: a stop before its first step must leave one.
    @Test(arguments: [(true, []), (false, [2])] as [(Bool, [Int])])
    func aStopInTheFirstStepAfterAResumeLeavesACheckpoint(_ isSaved: Bool, _ saves: [Int]) async throws {
        let stop = StopSignal()
        let world = World(stopAt: (.generate, step: 2), signal: stop)
        let coordinator = try Coordinator(
            recipe: recipe, schedule: schedule, parts: world.parts(), stop: stop,
            progress: RunProgress(step: 2, rolloutStep: 2, tokens: 20), isSaved: isSaved)
        #expect(try await coordinator.run() == .stopped(RunProgress(step: 2, rolloutStep: 2, tokens: 20)))
        #expect(await world.saves.map(\.step) == saves)
    }

    /// Two prompts a step, of which the rule keeps none: the updater hears of it, so that its schedule goes on.
    @Test func aStepWithNothingToLearnFromIsAStepOfTheSchedule() async throws {
        let world = World()
        var parts = try world.parts()
        parts.creditRule = BestOfGroup(rewards: try RewardCombination(names: ["one"]), threshold: 2)
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2)
        let outcome = try await Coordinator(recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal()).run()
        #expect(outcome == .finished(RunProgress(step: 2, rolloutStep: 2, tokens: 0)))
        #expect(await world.log.filter { $0.hasPrefix("train") } == ["train 0", "train 0"])
        #expect(await world.reports.map { $0.metrics["empty_steps"] } == [1, 1])
    }

    /// β of a checkpoint belongs to a controller; without one it is the job's again.
    @Test func aMovedCoefficientNeedsItsController() async throws {
        let world = World()
        var parts = try world.parts()
        parts.creditRule = PlainReward(
            rewards: try RewardCombination(names: ["one"]), penalty: try KLToGo(coefficient: 0.5, reach: .oneStep))
        var progress = RunProgress()
        progress.klCoefficient = 4
        let recipe = StepRecipe(
            method: "reinforce",
            calls: [.generate(samplesPerPrompt: 2, greedy: false), .score, .infer(.reference), .credit, .train])
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 1)
        _ = try await Coordinator(
            recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal(), progress: progress
        ).run()
        // log π − log π_ref = −1/8 + 1 of row 0; 1 − 0.5·0.875
        #expect(await world.batches[0].groups[0].completions[0].advantages == [0.5625, 0.5625])
    }

    @Test func aStopWhileTrainingTheFirstBatchAbandonsTheStep() async throws {
        let stop = StopSignal()
        let world = World(stopAt: (.train, step: 1), signal: stop)
        let outcome = try await coordinator(world, stop: stop).run()
        #expect(outcome == .stopped(RunProgress(step: 1, rolloutStep: 1, tokens: 10)))
        #expect(await world.nextRow == 2)
    }

    @Test func aStopAfterTheFirstOptimizerStepFinishesTheRollouts() async throws {
        let stop = StopSignal()
        let world = World(stopAt: (.secondTrain, step: 0), signal: stop)
        var schedule = schedule
        schedule.completionsPerOptimizerStep = 2
        schedule.maxSteps = 6
        let outcome = try await coordinator(world, schedule, stop: stop).run()
        #expect(outcome == .stopped(RunProgress(step: 2, rolloutStep: 1, tokens: 10)))
        #expect(await world.saves.map(\.step) == [2])
    }

    @Test func aFailingRewardEndsTheRunWithWhatWasReachedSaved() async throws {
        let world = World(rewardFailsAtRow: 4)
        await #expect(throws: World.RewardBroke.self) { _ = try await coordinator(world).run() }
        #expect(await world.saves.map(\.step) == [2])
        #expect(await world.nextRow == 4)
    }

    @Test func severalIterationsTakeSeveralOptimizerSteps() async throws {
        let world = World()
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 2, iterations: 2, maxSteps: 5)
        let outcome = try await coordinator(world, schedule).run()
        #expect(await world.log.filter { $0 == "train 2" }.count == 5)  // 4 of the first rollouts, 1 of the second
        guard case .finished(let progress) = outcome else { return #expect(Bool(false), "\(outcome)") }
        #expect(progress.step == 5 && progress.rolloutStep == 2)
    }

    @Test func aRecipeWithoutItsPartIsRefused() throws {
        var parts = try World().parts()
        parts.scorer = nil
        #expect(throws: CoordinatorError.missingPart("scorer", call: "generate")) {
            try Coordinator(recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal())
        }
    }

    /// 3 + 1 completions in batches of 2: the first group is cut, the last batch holds what is left of both.
    @Test func batchesCutGroupsBetweenCompletions() {
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 2, maxSteps: 1)
        let completions = (0..<4).map { UpdateCompletion(tokenIDs: [$0]) }
        let batches = schedule.optimizerBatches([
            UpdateGroup(promptTokenIDs: [9], completions: Array(completions[..<3])),
            UpdateGroup(promptTokenIDs: [8], completions: Array(completions[3...])),
        ])
        #expect(batches.map { $0.groups.map(\.promptTokenIDs) } == [[[9]], [[9], [8]]])
        #expect(batches.map { $0.groups.flatMap(\.completions).map(\.tokenIDs) } == [[[0], [1]], [[2], [3]]])
    }

    /// 3 + 2 + 3 completions, numbered, in batches of 3.
    @Test func shuffledBatchesTakeEveryCompletionOnceAndKeepPromptsTogether() {
        var number = 0
        let groups = [3, 2, 3].enumerated().map { prompt, count in
            UpdateGroup(
                promptTokenIDs: [prompt],
                completions: (0..<count).map { _ in
                    number += 1
                    return UpdateCompletion(tokenIDs: [number - 1])
                })
        }
        func batches(step: Int, pass: Int, seed: UInt64? = 5) -> [[Int]] {
            let schedule = StepSchedule(
                promptsPerStep: 3, completionsPerOptimizerStep: 3, maxSteps: 1, shuffleSeed: seed)
            let batches = schedule.optimizerBatches(groups, rolloutStep: step, pass: pass)
            for batch in batches {
                let prompts = batch.groups.map { $0.promptTokenIDs[0] }
                #expect(prompts == Set(prompts).sorted())
                for group in batch.groups {
                    let own = [0..<3, 3..<5, 5..<8][group.promptTokenIDs[0]]
                    #expect(group.completions.allSatisfy { own.contains($0.tokenIDs[0]) })
                }
            }
            return batches.map { $0.groups.flatMap(\.completions).map { $0.tokenIDs[0] } }
        }
        var firsts = [Int](repeating: 0, count: 8)
        for step in 0..<400 {
            let found = batches(step: step, pass: 1)
            #expect(found.map(\.count) == [3, 3, 2] && found.joined().sorted() == Array(0..<8))
            for place in found[0] { firsts[place] += 1 }
        }
        // each stands in the first batch 3 times in 8: 150, three standard deviations are 29
        #expect(firsts.allSatisfy { abs($0 - 150) < 29 }, "\(firsts)")
        #expect(batches(step: 2, pass: 0) == batches(step: 2, pass: 0))
        #expect(batches(step: 2, pass: 0) != batches(step: 2, pass: 1))
        #expect(batches(step: 2, pass: 0) != batches(step: 3, pass: 0))
        #expect(batches(step: 2, pass: 0) != batches(step: 2, pass: 0, seed: 6))
        #expect(batches(step: 2, pass: 0, seed: nil) == [[0, 1, 2], [3, 4, 5], [6, 7]])
    }

    /// Eight prompts of two completions, two passes of four batches each.
    @Test func everyPassDrawsItsOwnBatches() async throws {
        let world = World()
        let schedule = StepSchedule(
            promptsPerStep: 8, completionsPerOptimizerStep: 4, iterations: 2, maxSteps: 8, shuffleSeed: 3)
        _ = try await coordinator(world, schedule).run()
        let prompts = await world.batches.map { batch in
            batch.groups.flatMap { group in group.completions.map { _ in group.promptTokenIDs[0] } }
        }
        #expect(prompts.map(\.count) == [Int](repeating: 4, count: 8))
        let inOrder = (0..<16).map { $0 / 2 }
        #expect(prompts[..<4].joined().sorted() == inOrder && prompts[4...].joined().sorted() == inOrder)
        #expect(Array(prompts[..<4]) != Array(prompts[4...]))
        #expect(Array(prompts[..<4].joined()) != inOrder)
    }
}
