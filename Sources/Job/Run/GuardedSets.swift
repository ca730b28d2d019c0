internal import Algorithms
internal import Coordinator
internal import Credit
internal import Foundation
internal import PolicyUpdater
internal import PromptSets
internal import Records

/// The sets that a run must not lose, read and checked.
struct GuardedSets: Sendable {
    /// One set.
    struct Guarded: Sendable {
        let settings: GuardSettings
        /// Says which file the rows come from.
        let identity: String
        let content: Content
    }

    enum Content: Sendable {
        case prompts([TokenizedPrompt])
        /// Completions with their prompts.
        case texts([UpdateGroup])

        /// What completions are sampled of; `nil` where none are.
        var prompts: [TokenizedPrompt]? { if case .prompts(let prompts) = self { prompts } else { nil } }
    }

    let all: [Guarded]

    /// - Parameter base: The job file's folder.
    /// - Throws: An error that names the file, row or reward that cannot be used.
    init(_ job: ResolvedJob, _ model: ModelSource, base: URL) throws {
        all = try job.run.guards.map { settings in
            try RewardAssembly.check(settings.rewards, folder: base)
            let url = try DatasetFolder.url(settings.dataset.path, base)
            let set = try PromptSet(
                url, split: settings.dataset.split ?? TextGeneration.split(of: url.path, wanted: "eval"),
                columns: settings.dataset.columns(otherwise: RunPromptSets.columns(job.data.columnMap)))
            let rows = RunPromptSets.indices(set, limit: settings.limit)
            let content: Content
            switch settings.kind {
            case .prompts:
                let encoder = model.encoder(
                    maxPromptLength: try model.promptLimit(asked: nil, completion: job.sampling.maxCompletionLength))
                content = .prompts(try rows.map { try encoder.encode(set.prompt(at: $0)) })
            case .texts:
                let encoder = model.encoder(maxPromptLength: model.configuration.contextLength)
                content = .texts(
                    try rows.map { row in
                        let text = try set.demonstration(at: row)
                        return try encoder.encode(demonstration: text.completion, of: text.prompt)
                    })
            }
            return Guarded(settings: settings, identity: set.identity, content: content)
        }
    }

    /// Opens the rewards of their own, by the set's name.
    ///
    /// - Parameters:
    ///   - run: The run's open rewards, which score the others.
    ///   - note: Takes what the user should know of a reward.
    /// - Throws: An error that names the reward that cannot be opened, or a prompt that it cannot score. What was opened
    ///   is closed then.
    func scorers(
        _ job: ResolvedJob, base: URL, run: PanelScorer?, note: @escaping @Sendable (String) -> Void
    ) async throws -> [String: PanelScorer] {
        var opened: [String: PanelScorer] = [:]
        do {
            for guarded in all {
                guard case .prompts(let prompts) = guarded.content else { continue }
                if !guarded.settings.rewards.isEmpty {
                    let assembly = RewardAssembly(
                        folder: base, runFolder: URL(filePath: job.run.outputDirectory),
                        timeoutSeconds: job.rewards?.timeoutSeconds ?? 60, note: note)
                    opened[guarded.settings.name] = PanelScorer(
                        try await assembly.panel(
                            guarded.settings.rewards, errorRate: job.rewards?.errorBudget ?? 0.05))
                }
                for prompt in prompts { try (opened[guarded.settings.name] ?? run)?.check(prompt.prompt) }
            }
            return opened
        } catch {
            for scorer in opened.values { await scorer.close() }
            throw error
        }
    }
}

/// Measures the log-likelihood of given texts under the policy, without sampling any: what it forgets of them shows.
struct TextGuard: Measuring {
    let settings: GuardSettings
    let texts: [UpdateGroup]
    let updater: PolicyUpdater

    /// The mean over all tokens of the completions, in nats, at temperature 1: the negative loss that SFT would have.
    func measured(step: Int, stop: StopSignal) async throws -> Measured {
        let found = try await updater.measure(
            UpdatePart(.demonstrations, texts), by: PartPlan(SupervisedFineTuning(), on: .demonstrations), stop: stop)
        var measured = Measured()
        measured.metrics[settings.metric] = -found.loss
        measured.lines = [
            "\(settings.metric) \(String(format: "%.4f", -found.loss)) nats a token on \(texts.count) texts"
        ]
        return measured
    }
}

extension EvaluationGuard {
    /// What the guards of a job watch.
    init(_ guards: [GuardSettings]) {
        self.init(guards.map { Watched($0.name, metric: $0.metric, tolerance: $0.tolerance, stops: $0.stops) })
    }
}
