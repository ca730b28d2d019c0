/// An evaluation as a markdown document: tables of scores and comparisons, and how the numbers were made.
package struct MarkdownReport: Sendable {
    private let findings: Findings

    package init(_ findings: Findings) { self.findings = findings }

    package var text: String {
        var parts = [
            "# Evaluation of \(Self.escaped(findings.model))", ReportTable.scores(findings).markdown,
        ]
        if let notice = findings.partialNotice { parts.insert("**\(Self.escaped(notice))**", at: 1) }
        if !findings.comparisons.isEmpty {
            parts += ["## Comparison, prompt by prompt", ReportTable.comparisons(findings).markdown]
        }
        parts.append(ReportNotes.method(findings).map { "- \($0)" }.joined(separator: "\n"))
        return parts.joined(separator: "\n\n") + "\n"
    }

    /// The text as it is: no sign of it shapes the table, opens an element or is read as markup.
    static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "<": result += "&lt;"
            case "&": result += "&amp;"
            case _ where character.isNewline: result += " "
            case "|", "\\", "`", "*", "_", "[", "]": result += "\\\(character)"
            default: result.append(character)
            }
        }
        return result
    }
}

/// The sentences every report ends with.
enum ReportNotes {
    static func method(_ findings: Findings) -> [String] {
        [
            "Mean: over prompts, of the mean over each prompt's scored completions. Completions whose reward failed or "
                + "abstained have no score and are counted beside it.",
            "Interval: 95 %; Wilson's for one right-or-wrong score per prompt, or the same share of right ones on each; "
                + "else the percentile bootstrap over prompts, below ten prompts Student's. One prompt has none.",
            "pass@k: \(words(findings.passAtK)). maj@k: how often the answer most of k completions give is right.",
            "No answer: share of the scored completions in which the reward found no answer to judge. Truncated: share "
                + "of all completions that reached the length limit.",
            "Comparison: the mean difference over prompts that both policies were scored on, with the interval of "
                + "these differences; “not resolved” means that it holds zero, or stands on fewer than six prompts.",
        ]
    }

    private static func words(_ estimator: PassAtK.Estimator) -> String {
        switch estimator {
        case .unbiased: "the unbiased estimate that at least one of k completions is right"
        case .first: "the share of prompts with a right one among their first k completions"
        case .chunks: "how often a block of k completions has a right one, cut in the order of sampling"
        }
    }
}
