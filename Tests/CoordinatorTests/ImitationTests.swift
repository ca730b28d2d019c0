import Coordinator
import Credit
import Records
import Testing

/// Demonstrations by number, and a meta-gradient of a fixed slope; both remember what they were asked.
private actor Teacher: DemonstrationSource, Balancing {
    private(set) var asked: [Int] = []
    /// The weights of the batches that a meta-gradient was asked of.
    private(set) var weights: [[Double]] = []
    private var marked = 0
    private let stopsAt: (step: Int, signal: StopSignal)?

    init(stopsAt: (step: Int, signal: StopSignal)? = nil) { self.stopsAt = stopsAt }

    private func demonstration(_ prompt: TokenizedPrompt) -> DemonstratedPrompt {
        asked.append(prompt.prompt.row)
        return DemonstratedPrompt(prompt: prompt, completion: Completion(text: "x", tokenIDs: [7]))
    }

    func demonstrations(of prompts: [TokenizedPrompt]) -> [DemonstratedPrompt] { prompts.map(demonstration) }

    func next(_ count: Int, from source: any PromptSource, step: Int, stop: StopSignal) async throws
        -> [DemonstratedPrompt]
    {
        try await source.next(count, in: [.plain]).compactMap(\.first).map(demonstration)
    }

    func metaGradient(of batch: UpdateBatch, step: Int, stop: StopSignal) throws -> MetaGradient {
        weights.append(batch.parts.map(\.weight))
        if let stopsAt, stopsAt.step == step { stopsAt.signal.request() }
        try stop.check()
        return MetaGradient(slope: 0.5, cosine: 1)
    }

    func mark() { marked = asked.count }
    func rewind() { asked.removeLast(asked.count - marked) }
}

@Suite("Steps that imitate beside sampling")
struct ImitationTests {
    private let recipe = StepRecipe(
        method: "amft",
        calls: [.generate(samplesPerPrompt: 2, greedy: false), .demonstrate, .credit, .balance, .train],
        warmup: .init(steps: 1, calls: [.demonstrate, .train]))
    private let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 4)
    private let controllers = RewardControllers(
        mixture: MixtureController(
            MixtureSettings(start: 0.25, bounds: 0...1, metaEvery: 2, metaNorm: .raw, metaRate: 0.5)))

    private func parts(_ world: World, _ teacher: Teacher) throws -> Coordinator.Parts {
        var parts = try world.parts()
        (parts.demonstrations, parts.balancing, parts.controllers) = (teacher, teacher, controllers)
        return parts
    }

    /// The warm-up imitates alone. Then μ = ¼ + ½·½ = ½ stays for two steps, and the next meta-gradient makes it ¾.
    @Test func partsAreWeighedBeforeTheyAreTrained() async throws {
        let (world, teacher) = (World(), Teacher())
        _ = try await Coordinator(
            recipe: recipe, schedule: schedule, parts: parts(world, teacher), stop: StopSignal()
        ).run()
        let batches = await world.batches
        #expect(batches.map { $0.parts.map(\.kind) } == Array(repeating: [.rollouts, .demonstrations], count: 4))
        #expect(batches.map { $0.parts.map(\.weight) } == [[1, 1], [0.5, 0.5], [0.5, 0.5], [0.25, 0.75]])
        #expect(batches.map { $0.parts.map(\.completionCount) } == [[0, 2], [4, 2], [4, 2], [4, 2]])
        #expect(await teacher.weights == [[0.75, 0.25], [0.5, 0.5]])  // what a step would be without the move
        #expect(await teacher.asked == [0, 1, 2, 3, 4, 5, 6, 7])  // those of the prompts that are sampled
        #expect(await world.reports.map { $0.metrics["amft/mu"] } == [nil, 0.5, 0.5, 0.75])
        #expect(controllers.bank.mixture?.state.weight == 0.75)
    }

    @Test func aStopWhileWeighingLeavesNoTrace() async throws {
        let stop = StopSignal()
        let (world, teacher) = (World(), Teacher(stopsAt: (1, stop)))
        let outcome = try await Coordinator(
            recipe: recipe, schedule: schedule, parts: parts(world, teacher), stop: stop
        ).run()
        guard case .stopped(let progress) = outcome else { return #expect(Bool(false), "\(outcome)") }
        #expect(progress.step == 1)
        #expect(await world.nextRow == 2)
        #expect(await teacher.asked == [0, 1])
        #expect(controllers.bank.mixture?.state.weight == 0.25)
    }

    @Test func aRecipeThatWeighsNeedsSomethingToWeigh() throws {
        #expect(throws: CoordinatorError.missingPart("mixture", call: "balance")) {
            try Coordinator(recipe: recipe, schedule: schedule, parts: World().parts(), stop: StopSignal())
        }
    }
}
