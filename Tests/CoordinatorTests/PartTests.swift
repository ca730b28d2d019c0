import Coordinator
import Records
import Testing

/// Demonstrations by number, and weights of parts by the optimizer steps so far; remembers what it was asked.
private actor Weigher: DemonstrationSource, PartWeighing {
    private(set) var asked: [Int] = []
    /// The batches that it was shown, and where the run then was.
    private(set) var shown: [(batch: UpdateBatch, progress: RunProgress)] = []
    /// Names of what each training measured.
    private(set) var observed: [[String]] = []
    private(set) var entropies: [Double?] = []
    private var marked = (asked: 0, shown: 0)
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

    /// ½ of the first step, ¼ of the second, and so on, and the rest.
    func weigh(
        _ batch: UpdateBatch, at progress: RunProgress, stop: StopSignal
    ) throws -> (weights: [Double], metrics: Metrics) {
        shown.append((batch, progress))
        if let stopsAt, stopsAt.step == progress.step { stopsAt.signal.request() }
        try stop.check()
        let weight = 1 / Double(2 << progress.step)
        var metrics = Metrics()
        metrics["weight"] = weight
        return ([weight, 1 - weight], metrics)
    }

    func observe(_ training: Metrics) -> String? {
        observed.append(training.names.filter { $0 == "weight" || $0 == "measured" })
        entropies.append(training["entropy"])
        return "observed \(observed.count)"
    }

    func mark() { marked = (asked.count, shown.count) }
    func rewind() {
        asked.removeLast(asked.count - marked.asked)
        shown.removeLast(shown.count - marked.shown)
    }
}

@Suite("Steps of several parts: demonstrations beside sampling, and pairs")
struct PartTests {
    private let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 3)

    private func run(
        _ recipe: StepRecipe, _ world: World, _ weigher: Weigher, schedule: StepSchedule? = nil,
        replay: ReplayBuffer? = nil, stop: StopSignal = StopSignal()
    ) async throws -> RunOutcome {
        var parts = try world.parts()
        parts.replay = replay
        (parts.demonstrations, parts.weighing) = (weigher, weigher)
        return try await Coordinator(recipe: recipe, schedule: schedule ?? self.schedule, parts: parts, stop: stop)
            .run()
    }

    private let imitation = StepRecipe(
        method: "amft", calls: [.generate(samplesPerPrompt: 2, greedy: false), .demonstrate, .credit, .weigh, .train],
        warmup: .init(steps: 1, calls: [.demonstrate, .train]))

    /// The warm-up imitates alone, unweighed. Then the parts count ¼ and ¾, then ⅛ and ⅞; a note is of weighed steps
    /// only.
    @Test func imitationStandsBesideSampling() async throws {
        let (world, weigher) = (World(), Weigher())
        _ = try await run(imitation, world, weigher)
        let batches = await world.batches
        #expect(batches.map { $0.parts.map(\.kind) } == Array(repeating: [.rollouts, .demonstrations], count: 3))
        #expect(batches.map { $0.parts.map(\.weight) } == [[1, 1], [0.25, 0.75], [0.125, 0.875]])
        #expect(batches.map { $0.parts.map(\.completionCount) } == [[0, 2], [4, 2], [4, 2]])
        #expect(await weigher.asked == [0, 1, 2, 3, 4, 5])  // those of the prompts that are sampled
        #expect(await world.reports.map { $0.metrics["weight"] } == [nil, 0.25, 0.125])
        #expect(await world.reports.map(\.notes) == [[], ["observed 1"], ["observed 2"]])
        #expect(await weigher.observed == [["weight"], ["weight"]])
    }

    /// No rollout has an advantage: with replay alone that is no step, and what is imitated is one.
    @Test func whatIsImitatedIsLearnedFromWhereNoRolloutTeaches() async throws {
        let (world, weigher) = (World(), Weigher())
        _ = try await run(imitation, world, weigher, replay: ReplayBuffer(capacity: 4, seed: 1))
        #expect(await world.batches.map { $0.parts.map(\.completionCount) } == [[0, 2], [4, 2], [4, 2]])
        #expect(await world.reports.map { $0.metrics["empty_steps"] } == [nil, nil, nil])
    }

    /// Row 0's completions come again in the second step, beside those of row 3; nothing is replayed before.
    @Test func theEntropyThatMovesWeightsIsThatOfWhatIsFresh() async throws {
        let recipe = StepRecipe(method: "amft", calls: imitation.calls)
        let cases: [(replay: ReplayBuffer?, expected: [Double?])] = [
            (ReplayBuffer(capacity: 4, seed: 1), [3, 1]), (nil, [3, 3]),
        ]
        for (replay, expected) in cases {
            let (world, weigher) = (World(liveRows: 50, entropies: (all: 3, fresh: 1)), Weigher())
            let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2)
            _ = try await run(recipe, world, weigher, schedule: schedule, replay: replay)
            #expect(await world.batches.map(\.hasReplayed) == [false, replay != nil])
            #expect(await weigher.entropies == expected)
            #expect(await world.reports.map { $0.metrics["entropy"] } == [3, 3])
        }
    }

    /// Rows 0 and 1 are the warm-up's; of 2 and 3 no group differs, so that none is left to be imitated, and no other
    /// row is taken for that.
    @Test func aStepThatDynamicSamplingLeavesEmptyTakesNoOtherPrompts() async throws {
        let (world, weigher) = (World(liveRows: 50), Weigher())
        let schedule = StepSchedule(
            promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2,
            dynamicSampling: DynamicSampling(reward: 0, maxWaves: 1, exhausted: .partial))
        _ = try await run(imitation, world, weigher, schedule: schedule)
        #expect(await world.nextRow == 4)
        #expect(await weigher.asked == [0, 1])
        #expect(await world.batches.map(\.completionCount) == [2, 0])
    }

    @Test func whatIsWeighedIsTheNextOptimizerStepsBatchAsItIs() async throws {
        let (world, weigher) = (World(), Weigher())
        _ = try await run(
            imitation, world, weigher,
            schedule: StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 2, maxSteps: 3))
        let shown = await weigher.shown
        #expect(shown.map { $0.progress.step } == [1])  // the second step's rollouts make two optimizer steps
        #expect(shown[0].batch.parts.map(\.completionCount) == [2, 1])
        #expect(shown[0].batch.parts.map(\.weight) == [1, 1])
        #expect(await world.batches.map { $0.parts.map(\.weight) } == [[1, 1], [0.25, 0.75], [0.25, 0.75]])
    }

    @Test func aStopWhileWeighingLeavesNoTrace() async throws {
        let stop = StopSignal()
        let (world, weigher) = (World(), Weigher(stopsAt: (1, stop)))
        let outcome = try await run(imitation, world, weigher, stop: stop)
        guard case .stopped(let progress) = outcome else { return #expect(Bool(false), "\(outcome)") }
        #expect(progress.step == 1)
        #expect(await world.nextRow == 2)
        #expect(await weigher.asked == [0, 1])
        #expect(await weigher.shown.isEmpty)
    }

    /// Rows 0 and 1 in the first step, 2 and 3 in the second, each in both parts; every odd row lacks its second pair.
    @Test func pairsAreTakenInTheirOrderAndWeighedByPart() async throws {
        let (world, weigher) = (World(), Weigher())
        let recipe = StepRecipe(method: "bvpo", calls: [.compare, .infer(.reference), .weigh, .train])
        let outcome = try await run(recipe, world, weigher)
        // Three steps of two prompts: a token each, twice; and of three pairs with two completions of one token.
        #expect(outcome == .finished(RunProgress(step: 3, rolloutStep: 3, tokens: 3 * (2 * 2 + 3 * 2))))
        let batches = await world.batches
        #expect(batches.map { $0.parts.map(\.kind) } == Array(repeating: [.pairs, .pairs], count: 3))
        #expect(batches.map { $0.parts.map(\.weight) } == [[0.5, 0.5], [0.25, 0.75], [0.125, 0.875]])
        #expect(batches[1].parts.map { $0.groups.map(\.promptTokenIDs) } == [[[2], [3]], [[2], [3]]])
        #expect(batches[1].parts[1].groups[1].completions.allSatisfy { $0.isMasked })
        #expect(batches[1].parts[0].groups[0].completions.map(\.referenceLogProbabilities) == [[-1], [-1]])
    }

    @Test func pairsOfAStepThatIsGivenUpComeAgain() async throws {
        let stop = StopSignal()
        let (world, weigher) = (World(stopAt: (.train, step: 1), signal: stop), Weigher())
        let recipe = StepRecipe(method: "dpo", calls: [.compare, .train])
        let outcome = try await run(recipe, world, weigher, stop: stop)
        #expect(outcome == .stopped(RunProgress(step: 1, rolloutStep: 1, tokens: 10)))
        #expect(await world.nextRow == 2)
    }

    @Test func aRecipeNeedsWhoAnswersItsCalls() throws {
        func begin(_ recipe: StepRecipe) throws {
            _ = try Coordinator(recipe: recipe, schedule: schedule, parts: World().parts(), stop: StopSignal())
        }
        #expect(throws: CoordinatorError.missingPart("source of demonstrations", call: "demonstrate")) {
            try begin(imitation)
        }
        #expect(throws: CoordinatorError.missingPart("weighing of parts", call: "weigh")) {
            try begin(StepRecipe(method: "bvpo", calls: [.compare, .weigh, .train]))
        }
        #expect(throws: CoordinatorError.missingPart("rethinker", call: "rethink")) {
            try begin(StepRecipe(method: "grpo", calls: [.rethink, .train]))
        }
    }
}
