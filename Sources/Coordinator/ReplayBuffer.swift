package import Foundation
package import Records
internal import Runs

/// Keeps completions that taught something, and gives them back in place of completions that teach nothing (Selective
/// Sample Replay, Wang et al. 2025, arXiv:2504.08837, §3.1).
///
///     P(j) = |A_j|^α / Σ_k |A_k|^α        over the kept completions
///
/// A completion teaches nothing when its advantage is 0 at every token. As many kept ones as there are stand in for
/// such completions, so that every mini-batch has its share and the step keeps its size. They keep the log-probs
/// and the advantages of the step that wrote them: the ratio of the loss accounts for their age. The oldest leave first
/// when the buffer is full, and those older than `maxAge` optimizer steps leave at once. A mini-batch in which nothing
/// teaches all the same takes no optimizer step: momentum and decay alone would move the weights.
///
/// Departs from the paper: completions are drawn without replacement, since one that stands twice in a batch has only
/// its weight doubled; and what the step itself has taught stays, all of it, instead of being drawn by the same law.
package actor ReplayBuffer: Checkpointable {
    package nonisolated let stateName = "replay"
    /// Most completions kept.
    private let capacity: Int
    /// Optimizer steps after which a completion is too far from the present policy.
    private let maxAge: Int
    private let alpha: Double
    private let seed: UInt64
    private var kept: [Kept] = []
    /// As they were at the last ``mark()``.
    private var marked: [Kept] = []

    private struct Kept: Codable, Equatable {
        var promptTokenIDs: [Int]
        var completion: UpdateCompletion
        /// Optimizer steps that the policy which wrote it had taken.
        var step: Int
        /// |A|^α.
        var weight: Double
    }

    /// What became of a step's completions.
    package struct Exchange: Sendable {
        package var part: UpdatePart
        /// `replay/size` (completions kept when the step came), `replay/replaced` (share of the step's completions) and
        /// `replay/age` (mean, in optimizer steps).
        package var metrics: Metrics
    }

    package init(capacity: Int, maxAge: Int = 2, alpha: Double = 1, seed: UInt64) {
        self.capacity = capacity
        self.maxAge = maxAge
        self.alpha = alpha
        self.seed = seed
    }

    /// Notes the state to come back to.
    package func mark() { marked = kept }

    /// Goes back to the last mark: the completions of an abandoned step were never here.
    package func rewind() { kept = marked }

    /// Replaces completions that teach nothing by kept ones as far as there are any, then keeps those that teach.
    ///
    /// - Parameters:
    ///   - part: Of one step, with `oldLogProbabilities`.
    ///   - step: Optimizer steps taken so far; addresses the draws.
    ///   - age: How many of them came after the policy that wrote the part.
    package func exchange(_ part: UpdatePart, step: Int, age: Int = 0) -> Exchange {
        kept.removeAll { step - $0.step > maxAge }
        let sizes = part.groups.map { $0.completions.map { $0.meanAbsoluteAdvantage(part.streamWeights) } }
        let dead = sizes.reduce(0) { $0 + $1.count { $0 == 0 } }
        let drawn = draw(min(dead, kept.count), step: step)
        var metrics = Metrics()
        metrics["replay/size"] = Double(kept.count)
        metrics["replay/replaced"] = Double(drawn.count) / Double(max(part.completionCount, 1))
        if !drawn.isEmpty {
            metrics["replay/age"] = drawn.reduce(0) { $0 + Double(step - $1.step) } / Double(drawn.count)
        }
        for (group, sizes) in zip(part.groups, sizes) {
            for (completion, size) in zip(group.completions, sizes) where size > 0 {
                kept.append(
                    Kept(
                        promptTokenIDs: group.promptTokenIDs, completion: completion, step: step - age,
                        weight: min(pow(size, alpha), .greatestFiniteMagnitude)))
            }
        }
        kept.removeFirst(max(0, kept.count - capacity))
        return Exchange(part: Self.replacing(part, sizes, by: drawn), metrics: metrics)
    }

    /// The part with drawn completions in place of the first dead ones, behind what is left of the groups that
    /// those were in.
    private static func replacing(_ part: UpdatePart, _ sizes: [[Double]], by drawn: [Kept]) -> UpdatePart {
        var result = UpdatePart(
            part.kind, [], streamWeights: part.streamWeights, klWeight: part.klWeight, weight: part.weight)
        var next = drawn[...]
        for (group, sizes) in zip(part.groups, sizes) {
            var own = group
            own.completions = []
            var replayed: [UpdateGroup] = []
            for (completion, size) in zip(group.completions, sizes) {
                guard size == 0, var kept = next.popFirst() else {
                    own.completions.append(completion)
                    continue
                }
                kept.completion.isReplayed = true
                if replayed.last?.promptTokenIDs == kept.promptTokenIDs {
                    replayed[replayed.count - 1].completions.append(kept.completion)
                } else {
                    replayed.append(UpdateGroup(promptTokenIDs: kept.promptTokenIDs, completions: [kept.completion]))
                }
            }
            result.groups += (own.completions.isEmpty ? [] : [own]) + replayed
        }
        return result
    }

    /// `count` of the kept completions, the oldest first: those with the largest u^(1/weight), u uniform (Efraimidis
    /// and Spirakis 2006), by its logarithm: the power itself is 0 for nearly every u where a weight is small. A weight
    /// that is 0 in floating point counts as the least.
    private func draw(_ count: Int, step: Int) -> [Kept] {
        let keys = kept.indices.map { index in
            let uniform =
                Double(mix64(mix64(seed ^ 0x5EED) ^ mix64(UInt64(step) << 32 | UInt64(index))) >> 11) * 0x1p-53
            return log(uniform) / max(kept[index].weight, 1e-300)  // −∞ of u = 0, behind all others
        }
        let order = kept.indices.sorted { (keys[$1], $0) < (keys[$0], $1) }
        return order.prefix(count).sorted().map { kept[$0] }
    }

    // MARK: Checkpointable

    private nonisolated static let fileName = "completions.json"

    package func save(to folder: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys  // equal states are equal files
        try FileOperations.system.writeFile(
            Array(try encoder.encode(kept)), folder.appending(path: Self.fileName))
    }

    package func restore(from folder: URL) throws {
        kept = try JSONDecoder().decode([Kept].self, from: Data(contentsOf: folder.appending(path: Self.fileName)))
    }
}

extension UpdateBatch {
    /// Whether no rollout in it has an advantage, and nothing in it is imitated.
    var teachesNothing: Bool {
        parts.allSatisfy { part in
            guard part.kind == .rollouts else { return part.weight == 0 || part.actionTokenCount == 0 }
            return part.weight == 0
                || part.groups.allSatisfy { group in
                    group.completions.allSatisfy { $0.meanAbsoluteAdvantage(part.streamWeights) == 0 }
                }
        }
    }
}

extension UpdateCompletion {
    /// |A|, the streams added up, over its tokens; 0 where it is masked or has none.
    fileprivate func meanAbsoluteAdvantage(_ streamWeights: [Double]) -> Double {
        let all = isMasked ? [] : mixedAdvantages(streamWeights)
        return all.reduce(0) { $0 + abs($1) } / Double(max(all.count, 1))
    }
}
