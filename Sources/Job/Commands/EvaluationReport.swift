internal import Evaluation
internal import Foundation
internal import Runs

/// What an evaluation found, for people and for files.
package struct EvaluationReport: Sendable {
    /// One reward on one prompt set against another policy.
    struct Comparison: Sendable {
        var promptSet: String
        var reward: String
        var other: String
        var paired: PairedComparison
    }

    let model: String
    let results: [EvaluationResult]
    let comparisons: [Comparison]

    /// The table a person reads.
    package var text: String {
        var lines: [String] = []
        for result in results {
            lines.append(
                "\(result.promptSet): \(result.prompts) prompts × \(result.samplesPerPrompt), mean length "
                    + "\(Self.short(result.meanLength)), truncated \(Self.percent(result.truncated))")
            for reward in result.rewards { lines.append("  " + Self.line(reward)) }
            for comparison in comparisons where comparison.promptSet == result.promptSet {
                lines.append("  " + Self.line(comparison))
            }
        }
        return lines.joined(separator: "\n")
    }

    private static func line(_ reward: RewardSummary) -> String {
        var text = "\(reward.reward): " + (reward.mean.map(short) ?? "no score")
        if let interval = reward.interval { text += " [\(short(interval.low)), \(short(interval.high))]" }
        for (k, value) in reward.passAtK.sorted(by: { $0.key < $1.key }) where k > 1 {
            text += "  pass@\(k) \(short(value))"
        }
        if reward.failed > 0 { text += "  failed \(reward.failed)" }
        if reward.abstained > 0 { text += "  abstained \(reward.abstained)" }
        return text
    }

    private static func line(_ comparison: Comparison) -> String {
        let paired = comparison.paired
        return "\(comparison.reward) against \(comparison.other): \(paired.difference >= 0 ? "+" : "")"
            + "\(short(paired.difference)) [\(short(paired.interval.low)), \(short(paired.interval.high))], \(paired.verdict)"
    }

    private static func short(_ value: Double) -> String { String(format: "%.3f", value) }
    private static func percent(_ share: Double) -> String { String(format: "%.1f %%", share * 100) }

    /// One JSON object on one line.
    package var json: String {
        JSONText.object([
            ("model", JSONText.string(model)), ("results", JSONText.array(results.map(Self.json))),
            ("comparisons", JSONText.array(comparisons.map(Self.json))),
        ])
    }

    private static func json(_ result: EvaluationResult) -> String {
        JSONText.object([
            ("prompt_set", JSONText.string(result.promptSet)), ("n", "\(result.prompts)"),
            ("samples", "\(result.samplesPerPrompt)"), ("truncated", JSONText.number(result.truncated)),
            ("mean_length", JSONText.number(result.meanLength)), ("rewards", JSONText.array(result.rewards.map(json))),
        ])
    }

    private static func json(_ reward: RewardSummary) -> String {
        let passes = reward.passAtK.sorted { $0.key < $1.key }.map { ("\($0.key)", JSONText.number($0.value)) }
        return JSONText.object([
            ("reward", JSONText.string(reward.reward)), ("n", "\(reward.prompts)"), ("scored", "\(reward.scored)"),
            ("mean", JSONText.number(reward.mean)), ("interval", reward.interval.map(json) ?? "null"),
            ("pass@k", JSONText.object(passes)), ("failed", "\(reward.failed)"), ("abstained", "\(reward.abstained)"),
            ("prompt_means", JSONText.array(reward.promptMeans.map(JSONText.number))),
        ])
    }

    private static func json(_ interval: Interval) -> String {
        JSONText.array([JSONText.number(interval.low), JSONText.number(interval.high)])
    }

    private static func json(_ comparison: Comparison) -> String {
        JSONText.object([
            ("prompt_set", JSONText.string(comparison.promptSet)), ("reward", JSONText.string(comparison.reward)),
            ("against", JSONText.string(comparison.other)),
            ("difference", JSONText.number(comparison.paired.difference)),
            ("interval", json(comparison.paired.interval)), ("n", "\(comparison.paired.prompts)"),
            ("verdict", JSONText.string(comparison.paired.verdict)),
        ])
    }

    /// Writes the JSON object to a file, whole or not at all.
    package func write(to path: String) throws {
        try FileOperations.system.replaceFile(URL(filePath: path), with: Array((json + "\n").utf8))
    }

    // MARK: Comparing

    /// Pairs the prompts of equal sets and rewards; prompts that either did not score are left out.
    static func comparisons(
        _ first: [EvaluationResult], _ second: [EvaluationResult], _ other: String
    ) throws(JobError) -> [Comparison] {
        var comparisons: [Comparison] = []
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
                    Comparison(promptSet: result.promptSet, reward: reward.reward, other: other, paired: paired))
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
    static func read(_ path: String) throws -> [EvaluationResult] {
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
