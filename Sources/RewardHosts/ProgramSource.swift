package import Records
package import RewardInterface

/// A ``ProgramReward`` as a ``RewardSource``: completions are scored side by side, each program shut in.
package final class ProgramSource: RewardSource {
    package let names: [String]
    package var readsTokenIDs: Bool { reward.readsTokenIDs }
    package var reportsMetrics: Bool { false }
    private let reward: any ProgramReward
    private let range: ClosedRange<Double>
    private let runner: ConfinedRunner

    private init(_ reward: any ProgramReward, runner: ConfinedRunner, name: String?) {
        names = [name ?? type(of: reward).name]
        range = type(of: reward).range
        self.reward = reward
        self.runner = runner
    }

    /// Finds the programs, checks that they can be shut in, and lets the reward try them.
    ///
    /// - Parameter name: What metrics call it; its own name unless given.
    /// - Throws: ``RewardError/unusable(reward:problem:)``.
    package static func start(
        _ reward: any ProgramReward, _ settings: ProgramSettings, name: String? = nil
    ) async throws -> ProgramSource {
        let runner = try ConfinedRunner(
            reward: type(of: reward).name, settings: settings, programs: reward.programs)
        try await reward.prepare(with: runner)
        return ProgramSource(reward, runner: runner, name: name)
    }

    package func check(_ prompt: Prompt) throws(RewardError) { try reward.check(prompt) }

    package func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
        let completions = (group.rollouts + (group.greedy.map { [$0] } ?? [])).map(\.completion)
        let prompt = group.prompt.prompt
        let scores = try await withThrowingTaskGroup(of: (Int, RewardScore).self) { tasks in
            for (index, completion) in completions.enumerated() {
                tasks.addTask { (index, try await self.reward.score(completion, for: prompt, with: self.runner)) }
            }
            return try await tasks.reduce(into: [Int: RewardScore]()) { $0[$1.0] = $1.1 }
        }
        let rows = completions.indices.map { [(scores[$0] ?? .failed(message: "it was not scored")).within(range)] }
        return GroupScores(
            scores: Array(rows.prefix(group.rollouts.count)), greedyScores: group.greedy == nil ? nil : rows.last)
    }
}
