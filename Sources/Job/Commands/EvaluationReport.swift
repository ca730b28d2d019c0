package import Evaluation
internal import Foundation
internal import Runs

/// What an evaluation found, for people and for files.
package struct EvaluationReport: Sendable {
    package let findings: Findings

    package init(findings: Findings) { self.findings = findings }

    /// The table a person reads.
    package var text: String {
        let scores = ReportTable(findings)
        var parts = ["policy: \(findings.model)", TextTable([scores.heading] + scores.rows).text]
        if !findings.comparisons.isEmpty {
            let comparisons = ReportTable.comparisons(findings)
            parts.append(TextTable([comparisons.heading] + comparisons.rows).text)
        }
        return parts.joined(separator: "\n\n")
    }

    /// One JSON object on one line.
    package var json: String {
        JSONText.object([
            ("model", JSONText.string(findings.model)),
            ("results", JSONText.array(findings.results.map { Self.json($0) })),
            ("comparisons", JSONText.array(findings.comparisons.map { Self.json($0) })),
        ])
    }

    private static func json(_ result: EvaluationResult, isSource: Bool = false) -> String {
        var members = [
            (isSource ? "source" : "prompt_set", JSONText.string(result.promptSet)), ("n", "\(result.prompts)"),
            ("samples", "\(result.samplesPerPrompt)"), ("truncated", JSONText.number(result.truncated)),
            ("mean_length", JSONText.number(result.meanLength)),
            ("rewards", JSONText.array(result.rewards.map { json($0) })),
        ]
        if !isSource { members.append(("sources", JSONText.array(result.sources.map { json($0, isSource: true) }))) }
        return JSONText.object(members)
    }

    private static func json(_ reward: RewardSummary) -> String {
        JSONText.object([
            ("reward", JSONText.string(reward.reward)), ("n", "\(reward.prompts)"), ("scored", "\(reward.scored)"),
            ("mean", JSONText.number(reward.mean)), ("interval", reward.interval.map(json) ?? "null"),
            ("pass@k", json(reward.passAtK)), ("maj@k", json(reward.majorityAtK)),
            ("parse_failures", JSONText.number(reward.parseFailures)), ("failed", "\(reward.failed)"),
            ("abstained", "\(reward.abstained)"),
            ("prompt_means", JSONText.array(reward.promptMeans.map(JSONText.number))),
        ])
    }

    private static func json(_ byK: [Int: Double]) -> String {
        JSONText.object(byK.sorted { $0.key < $1.key }.map { ("\($0.key)", JSONText.number($0.value)) })
    }

    private static func json(_ interval: Interval) -> String {
        JSONText.array([JSONText.number(interval.low), JSONText.number(interval.high)])
    }

    private static func json(_ comparison: Findings.Comparison) -> String {
        JSONText.object([
            ("prompt_set", JSONText.string(comparison.promptSet)), ("reward", JSONText.string(comparison.reward)),
            ("against", JSONText.string(comparison.other)),
            ("difference", JSONText.number(comparison.paired.difference)),
            ("interval", json(comparison.paired.interval)), ("n", "\(comparison.paired.prompts)"),
            ("verdict", JSONText.string(comparison.paired.verdict)),
        ])
    }

    /// Writes the JSON object to a file, whole or not at all.
    package func write(to path: String) throws { try Self.write(json + "\n", to: path) }

    /// Writes the tables as a markdown document.
    package func writeMarkdown(to path: String) throws { try Self.write(MarkdownReport(findings).text, to: path) }

    /// Writes tables, plots and every completion as one HTML page that needs nothing but itself.
    package func writeHTML(to path: String) throws { try Self.write(HTMLReport(findings).text, to: path) }

    private static func write(_ text: String, to path: String) throws {
        try FileOperations.system.replaceFile(URL(filePath: path), with: Array(text.utf8))
    }

    // MARK: Comparing

    /// Pairs the prompts of equal sets and rewards; prompts that either did not score are left out.
    package static func comparisons(
        _ first: [EvaluationResult], _ second: [EvaluationResult], _ other: String
    ) throws -> [Findings.Comparison] {
        var comparisons: [Findings.Comparison] = []
        for result in first {
            guard let counterpart = second.first(where: { $0.promptSet == result.promptSet }) else {
                throw JobError(place: other, message: "it has no result for \(result.promptSet)")
            }
            for reward in result.rewards {
                guard let paired = pair(reward, counterpart) else {
                    throw JobError(
                        place: other,
                        message:
                            "its result for \(reward.reward) on \(result.promptSet) is of other prompts: nothing to pair"
                    )
                }
                comparisons.append(
                    Findings.Comparison(
                        promptSet: result.promptSet, reward: reward.reward, other: other, paired: paired))
            }
        }
        return comparisons
    }

    private static func pair(_ reward: RewardSummary, _ counterpart: EvaluationResult) -> PairedComparison? {
        guard let same = counterpart.rewards.first(where: { $0.reward == reward.reward }),
            same.promptMeans.count == reward.promptMeans.count
        else { return nil }
        let both = zip(reward.promptMeans, same.promptMeans).compactMap { a, b in
            if let a, let b { (a, b) } else { nil }
        }
        return PairedComparison(both.map(\.0), both.map(\.1))
    }

    /// Reads what ``write(to:)`` wrote, as far as a comparison needs it.
    package static func read(_ path: String) throws -> [EvaluationResult] {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw JobError(place: path, message: "cannot be read")
        }
        let root: JSON
        do {
            root = try JSON(parsing: Array(data))
        } catch {
            throw JobError(place: path, message: "\(error)")
        }
        guard let results = root["results"]?.elements else {
            throw JobError(place: path, message: "no 'results'; expected a file written by plumbline eval --output")
        }
        return results.map { result in
            let rewards = (result["rewards"]?.elements ?? []).map { reward in
                RewardSummary(
                    reward: reward["reward"]?.text ?? "",
                    promptMeans: (reward["prompt_means"]?.elements ?? []).map(\.double))
            }
            return EvaluationResult(promptSet: result["prompt_set"]?.text ?? "", rewards: rewards)
        }
    }
}
