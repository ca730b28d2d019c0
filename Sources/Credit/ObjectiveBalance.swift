internal import Foundation

/// Moves weight from objectives that are done to those that still move: RECAP (arXiv:2510.21978).
///
///     m  = mean of the last W losses,  m̃ = mean of the W before,  s = their deviation (the last W, divisor W)
///     c  = m/m̃,  i = s/(m + m̃)                          falling slowly, or unsteadily: more weight
///     λ_k = K·softmax((c + i)/T)_k                        sums to K; 1 each until every objective has 2W losses
///
/// A loss must be positive, and less of it better: a cross-entropy, or a reward's ceiling less its mean. A surrogate
/// loss will not do, whose mean is near 0. With T = 5 this is gentle: no two weights differ by more than a factor of
/// about e^0.4.
package struct ObjectiveBalance: Sendable, Equatable, Codable {
    /// W.
    package let window: Int
    /// T.
    package let temperature: Double
    /// The newest 2W losses by objective.
    package private(set) var losses: [String: [Double]]

    package init(_ objectives: [String], window: Int = 10, temperature: Double = 5) {
        self.window = window
        self.temperature = temperature
        losses = Dictionary(objectives.map { ($0, []) }) { first, _ in first }
    }

    /// Takes the losses of a step, by objective; one that is absent or not finite leaves its objective's as they were.
    package mutating func note(_ step: [String: Double]) {
        for (name, loss) in step where loss.isFinite && losses[name] != nil {
            losses[name] = Array((losses[name]! + [loss]).suffix(2 * window))
        }
    }

    /// c + i of an objective; `nil` before it has 2W losses.
    package func score(of objective: String) -> Double? {
        guard let all = losses[objective], all.count == 2 * window else { return nil }
        let (before, last) = (all[..<window], all[window...])
        let count = Double(window)
        let (earlier, mean) = (before.reduce(0, +) / count, last.reduce(0, +) / count)
        let deviation = (last.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count).squareRoot()
        return mean / (earlier + 1e-8) + deviation / (mean + earlier + 1e-8)
    }

    /// Whether an objective has fewer than 2W losses: all weights are 1.
    var isWaiting: Bool { losses.values.contains { $0.count < 2 * window } }

    /// λ by objective.
    package var weights: [String: Double] {
        let names = losses.keys.sorted()
        let scores = names.compactMap(score)
        guard scores.count == names.count, let largest = scores.max() else { return losses.mapValues { _ in 1 } }
        let masses = scores.map { exp(($0 - largest) / temperature) }
        let total = masses.reduce(0, +)
        return Dictionary(uniqueKeysWithValues: zip(names, masses.map { Double(names.count) * $0 / total }))
    }
}
