internal import Evaluation
package import Foundation
internal import Job

/// One run of `bench learning`: a method and a seed, and what came of them.
package struct LearningRow: Codable, Equatable, Sendable {
    package var commit: String
    package var date: String
    /// What it shares with the other rows of its table.
    package var setting: LearningTable.Setting
    package var method: String
    package var seed: Int
    /// β of the KL from the start; absent for a method without such a term.
    package var klCoefficient: Double?
    /// How the losses of tokens became one number: `token_mean` over all of the step, `sequence_mean` over each
    /// completion first, `sequence_sum` of each completion, `sequence_sum_over_limit` that divided by the longest
    /// allowed.
    package var reduction: String
    package var trainSeconds: Double
    /// Mean reward on the held-out prompts, sampled as the method samples: token by token, or with soft thinking.
    package var before: Double
    package var after: Double
    /// The mean difference of the same prompts, and its 95 % interval.
    package var gain: Double
    package var gainLow: Double
    package var gainHigh: Double
    /// Sampled completions, and seconds, until a tenth of the run averages the target; absent when it never did.
    package var completionsToTarget: Double?
    package var secondsToTarget: Double?
    /// Nats a token at the end.
    package var entropy: Double?

    package init(
        commit: String, date: String, setting: LearningTable.Setting, method: String, seed: Int, klCoefficient: Double?,
        reduction: String, trainSeconds: Double, scores: LearningScores,
        target: (completions: Double, seconds: Double)?, entropy: Double?
    ) {
        self.commit = commit
        self.date = date
        self.setting = setting
        self.method = method
        self.seed = seed
        self.klCoefficient = klCoefficient
        self.reduction = reduction
        self.trainSeconds = trainSeconds
        (before, after) = (scores.before, scores.after)
        (gain, gainLow, gainHigh) = (scores.gain, scores.low, scores.high)
        completionsToTarget = target?.completions
        secondsToTarget = target?.seconds
        self.entropy = entropy
    }

    /// Rows of one method become one line: means over seeds, the range of what was reached, and the least lower end of
    /// a gain.
    ///
    /// - Returns: A table whose first row is the heading.
    package static func table(_ rows: [LearningRow]) -> [[String]] {
        var lines = [
            [
                "method", "β", "reduction", "seeds", "before", "after", "range", "gain", "at least", "entropy",
                "seconds",
                "completions to target", "seconds to target",
            ]
        ]
        var seen: [String] = []
        for row in rows where !seen.contains(row.method) { seen.append(row.method) }
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(values.count, 1)) }
        func text(_ value: Double) -> String { NumberText.compact(value) }
        for method in seen {
            let own = rows.filter { $0.method == method }
            let after = own.map(\.after)
            let entropies = own.compactMap(\.entropy)
            let reached = own.compactMap(\.completionsToTarget)
            lines.append([
                method, Self.each(own.map { $0.klCoefficient.map(text) ?? "–" }), Self.each(own.map(\.reduction)),
                "\(own.count)", text(mean(own.map(\.before))), text(mean(after)),
                "\(text(after.min() ?? 0))–\(text(after.max() ?? 0))", text(mean(own.map(\.gain))),
                text(own.map(\.gainLow).min() ?? 0), entropies.isEmpty ? "–" : text(mean(entropies)),
                text(mean(own.map(\.trainSeconds))),
                reached.count == own.count ? text(mean(reached)) : "reached by \(reached.count) of \(own.count)",
                reached.count == own.count ? text(mean(own.compactMap(\.secondsToTarget))) : "–",
            ])
        }
        return lines
    }

    /// What the runs of a line have, each thing once.
    private static func each(_ values: [String]) -> String {
        values.enumerated().filter { !values[..<$0.offset].contains($0.element) }.map(\.element).joined(separator: ", ")
    }
}

/// What an evaluation and the start's say side by side.
package struct LearningScores: Equatable, Sendable {
    package var before: Double
    package var after: Double
    package var gain: Double
    package var low: Double
    package var high: Double

    package init(before: Double, after: Double, gain: Double, low: Double, high: Double) {
        self.before = before
        self.after = after
        self.gain = gain
        self.low = low
        self.high = high
    }

    /// - Parameters:
    ///   - evaluation: What `eval --compare --json` printed last.
    ///   - start: What `eval --output` wrote of the start.
    /// - Throws: `JobError` where one of them lacks a number.
    package init(evaluation: Data, ofStart start: Data) throws {
        guard let result = try JSONDecoder().decode(Evaluation.self, from: evaluation).only,
            let comparison = result.comparison,
            let before = try JSONDecoder().decode(Evaluation.self, from: start).only?.mean
        else { throw JobError(place: "plumbline eval", message: "its result has no mean, or no comparison") }
        (self.before, after, gain) = (before, result.mean, comparison.difference)
        (low, high) = (comparison.ends[0], comparison.ends[1])
    }

    /// The parts of an evaluation's JSON that are read.
    private struct Evaluation: Decodable {
        struct Result: Decodable { var rewards: [Reward] }
        struct Reward: Decodable { var mean: Double }
        struct Comparison: Decodable {
            var difference: Double
            /// Null of one prompt alone.
            var interval: [Double]?

            var ends: [Double] { interval ?? [] }
        }
        var results: [Result]
        var comparisons: [Comparison]?

        var only: (mean: Double, comparison: Comparison?)? {
            guard let mean = results.first?.rewards.first?.mean else { return nil }
            return (mean, comparisons?.first { $0.ends.count == 2 })
        }
    }
}
