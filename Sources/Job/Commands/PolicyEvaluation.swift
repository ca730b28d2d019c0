internal import Coordinator
package import Evaluation
internal import Foundation
import JSON
internal import PromptSets
package import Records
internal import RewardInterface
internal import Runs
internal import Synchronization

/// `plumbline eval`: scores a policy on prompt sets and changes nothing.
package struct PolicyEvaluation: Sendable {
    private let prompts: [DatasetSettings]
    private let rewards: [JobReward]
    private let rewardErrorBudget: Double
    private let columns: ColumnMap
    private let samples: Int
    private let ks: [Int]
    private let passAtK: PassAtK.Estimator
    private let limit: Int?
    private let sampling: SamplingRequest
    private let keepsCompletions: Bool
    private let note: @Sendable (String) -> Void

    /// - Parameters:
    ///   - prompts: A file or folder each, or an entry of `datasets` in braces: `{path: math.parquet, column_map:
    ///     {prompt: question}}`.
    ///   - rewards: As ``JobReward/init(argument:)`` reads them.
    ///   - rewardErrorBudget: The share of a reward's scores that may fail.
    ///   - columnMap: `name=column` each, for the prompt sets without one of their own.
    ///   - passAtK: How pass@k is estimated.
    ///   - keepsCompletions: Whether the report is asked to write every completion.
    ///   - note: Takes what the user should know of how prompts are read, and of the rewards.
    package init(
        prompts: [String], rewards: [String], rewardErrorBudget: Double, columnMap: [String], samples: Int, ks: [Int],
        passAtK: PassAtK.Estimator = .unbiased, limit: Int?, sampling: SamplingRequest, keepsCompletions: Bool,
        note: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(JobError) {
        var sets: [DatasetSettings] = []
        for set in prompts { sets.append(try DatasetSettings(argument: set)) }
        self.prompts = sets
        self.note = note
        var entries: [JobReward] = []
        for reward in rewards { entries.append(try JobReward(argument: reward)) }
        self.rewards = entries
        self.rewardErrorBudget = rewardErrorBudget
        columns = try ColumnMap(arguments: columnMap)
        self.samples = samples
        self.ks = ks
        self.passAtK = passAtK
        self.limit = limit
        self.sampling = sampling
        self.keepsCompletions = keepsCompletions
    }

    /// Refuses files to write that the evaluation reads, or that could not be written: see ``CommandOutputs``.
    package func check(outputs: [(option: String, path: String?)], model: String, compareWith other: String?) throws {
        var inputs = [model, other]
        for set in prompts {
            let url = try DatasetFolder.url(set.path)
            let split = try TextGeneration.split(of: url.path, wanted: set.split ?? "eval")
            inputs += try PromptFile(url, split: split).urls.map(\.path)
        }
        try CommandOutputs.check(outputs, reading: inputs)
    }

    /// Evaluates a model, and compares it with another model or a stored result.
    ///
    /// An evaluation that is stopped, by the signal or by cancelling its task, keeps the prompts before the first that
    /// is not scored yet: they come in the order of the set, so that no kind of prompt is favoured. See
    /// ``EvaluationReport/isPartial``.
    ///
    /// - Parameter progress: Is told of the prompts that are scored.
    /// - Throws: `StopRequested` when it is stopped before any prompt is scored.
    package func run(
        model: String, compareWith other: String?, stop: StopSignal, progress: @escaping ProgressNote = { _, _, _ in }
    ) async throws -> EvaluationReport {
        // A file that is none must not cost the sampling.
        let stored = try other.flatMap { $0.hasSuffix(".json") ? try EvaluationReport.read($0) : nil }
        let own = try await evaluate(model, keepsRows: keepsCompletions, stop, progress)
        var (findings, overspent) = (own.findings, own.overspent)
        if let other, findings.unfinished == nil {
            var otherResults = stored ?? []
            if stored == nil {
                let others = try await evaluate(other, keepsRows: false, stop, progress)
                otherResults = others.findings.results
                findings.unfinished = others.findings.unfinished.map { "the comparison with \(other): \($0)" }
                overspent = overspent ?? others.overspent
            }
            do {
                findings.comparisons = try EvaluationReport.comparisons(findings.results, otherResults, other)
            } catch {
                guard findings.unfinished != nil else { throw error }  // there may be nothing to pair yet
            }
        }
        return EvaluationReport(findings: findings, completionRows: own.rows, overspent: overspent)
    }

    private func evaluate(
        _ model: String, keepsRows: Bool, _ stop: StopSignal, _ progress: @escaping ProgressNote
    ) async throws -> (findings: Findings, rows: [JSONValue], overspent: RewardError?) {
        progress("loading \(model)", 0, 0)
        let generation = try await TextGeneration(model: model, sampling: sampling, note: note)
        let assembly = RewardAssembly(folder: URL(filePath: "."), timeoutSeconds: 60, note: note)
        let scorer = PanelScorer(try await assembly.panel(rewards, errorRate: rewardErrorBudget))
        do {
            var findings = Findings(model: model, rewardNames: scorer.rewardNames, results: [], passAtK: passAtK)
            var rows: [JSONValue]? = keepsRows ? [] : nil
            try await evaluate(generation, scorer, into: &findings, &rows, stop, progress)
            await scorer.close()
            return (findings, rows ?? [], scorer.overspent)
        } catch {
            await scorer.close()
            throw error
        }
    }

    /// - Parameter rows: Takes a row for each completion; `nil` for none.
    private func evaluate(
        _ generation: TextGeneration, _ scorer: PanelScorer, into findings: inout Findings, _ rows: inout [JSONValue]?,
        _ stop: StopSignal, _ progress: @escaping ProgressNote
    ) async throws {
        for set in prompts where findings.unfinished == nil {
            let path = set.path
            let tokenized = try generation.prompts(
                .file(path, limit: limit), split: set.split ?? "eval", columns: set.columns(otherwise: columns))
            for prompt in tokenized { try scorer.check(prompt.prompt) }
            let stream = try await generation.groups(tokenized, samples: samples, stop: stop)
            let (scored, failure) = await Self.scoredSoFar(stream, scorer) { done in
                progress("prompts of \(path)", done, tokenized.count)
            }
            let isStopped = stop.isRequested || Task.isCancelled
            if let failure, !isStopped { throw failure }
            if scored.count < tokenized.count {
                findings.unfinished = "\(scored.count) of \(tokenized.count) prompts of \(path)"
            }
            guard !scored.isEmpty else { break }
            let groups = try scored.map { EvaluatedGroup($0, answers: try scorer.answers(in: $0.group)) }
            findings.results.append(
                EvaluationResult(
                    promptSet: path, groups: groups, rewardNames: scorer.rewardNames, ks: ks, passAtK: passAtK))
            findings.samples += groups.flatMap { Findings.Sample.all(of: $0, in: path) }
            let columns = scorer.takeRemarks().columns
            if rows != nil {
                let report = StepReport(step: 0, metrics: Metrics(), groups: scored, credits: [])
                rows?.append(contentsOf: CompletionRows.of(report, scorer, columns))
            }
        }
        guard !findings.results.isEmpty else { throw StopRequested() }
    }

    /// Scores groups as they arrive; they come back in the order in which they were sampled for.
    static func scored(
        _ stream: AsyncThrowingStream<RolloutGroup, any Error>, _ scorer: any Scoring
    ) async throws -> [ScoredGroup] {
        let (scored, failure) = await scoredSoFar(stream, scorer)
        if let failure { throw failure }
        try Task.checkCancellation()  // a stream that a cancelled task reads ends early, without an error
        return scored
    }

    /// The same as far as it goes: when sampling or scoring fails or is cancelled, the groups before the first that has
    /// no scores.
    ///
    /// - Parameter note: Is told how many groups are scored, from several tasks.
    private static func scoredSoFar(
        _ stream: AsyncThrowingStream<RolloutGroup, any Error>, _ scorer: any Scoring,
        note: @escaping @Sendable (Int) -> Void = { _ in }
    ) async -> (scored: [ScoredGroup], failure: (any Error)?) {
        let done = ScoredSoFar()
        note(0)
        do {
            try await unlessCancelled {
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    var count = 0
                    for try await group in stream {
                        let index = count
                        tasks.addTask { note(done.take(try await scorer.score(group), at: index)) }
                        count += 1
                    }
                    try await tasks.waitForAll()
                }
            }
            return (done.beforeTheFirstGap, nil)
        } catch {
            return (done.beforeTheFirstGap, error)
        }
    }
}

/// Scored groups as they come, from several tasks.
private final class ScoredSoFar: Sendable {
    private let groups = Mutex<[Int: ScoredGroup]>([:])

    /// - Returns: How many there are now.
    func take(_ group: ScoredGroup, at index: Int) -> Int {
        groups.withLock { groups in
            groups[index] = group
            return groups.count
        }
    }

    var beforeTheFirstGap: [ScoredGroup] {
        groups.withLock { groups in
            var scored: [ScoredGroup] = []
            while let next = groups[scored.count] { scored.append(next) }
            return scored
        }
    }
}
