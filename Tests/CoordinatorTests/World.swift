import Coordinator
import Credit
import Records

/// Stand-ins for every part of a run: prompts are numbered, completions are two tokens, and what happened is kept.
actor World {
    enum Moment { case generate, train, secondTrain }
    struct RewardBroke: Error {}
    struct UpdaterBroke: Error {}

    private(set) var nextRow = 0
    private(set) var log: [String] = []
    /// What each optimizer step was taken on.
    private(set) var batches: [UpdateBatch] = []
    private(set) var reports: [StepReport] = []
    private(set) var saves: [RunProgress] = []
    /// Addresses of the draws that were asked for.
    private(set) var generateSteps: [Int] = []
    private var marked = 0
    private var scored = 0
    private var trained = 0
    private let reversesGroups: Bool
    private let holdsLastGroup: Bool
    private let stopAt: (moment: Moment, step: Int)?
    private let signal: StopSignal
    private let rewardFailsAtRow: Int?
    /// Rows that divide by it have completions with different rewards; `nil` rewards all alike.
    private let liveRows: Int?
    /// The optimizer step, from 0, that throws in place of being taken, once.
    private var trainFailsAt: Int?
    /// What it throws; an `UpdaterBroke` unless given.
    private let trainFailure: any Error
    /// The row whose completions are scored for an hour, also when the task is cancelled.
    private let slowRow: Int?

    init(
        reversesGroups: Bool = false, holdsLastGroupUntilFirstIsScored: Bool = false,
        stopAt: (Moment, step: Int)? = nil, signal: StopSignal = StopSignal(), rewardFailsAtRow: Int? = nil,
        liveRows: Int? = nil, trainFailsAt: Int? = nil, trainFailure: any Error = UpdaterBroke(), slowRow: Int? = nil
    ) {
        self.trainFailure = trainFailure
        self.slowRow = slowRow
        self.trainFailsAt = trainFailsAt
        self.liveRows = liveRows
        self.reversesGroups = reversesGroups
        holdsLastGroup = holdsLastGroupUntilFirstIsScored
        self.stopAt = stopAt
        self.signal = signal
        self.rewardFailsAtRow = rewardFailsAtRow
    }

    nonisolated func parts() throws -> Coordinator.Parts {
        let rule = GroupBaseline(
            rewards: RewardCombination(names: rewardNames), settings: GroupBaselineSettings())
        return Coordinator.Parts(
            prompts: self, generator: self, scorer: self, creditRule: rule, updater: self, observer: self, saver: self)
    }
}

extension World: PromptSource {
    /// A variant beyond the first ends with its number.
    func next(_ count: Int, in variants: [PromptVariant]) -> [[TokenizedPrompt]] {
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

extension World: Generating {
    nonisolated func generate(
        _ requests: [RolloutRequest], step: Int, stop: StopSignal
    ) -> AsyncThrowingStream<RolloutGroup, any Error> {
        AsyncThrowingStream { stream in
            Task {
                await note(step)
                if stopAt?.moment == .generate, stopAt?.step == step { signal.request() }
                for (index, request) in (reversesGroups ? requests.reversed() : requests).enumerated() {
                    if stop.isRequested { return stream.finish(throwing: StopRequested()) }
                    if holdsLastGroup, index == requests.count - 1 {
                        while await scoredGroups == 0 { await Task.yield() }
                    }
                    stream.yield(group(request))
                }
                stream.finish()
            }
        }
    }

    private nonisolated func group(_ request: RolloutRequest) -> RolloutGroup {
        let logProbability = -Float(request.prompt.prompt.row + 1) / 8
        let rollouts = (0..<request.samples).map { sample in
            Rollout(
                completion: Completion(text: "x", tokenIDs: [1, 2]), samplingLogProbabilities: [0, 0],
                policyLogProbabilities: [logProbability, logProbability], sample: sample)
        }
        return RolloutGroup(
            prompt: request.prompt, rollouts: rollouts, policyVersion: PolicyVersion(0), variant: request.variant)
    }

    private func note(_ step: Int) { generateSteps.append(step) }

    private var scoredGroups: Int { scored }
}

extension World: Scoring {
    nonisolated var rewardNames: [String] { ["one"] }

    func score(_ group: RolloutGroup) async throws -> ScoredGroup {
        if group.prompt.prompt.row == slowRow {
            log.append("slow")
            await Task { try? await Task.sleep(for: .seconds(3600)) }.value  // nobody cancels it
        }
        if group.prompt.prompt.row == rewardFailsAtRow { throw RewardBroke() }
        scored += 1
        let isLive = liveRows.map { group.prompt.prompt.row % $0 == 0 } ?? false
        return ScoredGroup(
            group: group, scores: group.rollouts.map { [RewardScore.value(isLive && $0.sample == 0 ? 0 : 1)] })
    }
}

extension World: Updating {
    func logProbabilities(_ batch: UpdateBatch, under role: InferenceRole) -> CompletionLogProbabilities {
        CompletionLogProbabilities(batch.groups.map { $0.completions.map { $0.tokenIDs.map { _ in -1 } } })
    }
    func values(_ batch: UpdateBatch) -> CriticValues { CriticValues([]) }

    /// Orthogonal gradients of norm 1.
    func streamProducts(_ batch: UpdateBatch, stop: StopSignal?) -> StreamProducts {
        log.append("compare \(batch.parts[0].streamWeights.count)")
        let streams = batch.parts[0].streamWeights.indices
        return StreamProducts(
            gram: streams.map { row in streams.map { $0 == row ? 1 : 0 } }, learningRate: 1, peakLearningRate: 1)
    }

    func train(_ batch: UpdateBatch, stop: StopSignal?) throws -> Metrics {
        if stopAt?.moment == .train, stopAt?.step == trained { signal.request() }
        if stopAt?.moment == .secondTrain, trained == 1 { signal.request() }
        try stop?.check()
        if trainFailsAt == trained {
            trainFailsAt = nil
            throw trainFailure
        }
        trained += 1
        batches.append(batch)
        log.append("train \(batch.completionCount)")
        return Metrics()
    }
}

extension World: StepObserver, Saving {
    func began(_ phase: StepPhase, step: Int) { log.append(phase.rawValue) }
    func completed(_ report: StepReport) { reports.append(report) }
    /// A save that the task's cancellation reaches fails.
    func save(_ progress: RunProgress, metrics: Metrics) throws {
        try Task.checkCancellation()
        saves.append(progress)
    }
}
