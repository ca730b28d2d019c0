/// The tables of an evaluation's report.
package enum ReportTable {
    /// The scores: one row for each reward on each prompt set, then on each of its sources.
    package static func scores(_ findings: Findings) -> Table {
        let summaries = findings.results.flatMap { [$0] + $0.sources }.flatMap(\.rewards)
        // pass@1 is the mean, but of the first completions alone.
        let passes = Set(summaries.flatMap(\.passAtK.keys)).filter { $0 > 1 || findings.passAtK == .first }.sorted()
        let majorities = Set(summaries.flatMap(\.majorityAtK.keys)).filter { $0 > 1 }.sorted()
        let form = findings.passAtK == .unbiased ? "" : " (\(findings.passAtK.rawValue))"
        let heading =
            ["prompts", "reward", "n", "samples", "mean", "95 % interval"] + passes.map { "pass@\($0)\(form)" }
            + majorities.map { "maj@\($0)" } + ["truncated", "no answer", "failed", "abstained", "mean length"]
        var rows: [[String]] = []
        for result in findings.results {
            for (name, part) in [(result.promptSet, result)] + result.sources.map({ ("· " + $0.promptSet, $0) }) {
                for reward in part.rewards { rows.append(row(name, part, reward, passes, majorities)) }
            }
        }
        return Table(heading, rows, textColumns: 2)
    }

    private static func row(
        _ name: String, _ part: EvaluationResult, _ reward: RewardSummary, _ passes: [Int], _ majorities: [Int]
    ) -> [String] {
        [
            name, reward.reward, "\(reward.prompts)", "\(part.samplesPerPrompt)",
            reward.mean.map(NumberText.short) ?? "–", reward.interval.map(NumberText.bracketed) ?? "–",
        ] + passes.map { reward.passAtK[$0].map(NumberText.short) ?? "–" }
            + majorities.map { reward.majorityAtK[$0].map(NumberText.short) ?? "–" } + [
                NumberText.percent(part.truncated), reward.parseFailures.map(NumberText.percent) ?? "–",
                "\(reward.failed)", "\(reward.abstained)", NumberText.short(part.meanLength),
            ]
    }

    /// The comparisons with another policy.
    package static func comparisons(_ findings: Findings) -> Table {
        let rows = findings.comparisons.map { comparison in
            [
                comparison.promptSet, comparison.reward, comparison.other, "\(comparison.paired.prompts)",
                NumberText.signed(comparison.paired.difference),
                comparison.paired.interval.map(NumberText.bracketed) ?? "–", comparison.paired.verdict,
            ]
        }
        return Table(
            ["prompts", "reward", "against", "n", "difference", "95 % interval", "verdict"], rows, textColumns: 3)
    }
}
