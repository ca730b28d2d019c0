internal import Coordinator
internal import Evaluation
internal import Foundation
internal import PromptSets
package import Records
internal import RewardInterface
internal import Runs

/// `plumbline eval`: scores a policy on prompt sets and changes nothing.
package struct PolicyEvaluation: Sendable {
    private let prompts: [String]
    private let rewards: [JobReward]
    private let rewardErrorBudget: Double
    private let columns: ColumnMap
    private let samples: Int
    private let ks: [Int]
    private let limit: Int?
    private let sampling: SamplingRequest
    private let completionsFile: String?

    /// - Parameters:
    ///   - rewards: As ``JobReward/init(argument:)`` reads them.
    ///   - rewardErrorBudget: The share of a reward's scores that may fail.
    ///   - columnMap: `name=column` each, for every prompt set.
    package init(
        prompts: [String], rewards: [String], rewardErrorBudget: Double, columnMap: [String], samples: Int, ks: [Int],
        limit: Int?, sampling: SamplingRequest, completionsFile: String?
    ) throws(JobError) {
        self.prompts = prompts
        var entries: [JobReward] = []
        for reward in rewards { entries.append(try JobReward(argument: reward)) }
        self.rewards = entries
        self.rewardErrorBudget = rewardErrorBudget
        columns = try ColumnMap(arguments: columnMap)
        self.samples = samples
        self.ks = ks
        self.limit = limit
        self.sampling = sampling
        self.completionsFile = completionsFile
    }

    /// Evaluates a model, and compares it with another model or a stored result.
    package func run(model: String, compareWith other: String?, stop: StopSignal) async throws -> EvaluationReport {
        // A file that is none must not cost the sampling.
        let stored = try other.flatMap { $0.hasSuffix(".json") ? try EvaluationReport.read($0) : nil }
        var findings = try await evaluate(model, writing: completionsFile, stop: stop)
        if let other {
            var otherResults = stored ?? []
            if stored == nil { otherResults = try await evaluate(other, writing: nil, stop: stop).results }
            findings.comparisons = try EvaluationReport.comparisons(findings.results, otherResults, other)
        }
        return EvaluationReport(findings: findings)
    }

    private func evaluate(_ model: String, writing file: String?, stop: StopSignal) async throws -> Findings {
        let generation = try await TextGeneration(model: model, sampling: sampling)
        let assembly = RewardAssembly(folder: URL(filePath: "."), timeoutSeconds: 60)
        let panel = try await assembly.panel(rewards, errorRate: rewardErrorBudget)
        do {
            var findings = Findings(model: model, rewardNames: panel.names, results: [])
            try await evaluate(generation, PanelScorer(panel), into: &findings, writing: file, stop: stop)
            await panel.close()
            return findings
        } catch {
            await panel.close()
            throw error
        }
    }

    private func evaluate(
        _ generation: TextGeneration, _ scorer: PanelScorer, into findings: inout Findings, writing file: String?,
        stop: StopSignal
    ) async throws {
        var rows: [JSON] = []
        for path in prompts {
            let tokenized = try generation.prompts(.file(path, limit: limit), split: "eval", columns: columns)
            for prompt in tokenized { try scorer.check(prompt.prompt) }
            let stream = try await generation.groups(tokenized, samples: samples, stop: stop)
            let scored = try await Self.scored(stream, scorer)
            try stop.check()
            let groups = try scored.map { EvaluatedGroup($0, answers: try scorer.answers(in: $0.group)) }
            findings.results.append(
                EvaluationResult(promptSet: path, groups: groups, rewardNames: scorer.rewardNames, ks: ks))
            findings.samples += groups.flatMap { Findings.Sample.all(of: $0, in: path) }
            let columns = scorer.takeRemarks().columns
            if file != nil {
                let report = StepReport(step: 0, metrics: Metrics(), groups: scored, credits: [])
                rows += CompletionRows.of(report, scorer, columns)
            }
        }
        if let file {
            let text = rows.map { $0.serialized + "\n" }.joined()
            try FileOperations.system.replaceFile(URL(filePath: file), with: Array(text.utf8))
        }
    }

    /// Scores groups as they arrive; they come back in the order in which they were sampled for.
    static func scored(
        _ stream: AsyncThrowingStream<RolloutGroup, any Error>, _ scorer: any Scoring
    ) async throws -> [ScoredGroup] {
        try await withThrowingTaskGroup(of: (Int, ScoredGroup).self) { tasks in
            var count = 0
            for try await group in stream {
                let place = count
                tasks.addTask { (place, try await scorer.score(group)) }
                count += 1
            }
            var scored = [ScoredGroup?](repeating: nil, count: count)
            for try await (place, group) in tasks { scored[place] = group }
            return scored.compactMap(\.self)
        }
    }
}
