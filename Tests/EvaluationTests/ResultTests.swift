import Evaluation
import Records
import Testing

@Suite("Results of whole sets, of their sources and of votes, against numbers worked by hand")
struct ResultTests {
    private let result = EvaluationResult(
        promptSet: "set.jsonl", groups: twoSources, rewardNames: ["exact"], ks: [1, 2, 4])

    private func expect(_ value: Double?, _ expected: Double) throws {
        let value = try #require(value)
        #expect(abs(value - expected) < 1e-12)
    }

    @Test func votesAreCutIntoBlocksInTheOrderOfSampling() throws {
        // Blocks of two: (2, 2) right, (3, –) wrong.
        let answers = ["2", "2", "3", nil]
        #expect(MajorityVote.estimate(answers: answers, scores: [1, 1, 0, 0], k: 2) == 0.5)
        #expect(MajorityVote.estimate(answers: answers, scores: [1, 1, 0, 0], k: 4) == 1)
        // Three of four: one vote, the fourth completion is left over.
        #expect(MajorityVote.estimate(answers: ["3", "2", "3", "2"], scores: [0, 1, 0, 1], k: 3) == 0)
        #expect(MajorityVote.estimate(answers: [nil, nil], scores: [0, 0], k: 2) == 0)
        #expect(MajorityVote.estimate(answers: ["2"], scores: [1], k: 2) == nil)
        #expect(MajorityVote.estimate(answers: ["2"], scores: [1], k: 0) == nil)
    }

    @Test func theWholeSet() throws {
        let reward = try #require(result.rewards.first)
        // Means by prompt 1/2, 1/3, 0, 1.
        try expect(reward.mean, 11.0 / 24)
        #expect(reward.scored == 15 && reward.failed == 1)
        // One of row 0, all four of row 2, of 15 scored; the failed completion counts as failed only.
        try expect(reward.parseFailures, 1.0 / 3)
        #expect(result.truncated == 2.0 / 16)
        // maj@2: 1/2, 0 (one vote of 5 5, the third is left over), 0, 1. maj@4 lacks row 1, which has three scores.
        #expect(reward.majorityAtK[2] == 0.375)
        try expect(reward.majorityAtK[4], 2.0 / 3)
        // pass@2: 1 − C(2,2)/C(4,2) = 5/6; 1 − C(2,2)/C(3,2) = 2/3; 0; 1: a mean of 15/24.
        try expect(reward.passAtK[2], 0.625)
    }

    /// Of three prompts with four completions the last one, the first one and none is right. pass@2 of the first two is 0
    /// and 1 by the first two completions, else 1/2 and 1/2: two blocks, or 1 − C(3, 2)/C(4, 2).
    @Test(arguments: PassAtK.Estimator.allCases)
    func aSetsPassAtKIsTheMeanOverPrompts(_ estimator: PassAtK.Estimator) throws {
        let scores = [[0.0, 0, 0, 1], [1.0, 0, 0, 0], [0.0, 0, 0, 0]].map { $0.map { RewardScore.value($0) } }
        let summary = RewardSummary(reward: "exact", scores: scores, ks: [2], passAtK: estimator)
        try expect(summary.passAtK[2], 1.0 / 3)
        let tail = RewardSummary(reward: "exact", scores: [scores[0]], ks: [2], passAtK: estimator)
        try expect(tail.passAtK[2], estimator == .first ? 0 : 0.5)
        let findings = Findings(model: "m", rewardNames: ["exact"], results: [result], passAtK: estimator)
        let heading = estimator == .unbiased ? "pass@2" : "pass@2 (\(estimator.rawValue))"
        #expect(MarkdownReport(findings).text.contains("| \(heading) |"))
    }

    @Test func everySourceHasARowOfItsOwn() throws {
        #expect(result.sources.map(\.promptSet) == ["a", "b"])
        let (a, b) = (result.sources[0], result.sources[1])
        #expect(a.truncated == 0 && b.truncated == 0.25)
        #expect(b.rewards[0].mean == 0.5 && b.rewards[0].parseFailures == 0.5)
        try expect(a.rewards[0].mean, 5.0 / 12)
        #expect(b.rewards[0].majorityAtK[4] == 0.5)
        let single = EvaluationResult(promptSet: "b", groups: Array(twoSources[2...]), rewardNames: ["exact"], ks: [1])
        #expect(single.sources.isEmpty && single.rewards[0].mean == b.rewards[0].mean)
    }

    @Test func aRewardThatJudgesNoAnswerHasNoVotesAndNoParseFailures() {
        let plain = [group(row: 0, [("x", .value(1), nil), ("y", .value(0), nil)], readsAnswers: false)]
        let reward = EvaluationResult(promptSet: "s", groups: plain, rewardNames: ["length"], ks: [1, 2]).rewards[0]
        #expect(reward.majorityAtK.isEmpty && reward.parseFailures == nil && reward.passAtK[2] == 1)
    }

    @Test func scoresBetweenRightAndWrongHaveNeitherPassNorVotes() {
        let groups = [group(row: 0, [("x", .value(0.5), "1"), ("y", .value(0.5), "1")])]
        let reward = EvaluationResult(promptSet: "s", groups: groups, rewardNames: ["soft"], ks: [1, 2]).rewards[0]
        #expect(reward.majorityAtK.isEmpty && reward.passAtK.isEmpty && reward.mean == 0.5)
        #expect(reward.interval == nil)
    }

    @Test func oneRightOrWrongScorePerPromptGetsWilsonsInterval() {
        let groups = (0..<10).map { group(row: $0, [("2", .value($0 < 7 ? 1 : 0), "2")]) }
        let reward = EvaluationResult(promptSet: "s", groups: groups, rewardNames: ["exact"], ks: [1]).rewards[0]
        #expect(reward.interval == Interval.wilson(successes: 7, of: 10))
    }

    /// Two of eight completions are right: how other prompts fare nobody knows.
    @Test func onePromptHasNoInterval() throws {
        let completions = (0..<8).map { ("2", RewardScore.value($0 < 2 ? 1 : 0), String?("2")) }
        for samples in [1, 8] {
            let result = EvaluationResult(
                promptSet: "s", groups: [group(row: 0, Array(completions.prefix(samples)))], rewardNames: ["exact"],
                ks: [1])
            #expect(result.rewards[0].mean == (samples == 1 ? 1 : 0.25) && result.rewards[0].interval == nil)
            let findings = Findings(model: "model", rewardNames: ["exact"], results: [result])
            let cells = ReportTable.scores(findings).text.split(separator: "\n").last?.split(separator: " ")
            #expect(cells?.dropFirst(5).first == "–", "\(String(describing: cells))")
        }
    }

    @Test func aResultWithoutPromptsHasNoMean() {
        let reward = EvaluationResult(promptSet: "s", groups: [], rewardNames: ["exact"], ks: [1]).rewards[0]
        #expect(reward.mean == nil && reward.interval == nil && reward.passAtK.isEmpty && reward.parseFailures == nil)
    }
}

@Suite("The markdown report")
struct MarkdownReportTests {
    private func findings(comparing second: [Double]? = nil) throws -> Findings {
        let result = EvaluationResult(
            promptSet: "set.jsonl", groups: twoSources, rewardNames: ["exact"], ks: [1, 4])
        var findings = Findings(model: "model", rewardNames: ["exact"], results: [result])
        if let second {
            let paired = try #require(PairedComparison(result.rewards[0].promptMeans.compactMap(\.self), second))
            findings.comparisons = [
                Findings.Comparison(promptSet: "set.jsonl", reward: "exact", other: "base.json", paired: paired)
            ]
        }
        return findings
    }

    @Test func theTableHasTheSetAndItsSources() throws {
        let text = MarkdownReport(try findings()).text
        let lines = text.split(separator: "\n").map(String.init)
        let heading = try #require(lines.first { $0.hasPrefix("| prompts") })
        #expect(heading.contains("| pass@4 | maj@4 | truncated | no answer |"))
        let whole = try #require(lines.first { $0.hasPrefix("| set.jsonl") })
        #expect(whole.hasPrefix("| set.jsonl | exact | 4 | 4 | 0.458 |"))
        #expect(whole.contains("| 12.5 % | 33.3 % | 1 | 0 |"))
        #expect(lines.contains { $0.hasPrefix("| · a | exact | 2 |") })
        #expect(lines.contains { $0.hasPrefix("| · b | exact | 2 | 4 | 0.500 |") })
        // Every row of a table has as many cells as its heading.
        let rows = lines.filter { $0.hasPrefix("|") }
        #expect(Set(rows.map { $0.count { $0 == "|" } }).count == 1 && rows.count == 5)
    }

    @Test func aDifferenceTooSmallToSeeIsNotResolved() throws {
        let text = MarkdownReport(try findings(comparing: [0.5, 0.5, 0.25, 0.75])).text
        #expect(text.contains("| set.jsonl | exact | base.json | 4 | -0.042 |"))
        #expect(text.contains("not resolved at n=4"))
    }

    @Test func namesCannotBreakTheTable() {
        let result = EvaluationResult(promptSet: "a|b\n<i>*", promptIDs: [], rewards: [])
        let reward = RewardSummary(reward: "`x`", promptMeans: [1])
        var named = result
        named.rewards = [reward]
        let text = MarkdownReport(Findings(model: "m\n# no", rewardNames: ["`x`"], results: [named])).text
        #expect(text.contains("| a\\|b &lt;i>\\* | \\`x\\` |"))
        #expect(text.hasPrefix("# Evaluation of m # no\n"))
    }
}
