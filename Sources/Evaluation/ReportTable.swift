/// The scores of an evaluation as rows of texts: one row for each reward on each prompt set, then on each of its sources.
package struct ReportTable: Sendable, Equatable {
    package let heading: [String]
    package let rows: [[String]]
    /// How many columns from the left hold words; the others hold numbers.
    package let wordColumns = 2

    package init(_ findings: Findings) {
        let summaries = findings.results.flatMap { [$0] + $0.sources }.flatMap(\.rewards)
        let passes = Set(summaries.flatMap(\.passAtK.keys)).filter { $0 > 1 }.sorted()
        let majorities = Set(summaries.flatMap(\.majorityAtK.keys)).filter { $0 > 1 }.sorted()
        heading =
            ["prompts", "reward", "n", "samples", "mean", "95 % interval"] + passes.map { "pass@\($0)" }
            + majorities.map { "maj@\($0)" } + ["truncated", "no answer", "failed", "abstained", "mean length"]
        var rows: [[String]] = []
        for result in findings.results {
            for (name, part) in [(result.promptSet, result)] + result.sources.map({ ("· " + $0.promptSet, $0) }) {
                for reward in part.rewards { rows.append(Self.row(name, part, reward, passes, majorities)) }
            }
        }
        self.rows = rows
    }

    private static func row(
        _ name: String, _ part: EvaluationResult, _ reward: RewardSummary, _ passes: [Int], _ majorities: [Int]
    ) -> [String] {
        [
            name, reward.reward, "\(reward.prompts)", "\(part.samplesPerPrompt)",
            reward.mean.map(ReportNumbers.short) ?? "–", reward.interval.map(ReportNumbers.bracketed) ?? "–",
        ] + passes.map { reward.passAtK[$0].map(ReportNumbers.short) ?? "–" }
            + majorities.map { reward.majorityAtK[$0].map(ReportNumbers.short) ?? "–" } + [
                ReportNumbers.percent(part.truncated), reward.parseFailures.map(ReportNumbers.percent) ?? "–",
                "\(reward.failed)", "\(reward.abstained)", ReportNumbers.short(part.meanLength),
            ]
    }

    /// The comparisons with another policy.
    package static func comparisons(_ findings: Findings) -> (heading: [String], rows: [[String]]) {
        let rows = findings.comparisons.map { comparison in
            [
                comparison.promptSet, comparison.reward, comparison.other, "\(comparison.paired.prompts)",
                ReportNumbers.signed(comparison.paired.difference), ReportNumbers.bracketed(comparison.paired.interval),
                comparison.paired.verdict,
            ]
        }
        return (["prompts", "reward", "against", "n", "difference", "95 % interval", "verdict"], rows)
    }
}
