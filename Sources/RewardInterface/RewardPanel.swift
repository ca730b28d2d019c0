package import JSON
package import Records
import Synchronization

/// All rewards of a job side by side: one group in, a ``ScoredGroup`` out. Watches each reward's ``ErrorBudget``.
package final class RewardPanel: Sendable {
    /// Every reward's name, in the order of a completion's scores.
    package let names: [String]
    /// Whether a reward may report numbers of its own; see ``RewardSource/reportsMetrics``.
    package var reportsMetrics: Bool { sources.contains { $0.reportsMetrics } }
    private let sources: [any RewardSource]
    private let budgets: Mutex<[ErrorBudget]>

    /// - Parameter errorRate: The share of each reward's scores that may fail before scoring throws; 1 allows all.
    /// - Throws: ``RewardError/ambiguousReward(name:types:)`` when two sources give the same name.
    package init(_ sources: [any RewardSource], errorRate: Double = 0.05) throws(RewardError) {
        let names = sources.flatMap(\.names)
        if let twice = names.first(where: { name in names.count { $0 == name } > 1 }) {
            let owners = sources.filter { $0.names.contains(twice) }.map { "\(type(of: $0))" }
            throw .ambiguousReward(name: twice, types: owners)
        }
        self.names = names
        self.sources = sources
        budgets = Mutex(names.map { ErrorBudget(reward: $0, rate: errorRate) })
    }

    /// What the panel says of a group beyond its scores.
    package struct Remarks: Sendable, Equatable {
        /// One value per rollout. Where a reward's column has the name of one of the run's own, or of another reward's,
        /// the reward's name is put before it: `accuracy/prompt`.
        package var extraColumns: [String: [JSONValue]] = [:]
        /// Numbers the rewards reported: one of each reward that reported one of this name.
        package var metrics: [String: [Double]] = [:]
    }

    /// What the completions file has of its own, beside the rewards' scores.
    private static let ownColumns: Set = [
        "step", "row", "variant", "prompt", "completion", "finish_reason", "length", "advantage",
    ]

    /// Whether every reward can score the prompt's row.
    ///
    /// - Throws: ``RewardError`` naming the reward, the row and the column that is missing or unfit.
    package func check(_ prompt: Prompt) throws(RewardError) {
        for source in sources {
            do throws(RewardError) {
                try source.check(prompt)
            } catch {
                throw error.naming(source.names.joined(separator: ", "))
            }
        }
    }

    /// Asks every source for the group, all at once, and counts what failed.
    ///
    /// - Throws: ``RewardError`` of a row that cannot be scored, or of a spent error budget.
    package func score(
        _ group: RolloutGroup, at progress: TrainingProgress = TrainingProgress()
    ) async throws -> (scored: ScoredGroup, remarks: Remarks) {
        let answer = try await scoreUncounted(group, at: progress)
        try count(answer.scored)
        return answer
    }

    /// The same for scores that are counted later, beside those of other processes: see ``count(_:)``.
    package func scoreUncounted(
        _ group: RolloutGroup, at progress: TrainingProgress = TrainingProgress()
    ) async throws -> (scored: ScoredGroup, remarks: Remarks) {
        let parts = try await scoresOfSources(group, progress)
        let scores = group.rollouts.indices.map { row in parts.flatMap { $0.scores[row] } }
        let greedy = group.greedy == nil ? nil : parts.flatMap { $0.greedyScores ?? [] }
        return (ScoredGroup(group: group, scores: scores, greedyScores: greedy), remarks(parts))
    }

    /// Takes the scores of a group into the rewards' error budgets, wherever they come from, with those of the
    /// demonstration beside it.
    ///
    /// - Throws: ``RewardError`` of a spent error budget.
    package func count(_ scored: ScoredGroup) throws(RewardError) {
        let group = scored.group
        var rows: [(completion: Completion?, scores: [RewardScore])] = []
        for (rollout, scores) in zip(group.rollouts, scored.scores) { rows.append((rollout.completion, scores)) }
        if let greedy = group.greedy { rows.append((greedy.completion, scored.greedyScores ?? [])) }
        if let scores = scored.demonstrationScores { rows.append((nil, scores)) }
        try budgets.withLock { (budgets) throws(RewardError) in
            for (completion, scores) in rows {
                for (index, score) in scores.enumerated() {
                    try budgets[index].record(score, of: completion, for: group.prompt.prompt)
                }
            }
        }
    }

    private func remarks(_ parts: [GroupScores]) -> Remarks {
        let own = Self.ownColumns.union(names.flatMap { [$0, "\($0)/state", "\($0)/note"] })
        var remarks = Remarks()
        for (source, part) in zip(sources, parts) {
            for (name, column) in part.extraColumns.sorted(by: { $0.key < $1.key }) {
                var key = name
                while own.contains(key) || remarks.extraColumns[key] != nil { key = "\(source.names[0])/\(key)" }
                remarks.extraColumns[key] = column
            }
            for (name, value) in part.metrics { remarks.metrics[name, default: []].append(value) }
        }
        return remarks
    }

    /// Every source's answers in the group: `[reward][completion]`, as ``RewardSource/answers(in:)`` gives them.
    package func answers(in group: RolloutGroup) throws(RewardError) -> [[String?]?] {
        var answers: [[String?]?] = []
        for source in sources { answers += try source.answers(in: group) }
        return answers
    }

    /// The error of the first reward whose scores failed more often than its budget allows, now that no more come.
    package var overspent: RewardError? { budgets.withLock { $0.compactMap(\.overspent).first } }

    /// Ends what the sources keep running.
    package func close() async {
        for source in sources { await source.close() }
    }

    private func scoresOfSources(_ group: RolloutGroup, _ progress: TrainingProgress) async throws -> [GroupScores] {
        if sources.count == 1 { return [try await sources[0].score(group, at: progress)] }
        return try await withThrowingTaskGroup(of: (Int, GroupScores).self) { tasks in
            for (index, source) in sources.enumerated() {
                tasks.addTask { (index, try await source.score(group, at: progress)) }
            }
            var parts = [GroupScores?](repeating: nil, count: sources.count)
            for try await (index, part) in tasks { parts[index] = part }
            return parts.compactMap(\.self)
        }
    }
}
