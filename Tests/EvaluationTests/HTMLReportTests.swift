import Evaluation
import Foundation
import JSON
import Records
import Runs
import Testing

@Suite("The HTML report")
struct HTMLReportTests {
    private static let hostile = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\u{2028}\"'&"

    private func page(_ groups: [EvaluatedGroup] = twoSources, names: String = "exact", limit: Int = 100) throws
        -> String
    {
        let result = EvaluationResult(promptSet: names, groups: groups, rewardNames: [names], ks: [1, 2])
        let paired = try #require(PairedComparison([1, 0], [0, 0]))
        let findings = Findings(
            model: names, rewardNames: [names], results: [result],
            comparisons: [Findings.Comparison(promptSet: names, reward: names, other: names, paired: paired)],
            samples: groups.flatMap { Findings.Sample.all(of: $0, in: names) })
        return HTMLReport(findings, limit: limit).text
    }

    /// What stands in the element that holds the completions.
    private func samples(in page: String) throws -> JSONValue {
        let start = try #require(page.range(of: "id=\"samples\">"))
        let end = try #require(page.range(of: "</script>", range: start.upperBound..<page.endIndex))
        return try JSONValue(parsing: String(page[start.upperBound..<end.lowerBound]))
    }

    @Test func everyCompletionIsInThePage() throws {
        let rows = try #require(try samples(in: page())["samples"]?.elements)
        #expect(rows.count == 16)
        #expect(rows[7]["scores"]?.elements?.first?["state"]?.string == "failed")
        #expect(rows[7]["scores"]?.elements?.first?["note"]?.string == "broke")
        #expect(rows[8]["truncated"] == .bool(true) && rows[8]["unanswered"] == .bool(true))
        #expect(rows[0]["completion"]?.string == "2" && rows[0]["source"]?.string == "a")
        #expect(rows[0]["row"] == 1)  // from 1, as messages count rows
    }

    /// Every form says in its beginning that the evaluation was stopped, and a whole one says nothing of it.
    @Test func partialResultsAreSaidToBe() {
        let result = EvaluationResult(promptSet: "set", groups: twoSources, rewardNames: ["exact"], ks: [1])
        var findings = Findings(model: "m", rewardNames: ["exact"], results: [result])
        #expect(!HTMLReport(findings).text.contains("PARTIAL") && !MarkdownReport(findings).text.contains("PARTIAL"))
        findings.unfinished = "4 of 9 prompts of set"
        for text in [HTMLReport(findings).text, MarkdownReport(findings).text] {
            let notice = text.range(of: "PARTIAL: stopped after 4 of 9 prompts of set.")
            #expect(notice != nil)
            #expect(notice.map { $0.lowerBound < text.range(of: "Mean")?.lowerBound ?? text.startIndex } ?? false)
        }
    }

    @Test func completionsBeyondTheLimitAreLeftOutAndSaidToBe() throws {
        let page = try page(limit: 3)
        #expect(try samples(in: page)["samples"]?.elements?.count == 3)
        #expect(page.contains("The first 3 of 16 completions."))
    }

    /// Hostile text in every place that comes from outside: the page has the elements of a harmless one, in the same
    /// order.
    @Test func textFromOutsideStaysText() throws {
        let text = Self.hostile
        let bad = [
            group(row: 0, source: text, prompt: text, [(text, .value(1, note: text), text)]),
            group(row: 1, source: "b", prompt: text, [(text, .failed(message: text), nil)]),
        ]
        let good = [
            group(row: 0, source: "a", prompt: "p", [("c", .value(1, note: "n"), "1")]),
            group(row: 1, source: "b", prompt: "p", [("c", .failed(message: "n"), nil)]),
        ]
        let page = try page(bad, names: text)
        #expect(Self.tags(page) == Self.tags(try self.page(good)))
        #expect(!page.contains("<script>alert") && !page.contains("<img") && !page.contains("<!--"))
        // Nothing is lost on the way.
        let first = try #require(try samples(in: page)["samples"]?.elements?.first)
        #expect(first["completion"]?.string == text && first["prompt"]?.string == text && first["set"]?.string == text)
        #expect(first["scores"]?.elements?.first?["note"]?.string == text)
    }

    private static func tags(_ page: String) -> [String] {
        page.matches(of: /<\/?[A-Za-z!][A-Za-z0-9]*/).map { String($0.output) }
    }

    @Test func thePageReachesForNothing() throws {
        let page = try page()
        #expect(page.contains("default-src 'none'"))
        for word in ["http:", "https:", "src=", "@import", "url(", "fetch(", "XMLHttpRequest", "innerHTML", "eval("] {
            #expect(!page.contains(word), "\(word)")
        }
        // Only the page's own script may run: its hash is one of 32 bytes.
        let hash = try #require(page.firstMatch(of: /script-src 'sha256-([A-Za-z0-9+\/=]+)'/)).output.1
        #expect(Data(base64Encoded: String(hash))?.count == 32)
    }

    @Test func plotsAreDrawnOnlyFromNumbersThatAreThere() throws {
        let full = try page()
        #expect(full.components(separatedBy: "<svg ").count - 1 == 4)  // means, differences, pass@k and maj@k, lengths
        #expect(!full.contains(/[ =",]-?(nan|inf)[ ",]/))
        let empty = HTMLReport(Findings(model: "m", rewardNames: [], results: [])).text
        #expect(!empty.contains("<svg") && !empty.contains("id=\"samples\""))
    }

    @Test(arguments: [
        (0.0...1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-0.5...0.5, [-0.4, -0.2, 0, 0.2, 0.4]),
        (0.0...730.0, [0, 200, 400, 600]),
    ])
    func ticksAreRound(_ range: ClosedRange<Double>, _ expected: [Double]) {
        let ticks = PlotAxis(range, from: range.lowerBound, to: range.upperBound).ticks.map(\.position)
        #expect(ticks.count == expected.count)
        for (tick, value) in zip(ticks, expected) { #expect(abs(tick - value) < 1e-9) }
    }
}
