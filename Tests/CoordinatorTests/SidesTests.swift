import Coordinator
import Credit
import Foundation
import Records
import Testing

/// Where the ranks of one test meet: a call returns when all have made it, and fails when one has left.
private actor Table {
    /// Another rank is gone.
    struct Left: Error {}
    /// Another rank was waited for too long.
    struct Late: Error {}

    private let size: Int
    private var given: [Int: Data] = [:]
    private var waiting: [CheckedContinuation<[Data], any Error>] = []
    private var isLeft = false

    init(size: Int) { self.size = size }

    func exchange(_ value: Data, of rank: Int) async throws -> [Data] {
        if isLeft { throw Left() }
        given[rank] = value
        guard given.count == size else { return try await withCheckedThrowingContinuation { waiting.append($0) } }
        let all = (0..<size).compactMap { given[$0] }
        let others = waiting
        (given, waiting) = ([:], [])
        for other in others { other.resume(returning: all) }
        return all
    }

    /// What the end of a rank's process is to the others.
    func leave() {
        isLeft = true
        for other in waiting { other.resume(throwing: Left()) }
        waiting = []
    }
}

private struct Seat: Ranks {
    let rank: Int
    let size: Int
    let table: Table
    var timeout = Duration.seconds(60)

    func exchange<Value: Codable & Sendable>(_ value: Value) async throws -> [Value] {
        let encoder = PropertyListEncoder()
        encoder.outputFormat = .binary
        let start = ContinuousClock.now
        let all = try await table.exchange(encoder.encode([value]), of: rank)
        guard ContinuousClock.now - start < timeout else { throw Table.Late() }
        return try all.flatMap { try PropertyListDecoder().decode([Value].self, from: $0) }
    }
}

/// Compares the gradients of every step, and moves nothing.
private struct Comparing: RewardController {
    struct State: Codable, Sendable, Equatable {}

    let name = "comparing"
    var state = State()
    var readsGradients: Bool { true }

    func weights(at step: Int) -> StreamWeights { StreamWeights() }
    mutating func observe(_ step: ObservedStep) -> ControllerUpdate? { ControllerUpdate() }
}

/// Finds nothing, after a while.
private struct LongEvaluation: Evaluating {
    let duration: Duration

    func evaluate(since before: Int?, step: Int, stop: StopSignal) async throws -> Metrics {
        try await Task.sleep(for: duration)
        return Metrics()
    }
}

/// Saves in a while.
private struct LongSave: Saving {
    let duration: Duration

    func save(_ progress: RunProgress, metrics: Metrics) async throws { try await Task.sleep(for: duration) }
}

/// Finds that the policy has diverged.
private struct DivergedEvaluation: Evaluating {
    func evaluate(since before: Int?, step: Int, stop: StopSignal) throws -> Metrics {
        throw NotFinite("the policy's logits")
    }
}

@Suite("Ranks that train while others sample", .timeLimit(.minutes(1)))
struct SidesTests {
    private let recipe = StepRecipe(
        method: "grpo", calls: [.generate(samplesPerPrompt: 2, greedy: false), .infer(.sampler), .credit, .train])

    private func schedule(_ dynamic: DynamicSampling? = nil) -> StepSchedule {
        StepSchedule(
            promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 4, saveSteps: 2, dynamicSampling: dynamic,
            maxStaleness: 1)
    }

    private struct Rank: Sendable {
        let world: World
        let result: Result<RunOutcome, any Error>
    }

    /// Runs every rank of a team to its end.
    ///
    /// - Parameters:
    ///   - trainers: Where those that train meet.
    ///   - world: Of a rank, with its seat.
    private func run(
        training: Int = 1, sampling: Int = 1, _ schedule: StepSchedule? = nil, asked: StopSignal = StopSignal(),
        trainers: Table? = nil, world: (_ rank: Int, _ seat: any Ranks) -> World
    ) async throws -> [Rank] {
        let size = training + sampling
        let (trainers, samplers) = (trainers ?? Table(size: training), Table(size: sampling))
        return await run(size, schedule ?? self.schedule(), world: world) { rank, seat in
            let trains = rank < training
            let side = Seat(
                rank: trains ? rank : rank - training, size: trains ? training : sampling,
                table: trains ? trainers : samplers)
            return RankTeam(
                seat, peers: side.size > 1 ? side : nil, side: trains ? .training : .sampling, localSize: size,
                asked: asked)
        }
    }

    /// Runs so many ranks, each with its seat among all, to their end.
    ///
    /// - Parameter timeout: What a call of all waits.
    private func run(
        _ size: Int, _ schedule: StepSchedule, _ recipe: StepRecipe? = nil, timeout: Duration = .seconds(60),
        controllers: [any RewardController] = [], evaluator: (any Evaluating)? = nil, saver: (any Saving)? = nil,
        imitates: Bool = false,
        world: (_ rank: Int, _ seat: any Ranks) -> World, team: (_ rank: Int, _ seat: any Ranks) -> RankTeam
    ) async -> [Rank] {
        let all = Table(size: size)
        return await withTaskGroup(of: (Int, Rank).self) { tasks in
            for rank in 0..<size {
                let seat = Seat(rank: rank, size: size, table: all, timeout: timeout)
                let (ours, own) = (team(rank, seat), world(rank, seat))
                tasks.addTask { [recipe = recipe ?? self.recipe] in
                    let result: Result<RunOutcome, any Error>
                    do {
                        var parts = try own.parts(imitating: imitates)
                        parts.team = ours
                        parts.controllers = RewardControllers(controllers)
                        parts.evaluator = evaluator
                        parts.saver = saver ?? own
                        let coordinator = try Coordinator(
                            recipe: recipe, schedule: schedule, parts: parts, stop: StopSignal())
                        result = .success(try await coordinator.run())
                    } catch {
                        result = .failure(error)
                    }
                    let groups: [(any Ranks)?] = [ours.ranks, ours.peers, ours.decodingPeers]
                    for seat in groups.compactMap({ $0 as? Seat }) { await seat.table.leave() }
                    return (rank, Rank(world: own, result: result))
                }
            }
            var found: [Int: Rank] = [:]
            for await (rank, one) in tasks { found[rank] = one }
            return (0..<size).compactMap { found[$0] }
        }
    }

    /// Ranks 0 and 1 decode the first two of each four prompts, 2 and 3 the others; each scores its own. All of them bring
    /// what they sample with to each other for every step, and read nothing else.
    @Test(arguments: [false, true]) func thoseThatDecodeTogetherScoreTheirOwn(_ together: Bool) async throws {
        let schedule = StepSchedule(promptsPerStep: 4, completionsPerOptimizerStep: 8, maxSteps: 3, saveSteps: 3)
        let single = try await alone(schedule)
        let pairs = [Table(size: 2), Table(size: 2)]
        let ranks = await run(4, schedule) { _, _ in
            World(liveRows: 3, maxDelay: 3)
        } team: { rank, seat in
            RankTeam(
                seat, decodingPeers: together ? Seat(rank: rank % 2, size: 2, table: pairs[rank / 2]) : nil,
                localSize: 4, asked: StopSignal())
        }
        for (rank, one) in ranks.enumerated() {
            #expect(try one.result.get() == single.outcome)
            #expect(await one.world.batches == single.world.batches)
            let first = together ? rank / 2 * 2 : rank
            let expected = (0..<3).map { step in (first..<first + (together ? 2 : 1)).map { 4 * step + $0 } }
            #expect(await one.world.decodedRows == expected)
            #expect(await one.world.scored == 3)
            #expect(await one.world.samplingGatherings == 3)
            #expect(await one.world.gatherings == 0)
        }
    }

    /// Each rank's rewards see two of four prompts, and remark on them. Of four prompts two differ, so that dynamic sampling
    /// takes two waves a step.
    @Test(arguments: [0, 1], [nil, DynamicSampling(reward: 0)] as [DynamicSampling?])
    func everyRankHasWhatRewardsRemarkedOnAll(_ staleness: Int, _ dynamic: DynamicSampling?) async throws {
        let schedule = StepSchedule(
            promptsPerStep: 4, completionsPerOptimizerStep: 8, maxSteps: 3, dynamicSampling: dynamic,
            maxStaleness: staleness)
        let ranks = await run(2, schedule) { _, _ in
            World(liveRows: 2)
        } team: { _, seat in
            RankTeam(seat, localSize: 2, asked: StopSignal())
        }
        let expected =
            dynamic == nil
            ? [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]] : [Array(0..<8), Array(8..<16), Array(16..<24)]
        for rank in ranks {
            #expect(try rank.result.get().isFinished)
            #expect(await rank.world.scored == expected.joined().count / 2)
            #expect(await rank.world.remarkedRows == expected)
        }
    }

    /// Each rank's rewards see two of four prompts. Error budgets are shown the scores of all, in the order of the prompts.
    @Test(arguments: [0, 1], [nil, DynamicSampling(reward: 0)] as [DynamicSampling?])
    func everyRankCountsTheScoresOfAll(_ staleness: Int, _ dynamic: DynamicSampling?) async throws {
        let schedule = StepSchedule(
            promptsPerStep: 4, completionsPerOptimizerStep: 8, maxSteps: 3, dynamicSampling: dynamic,
            maxStaleness: staleness)
        let ranks = await run(2, schedule) { _, _ in
            World(liveRows: 2, maxDelay: 3)
        } team: { _, seat in
            RankTeam(seat, localSize: 2, asked: StopSignal())
        }
        for rank in ranks {
            #expect(try rank.result.get().isFinished)
            #expect(rank.world.countedRows == Array(0..<(dynamic == nil ? 12 : 24)))
        }
    }

    /// Four steps of two prompts, sampled by others than those that learn.
    @Test(arguments: [(1, 1), (2, 2)] as [(training: Int, sampling: Int)])
    func bothSidesCountTheScoresOfAll(_ sizes: (training: Int, sampling: Int)) async throws {
        let ranks = try await run(training: sizes.training, sampling: sizes.sampling) { _, seat in World(ranks: seat) }
        for rank in ranks { #expect(rank.world.countedRows == Array(0..<8)) }
    }

    /// The first rank has counted more than the others, as the scores of an evaluation, and its budget ends with row 5: all
    /// give the third step up, and keep the second.
    @Test func aBudgetThatEndsOnOneRankEndsAll() async throws {
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 4, saveSteps: 4)
        let ranks = await run(2, schedule) { rank, _ in
            World(budgetEndsAtRow: rank == 0 ? 5 : nil)
        } team: { _, seat in
            RankTeam(seat, localSize: 2, asked: StopSignal())
        }
        #expect(throws: World.RewardBroke.self) { _ = try ranks[0].result.get() }
        #expect(throws: CoordinatorError.rank(0, message: "RewardBroke()")) { _ = try ranks[1].result.get() }
        #expect(await ranks[0].world.saves.map(\.step) == [2])
    }

    /// The same where the first rank samples nothing: it learns of the batch's scores when it is to learn from it.
    @Test func aBudgetThatEndsWithTheFirstTrainerEndsBothSides() async throws {
        let ranks = try await run { rank, seat in World(budgetEndsAtRow: rank == 0 ? 5 : nil, ranks: seat) }
        #expect(throws: World.RewardBroke.self) { _ = try ranks[0].result.get() }
        #expect(throws: CoordinatorError.rank(0, message: "RewardBroke()")) { _ = try ranks[1].result.get() }
        #expect(await ranks[0].world.saves.map(\.step) == [2])
    }

    private func alone(_ schedule: StepSchedule) async throws -> (world: World, outcome: RunOutcome) {
        let world = World(liveRows: 3)
        let coordinator = try Coordinator(recipe: recipe, schedule: schedule, parts: world.parts(), stop: StopSignal())
        return (world, try await coordinator.run())
    }

    /// What is learned from is that of one process, stamps included, however long each part takes; no rank does the
    /// other side's work.
    @Test(
        arguments: [(1, 1), (2, 1), (1, 2), (2, 2)] as [(training: Int, sampling: Int)],
        [nil, DynamicSampling(reward: 0)] as [DynamicSampling?])
    func learnsWhatOneProcessLearns(_ sizes: (training: Int, sampling: Int), _ dynamic: DynamicSampling?) async throws {
        let single = try await alone(schedule(dynamic))
        let batches = await single.world.batches
        let (groups, addresses) = (await single.world.reports.map(\.groups), await single.world.generateSteps)
        let remarkedRows = await single.world.remarkedRows
        let ranks = try await run(training: sizes.training, sampling: sizes.sampling, schedule(dynamic)) { _, seat in
            World(liveRows: 3, maxDelay: 3, ranks: seat)
        }
        for (rank, one) in ranks.enumerated() {
            let trains = rank < sizes.training
            #expect(try one.result.get() == single.outcome)
            #expect(await one.world.batches == (trains ? batches : []))
            #expect(await one.world.generateSteps == (trains ? [] : addresses))
            #expect(await one.world.reports.map(\.groups) == groups)
            #expect(await one.world.remarkedRows == remarkedRows)
            #expect(await one.world.reports.map { $0.metrics["staleness/steps"] } == [0, 1, 1, 1])
            #expect(await one.world.saves.map(\.step) == (rank == 0 ? [2, 4] : []))
            #expect(await one.world.savedSteps == (rank == 0 ? [2, 4] : []))
            #expect(await one.world.version == 4)
        }
        let first = await ranks[0].world.reports
        #expect(first.allSatisfy { $0.metrics["timing_s/overlap"] != nil })
        #expect((first[0].metrics["timing_s/overlap"] ?? 0) > 0)
    }

    /// Each side waits in the other's middle: one after the other they would never end.
    @Test func theSidesWorkAtTheSameTime() async throws {
        let (sampled, trained) = (StopSignal(), StopSignal())
        let ranks = try await run { rank, seat in
            World(ranks: seat, meets: rank == 0 ? (says: trained, awaits: sampled) : (says: sampled, awaits: trained))
        }
        #expect(try ranks.map { try $0.result.get().isFinished } == [true, true])
    }

    /// Row 4 is sampled in step 2, beside an update that is taken all the same.
    @Test func aRewardThatBreaksEndsBothBehindTheUpdate() async throws {
        let ranks = try await run { _, seat in World(rewardFailsAtRow: 4, ranks: seat) }
        #expect(throws: CoordinatorError.rank(1, message: "RewardBroke()")) { _ = try ranks[0].result.get() }
        #expect(throws: World.RewardBroke.self) { _ = try ranks[1].result.get() }
        #expect(await ranks[0].world.saves.map(\.step) == [2])
    }

    @Test func anUpdateThatBreaksEndsBoth() async throws {
        let ranks = try await run { _, seat in World(trainFailsAt: 1, ranks: seat) }
        #expect(throws: World.UpdaterBroke.self) { _ = try ranks[0].result.get() }
        #expect(throws: CoordinatorError.rank(0, message: "UpdaterBroke()")) { _ = try ranks[1].result.get() }
        #expect(await ranks[0].world.saves.map(\.step) == [1])
    }

    /// A rank whose update breaks cannot save with others that wait for it in theirs: it ends at once, and they behind it.
    @Test func aRankThatBreaksAmidAnUpdateEndsAtOnce() async throws {
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 4, saveSteps: 2)
        let ranks = await run(1, schedule) { _, _ in
            World(trainFailsAt: 1)
        } team: { _, seat in
            RankTeam(seat, localSize: 1, asked: StopSignal())
        }
        #expect(throws: World.UpdaterBroke.self) { _ = try ranks[0].result.get() }
        #expect(await ranks[0].world.saves.isEmpty)
        // A process alone keeps what it has reached.
        let alone = World(trainFailsAt: 1)
        let coordinator = try Coordinator(
            recipe: recipe, schedule: schedule, parts: alone.parts(), stop: StopSignal())
        await #expect(throws: World.UpdaterBroke.self) { _ = try await coordinator.run() }
        #expect(await alone.saves.map(\.step) == [1])
    }

    /// In the fourth step, of which the third has left something to save: the others wait in the same call, or in the next
    /// one, and not where all save.
    @Test(arguments: World.Call.allCases.filter { ![.completed, .teach, .demonstration, .rethink].contains($0) })
    func aRankThatBreaksWhereOthersWaitEndsAtOnce(_ call: World.Call) async throws {
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 4, saveSteps: 2)
        let recipe = StepRecipe(
            method: "grpo",
            calls: [.generate(samplesPerPrompt: 2, greedy: false), .infer(.oldPolicy), .credit, .train])
        let hands = Table(size: 2)
        let time = call == .assembleState ? 2 : 4  // the second checkpoint is the fourth step's
        let ranks = await run(2, schedule, recipe, controllers: [Comparing()]) { rank, _ in
            World(
                liveRows: 1, handInHand: Seat(rank: rank, size: 2, table: hands),
                breaksIn: rank == 1 ? (call: call, time: time) : nil)
        } team: { rank, seat in
            RankTeam(
                seat, decodingPeers: Seat(rank: rank, size: 2, table: hands), localSize: 2, asked: StopSignal())
        }
        #expect(throws: World.UpdaterBroke.self) { _ = try ranks[1].result.get() }
        #expect(throws: Table.Left.self) { _ = try ranks[0].result.get() }
        #expect(await ranks[0].world.saves.map(\.step) == [2])
    }

    /// Demonstrations are scored, two a step, or written, and completions made to go on by each rank, and by all alike: what
    /// breaks on one in the fourth step is told, and what the third has left is saved.
    @Test(arguments: [(.demonstration, 7), (.rethink, 4), (.teach, 4)] as [(call: World.Call, time: Int)])
    func whatEachRankDoesByItselfBreaksForAll(_ broken: (call: World.Call, time: Int)) async throws {
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 6, maxSteps: 4, saveSteps: 2)
        let sampling: [StepCall] = [
            .generate(samplesPerPrompt: 2, greedy: false), .demonstrate, .rethink, .infer(.sampler), .credit, .train,
        ]
        let recipe = StepRecipe(method: "any", calls: broken.call == .teach ? [.demonstrate, .train] : sampling)
        let ranks = await run(2, schedule, recipe, imitates: true) { rank, _ in
            World(breaksIn: rank == 1 ? broken : nil)
        } team: { _, seat in
            RankTeam(seat, localSize: 2, asked: StopSignal())
        }
        #expect(throws: World.UpdaterBroke.self) { _ = try ranks[1].result.get() }
        #expect(throws: CoordinatorError.rank(1, message: "UpdaterBroke()")) { _ = try ranks[0].result.get() }
        #expect(await ranks[0].world.saves.map(\.step) == [2, 3])
    }

    /// The first writes what all have come to: why that cannot be is told, and what was reached is saved.
    @Test func aStepThatCannotBeRecordedEndsAll() async throws {
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 4, saveSteps: 2)
        let ranks = await run(2, schedule) { rank, _ in
            World(breaksIn: rank == 0 ? (call: .completed, time: 3) : nil)
        } team: { _, seat in
            RankTeam(seat, localSize: 2, asked: StopSignal())
        }
        #expect(throws: World.UpdaterBroke.self) { _ = try ranks[0].result.get() }
        #expect(throws: CoordinatorError.rank(0, message: "UpdaterBroke()")) { _ = try ranks[1].result.get() }
        #expect(await ranks[0].world.saves.map(\.step) == [2, 3])
    }

    /// A trainer in its second update, and a rank that samples as it draws the prompts of the second batch: it has drawn
    /// those of the first one twice, to sample it and to learn from it.
    @Test(arguments: [(1, .train, 2), (3, .prompts, 3)] as [(rank: Int, call: World.Call, time: Int)])
    func aRankThatBreaksAmongThoseOfItsSideEndsAll(
        _ broken: (rank: Int, call: World.Call, time: Int)
    ) async throws {
        let trainers = Table(size: 2)
        let ranks = try await run(training: 2, sampling: 2, trainers: trainers) { rank, seat in
            World(
                ranks: seat, handInHand: rank < 2 ? Seat(rank: rank, size: 2, table: trainers) : nil,
                breaksIn: rank == broken.rank ? (call: broken.call, time: broken.time) : nil)
        }
        for (rank, one) in ranks.enumerated() {
            let error = #expect(throws: (any Error).self) { _ = try one.result.get() }
            #expect(rank == broken.rank ? error is World.UpdaterBroke : error is Table.Left)
        }
        #expect(await ranks[0].world.saves.isEmpty)
    }

    /// Longer than a call waits, which is long enough for a busy machine.
    @Test func anEvaluationIsWaitedForAsLongAsItTakes() async throws {
        let schedule = StepSchedule(
            promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2, evaluationSteps: [2])
        let evaluation = LongEvaluation(duration: .seconds(16))
        let ranks = await run(2, schedule, timeout: .seconds(12), evaluator: evaluation) { _, _ in
            World()
        } team: { _, seat in
            RankTeam(seat, localSize: 2, asked: StopSignal())
        }
        for rank in ranks { #expect(try rank.result.get().isFinished) }
    }

    @Test func aSaveIsWaitedForAsLongAsItTakes() async throws {
        let schedule = StepSchedule(promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 2, saveSteps: 2)
        let ranks = await run(2, schedule, timeout: .seconds(12), saver: LongSave(duration: .seconds(16))) { _, _ in
            World()
        } team: { _, seat in
            RankTeam(seat, localSize: 2, asked: StopSignal())
        }
        for rank in ranks { #expect(try rank.result.get().isFinished) }
    }

    /// What the first rank writes is whole also where nobody waits for it any more, and it learns that nobody does.
    @Test func whatTheFirstDoesAloneIsNotLeftHalfDone() async throws {
        let table = Table(size: 2)
        let seats = (0..<2).map { Seat(rank: $0, size: 2, table: table, timeout: .seconds(12)) }
        let (begun, mayEnd, isDone) = (StopSignal(), StopSignal(), StopSignal())
        let work = Task {
            try await RankTeam(seats[0], localSize: 2, asked: StopSignal()).byFirst {
                begun.request()
                while !mayEnd.isRequested { try await Task.sleep(for: .milliseconds(10)) }
                isDone.request()
            }
        }
        while !begun.isRequested { await Task.yield() }
        #expect(try await seats[1].exchange(true) == [false, true])
        await table.leave()
        try await Task.sleep(for: .seconds(3))  // two turns
        mayEnd.request()
        await #expect(throws: Table.Left.self) { try await work.value }
        #expect(isDone.isRequested)
    }

    /// Whichever of both stands first: the one that broke, too, leaves the step where the others do.
    @Test(arguments: [0, 1]) func aStopThatMeetsAFailureStopsAll(_ broken: Int) async throws {
        let table = Table(size: 2)
        let stops = [StopSignal(), StopSignal()]
        let tasks = (0..<2).map { rank in
            let team = RankTeam(Seat(rank: rank, size: 2, table: table), localSize: 2, asked: StopSignal())
            return Task { [stop = stops[rank]] in
                _ = try await team.together(stop) { () async throws -> Bool in
                    if rank == broken { throw World.UpdaterBroke() }
                    throw StopRequested()
                }
            }
        }
        for task in tasks {
            if case .success = await task.result { Issue.record("nothing was thrown") }
        }
        #expect(stops[0].isRequested && stops[1].isRequested)
    }

    /// Whichever of both stands first, and whatever breaks on the other meanwhile.
    @Test(arguments: [0, 1]) func whatOneRankFindsNotFiniteIsSoForAll(_ finder: Int) async throws {
        let table = Table(size: 2)
        let found = NotFinite("the policy's logits")
        let tasks = (0..<2).map { rank in
            let team = RankTeam(Seat(rank: rank, size: 2, table: table), localSize: 2, asked: StopSignal())
            return Task {
                _ = try await team.together(StopSignal()) { () async throws -> Bool in
                    if rank == finder { throw found }
                    throw World.UpdaterBroke()
                }
            }
        }
        for task in tasks {
            if case .failure(let error) = await task.result {
                #expect(error as? NotFinite == found)
            } else {
                Issue.record("nothing was thrown")
            }
        }
    }

    /// In the third step: an evaluation is the first rank's, and its end all ranks'.
    @Test(arguments: [1, 2]) func nobodySavesWhatAnEvaluationFindsDiverged(_ size: Int) async throws {
        let schedule = StepSchedule(
            promptsPerStep: 2, completionsPerOptimizerStep: 4, maxSteps: 4, saveSteps: 2, evaluationSteps: [3])
        let ranks = await run(size, schedule, evaluator: DivergedEvaluation()) { _, _ in
            World()
        } team: { _, seat in
            RankTeam(seat, localSize: size, asked: StopSignal())
        }
        let diverged = CoordinatorError.diverged(
            step: 3, NotFinite("the policy's logits"), lastGoodCheckpoint: 2)
        for rank in ranks { #expect(throws: diverged) { _ = try rank.result.get() } }
        #expect(await ranks[0].world.saves.map(\.step) == [2])
    }

    @Test func aRankThatEndsMeanwhileIsMissed() async throws {
        let table = Table(size: 2)
        let seats = (0..<2).map { Seat(rank: $0, size: 2, table: table, timeout: .seconds(12)) }
        let team = RankTeam(seats[0], localSize: 2, asked: StopSignal())
        let work = Task { try await team.patiently { try await Task.sleep(for: .seconds(3600)) } }
        #expect(try await seats[1].exchange(true) == [false, true])
        await table.leave()
        await #expect(throws: Table.Left.self) { try await work.value }
    }

    @Test func nobodySavesADivergence() async throws {
        let found = NotFinite("the policy's weights")
        let ranks = try await run { _, seat in World(trainFailsAt: 1, trainFailure: found, ranks: seat) }
        let diverged = CoordinatorError.diverged(
            step: 2, NotFinite("the policy's weights", since: 2), lastGoodCheckpoint: nil)
        for rank in ranks { #expect(throws: diverged) { _ = try rank.result.get() } }
        #expect(await ranks[0].world.saves.isEmpty)
    }

    /// Asked of the sampling rank in step 2: both sides come to their end, so that the checkpoint has what comes next.
    @Test func aStopWaitsForBothSides() async throws {
        let asked = StopSignal()
        let ranks = try await run(asked: asked) { _, seat in
            World(stopAt: (.generate, step: 2), signal: asked, ranks: seat)
        }
        let reached = RunProgress(step: 2, rolloutStep: 2, tokens: 20, newestSince: 1)
        for rank in ranks { #expect(try rank.result.get() == .stopped(reached)) }
        #expect(await ranks[0].world.saves == [reached])
        #expect(await ranks.map(\.world).last?.generateSteps == [0, 1, 2])
    }
}

extension RunOutcome {
    fileprivate var isFinished: Bool { if case .finished = self { true } else { false } }
}
