internal import Coordinator
package import Foundation
internal import Placement
package import JSON
package import Records
package import RewardInterface
internal import Synchronization

/// Asks a panel of rewards for the scores of each group, and keeps what they remarked for the step's record.
package final class PanelScorer: Scoring {
    package var rewardNames: [String] { panel.names }
    /// Whether a reward may report numbers of its own, whose names are not known before it scores.
    package var reportsMetrics: Bool { panel.reportsMetrics }
    private let panel: RewardPanel
    private let state = Mutex(State())

    private struct State {
        var progress = TrainingProgress()
        var phases: PhaseLog?
        /// Names of rewards of which less may be wanted.
        var costs: Set<String> = []
        var metrics: [String: [Double]] = [:]
        var columns: [GroupAddress: [String: [JSONValue]]] = [:]
    }

    package init(_ panel: RewardPanel) { self.panel = panel }

    /// Scores a group. Soft thinking without an answer behind it earns nothing: at most 0 from every reward that scored
    /// its draft, but for those that ``keepScores(of:)`` names.
    package func score(_ group: RolloutGroup) async throws -> ScoredGroup {
        let scored = try await scoreUncounted(group)
        try panel.count(scored)
        return scored
    }

    package func scoreUncounted(_ group: RolloutGroup) async throws -> ScoredGroup {
        let (scored, remarks) = try await judged(group)
        state.withLock { state in
            for (name, values) in remarks.metrics { state.metrics[name, default: []] += values }
            if !remarks.extraColumns.isEmpty { state.columns[group.address] = remarks.extraColumns }
        }
        return scored
    }

    package func count(_ groups: [ScoredGroup]) throws { for group in groups { try panel.count(group) } }

    /// As ``score(_:)`` for a group that is no part of the step's record.
    package func scoreUnremarked(_ group: RolloutGroup) async throws -> ScoredGroup {
        let scored = try await judged(group).scored
        try panel.count(scored)
        return scored
    }

    private func judged(_ group: RolloutGroup) async throws -> (scored: ScoredGroup, remarks: RewardPanel.Remarks) {
        let (progress, phases, costs) = state.withLock { ($0.progress, $0.phases, $0.costs) }
        let start = phases?.now ?? 0
        var (scored, remarks) = try await panel.scoreUncounted(group, at: progress)
        if let phases { phases.note(PhaseSpan(lane: .rewards, name: "rewards", start: start, end: phases.now)) }
        for (index, rollout) in group.rollouts.enumerated() where rollout.lacksAnswer {
            for (slot, name) in rewardNames.enumerated() where !costs.contains(name) {
                guard let score = scored.scores[index][slot].score else { continue }
                scored.scores[index][slot] = .value(min(score, 0), note: "no answer behind the thinking")
            }
        }
        return (scored, remarks)
    }

    /// Whether every reward can score a prompt's completions: a missing column is found before the first step.
    ///
    /// - Throws: `RewardError` naming the row.
    package func check(_ prompt: Prompt) throws(RewardError) { try panel.check(prompt) }

    /// The answers that the scores judge: `[reward][completion]`; see `RewardSource.answers(in:)`.
    package func answers(in group: RolloutGroup) throws(RewardError) -> [[String?]?] { try panel.answers(in: group) }

    /// What is wrong with all scores that were counted here; see `ErrorBudget`.
    package var overspent: RewardError? { panel.overspent }

    /// Tells the rewards how far the run is; they may ask for it.
    package func advance(to progress: TrainingProgress) { state.withLock { $0.progress = progress } }

    /// Leaves the scores of some rewards as they are where an answer is missing: those of which less may be wanted. A
    /// length of 0 would be the best of all.
    ///
    /// - Parameter costs: Their names.
    package func keepScores(of costs: Set<String>) { state.withLock { $0.costs = costs } }

    /// Notes what scoring takes from now on.
    func follow(in phases: PhaseLog) { state.withLock { $0.phases = phases } }

    /// What the rewards remarked since the last call: means of their metrics, and extra columns by group.
    package func takeRemarks() -> (metrics: [String: Double], columns: [GroupAddress: [String: [JSONValue]]]) {
        state.withLock { state in
            defer {
                state.metrics = [:]
                state.columns = [:]
            }
            // Scores come in the order in which threads end; a sum that ranks checkpoints does not depend on it.
            return (state.metrics.mapValues { $0.sorted().reduce(0, +) / Double($0.count) }, state.columns)
        }
    }

    // MARK: Remarks on their way

    private struct SealedRemarks: Codable {
        struct Columns: Codable {
            let row: Int
            let variant: Int
            /// As JSON.
            let values: [String: String]
        }

        let metrics: [String: [Double]]
        let columns: [Columns]
    }

    package func sealRemarks() throws -> Data {
        let taken = state.withLock { state in
            defer { (state.metrics, state.columns) = ([:], [:]) }
            return (metrics: state.metrics, columns: state.columns)
        }
        let columns = taken.columns.map { address, values in
            SealedRemarks.Columns(
                row: address.row, variant: address.variant, values: values.mapValues { JSONValue.array($0).serialized })
        }
        let encoder = PropertyListEncoder()
        encoder.outputFormat = .binary
        return try encoder.encode(SealedRemarks(metrics: taken.metrics, columns: columns))
    }

    package func unseal(_ remarks: Data) throws {
        let sealed = try PropertyListDecoder().decode(SealedRemarks.self, from: remarks)
        let columns = try sealed.columns.map { one in
            let values = try one.values.mapValues { try JSONValue(parsing: $0).elements ?? [] }
            return (GroupAddress(row: one.row, variant: one.variant), values)
        }
        state.withLock { state in
            for (name, values) in sealed.metrics { state.metrics[name, default: []] += values }
            for (address, values) in columns { state.columns[address] = values }
        }
    }

    /// Ends what the rewards keep running. A cancelled run does not wait long for one that cannot leave off; it ends
    /// with the process.
    package func close() async {
        let panel = panel
        await briefly(.milliseconds(500)) { await panel.close() }
    }
}
