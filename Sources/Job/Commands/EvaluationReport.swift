package import Evaluation
internal import Foundation
package import JSON
internal import RewardInterface
internal import Runs

/// What an evaluation found, for people and for files.
package struct EvaluationReport: Sendable {
    package let findings: Findings
    private let completionRows: [JSONValue]
    private let overspent: (any Error)?

    /// - Parameters:
    ///   - completionRows: A row for each completion, for ``writeCompletions(to:)``.
    ///   - overspent: The error of a reward whose scores failed more often than its budget allows.
    package init(findings: Findings, completionRows: [JSONValue] = [], overspent: (any Error)? = nil) {
        self.findings = findings
        self.completionRows = completionRows
        self.overspent = overspent
    }

    /// Looks at the scores once the report is shown.
    ///
    /// - Throws: `RewardError` when more of a reward's failed than its budget allows, however few there were.
    package func checkScores() throws {
        if let overspent { throw overspent }
    }

    /// Whether the evaluation was stopped before its end.
    package var isPartial: Bool { findings.unfinished != nil }

    /// The table a person reads.
    package var text: String {
        var parts = [findings.partialNotice].compactMap(\.self)
        parts += ["policy: \(findings.model)", ReportTable.scores(findings).text] + failures
        if !findings.comparisons.isEmpty {
            parts.append(ReportTable.comparisons(findings).text)
        }
        return parts.joined(separator: "\n\n")
    }

    /// The first failure of each reward that has one, in its own words.
    private var failures: [String] {
        findings.rewardNames.enumerated().compactMap { index, name in
            let failed = findings.samples.filter { $0.scores[index].isFailure }
            guard let first = failed.first else { return nil }
            return """
                \(name): \(failed.count) of \(findings.samples.count) scores failed or timed out and are in no mean; \
                the first, on row \(first.row + 1) of \(first.promptSet):
                \(first.scores[index].note ?? first.scores[index].state)
                """
        }
    }

    /// One JSON object on one line.
    package var json: String {
        var members = [
            ("model", JSONText.string(findings.model)),
            ("partial", findings.partialNotice.map(JSONText.string) ?? "null"),
            ("results", JSONText.array(findings.results.map { Self.json($0) })),
            ("comparisons", JSONText.array(findings.comparisons.map { Self.json($0) })),
        ]
        // Who reads pass@k takes it for the unbiased one unless told.
        if findings.passAtK != .unbiased {
            members.append(("pass@k_estimator", JSONText.string(findings.passAtK.rawValue)))
        }
        return JSONText.object(members)
    }

    private static func json(_ result: EvaluationResult, isSource: Bool = false) -> String {
        var members = [
            (isSource ? "source" : "prompt_set", JSONText.string(result.promptSet)), ("n", "\(result.prompts)"),
            ("samples", "\(result.samplesPerPrompt)"), ("truncated", JSONText.number(result.truncated)),
            ("mean_length", JSONText.number(result.meanLength)),
            ("rewards", JSONText.array(result.rewards.map { json($0) })),
        ]
        if !isSource {
            members.append(("sources", JSONText.array(result.sources.map { json($0, isSource: true) })))
            members.append(("prompt_ids", JSONText.array(result.promptIDs.map(JSONText.string))))
        }
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
            ("interval", comparison.paired.interval.map(json) ?? "null"), ("n", "\(comparison.paired.prompts)"),
            ("verdict", JSONText.string(comparison.paired.verdict)),
        ])
    }

    /// Writes the JSON object to a file, whole or not at all.
    package func write(to path: String) throws { try Self.write(json + "\n", to: path) }

    /// Writes every completion with its scores, a line of JSON each.
    package func writeCompletions(to path: String) throws {
        try Self.write(completionRows.map { $0.serialized + "\n" }.joined(), to: path)
    }

    /// Writes the tables as a markdown document.
    package func writeMarkdown(to path: String) throws { try Self.write(MarkdownReport(findings).text, to: path) }

    /// Writes tables, plots and every completion as one HTML page that needs nothing but itself.
    package func writeHTML(to path: String) throws { try Self.write(HTMLReport(findings).text, to: path) }

    private static func write(_ text: String, to path: String) throws {
        try FileOperations.system.writeOutput(Array(text.utf8), to: URL(filePath: path))
    }

    // MARK: Comparing

    /// Pairs the prompts that both results have, for every reward that both have; prompts that either did not score are
    /// left out.
    ///
    /// - Throws: ``JobError`` when the other result has none of a set's prompts, or none of its rewards.
    package static func comparisons(
        _ first: [EvaluationResult], _ second: [EvaluationResult], _ other: String
    ) throws -> [Findings.Comparison] {
        var comparisons: [Findings.Comparison] = []
        for result in first {
            let counterpart = try counterpart(of: result, among: second, other)
            let names = counterpart.rewards.map(\.reward)
            guard result.rewards.contains(where: { names.contains($0.reward) }) else {
                throw JobError(
                    place: other,
                    message: "it has no score of \(result.rewards.map(\.reward).joined(separator: ", ")) on "
                        + "\(result.promptSet); it has \(names.joined(separator: ", "))")
            }
            for reward in result.rewards {
                guard let same = counterpart.rewards.first(where: { $0.reward == reward.reward }) else { continue }
                let both = result.shared(with: counterpart).compactMap { here, there in
                    if let a = reward.promptMeans[here], let b = same.promptMeans[there] { (a, b) } else { nil }
                }
                guard let paired = PairedComparison(both.map(\.0), both.map(\.1)) else {
                    throw JobError(
                        place: other,
                        message: "no prompt of \(result.promptSet) has a score of \(reward.reward) in both")
                }
                comparisons.append(
                    Findings.Comparison(
                        promptSet: result.promptSet, reward: reward.reward, other: other, paired: paired))
            }
        }
        return comparisons
    }

    /// The result of the set of the same name, else the one with most of the prompts.
    private static func counterpart(
        of result: EvaluationResult, among others: [EvaluationResult], _ other: String
    ) throws -> EvaluationResult {
        let named = others.first { $0.promptSet == result.promptSet }
        let sharing = others.max { result.shared(with: $0).count < result.shared(with: $1).count }
        guard let found = [named, sharing].compactMap(\.self).first(where: { !result.shared(with: $0).isEmpty }) else {
            let names = others.map(\.promptSet).joined(separator: ", ")
            throw JobError(
                place: other,
                message: "none of its prompts is one of \(result.promptSet): nothing to pair; its sets are \(names)")
        }
        return found
    }

    /// What a file of ``write(to:)`` holds.
    static func json(of path: String) throws -> JSONValue {
        let bytes = try PosixFile.contents(of: URL(filePath: path), atMost: 1 << 30)
        do {
            return try JSONValue(parsing: bytes)
        } catch {
            throw JobError(place: path, message: "\(error)")
        }
    }

    /// Reads what ``write(to:)`` wrote, as far as a comparison needs it.
    package static func read(_ path: String) throws -> [EvaluationResult] {
        let root = try json(of: path)
        guard let results = root["results"]?.elements else {
            throw JobError(place: path, message: "no 'results'; expected a file written by plumbline eval --output")
        }
        return try results.map { result in
            let ids = (result["prompt_ids"]?.elements ?? []).compactMap(\.string)
            let rewards = (result["rewards"]?.elements ?? []).map { reward in
                RewardSummary(
                    reward: reward["reward"]?.string ?? "",
                    promptMeans: (reward["prompt_means"]?.elements ?? []).map(\.double))
            }
            guard !ids.isEmpty, rewards.allSatisfy({ $0.promptMeans.count == ids.count }) else {
                throw JobError(
                    place: path, message: "a result has no 'prompt_ids' for its 'prompt_means'; write the file anew")
            }
            return EvaluationResult(promptSet: result["prompt_set"]?.string ?? "", promptIDs: ids, rewards: rewards)
        }
    }
}
