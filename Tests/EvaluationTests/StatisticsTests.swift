import Evaluation
import Records
import Testing

@Suite("Evaluation's estimators against worked numbers")
struct StatisticsTests {
    /// 1 − C(n−c, k)/C(n, k): by hand 1 − C(7,2)/C(10,2) = 1 − 21/45; 1 − C(2,1)/C(4,1); all wrong; all right; n−c < k.
    @Test(arguments: [
        (10, 3, 2, 1 - 21.0 / 45), (4, 2, 1, 0.5), (8, 0, 8, 0.0), (8, 8, 1, 1.0), (5, 3, 3, 1.0), (32, 1, 8, 0.25),
    ])
    func passAtK(_ n: Int, _ c: Int, _ k: Int, _ expected: Double) throws {
        let estimate = try #require(PassAtK.estimate(samples: n, right: c, k: k))
        #expect(abs(estimate - expected) < 1e-12)
    }

    /// Every way to draw 3 of 6 completions, 2 of them right, counted one by one.
    @Test func passAtKIsTheMeanOverAllSubsets() throws {
        let right: Set = [1, 4]
        var hits = 0
        var subsets = 0
        for a in 0..<6 {
            for b in a + 1..<6 {
                for c in b + 1..<6 {
                    subsets += 1
                    hits += right.isDisjoint(with: [a, b, c]) ? 0 : 1
                }
            }
        }
        let estimate = try #require(PassAtK.estimate(samples: 6, right: 2, k: 3))
        #expect(abs(estimate - Double(hits) / Double(subsets)) < 1e-12)
    }

    /// Right are the second and the sixth of seven completions: two of three blocks of two have one, both blocks of three,
    /// and the seventh is left over.
    @Test func otherFormsOfPassAtKLookAtTheOrder() throws {
        let right = [false, true, false, false, false, true, false]
        func found(_ estimator: PassAtK.Estimator, _ k: Int) -> Double? {
            PassAtK.estimate(estimator, of: right, k: k)
        }
        #expect([1, 2, 3, 7].map { found(.first, $0) } == [0, 1, 1, 1])
        #expect([1, 2, 3, 4, 7].map { found(.chunks, $0) } == [2.0 / 7, 2.0 / 3, 1, 1, 1])
        // 1 − C(5, 2)/C(7, 2) = 1 − 10/21; 1 − C(5, 3)/C(7, 3) = 1 − 10/35.
        for (k, expected) in [(1, 2.0 / 7), (2, 11.0 / 21), (3, 5.0 / 7), (7, 1)] {
            #expect(abs((found(.unbiased, k) ?? .nan) - expected) < 1e-12)
        }
        for estimator in PassAtK.Estimator.allCases {
            #expect(found(estimator, 8) == nil && found(estimator, 0) == nil)
        }
    }

    /// Of five completions the first and the fourth have no score, and the third is right.
    @Test func whatHasNoScoreKeepsItsPlace() {
        let right: [Bool?] = [nil, false, true, nil, false]
        func found(_ estimator: PassAtK.Estimator, _ k: Int) -> Double? {
            PassAtK.estimate(estimator, of: right, k: k)
        }
        #expect([1, 2, 3, 5].map { found(.first, $0) } == [nil, nil, 1, 1])
        // Single ones: wrong, right, wrong. Twos: open, right. Threes: right; the rest is left over.
        #expect([1, 2, 3].map { found(.chunks, $0) } == [1.0 / 3, 1, 1])
        #expect(abs((found(.unbiased, 1) ?? .nan) - 1.0 / 3) < 1e-12)
        #expect(found(.unbiased, 3) == 1 && found(.unbiased, 4) == nil)
        #expect(PassAtK.estimate(.chunks, of: [nil, false], k: 2) == nil)
    }

    @Test func passAtKNeedsEnoughSamples() {
        #expect(PassAtK.estimate(samples: 3, right: 1, k: 4) == nil)
        #expect(PassAtK.estimate(samples: 3, right: 1, k: 0) == nil)
        #expect(PassAtK.estimate(samples: 3, right: 4, k: 1) == nil)
    }

    /// scipy.stats.binomtest(k, n).proportion_ci(method="wilson").
    @Test(arguments: [
        (0, 10, 0.0, 0.27753279986288926), (7, 10, 0.39677814746114526, 0.892208732593699),
        (150, 300, 0.4437795161339169, 0.5562204838660831), (1, 1, 0.20654931437723745, 1.0),
    ])
    func wilson(_ successes: Int, _ n: Int, _ low: Double, _ high: Double) throws {
        let interval = try #require(Interval.wilson(successes: successes, of: n))
        #expect(abs(interval.low - low) < 1e-9)
        #expect(abs(interval.high - high) < 1e-9)
    }

    /// For many normal-looking values the percentile bootstrap is mean ± 1.96 standard errors, to about 2 %.
    @Test func bootstrapMatchesTheNormalIntervalForManyValues() throws {
        let values = (0..<2_000).map { Double(($0 * 7_919) % 101) / 100 }
        let mean = values.reduce(0, +) / 2_000
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 1_999
        let halfWidth = 1.959964 * (variance / 2_000).squareRoot()
        let interval = try #require(Interval.bootstrap(values, resamples: 4_000, seed: 1))
        #expect(abs(interval.low - (mean - halfWidth)) < 0.1 * halfWidth)
        #expect(abs(interval.high - (mean + halfWidth)) < 0.1 * halfWidth)
        #expect(interval == Interval.bootstrap(values, resamples: 4_000, seed: 1))
        #expect(interval != Interval.bootstrap(values, resamples: 4_000, seed: 2))
    }

    /// By mpmath with 30 digits, the quantile from its incomplete beta function; of 1, 2, 3 by hand: s = 1, and
    /// 4.302653/√3 is 2.484138.
    @Test(arguments: [
        ([1.0, 2, 3], -0.48413771175, 4.48413771175), ([0.5, 0.5, 0.25, 0.75], 0.175192934094, 0.824807065906),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1], 0.285547819496, 0.736674402726),
    ])
    func fewPromptsGetStudentsInterval(_ values: [Double], _ low: Double, _ high: Double) throws {
        let interval = try #require(Interval.ofMean(values))
        #expect(abs(interval.low - low) < 1e-9 && abs(interval.high - high) < 1e-9, "\(interval)")
        #expect(Interval.ofMean(values) == Interval.ofMean(values, seed: 1))
    }

    @Test func tenPromptsAreResampledAndOneHasNoInterval() {
        let ten = (0..<10).map(Double.init)
        #expect(Interval.ofMean(ten, seed: 3) == Interval.bootstrap(ten, seed: 3))
        #expect(Interval.ofMean([1]) == nil && Interval.ofMean([]) == nil)
    }

    /// Three prompts with one of two completions right: Wilson's of 1.5 of 3, by hand with z² = 3.841459
    /// 1.959964 · √(0.25/3 + 3.841459/36) / (1 + 3.841459/3) = 0.374666 around 0.5. With 0, 1 and 2 right Student's
    /// spread is 4.302653 · 0.5/√3 = 1.24, beyond what a share can be.
    @Test func threePromptsOfTwoCompletions() throws {
        func interval(_ right: [Int]) -> Interval? {
            let scores = right.map { right in (0..<2).map { RewardScore.value($0 < right ? 1 : 0) } }
            return RewardSummary(reward: "exact", scores: scores, ks: [1]).interval
        }
        let equal = try #require(interval([1, 1, 1]))
        #expect(abs(equal.low - 0.125334) < 1e-5 && abs(equal.high - 0.874666) < 1e-5, "\(equal)")
        #expect(interval([0, 1, 2]) == Interval(low: 0, high: 1))
        // Scores that are no right or wrong may be anything: 1, 2, 3 as above.
        let soft = try #require(
            RewardSummary(reward: "soft", scores: [[.value(1)], [.value(2)], [.value(3)]], ks: [1]).interval)
        #expect(abs(soft.low + 0.48413771175) < 1e-9)
    }

    /// Differences of 1/2 and 0 on two prompts: 0.25 ± 12.706205 · 0.25.
    @Test func aComparisonOfTwoPromptsIsWideAndOfOneHasNoInterval() throws {
        let two = try #require(PairedComparison([1, 0.5], [0.5, 0.5])?.interval)
        #expect(abs(two.low + 2.92655118404) < 1e-6 && abs(two.high - 3.42655118404) < 1e-6, "\(two)")
        let one = try #require(PairedComparison([1], [0.5]))
        #expect(one.interval == nil && one.verdict == "not resolved at n=1")
    }

    @Test func votesGoToTheMostFrequentAnswerTiesToTheEarliest() {
        #expect(MajorityVote.winner(of: ["4", "5", nil, "5", "4", "6"]) == "4")
        #expect(MajorityVote.winner(of: ["4", "5", "5"]) == "5")
        #expect(MajorityVote.winner(of: [nil, nil]) == nil)
    }

    /// 1,319 right-or-wrong prompts of which 3 points more are right: 90 gained and 50 lost is a z of 3.4.
    @Test func aPairedComparisonFindsThreePointsAtFullSizeAndNotAtFifty() throws {
        let second = (0..<1_319).map { $0 % 2 == 0 ? 1.0 : 0.0 }
        var first = second
        for index in 0..<90 { first[2 * index + 1] = 1 }
        for index in 0..<50 { first[2 * index] = 0 }
        let all = try #require(PairedComparison(first, second))
        #expect(abs(all.difference - 40.0 / 1_319) < 1e-12)
        #expect(all.isResolved && all.verdict == "better")
        // The same share of gains and losses among fifty prompts: 3 gained, 2 lost.
        var few = Array(second.prefix(50))
        for index in 0..<3 { few[2 * index + 1] = 1 }
        for index in 0..<2 { few[2 * index] = 0 }
        let small = try #require(PairedComparison(few, Array(second.prefix(50))))
        #expect(!small.isResolved && small.verdict == "not resolved at n=50")
    }

    /// Five differences of one sign are no surprise: two in 32 by chance. Six are one in 32.
    @Test func aHandfulOfPromptsResolvesNothing() throws {
        for count in [1, 2, 5, 6] {
            let paired = try #require(
                PairedComparison(Array(repeating: 1, count: count), Array(repeating: 0.75, count: count)))
            #expect(paired.isResolved == (count == 6))
        }
    }

    /// Ten prompts of four right completions each: Wilson's interval of 10 of 10, not one without width.
    @Test func aPerfectScoreHasAnInterval() throws {
        let scores = [[RewardScore]](repeating: [.value(1), .value(1), .value(1), .value(1)], count: 10)
        let interval = try #require(RewardSummary(reward: "exact", scores: scores, ks: [1]).interval)
        #expect(interval == Interval.wilson(successes: 10, of: 10) && interval.low < 0.75)
    }

    @Test func failuresAreCountedAndNeverZero() {
        let summary = RewardSummary(
            reward: "exact",
            scores: [
                [.value(1), .failed(message: "x")], [.timedOut(seconds: 1)], [.abstained(reason: "n/a"), .value(0)],
            ],
            ks: [1])
        #expect(summary.mean == 0.5)
        #expect(summary.failed == 2 && summary.abstained == 1 && summary.scored == 2 && summary.prompts == 2)
        #expect(summary.promptMeans == [1, nil, 0])
        #expect(summary.passAtK == [1: 0.5])
    }
}
