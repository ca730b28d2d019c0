import Coordinator
import Credit
import Foundation
import Records
import Synchronization

/// Stand-ins for every part of a run: prompts are numbered, completions are two tokens, and what happened is kept.
actor World {
    enum Moment { case generate, train, secondTrain }
    struct RewardBroke: Error {}
    struct UpdaterBroke: Error {}
    /// What may break on one rank alone. But for the first five, which each rank does by itself, ranks do it hand in hand:
    /// a call returns when each has made it.
    enum Call: String, CaseIterable {
        case prompts, completed, teach, demonstration, rethink
        case decode, gatherWeights, gatherSamplingWeights, logProbabilities, streamProducts, train, assembleState
    }
    /// Ranks were in different calls.
    struct OutOfStep: Error {}

    private(set) var nextRow: Int
    private(set) var log: [String] = []
    /// What each optimizer step was taken on.
    private(set) var batches: [UpdateBatch] = []
    private(set) var reports: [StepReport] = []
    private(set) var saves: [RunProgress] = []
    /// What each save was told of the number that ``completed(_:)`` adds to a step's, which is the step.
    private(set) var savedSteps: [Double?] = []
    /// Addresses of the draws that were asked for.
    private(set) var generateSteps: [Int] = []
    /// Rows that were asked for with them.
    private(set) var decodedRows: [[Int]] = []
    /// How often whole weights were to come together.
    private(set) var gatherings = 0
    /// How often what is sampled with was to be brought to where it is.
    private(set) var samplingGatherings = 0
    private var marked = 0
    private(set) var scored = 0
    /// Rows that rewards have remarked on, since the last report.
    private let remarks = Mutex<[Int]>([])
    /// Rows whose scores were counted, in order; those of a process alone are counted as they come.
    private let counted = Mutex<[Int]>([])
    nonisolated var countedRows: [Int] { counted.withLock { $0 } }
    /// Those of each report, in order.
    private(set) var remarkedRows: [[Int]] = []
    private var trained = 0
    /// Of the weights: the steps taken here and before, or what the first rank has.
    private(set) var version: Int
    private let reversesGroups: Bool
    private let holdsLastGroup: Bool
    private let stopAt: (moment: Moment, step: Int)?
    private let signal: StopSignal
    private let rewardFailsAtRow: Int?
    /// The row with which an error budget is exhausted.
    private let budgetEndsAtRow: Int?
    /// Rows that divide by it have completions with different rewards; `nil` rewards all alike.
    private let liveRows: Int?
    /// The optimizer step, from 0, that throws in place of being taken, once.
    private var trainFailsAt: Int?
    /// What it throws; an `UpdaterBroke` unless given.
    private let trainFailure: any Error
    /// The row whose completions are scored for an hour, also when the task is cancelled.
    private let slowRow: Int?
    /// Whether the length limit cuts every completion off.
    private let truncates: Bool
    /// The row whose completions have no token.
    private let emptyRow: Int?
    /// What a demonstration scores.
    private let demonstrationScore: Double
    /// What its optimizer steps measure of all they learn from, and of what is not replayed of a batch that has both.
    private let entropies: (all: Double, fresh: Double)?
    /// How many versions too old groups are stamped.
    private let stampLag: Int
    /// Most milliseconds that sampling, scoring and training each wait, at random.
    private let maxDelay: Int
    /// Whether its optimizer steps say how far the sampler is from the trainer: by the step's own number, from 1.
    private let comparesSampler: Bool
    /// Whether the ratios among them are the weights of a loss.
    let weighsSampler: Bool
    /// Who share the weights of the first of them.
    private let ranks: (any Ranks)?
    /// What it says when it trains, or samples for another than the first step, and what it waits for then.
    private let meets: (says: StopSignal, awaits: StopSignal)?
    /// Who make ``Call``s with this one.
    private let handInHand: (any Ranks)?
    /// The call, counted from 1, that breaks.
    private let breaksIn: (call: Call, time: Int)?
    private var made: [Call: Int] = [:]

    init(
        reversesGroups: Bool = false, holdsLastGroupUntilFirstIsScored: Bool = false,
        stopAt: (Moment, step: Int)? = nil, signal: StopSignal = StopSignal(), rewardFailsAtRow: Int? = nil,
        budgetEndsAtRow: Int? = nil, liveRows: Int? = nil, trainFailsAt: Int? = nil,
        trainFailure: any Error = UpdaterBroke(), slowRow: Int? = nil, firstRow: Int = 0,
        version: Int = 0, stampLag: Int = 0, maxDelay: Int = 0, comparesSampler: Bool = false,
        weighsSampler: Bool = false, ranks: (any Ranks)? = nil,
        meets: (says: StopSignal, awaits: StopSignal)? = nil, handInHand: (any Ranks)? = nil,
        breaksIn: (call: Call, time: Int)? = nil, truncates: Bool = false, emptyRow: Int? = nil,
        demonstrationScore: Double = 1,
        entropies: (all: Double, fresh: Double)? = nil
    ) {
        self.demonstrationScore = demonstrationScore
        self.entropies = entropies
        self.comparesSampler = comparesSampler
        self.weighsSampler = weighsSampler
        self.truncates = truncates
        self.emptyRow = emptyRow
        self.handInHand = handInHand
        self.breaksIn = breaksIn
        self.meets = meets
        nextRow = firstRow
        self.version = version
        self.stampLag = stampLag
        self.maxDelay = maxDelay
        self.ranks = ranks
        self.trainFailure = trainFailure
        self.slowRow = slowRow
        self.trainFailsAt = trainFailsAt
        self.liveRows = liveRows
        self.reversesGroups = reversesGroups
        holdsLastGroup = holdsLastGroupUntilFirstIsScored
        self.stopAt = stopAt
        self.signal = signal
        self.rewardFailsAtRow = rewardFailsAtRow
        self.budgetEndsAtRow = budgetEndsAtRow
    }

    /// - Parameter imitating: Whether every prompt has a demonstration, and completions may go on.
    nonisolated func parts(imitating: Bool = false) throws -> Coordinator.Parts {
        let rule = GroupBaseline(
            rewards: RewardCombination(names: rewardNames), settings: GroupBaselineSettings())
        return Coordinator.Parts(
            prompts: self, demonstrations: imitating ? self : nil, rethinking: imitating ? self : nil, generator: self,
            scorer: self, creditRule: imitating ? DemonstratedGroups(rule) : rule, updater: self, observer: self,
            saver: self)
    }

    /// - Throws: An `UpdaterBroke` in the call that breaks.
    private func begin(_ call: Call) throws {
        made[call, default: 0] += 1
        if let breaksIn, breaksIn.call == call, breaksIn.time == made[call] { throw UpdaterBroke() }
    }

    private func join(_ call: Call) async throws {
        try begin(call)
        guard let handInHand else { return }
        let all = try await handInHand.exchange(call.rawValue)
        guard all.allSatisfy({ $0 == call.rawValue }) else { throw OutOfStep() }
    }
}

extension World: PromptSource {
    /// A variant beyond the first ends with its number.
    func next(_ count: Int, in variants: [PromptVariant]) throws -> [[TokenizedPrompt]] {
        try begin(.prompts)
        defer { nextRow += count }
        return (nextRow..<nextRow + count).map { row in
            variants.indices.map { variant in
                TokenizedPrompt(
                    prompt: Prompt(row: row, source: "numbers", content: .text("\(row)")),
                    tokenIDs: variant == 0 ? [row] : [row, variant])
            }
        }
    }

    func nextDemonstrations(_ count: Int) -> [UpdateGroup] { [] }
    /// Two parts of pairs of one token; every odd row lacks its second pair.
    func nextPairs(_ count: Int) -> [UpdatePart] {
        defer { nextRow += count }
        let rows = nextRow..<nextRow + count
        let pair = [UpdateCompletion(tokenIDs: [1]), UpdateCompletion(tokenIDs: [2])]
        return [
            UpdatePart(.pairs, rows.map { UpdateGroup(promptTokenIDs: [$0], completions: pair) }),
            UpdatePart(
                .pairs,
                rows.map {
                    $0.isMultiple(of: 2)
                        ? UpdateGroup(promptTokenIDs: [$0], completions: pair) : .withoutPair(promptTokenIDs: [$0])
                }),
        ]
    }
    func mark() { marked = nextRow }
    func rewind() { nextRow = marked }
    var epoch: Double { 0 }
}

extension World: DemonstrationSource, Rethinking {
    func demonstrations(of prompts: [TokenizedPrompt]) -> [DemonstratedPrompt] {
        prompts.map { DemonstratedPrompt(prompt: $0, completion: Completion(text: "y", tokenIDs: [3])) }
    }

    func next(
        _ count: Int, from source: any PromptSource, step: Int, stop: StopSignal
    ) throws -> [DemonstratedPrompt] {
        try begin(.teach)
        return []
    }

    /// Leaves all as they are.
    func rethink(_ groups: [ScoredGroup], step: Int, stop: StopSignal) throws -> RethoughtGroups {
        try begin(.rethink)
        return RethoughtGroups(groups: groups)
    }
}

extension World: Generating {
    nonisolated func generate(
        _ requests: [RolloutRequest], step: Int, stop: StopSignal
    ) -> AsyncThrowingStream<RolloutGroup, any Error> {
        AsyncThrowingStream { stream in
            Task {
                let version = await begin(step, requests)
                do { try await join(.decode) } catch { return stream.finish(throwing: error) }
                if step > 0 { await meet() }
                if stopAt?.moment == .generate, stopAt?.step == step { signal.request() }
                for (index, request) in (reversesGroups ? requests.reversed() : requests).enumerated() {
                    if stop.isRequested { return stream.finish(throwing: StopRequested()) }
                    if holdsLastGroup, index == requests.count - 1 {
                        while await scored == 0 { await Task.yield() }
                    }
                    await delay()
                    stream.yield(group(request, by: version))
                }
                stream.finish()
            }
        }
    }

    private nonisolated func meet() async {
        guard let meets else { return }
        meets.says.request()
        while !meets.awaits.isRequested { await Task.yield() }
    }

    private nonisolated func delay() async {
        guard maxDelay > 0 else { return }
        try? await Task.sleep(for: .milliseconds(Int.random(in: 0...maxDelay)))  // ends early in a cancelled task
    }

    private nonisolated func group(_ request: RolloutRequest, by version: Int) -> RolloutGroup {
        let logProbability = -Float(request.prompt.prompt.row + 1) / 8
        let tokens = request.prompt.prompt.row == emptyRow ? [] : [1, 2]
        let rollouts = (0..<request.samples).map { sample in
            Rollout(
                completion: Completion(
                    text: "x", tokenIDs: tokens, finishReason: truncates ? .length : .stopToken),
                samplingLogProbabilities: tokens.map { _ in 0 },
                policyLogProbabilities: tokens.map { _ in logProbability }, sample: sample)
        }
        return RolloutGroup(
            prompt: request.prompt, rollouts: rollouts, policyVersion: PolicyVersion(version), variant: request.variant)
    }

    /// Returns the version that samples.
    private func begin(_ step: Int, _ requests: [RolloutRequest]) -> Int {
        generateSteps.append(step)
        decodedRows.append(requests.map(\.prompt.prompt.row))
        return max(0, version - stampLag)
    }
}

extension World: Scoring {
    nonisolated var rewardNames: [String] { ["one"] }

    func score(_ group: RolloutGroup) async throws -> ScoredGroup {
        if group.prompt.prompt.row == slowRow {
            log.append("slow")
            await Task { try? await Task.sleep(for: .seconds(3600)) }.value  // nobody cancels it
        }
        await delay()
        if group.prompt.prompt.row == rewardFailsAtRow { throw RewardBroke() }
        if group.variant < 0 { try begin(.demonstration) }
        scored += 1
        remarks.withLock { $0.append(group.prompt.prompt.row) }
        let isLive = liveRows.map { group.prompt.prompt.row % $0 == 0 } ?? false
        guard group.variant >= 0 else {
            return ScoredGroup(group: group, scores: [[.value(demonstrationScore)]])
        }
        return ScoredGroup(
            group: group, scores: group.rollouts.map { [RewardScore.value(isLive && $0.sample == 0 ? 0 : 1)] })
    }

    nonisolated func count(_ groups: [ScoredGroup]) throws {
        let rows = groups.map(\.group.prompt.prompt.row)
        counted.withLock { $0 += rows }
        if let budgetEndsAtRow, rows.contains(budgetEndsAtRow) { throw RewardBroke() }
    }

    private nonisolated func takeRemarks() -> [Int] {
        remarks.withLock { rows in
            defer { rows = [] }
            return rows
        }
    }

    nonisolated func sealRemarks() throws -> Data { try JSONEncoder().encode(takeRemarks()) }

    nonisolated func unseal(_ remarks: Data) throws {
        let rows = try JSONDecoder().decode([Int].self, from: remarks)
        self.remarks.withLock { $0 += rows }
    }
}

extension World: Updating {
    func logProbabilities(_ batch: UpdateBatch, under role: InferenceRole) async throws -> CompletionLogProbabilities {
        try await join(.logProbabilities)
        return CompletionLogProbabilities(batch.groups.map { $0.completions.map { $0.tokenIDs.map { _ in -1 } } })
    }
    func values(_ batch: UpdateBatch) -> CriticValues { CriticValues([]) }

    /// Orthogonal gradients of norm 1.
    func streamProducts(_ batch: UpdateBatch, stop: StopSignal?) async throws -> StreamProducts {
        try await join(.streamProducts)
        log.append("compare \(batch.parts[0].streamWeights.count)")
        let streams = batch.parts[0].streamWeights.indices
        return StreamProducts(
            gram: streams.map { row in streams.map { $0 == row ? 1 : 0 } }, learningRate: 1, peakLearningRate: 1)
    }

    var policyVersion: PolicyVersion { PolicyVersion(version) }

    func gatherWeights() async throws {
        try await join(.gatherWeights)
        gatherings += 1
    }
    func gatherSamplingWeights() async throws {
        try await join(.gatherSamplingWeights)
        samplingGatherings += 1
    }
    func assembleState() async throws { try await join(.assembleState) }

    func shareWeights() async throws {
        if let ranks { version = try await ranks.exchange(version)[0] }
    }

    func train(_ batch: UpdateBatch, stop: StopSignal?) async throws -> Metrics {
        await delay()
        try await join(.train)
        await meet()
        if stopAt?.moment == .train, stopAt?.step == trained { signal.request() }
        if stopAt?.moment == .secondTrain, trained == 1 { signal.request() }
        try stop?.check()
        if trainFailsAt == trained {
            trainFailsAt = nil
            throw trainFailure
        }
        trained += 1
        version += 1
        batches.append(batch)
        log.append("train \(batch.completionCount)")
        var metrics = Metrics()
        metrics["entropy"] = entropies?.all
        if batch.hasReplayed { metrics["replay/fresh_entropy"] = entropies?.fresh }
        guard comparesSampler else { return metrics }
        for family in ["sampling_logp_difference", "importance_sampling_ratio"] {
            metrics["sampling/\(family)/mean"] = Double(trained)
        }
        metrics["mismatch/kl"] = Double(trained)
        return metrics
    }
}

extension World: StepObserver, Saving {
    func began(_ phase: StepPhase, step: Int) { log.append(phase.rawValue) }
    func completed(_ report: StepReport) throws -> Metrics {
        try begin(.completed)
        reports.append(report)
        remarkedRows.append(takeRemarks().sorted())
        var metrics = report.metrics
        metrics["added"] = Double(report.step)
        return metrics
    }
    /// A save that the task's cancellation reaches fails.
    func save(_ progress: RunProgress, metrics: Metrics) throws {
        try Task.checkCancellation()
        saves.append(progress)
        savedSteps.append(metrics["added"])
    }
}
