import Evaluation
import Foundation
import JSON
import Job
import Records
import Runs
import TestSupport
import Testing

@Suite("An evaluation's report is written, read back and compared")
struct EvaluationReportTests {
    /// One right-or-wrong score on each of four prompts of two sources; one that is no number failed.
    private func report(
        _ scores: [Double], set: String = "set.jsonl", prompts: [String] = ["p", "q", "r", "p"]
    ) -> EvaluationReport {
        let groups = scores.enumerated().map { row, score in
            let rollout = Rollout(
                completion: Completion(text: "\(row)", tokenIDs: [1]), samplingLogProbabilities: [],
                policyLogProbabilities: [], sample: 0)
            let prompt = Prompt(row: row, source: row < 2 ? "a" : "b", content: .text(prompts[row]))
            let group = RolloutGroup(
                prompt: TokenizedPrompt(prompt: prompt, tokenIDs: [0]), rollouts: [rollout],
                policyVersion: PolicyVersion(0))
            let scored: RewardScore = score.isNaN ? .failed(message: "out of paper") : .value(score)
            return EvaluatedGroup(
                ScoredGroup(group: group, scores: [[scored]]), answers: [[score == 0 ? nil : "1"]])
        }
        let result = EvaluationResult(promptSet: set, groups: groups, rewardNames: ["exact"], ks: [1])
        return EvaluationReport(
            findings: Findings(
                model: "model", rewardNames: ["exact"], results: [result],
                samples: groups.flatMap { Findings.Sample.all(of: $0, in: set) }))
    }

    @Test func theJSONKeepsItsFieldsAndHasTheNewOnes() throws {
        let json = try JSONValue(parsing: report([1, 0, 1, 1]).json)
        let result = try #require(json["results"]?.elements?.first)
        #expect(
            result.members?.map(\.key) == [
                "prompt_set", "n", "samples", "truncated", "mean_length", "rewards", "sources", "prompt_ids",
            ])
        let reward = try #require(result["rewards"]?.elements?.first)
        #expect(
            reward.members?.map(\.key) == [
                "reward", "n", "scored", "mean", "interval", "pass@k", "maj@k", "parse_failures", "failed", "abstained",
                "prompt_means",
            ])
        #expect(reward["mean"]?.double == 0.75 && reward["parse_failures"]?.double == 0.25)
        #expect(reward["maj@k"]?["1"]?.double == 0.75)
        let sources = try #require(result["sources"]?.elements)
        #expect(sources.map { $0["source"]?.string } == ["a", "b"])
        #expect(sources.map { $0["rewards"]?.elements?.first?["mean"]?.double } == [0.5, 1])
    }

    @Test func theRowOfAFailureIsCountedFromOne() {
        let text = report([1, .nan, 1, .nan]).text
        #expect(text.contains("2 of 4 scores failed or timed out"), "\(text)")
        #expect(text.contains("the first, on row 2 of set.jsonl:\nout of paper"), "\(text)")
    }

    /// Of one set the report has no column for it.
    @Test func theReportTellsSeveralPromptSetsApart() throws {
        let folder = try TemporaryFolder()
        _ = try folder.file("metrics.jsonl", #"{"step": 1, "reward": 0.5}"# + "\n")
        let evaluations = try ["first", "second"].map { set in
            let path = folder.url.appending(path: "\(set).json").path
            try report([1, 0, 1, 1], set: "\(set).jsonl").write(to: path)
            return "base=\(path)"
        }
        func lines(_ evaluations: [String]) throws -> [String] {
            try RunReport(runs: [folder.url.path], metric: "reward", evaluations: evaluations).table
                .split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
        }
        let several = try lines(evaluations)
        #expect(several[0].hasPrefix("policy prompt set prompts samples reward mean"))
        #expect(several[1].hasPrefix("base first.jsonl 4 1 exact 0.750"), "\(several)")
        #expect(several[2].hasPrefix("base second.jsonl 4 1 exact 0.750"), "\(several)")
        let one = try lines([evaluations[0]])
        #expect(one[0].hasPrefix("policy prompts samples reward mean") && one[1].hasPrefix("base 4 1 exact 0.750"))
    }

    @Test func aStoredResultIsComparedWithPromptByPrompt() throws {
        let folder = try TemporaryFolder()
        let path = folder.url.appending(path: "base.json").path
        try report([1, 0, 0, 0]).write(to: path)
        let stored = try EvaluationReport.read(path)
        let results = report([1, 0, 1, 1]).findings.results
        let comparison = try #require(try EvaluationReport.comparisons(results, stored, path).first)
        #expect(comparison.paired.difference == 0.5 && comparison.paired.prompts == 4)
        #expect(comparison.paired.verdict == "not resolved at n=4")
    }

    /// By hand: of p, q, r, p the other has r, p and z; the second p has no partner. r: 1 − 0, p: 1 − 1.
    @Test func promptsArePairedByWhatTheySay() throws {
        let results = report([1, 0, 1, 1]).findings.results
        let other = report([0, 1, 1], set: "elsewhere/set.jsonl", prompts: ["r", "p", "z"]).findings.results
        let comparison = try #require(try EvaluationReport.comparisons(results, other, "x.json").first)
        #expect(comparison.paired.prompts == 2 && comparison.paired.difference == 0.5)
        #expect(comparison.promptSet == "set.jsonl")
        // printf p | sha256sum
        #expect(results[0].promptIDs.first == "148de9c5a7a44d19")
    }

    @Test func aResultOfOtherPromptsIsRefused() throws {
        let results = report([1, 0]).findings.results
        let other = report([1, 0], prompts: ["x", "y"]).findings.results
        let error = try #require(throws: JobError.self) { try EvaluationReport.comparisons(results, other, "x.json") }
        #expect("\(error)".contains("none of its prompts is one of set.jsonl"))
        var renamed = results
        renamed[0].rewards[0].reward = "another"
        let reward = try #require(throws: JobError.self) {
            try EvaluationReport.comparisons(results, renamed, "x.json")
        }
        #expect("\(reward)".contains("no score of exact on set.jsonl; it has another"))
        let folder = try TemporaryFolder()
        let old = try folder.file(
            "old.json", #"{"results": [{"prompt_set": "s", "rewards": [{"reward": "r", "prompt_means": [1]}]}]}"#)
        let missing = try #require(throws: JobError.self) { try EvaluationReport.read(old.path) }
        #expect("\(missing)".contains("no 'prompt_ids'"))
    }

    @Test func everyFormOfTheReportIsWritten() throws {
        let folder = try TemporaryFolder()
        let report = report([1, 0, 1, 1])
        let (page, tables) = (folder.url.appending(path: "r.html"), folder.url.appending(path: "r.md"))
        try report.writeHTML(to: page.path)
        try report.writeMarkdown(to: tables.path)
        #expect(try String(contentsOf: page, encoding: .utf8).hasSuffix("</html>\n"))
        #expect(try String(contentsOf: tables, encoding: .utf8).contains("| set.jsonl | exact | 4 | 1 | 0.750 |"))
        #expect(report.text.contains("· b"))
    }
}
