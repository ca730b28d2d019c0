package import Foundation

/// What `metrics.jsonl` says of a run's progress.
package struct LearningCurve {
    private var rows: [(reward: Double, seconds: Double, entropy: Double?, completions: Double)] = []

    /// - Throws: `CocoaError` for a file that is not there.
    package init(_ file: URL, completionsPerStep: Int) throws {
        for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
            guard let row = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any],
                let seconds = row["step_time"] as? Double,
                let reward = row["dynamic_sampling/reward"] as? Double ?? row["reward"] as? Double
            else { continue }
            let waves = row["dynamic_sampling/waves"] as? Double ?? 1
            rows.append((reward, seconds, row["entropy"] as? Double, Double(completionsPerStep) * waves))
        }
    }

    /// Nats a token at the end.
    package var lastEntropy: Double? { rows.last?.entropy }

    /// Where the mean of `window` rows first reaches the target: the completions and the seconds until then.
    package func reaching(_ target: Double, window: Int) -> (completions: Double, seconds: Double)? {
        guard rows.count >= window else { return nil }
        for end in window...rows.count
        where rows[(end - window)..<end].reduce(0, { $0 + $1.reward }) / Double(window) >= target {
            return (
                rows[..<end].reduce(0) { $0 + $1.completions }, rows[..<end].reduce(0) { $0 + $1.seconds }
            )
        }
        return nil
    }
}
