internal import Foundation
internal import Methods
internal import RewardInterface

/// What `pairs make` did, for people and for programs.
package struct PairsReport: Sendable {
    let output: String
    let forms: [(name: String, counts: PairMaking.Counts)]
    /// The error of a reward whose scores failed more often than its budget allows.
    let overspent: RewardError?

    private static let words = [
        "too_few": "fewer than two completions that can be compared", "tie": "equal rewards",
        "same_text": "the same text twice",
    ]

    /// Looks at the scores once the report is shown.
    ///
    /// - Throws: `RewardError` when more of a reward's failed than its budget allows, however few there were.
    package func checkScores() throws {
        if let overspent { throw overspent }
    }

    /// Whether there is no pair at all.
    package var isEmpty: Bool { forms.allSatisfy { $0.counts.pairs == 0 } }

    package var text: String {
        var lines: [String] = []
        for (name, counts) in forms {
            lines.append(
                "\(name): \(counts.pairs) pairs of \(counts.prompts) prompts, \(counts.completions) completions")
            for (reason, number) in counts.without.sorted(by: { $0.key < $1.key }) {
                lines.append("  without a pair: \(number), \(Self.words[reason] ?? reason)")
            }
            if counts.truncated > 0 { lines.append("  cut off by the length limit: \(counts.truncated) completions") }
            if counts.unclosed > 0 { lines.append("  thinking never closed: \(counts.unclosed) completions") }
            if name == ThinkingSettings.emptyName {
                let share = 100 * Double(counts.marked) / Double(max(counts.completions, 1))
                lines.append(
                    "  with a marker of thinking: \(counts.marked) completions (\(String(format: "%.1f", share)) %)")
                if share > 2 { lines.append("  note: thinking is not suppressed by the empty block") }
            }
        }
        return (lines + ["written: \(output)"]).joined(separator: "\n")
    }

    /// One JSON object.
    package var json: String {
        JSONText.object([
            ("output", JSONText.string(output)),
            (
                "forms",
                JSONText.object(
                    forms.map { name, counts in
                        (
                            name,
                            JSONText.object(
                                [
                                    ("prompts", String(counts.prompts)), ("pairs", String(counts.pairs)),
                                    ("completions", String(counts.completions)),
                                    ("truncated", String(counts.truncated)), ("unclosed", String(counts.unclosed)),
                                    ("marked", String(counts.marked)),
                                ] + counts.without.sorted { $0.key < $1.key }.map { ($0.key, String($0.value)) })
                        )
                    })
            ),
        ])
    }
}
