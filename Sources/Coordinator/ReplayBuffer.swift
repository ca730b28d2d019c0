package import Foundation
package import Records
internal import Runs

/// Keeps groups that taught something, and gives them back in place of groups that teach nothing (Selective Sample Replay,
/// Wang et al. 2025, arXiv:2504.08837, §3.1).
///
/// A group is dead when every token's advantage is 0. Replayed groups are drawn without replacement with a probability that
/// grows with their mean |advantage| to the power `alpha`; they keep the log-probs of the policy that wrote them, so the
/// ratio of the loss accounts for their age. Groups older than `maxAge` optimizer steps leave.
package actor ReplayBuffer: Checkpointable {
    package nonisolated let stateName = "replay"
    /// Most groups kept; the oldest leave first.
    private let capacity: Int
    /// Optimizer steps after which a group is too far from the present policy.
    private let maxAge: Int
    private let alpha: Double
    private let seed: UInt64
    private var kept: [Kept] = []
    /// As they were at the last ``mark()``.
    private var marked: [Kept] = []

    private struct Kept: Codable, Equatable {
        var group: UpdateGroup
        /// The optimizer steps behind the policy that wrote it.
        var step: Int
        var weight: Double
    }

    /// What became of a step's groups.
    package struct Exchange: Sendable {
        /// The step's live groups, then replayed ones, then what dead groups are left.
        package var groups: [UpdateGroup]
        /// `replay/size`, `replay/replaced` (share of the step's groups) and `replay/age` (mean, in optimizer steps).
        package var metrics: Metrics
    }

    package init(capacity: Int, maxAge: Int, alpha: Double = 1, seed: UInt64) {
        self.capacity = capacity
        self.maxAge = maxAge
        self.alpha = alpha
        self.seed = seed
    }

    /// Notes the place to come back to.
    package func mark() { marked = kept }

    /// Goes back to the last mark: the groups of an abandoned step were never here.
    package func rewind() { kept = marked }

    /// Replaces dead groups by kept ones as far as there are any, then keeps the live ones.
    ///
    /// - Parameters:
    ///   - groups: Of one step, with `oldLogProbabilities`.
    ///   - step: Optimizer steps behind the policy that wrote them; addresses the draws.
    package func exchange(_ groups: [UpdateGroup], step: Int) -> Exchange {
        kept.removeAll { step - $0.step > maxAge }
        let live = groups.filter(\.isLive)
        let dead = groups.filter { !$0.isLive }
        let drawn = draw(min(dead.count, kept.count), step: step)
        var metrics = Metrics()
        metrics["replay/size"] = Double(kept.count)
        metrics["replay/replaced"] = Double(drawn.count) / Double(max(groups.count, 1))
        if !drawn.isEmpty {
            metrics["replay/age"] = drawn.reduce(0) { $0 + Double(step - $1.step) } / Double(drawn.count)
        }
        kept += live.map { Kept(group: $0, step: step, weight: pow($0.meanAbsoluteAdvantage, alpha)) }
        kept.removeFirst(max(0, kept.count - capacity))
        return Exchange(groups: live + drawn.map(\.group) + dead.dropFirst(drawn.count), metrics: metrics)
    }

    /// `count` of the kept groups: those with the largest u^(1/weight), u uniform (Efraimidis and Spirakis 2006).
    private func draw(_ count: Int, step: Int) -> [Kept] {
        let keys = kept.indices.map { place in
            let uniform =
                Double(mix64(mix64(seed ^ 0x5EED) ^ mix64(UInt64(step) << 32 | UInt64(place))) >> 11) * 0x1p-53
            return pow(uniform, 1 / max(kept[place].weight, 1e-12))
        }
        let order = kept.indices.sorted { (keys[$1], $0) < (keys[$0], $1) }
        return order.prefix(count).sorted().map { kept[$0] }
    }

    // MARK: Checkpointable

    private nonisolated static let fileName = "groups.json"

    package func save(to folder: URL) throws {
        try FileOperations.system.writeFile(
            Array(try JSONEncoder().encode(kept)), folder.appending(path: Self.fileName))
    }

    package func restore(from folder: URL) throws {
        kept = try JSONDecoder().decode([Kept].self, from: Data(contentsOf: folder.appending(path: Self.fileName)))
    }
}

extension UpdateGroup {
    /// Whether any trained token has an advantage.
    fileprivate var isLive: Bool {
        completions.contains { !$0.isMasked && $0.advantages.contains { $0 != 0 } }
    }

    /// Over the group's tokens.
    fileprivate var meanAbsoluteAdvantage: Double {
        let all = completions.flatMap(\.advantages)
        return all.reduce(0) { $0 + abs($1) } / Double(max(all.count, 1))
    }
}
