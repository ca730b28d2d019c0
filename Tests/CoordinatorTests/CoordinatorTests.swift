import Coordinator
import Credit
import Foundation
import Records
import TestSupport
import Testing

@Suite("The Coordinator's order of work")
struct CoordinatorTests {
    private let recipe = StepRecipe(
        method: "grpo", calls: [.generate(samplesPerPrompt: 2, greedy: false), .credit, .train])
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
        #expect(await world.savedSteps == [2, 3])  // what the observer has added ranks them, too
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
        parts.creditRule = BestOfGroup(rewards: RewardCombination(names: ["one"]), threshold: 2)
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2)
        let outcome = try await Coordinator(recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal()).run()
        #expect(outcome == .finished(RunProgress(step: 2, rolloutStep: 2, tokens: 0)))
        #expect(await world.log.filter { $0.hasPrefix("train") } == ["train 0", "train 0"])
        #expect(await world.reports.map { $0.metrics["empty_steps"] } == [1, 1])
    }

    /// The updater takes no step on masked completions, whose batch it is given all the same for its denominators.
    @Test func aStepWhoseCompletionsAreAllMaskedIsCountedAsEmpty() async throws {
        let world = World(truncates: true)
        var parts = try world.parts()
        parts.creditRule = GroupBaseline(
            rewards: RewardCombination(names: ["one"]), settings: GroupBaselineSettings(), overlong: .mask)
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2)
        _ = try await Coordinator(recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal()).run()
        #expect(await world.log.filter { $0.hasPrefix("train") } == ["train 4", "train 4"])
        #expect(await world.reports.map { $0.metrics["empty_steps"] } == [1, 1])
    }

    /// Rows 0 1 | 2 3 | 4 5, two completions each.
    @Test func completionsWithoutATokenAreCounted() async throws {
        let world = World(emptyRow: 2)
        _ = try await coordinator(world).run()
        #expect(await world.reports.map { $0.metrics["rollout/empty"] } == [0, 2, 0])
        #expect(await world.reports[1].metrics["completions/min_length"] == 0)
    }

    private let penalized = StepRecipe(
        method: "reinforce",
        calls: [.generate(samplesPerPrompt: 2, greedy: false), .infer(.reference), .credit, .train])

    private func penalizedParts(_ world: World, _ controllers: [any RewardController]) throws -> Coordinator.Parts {
        var parts = try world.parts()
        parts.creditRule = PlainReward(
            rewards: RewardCombination(names: ["one"]), penalty: KLToGo(coefficient: 0.5, reach: .oneStep))
        parts.controllers = RewardControllers(controllers)
        return parts
    }

    /// log π − log π_ref is −1/8 + 1 of row 0 and −2/8 + 1 of row 1. With β of the rule 1 − 0.5·0.875; with the
    /// controller's, 4, 1 − 4·0.875.
    @Test(arguments: [(nil, 0.5625), (4, -2.5)] as [(Double?, Double)])
    func theCoefficientIsTheControllersOrTheRules(_ initial: Double?, _ expected: Double) async throws {
        let world = World()
        let controllers = initial.map { AdaptiveKL(initial: $0, target: 0.8125, horizon: 4) }
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 1)
        _ = try await Coordinator(
            recipe: penalized, schedule: schedule, parts: penalizedParts(world, [controllers].compactMap { $0 }),
            stop: StopSignal()
        ).run()
        let part = await world.batches[0].parts[0]
        #expect(part.groups[0].completions[0].mixedAdvantages(part.streamWeights) == [expected, expected])
        #expect(await world.reports[0].metrics["kl_coefficient"] == initial)
    }

    /// A target far below the distance: each step of four completions over a horizon of four moves β by a fifth.
    @Test func aRunThatGoesOnHasTheControllersOfItsCheckpoint() async throws {
        let folder = try TemporaryFolder()
        let controller = AdaptiveKL(initial: 1, target: 0.1, horizon: 4)
        let first = World()
        let parts = try penalizedParts(first, [controller])
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2)
        _ = try await Coordinator(recipe: penalized, schedule: schedule, parts: parts, stop: StopSignal()).run()
        #expect(await first.reports.map { $0.metrics["kl_coefficient"] } == [1, 1.2])
        try parts.controllers.save(to: folder.url)
        #expect(FileManager.default.fileExists(atPath: folder.url.appending(path: "adaptive_kl.json").path))

        let second = World()
        let resumed = try penalizedParts(second, [controller])
        try resumed.controllers.restore(from: folder.url)
        var longer = schedule
        longer.maxSteps = 3
        _ = try await Coordinator(
            recipe: penalized, schedule: longer, parts: resumed, stop: StopSignal(),
            progress: RunProgress(step: 2, rolloutStep: 2)
        ).run()
        #expect(await second.reports[0].metrics["kl_coefficient"] == 1.2 * 1.2)
    }

    /// A controller that sleeps twice: the time is its own, and part of the step's.
    private struct Sleeper: RewardController {
        static let seconds = 0.02
        let name = "sleeper"
        var state = false
        func weights(at step: Int) -> StreamWeights { StreamWeights() }
        mutating func observe(_ step: ObservedStep) -> ControllerUpdate? {
            Thread.sleep(forTimeInterval: Self.seconds)
            return ControllerUpdate()
        }
        mutating func prepare(for batch: CreditBatch, _ rewards: RewardCombination) -> ControllerUpdate? {
            // The groups of the step, before they are credited.
            precondition(batch.groups.count == 2 && rewards.names == ["one"])
            Thread.sleep(forTimeInterval: Self.seconds)
            return ControllerUpdate(note: "prepared")
        }
    }

    @Test func whatControllersTakeIsTold() async throws {
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 1)
        func report(_ controllers: [any RewardController]) async throws -> StepReport {
            let world = World()
            _ = try await Coordinator(
                recipe: penalized, schedule: schedule, parts: penalizedParts(world, controllers), stop: StopSignal()
            ).run()
            return await world.reports[0]
        }
        let (slow, none) = (try await report([Sleeper()]), try await report([]))
        let seconds = try #require(slow.metrics["timing_s/controllers"])
        #expect(seconds >= 2 * Sleeper.seconds && seconds <= slow.metrics["step_time"] ?? 0)
        #expect(slow.notes.contains("prepared"))
        #expect(none.metrics["timing_s/controllers"] != nil && none.notes.isEmpty)
    }

    @Test func aControllerThatCannotUseAStepIsCounted() async throws {
        let folder = try TemporaryFolder()
        let parts = try penalizedParts(World(), [Watcher(refuses: true)])
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2)
        _ = try await Coordinator(recipe: penalized, schedule: schedule, parts: parts, stop: StopSignal()).run()
        #expect(parts.controllers.bank.skippedUpdates == ["watcher": 2])
        try parts.controllers.save(to: folder.url)
        let other = RewardControllers([Watcher(refuses: true)])
        try other.restore(from: folder.url)
        #expect(other.bank.skippedUpdates == ["watcher": 2])
        try FileManager.default.removeItem(at: folder.url.appending(path: "watcher.json"))
        let untouched = RewardControllers([Watcher(refuses: true)])
        #expect(throws: (any Error).self) { try untouched.restore(from: folder.url) }
        #expect(untouched.bank.skippedUpdates == [:])
    }

    /// Puts something else in place of every completion, with a score that no reward gave.
    private struct Shaping: Rethinking {
        func rethink(_ groups: [ScoredGroup], step: Int, stop: StopSignal) -> RethoughtGroups {
            var shaped = RethoughtGroups(groups: groups)
            for group in shaped.groups.indices {
                for index in shaped.groups[group].group.rollouts.indices {
                    shaped.groups[group].group.rollouts[index].completion.text = "x wait"
                    shaped.groups[group].scores[index] = [.value(9)]
                }
            }
            return shaped
        }
    }

    /// Notes the texts it was shown, and what stands beside each other in groups.
    private struct Reader: RewardController {
        struct State: Codable, Sendable, Equatable {
            var texts: [String] = []
            var scores: [[Double?]] = []
        }
        let name = "reader"
        var state = State()
        func weights(at step: Int) -> StreamWeights { StreamWeights() }
        mutating func observe(_ step: ObservedStep) -> ControllerUpdate? {
            state.texts += step.groups.flatMap { $0.group.rollouts.map(\.completion.text) }
            state.scores += step.groups.map { $0.compared.map { $0[0].score } }
            return ControllerUpdate()
        }
    }

    /// The first of each two completions scores 0, the other 1, the demonstration beside them 0.25: J is 1/2, though the
    /// step learns from scores of 9.
    @Test func controllersSeeScoresFromBeforeCompletionsWentOn() async throws {
        let world = World(liveRows: 1, demonstrationScore: 0.25)
        var parts = try world.parts(imitating: true)
        parts.rethinking = Shaping()
        parts.controllers = RewardControllers([Reader(), LagrangianConstraints([Constraint("one", limit: 2)])])
        let recipe = StepRecipe(
            method: "grpo",
            calls: [.generate(samplesPerPrompt: 2, greedy: false), .rethink, .demonstrate, .credit, .train])
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 6, maxSteps: 1)
        _ = try await Coordinator(recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal()).run()
        let report = try #require(await world.reports.first)
        #expect(report.groups.flatMap { $0.scores.map { $0[0].score } } == [9, 9, 9, 9])
        #expect(report.metrics["constraints/one/value"] == 0.5)
        let seen = try #require(parts.controllers.bank.controllers[0] as? Reader).state
        #expect(seen.texts == ["x", "x", "x", "x"] && seen.scores == [[0, 1, 0.25], [0, 1, 0.25]])
    }

    // MARK: Failure

    /// Rows whose completions differ, two optimizer steps a rollout step, with everything that remembers.
    private func remembering(_ world: World) throws -> Coordinator.Parts {
        var parts = try world.parts()
        parts.controllers = RewardControllers([Watcher()])
        parts.replay = ReplayBuffer(capacity: 64, maxAge: 9, seed: 1)
        return parts
    }

    private let halves = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 2, maxSteps: 8)

    private func kept(_ replay: ReplayBuffer?) async throws -> [Int] {
        let folder = try TemporaryFolder()
        try await replay?.save(to: folder.url)
        struct Kept: Decodable { var promptTokenIDs: [Int] }
        let data = try Data(contentsOf: folder.url.appending(path: "completions.json"))
        return try JSONDecoder().decode([Kept].self, from: data).map { $0.promptTokenIDs[0] }
    }

    /// Which rows the watching controller has seen, step by step.
    private func seen(_ parts: Coordinator.Parts) -> [[Int]]? {
        (parts.controllers.bank.controllers[0] as? Watcher)?.state.rows
    }

    /// The fourth optimizer step throws: the third has moved the weights with the second step's rollouts, which are
    /// spent.
    @Test func afterACommittedOptimizerStepAFailureLeavesWhatBelongsToIt() async throws {
        let world = World(liveRows: 1, trainFailsAt: 3)
        let parts = try remembering(world)
        await #expect(throws: World.UpdaterBroke.self) {
            _ = try await Coordinator(recipe: recipe, schedule: halves, parts: parts, stop: StopSignal()).run()
        }
        let saved = RunProgress(step: 3, rolloutStep: 2, tokens: 3 * (1 + 2 * 2))
        #expect(await world.saves == [saved])
        #expect(await world.nextRow == 4)
        #expect(seen(parts) == [[0, 1], [2, 3]])
        #expect(try await kept(parts.replay) == [0, 0, 1, 1, 2, 2, 3, 3])

        let outcome = try await Coordinator(
            recipe: recipe, schedule: halves, parts: parts, stop: StopSignal(), progress: saved, isSaved: true
        ).run()
        #expect(outcome == .finished(RunProgress(step: 8, rolloutStep: 5, tokens: 8 * 5)))
        #expect(await world.generateSteps == [0, 1, 2, 3, 4])  // nothing was drawn twice
        #expect(seen(parts) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])
    }

    /// The third optimizer step, the first of its rollout step, throws: that step has never been.
    @Test func aFailureBeforeAnyOptimizerStepLeavesNoTraceOfItsStep() async throws {
        let world = World(liveRows: 1, trainFailsAt: 2)
        let parts = try remembering(world)
        await #expect(throws: World.UpdaterBroke.self) {
            _ = try await Coordinator(recipe: recipe, schedule: halves, parts: parts, stop: StopSignal()).run()
        }
        #expect(await world.saves == [RunProgress(step: 2, rolloutStep: 1, tokens: 10)])
        #expect(await world.nextRow == 2)
        #expect(seen(parts) == [[0, 1]])
        #expect(try await kept(parts.replay) == [0, 0, 1, 1])
    }

    /// Remembers the steps at which it was asked.
    private actor Asked: Evaluating {
        private(set) var steps: [Int] = []

        func evaluate(since before: Int?, step: Int, stop: StopSignal) -> Metrics {
            steps.append(step)
            return Metrics()
        }
    }

    private func evaluated(_ world: World, by evaluator: any Evaluating) throws -> Coordinator.Parts {
        var parts = try world.parts()
        parts.evaluator = evaluator
        return parts
    }

    /// The second step cannot be recorded, so that the evaluation behind it never comes: the run that goes on has it first.
    @Test func anEvaluationThatAFailureLeavesOwedIsMadeUpFor() async throws {
        let (world, asked) = (World(breaksIn: (call: .completed, time: 2)), Asked())
        let parts = try evaluated(world, by: asked)
        let schedule = StepSchedule(
            promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 4, evaluationSteps: [2])
        await #expect(throws: World.UpdaterBroke.self) {
            _ = try await Coordinator(recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal()).run()
        }
        let saved = RunProgress(step: 2, rolloutStep: 2, tokens: 20, unconcludedSince: 1)
        #expect(await world.saves == [saved])
        #expect(await asked.steps == [])

        let outcome = try await Coordinator(
            recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal(), progress: saved, isSaved: true
        ).run()
        #expect(outcome == .finished(RunProgress(step: 4, rolloutStep: 4, tokens: 40)))
        #expect(await asked.steps == [2, 4])
    }

    // MARK: Variants

    @Test func aPromptMayBeAskedInVariants() async throws {
        let world = World(reversesGroups: true)
        let variants = [PromptVariant(name: "thinking"), PromptVariant(name: "bare")]
        let recipe = StepRecipe(
            method: "test", calls: [.generate(samplesPerPrompt: 2, greedy: false, variants: variants), .credit, .train])
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 8, maxSteps: 1)
        _ = try await Coordinator(recipe: recipe, schedule: schedule, parts: world.parts(), stop: StopSignal()).run()
        let groups = await world.reports[0].groups.map(\.group)
        let addresses = [(0, 0), (0, 1), (1, 0), (1, 1)].map { GroupAddress(row: $0.0, variant: $0.1) }
        #expect(groups.map(\.address) == addresses)
        #expect(groups.map(\.prompt.tokenIDs) == [[0], [0, 1], [1], [1, 1]])
        #expect(await world.nextRow == 2)
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

    /// Three optimizer steps on the same rollouts, with the numbers 1, 2 and 3. Where the sampler's log-probs stand in
    /// for the old policy's, the trainer's side is the present policy, which the first step has moved: 1 is all that
    /// speaks of the sampler. The weights of a loss are the old policy's in every step, and where the trainer has
    /// scored that policy so is the distance: (1 + 2 + 3) / 3.
    @Test(
        arguments: [(InferenceRole.sampler, false, 1, 1), (.sampler, true, 1, 2), (.oldPolicy, false, 2, 2)]
            as [(InferenceRole, Bool, Double, Double)])
    func theSamplerIsNotComparedWithAPolicyThatHasMoved(
        _ role: InferenceRole, _ weighsSampler: Bool, _ difference: Double, _ ratio: Double
    ) async throws {
        let world = World(comparesSampler: true, weighsSampler: weighsSampler)
        let recipe = StepRecipe(
            method: "grpo", calls: [.generate(samplesPerPrompt: 2, greedy: false), .infer(role), .credit, .train])
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, iterations: 3, maxSteps: 3)
        _ = try await Coordinator(recipe: recipe, schedule: schedule, parts: world.parts(), stop: StopSignal()).run()
        let metrics = await world.reports[0].metrics
        #expect(metrics["sampling/sampling_logp_difference/mean"] == difference)
        #expect(metrics["mismatch/kl"] == difference)
        #expect(metrics["sampling/importance_sampling_ratio/mean"] == ratio)
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
        let part = UpdatePart(
            .rollouts,
            [
                UpdateGroup(promptTokenIDs: [9], completions: Array(completions[..<3])),
                UpdateGroup(promptTokenIDs: [8], completions: Array(completions[3...])),
            ], streamWeights: [1, 0.5])
        let batches = schedule.optimizerBatches([part])
        #expect(batches.allSatisfy { $0.parts.map(\.streamWeights) == [[1, 0.5]] })
        #expect(batches.map { $0.groups.map(\.promptTokenIDs) } == [[[9]], [[9], [8]]])
        #expect(batches.map { $0.groups.flatMap(\.completions).map(\.tokenIDs) } == [[[0], [1]], [[2], [3]]])
    }

    /// Three pairs, two completions a batch that might take three: a pair is never cut.
    @Test(arguments: [2, 3]) func pairsAreNeverCut(_ size: Int) {
        let schedule = StepSchedule(
            promptsPerStep: 3, completionsPerOptimizerStep: size, maxSteps: 1, shuffleSeed: 7)
        let pairs = UpdatePart(
            .pairs,
            (0..<3).map { pair in
                UpdateGroup(
                    promptTokenIDs: [pair],
                    completions: [UpdateCompletion(tokenIDs: [pair]), UpdateCompletion(tokenIDs: [pair + 10])])
            })
        let batches = schedule.optimizerBatches([pairs])
        #expect(batches.count == 3 && batches.allSatisfy { $0.parts[0].kind == .pairs })
        for batch in batches { #expect(batch.groups.count == 1 && batch.groups[0].completions.count == 2) }
        #expect(batches.map { $0.groups[0].promptTokenIDs[0] }.sorted() == [0, 1, 2])
    }

    /// Six rollouts in batches of two make three; four demonstrations and one pair are spread over as many.
    @Test func severalPartsAreCutIntoTheSameNumberOfBatches() {
        let schedule = StepSchedule(promptsPerStep: 3, completionsPerOptimizerStep: 2, maxSteps: 1)
        func group(_ tokens: [Int]) -> UpdateGroup {
            UpdateGroup(promptTokenIDs: [9], completions: tokens.map { UpdateCompletion(tokenIDs: [$0]) })
        }
        let parts = [
            UpdatePart(.demonstrations, (10..<14).map { group([$0]) }),
            UpdatePart(.rollouts, [group([0, 1, 2]), group([3, 4, 5])]), UpdatePart(.pairs, [group([20, 21])]),
        ]
        let batches = schedule.optimizerBatches(parts)
        #expect(batches.allSatisfy { $0.parts.map(\.kind) == [.demonstrations, .rollouts, .pairs] })
        let tokens = batches.map { $0.parts.map { $0.groups.flatMap(\.completions).map { $0.tokenIDs[0] } } }
        #expect(tokens == [[[10], [0, 1], []], [[11], [2, 3], []], [[12, 13], [4, 5], [20, 21]]])
    }

    /// Two sets of pairs of the same prompts: a batch has the same prompts of both, however it is drawn.
    @Test func partsOfTheSamePromptsStayTogether() {
        let schedule = StepSchedule(promptsPerStep: 8, completionsPerOptimizerStep: 4, maxSteps: 1, shuffleSeed: 3)
        func pairs(_ kind: Int) -> UpdatePart {
            UpdatePart(
                .pairs,
                (0..<8).map { prompt in
                    UpdateGroup(
                        promptTokenIDs: [prompt], completions: [0, 1].map { UpdateCompletion(tokenIDs: [kind, $0]) })
                })
        }
        let batches = schedule.optimizerBatches([pairs(5), pairs(6)])
        let prompts = batches.map { $0.parts.map { $0.groups.map { $0.promptTokenIDs[0] } } }
        #expect(batches.count == 4 && prompts.allSatisfy { $0[0] == $0[1] })
        #expect(prompts.map { $0[0] } != [[0, 1], [2, 3], [4, 5], [6, 7]])
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
            let batches = schedule.optimizerBatches([UpdatePart(.rollouts, groups)], rolloutStep: step, pass: pass)
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
            for index in found[0] { firsts[index] += 1 }
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

/// A controller that notes what it was shown.
struct Watcher: RewardController {
    struct State: Codable, Sendable, Equatable { var rows: [[Int]] = [] }

    var name: String { "watcher" }
    var state = State()
    func weights(at step: Int) -> StreamWeights { [:] }
    var refuses = false

    mutating func observe(_ step: ObservedStep) -> ControllerUpdate? {
        if refuses { return nil }
        state.rows.append(step.groups.map(\.group.prompt.prompt.row))
        return ControllerUpdate()
    }
}
