internal import Coordinator
internal import Evaluation
internal import Foundation
package import Records
internal import RewardInterface
internal import Runs

/// `plumbline eval`: scores a policy on prompt sets and changes nothing.
package struct PolicyEvaluation: Sendable {
    private let prompts: [String]
    private let rewards: [String]
    private let samples: Int
    private let ks: [Int]
    private let limit: Int?
    private let sampling: SamplingRequest
    private let completionsFile: String?

    package init(
        prompts: [String], rewards: [String], samples: Int, ks: [Int], limit: Int?, sampling: SamplingRequest,
        completionsFile: String?
    ) {
        self.prompts = prompts
        self.rewards = rewards
        self.samples = samples
        self.ks = ks
        self.limit = limit
        self.sampling = sampling
        self.completionsFile = completionsFile
    }

    /// Evaluates a model, and compares it with another model or a stored result.
    package func run(model: String, compareWith other: String?, stop: StopSignal) async throws -> EvaluationReport {
        let results = try await evaluate(model, writing: completionsFile, stop: stop)
        guard let other else { return EvaluationReport(model: model, results: results, comparisons: []) }
        let otherResults: [EvaluationResult]
        if other.hasSuffix(".json") {
            otherResults = try EvaluationReport.read(other)
        } else {
            otherResults = try await evaluate(other, writing: nil, stop: stop)
        }
        return EvaluationReport(
            model: model, results: results, comparisons: try EvaluationReport.comparisons(results, otherResults, other))
    }

    private func evaluate(_ model: String, writing file: String?, stop: StopSignal) async throws -> [EvaluationResult] {
        let generation = try await TextGeneration(model: model, sampling: sampling)
        let assembly = RewardAssembly(folder: URL(filePath: "."), timeoutSeconds: 60)
        let panel = try await assembly.panel(rewards.map { JobReward(reference: $0) }, errorRate: 1)
        do {
            let results = try await evaluate(generation, PanelScorer(panel), writing: file, stop: stop)
            await panel.close()
            return results
        } catch {
            await panel.close()
            throw error
        }
    }

    private func evaluate(
        _ generation: TextGeneration, _ scorer: PanelScorer, writing file: String?, stop: StopSignal
    ) async throws -> [EvaluationResult] {
        var results: [EvaluationResult] = []
        var rows: [JSON] = []
        for path in prompts {
            let tokenized = try generation.prompts(.file(path, limit: limit), split: "eval")
            let stream = try await generation.groups(tokenized, samples: samples, stop: stop)
            let groups = try await Self.scored(stream, scorer)
            try stop.check()
            results.append(
                EvaluationResult(promptSet: path, groups: groups, rewardNames: scorer.rewardNames, ks: ks))
            if file != nil {
                let report = StepReport(step: 0, metrics: Metrics(), groups: groups, credits: [])
                rows += CompletionRows.of(report, scorer, scorer.takeRemarks().columns)
            }
        }
        if let file {
            let text = rows.map { $0.serialized + "\n" }.joined()
            try FileOperations.system.replaceFile(URL(filePath: file), with: Array(text.utf8))
        }
        return results
    }

    /// Scores groups as they arrive; they come back in the order in which they were sampled for.
    static func scored(
        _ stream: AsyncThrowingStream<RolloutGroup, any Error>, _ scorer: PanelScorer
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
