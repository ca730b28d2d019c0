internal import Foundation
import JSON
internal import Runs

/// An evaluation as one HTML page that needs nothing but itself: tables, plots, and every completion to search in.
///
/// What a model wrote reaches the page as text only: in JSON without `<`, set through `textContent`. The page's policy
/// also refuses every script but its own and every connection.
package struct HTMLReport: Sendable {
    private let findings: Findings
    /// Completions in the page; more are left out and said to be.
    private let limit: Int

    package init(_ findings: Findings, limit: Int = 20_000) {
        self.findings = findings
        self.limit = limit
    }

    package var text: String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta http-equiv="Content-Security-Policy" \
        content="default-src 'none'; style-src 'unsafe-inline'; script-src '\(Self.scriptHash)'">
        <title>Evaluation of \(HTMLText.escaped(findings.model))</title>
        <style>\(HTMLPage.style)</style>
        </head>
        <body>
        <h1>Evaluation of \(HTMLText.escaped(findings.model))</h1>
        \(findings.partialNotice.map { "<p><strong>\(HTMLText.escaped($0))</strong></p>" } ?? "")
        \(scores)
        \(comparisons)
        \(plots)
        \(completions)
        <h2>How the numbers are made</h2>
        <ul>\(ReportNotes.method(findings).map { "<li>\(HTMLText.escaped($0))</li>" }.joined())</ul>
        </body>
        </html>

        """
    }

    private static var scriptHash: String {
        var digest = SHA256()
        digest.update(Array(HTMLPage.script.utf8))
        return "sha256-" + Data(digest.digest()).base64EncodedString()
    }

    private var scores: String {
        "<h2>Scores</h2>" + ReportTable.scores(findings).html
    }

    private var comparisons: String {
        guard !findings.comparisons.isEmpty else { return "" }
        return "<h2>Comparison, prompt by prompt</h2>" + ReportTable.comparisons(findings).html
    }

    private var plots: String {
        ReportPlots.all(findings).map { plot in
            "<h2>\(HTMLText.escaped(plot.title))</h2><figure>\(plot.svg)</figure>"
        }.joined(separator: "\n")
    }

    private var completions: String {
        guard !findings.samples.isEmpty else { return "" }
        let shown = findings.samples.prefix(limit)
        let left = findings.samples.count - shown.count
        let note = left > 0 ? "<p>The first \(limit) of \(findings.samples.count) completions.</p>" : ""
        let content = JSONValue.object([
            "rewards": .array(findings.rewardNames.map(JSONValue.string)), "samples": .array(shown.map(Self.json)),
        ])
        return """
            <h2>Completions</h2>
            \(note)
            \(HTMLPage.controls)
            <div class="wide"><table id="completions"><thead></thead><tbody></tbody></table></div>
            <noscript><p>The completions need JavaScript to be shown.</p></noscript>
            <script type="application/json" id="samples">\(HTMLText.script(content))</script>
            <script>\(HTMLPage.script)</script>
            """
    }

    private static func json(_ sample: Findings.Sample) -> JSONValue {
        let scores = sample.scores.map { score in
            JSONValue.object([
                "score": score.score.map(JSONValue.number) ?? .null, "state": .string(score.state),
                "note": score.note.map(JSONValue.string) ?? .null,
            ])
        }
        return .object([
            "set": .string(sample.promptSet), "source": .string(sample.source), "row": .number(sample.row + 1),
            "prompt": .string(sample.prompt), "completion": .string(sample.completion),
            "length": .number(sample.length), "truncated": .bool(sample.isTruncated),
            "unanswered": .bool(sample.lacksAnswer), "scores": .array(scores),
        ])
    }
}
