import Coordinator
import Credit
import Records
import TestSupport
import Testing

/// Finds a number at each step, and remembers when it was asked.
private actor Found: Evaluating {
    private(set) var asked: [[Int?]] = []
    private let values: [Int: Double]

    init(_ values: [Int: Double]) { self.values = values }

    func evaluate(since before: Int?, step: Int, stop: StopSignal) -> Metrics {
        asked.append([before, step])
        var metrics = Metrics()
        metrics["eval_guard/set/reward"] = values[step]
        return metrics
    }
}

@Suite("A controller that ends a run")
struct EndedRunTests {
    private let recipe = StepRecipe(
        method: "grpo", calls: [.generate(samplesPerPrompt: 2, greedy: false), .credit, .train])
    private let schedule = StepSchedule(
        promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 6, evaluationSteps: [2, 3])

    private func parts(_ world: World, _ found: Found, tolerance: Double = 1) throws -> Coordinator.Parts {
        var parts = try world.parts()
        parts.evaluator = found
        parts.controllers = RewardControllers([
            EvaluationGuard([.init("set", metric: "eval_guard/set/reward", tolerance: tolerance, stops: true)])
        ])
        return parts
    }

    private func run(
        _ parts: Coordinator.Parts, from progress: RunProgress = RunProgress()
    ) async throws -> RunOutcome {
        try await Coordinator(
            recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal(), progress: progress,
            isSaved: progress.step > 0
        ).run()
    }

    /// A step reads ten tokens: two prompts of one, four completions of two.
    private let atFour = RunProgress(step: 4, rolloutStep: 4, tokens: 40)

    @Test func theRunEndsAfterTheEvaluationThatShowsIt() async throws {
        let (world, found) = (World(), Found([0: 5, 2: 4.5, 3: 4, 4: 3.5, 6: 9]))
        let parts = try parts(world, found)
        guard case .ended(let progress, let reason) = try await run(parts) else {
            return #expect(Bool(false), "the run has not ended")
        }
        #expect(progress == atFour && reason.contains("from 5 to 3.5 at step 4"), "\(reason)")
        #expect(await world.saves == [atFour])
        // Before the first step, and then wherever a multiple of one of the intervals was reached.
        #expect(await found.asked == [[nil, 0], [1, 2], [2, 3], [3, 4]])

        // Resumed, it ends at once; with a larger tolerance it goes on, and needs no new beginning.
        let folder = try TemporaryFolder()
        try parts.controllers.save(to: folder.url)
        for (tolerance, steps) in [(1.0, 4), (2, 6)] {
            let (again, later) = (World(), Found([6: 9]))
            let resumed = try self.parts(again, later, tolerance: tolerance)
            try resumed.controllers.restore(from: folder.url)
            switch try await run(resumed, from: atFour) {
            case .ended(let progress, _): #expect(progress == atFour && steps == 4)
            case .finished(let progress): #expect(progress.step == steps && steps == 6)
            case .stopped: #expect(Bool(false), "nobody stopped it")
            }
            #expect(await later.asked == (steps == 4 ? [] : [[5, 6]]))
            #expect(await again.saves.count == (steps == 4 ? 0 : 1))
        }
    }

    @Test func whatShowsAfterTheLastStepEndsNothing() async throws {
        let world = World()
        let outcome = try await run(parts(world, Found([0: 5, 2: 5, 3: 5, 4: 5, 6: 0])))
        #expect(outcome == .finished(RunProgress(step: 6, rolloutStep: 6, tokens: 60)))
        #expect(await world.saves.map(\.step) == [6])
    }
}
