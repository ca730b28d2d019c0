import Credit
import Records
import TestSupport
import Testing

@Suite("Each reward's share of the gradient")
struct GradientSharesTests {
    /// g = (3, 0), (0, 4), (−1, 0) with the weights 1, ½, 1: Σ w·g = (2, 2), of the square 8; ⟨g, Σ⟩ = 6, 8, −2.
    private let products = StreamProducts(
        gram: [[9, 0, -3], [0, 16, 0], [-3, 0, 1]], weights: [1, 0.5, 1], learningRate: 1, peakLearningRate: 1)

    @Test func theyAreProjectionsOnTheWeightedSum() throws {
        var shares = GradientShares(["a", "b"], every: 1)
        let update = shares.weigh(products, of: ["a", "b", "kl"])
        let found = try #require(update).metrics
        #expect(found["rewards/a/gradient_share"] == 6.0 / 8)
        #expect(found["rewards/b/gradient_share"] == 0.5 * 8 / 8)
        #expect(found["rewards/kl/gradient_share"] == nil, "no reward; with its −2/8 the three add up to 1")
    }

    @Test func onlyEverySoManyStepsAreMeasured() throws {
        var shares = GradientShares(["a", "b"], every: 3)
        var read: [Bool] = []
        for _ in 0..<7 {
            read.append(shares.readsGradients)
            let update = shares.weigh(products, of: ["a", "b", "kl"])
            let found = try #require(update).metrics
            #expect((found["rewards/a/gradient_share"] != nil) == read.last)
            _ = shares.observe(ObservedStep(rewardNames: ["a", "b"], groups: []))
        }
        #expect(read == [true, false, false, true, false, false, true])
    }

    @Test func ofNoGradientThereIsNoShareAndWhatIsNotFiniteIsLetPass() throws {
        var shares = GradientShares(["a"], every: 1)
        let none = StreamProducts(gram: [[0]], learningRate: 1, peakLearningRate: 1)
        let empty = shares.weigh(none, of: ["a"])
        #expect(try #require(empty).metrics["rewards/a/gradient_share"] == nil)
        let broken = StreamProducts(gram: [[.nan]], learningRate: 1, peakLearningRate: 1)
        let skipped = shares.weigh(broken, of: ["a"])
        #expect(skipped == nil)
    }

    /// The streams that are compared add up to what is learned from, token by token.
    @Test func aSumOfRewardsIsTakenApart() throws {
        let rewards = RewardCombination(names: ["a", "b"], weights: [1, 2])
        let scores: [[Double]] = [[1, 0], [0, 4], [3, 1]]
        let groups = [
            ScoredGroups.group(scores: scores.map { $0.map { .value($0) } }, row: 0),
            ScoredGroups.group(scores: scores.map { $0.map { .value(-$0 * $0) } }, row: 1),
        ]
        let rule = GroupBaseline(rewards: rewards, settings: .init(scaling: .group, epsilon: 0))
        let batch = CreditBatch(groups: groups)
        let credited = try rule.credit(batch)
        let apart = rule.apart(credited, of: batch)
        #expect(apart.streams == ["a", "b"] && apart.update.parts[0].streamWeights == [1, 1])
        for (whole, own) in zip(credited.update.groups, apart.update.groups) {
            for (one, other) in zip(whole.completions, own.completions) {
                let sums = zip(other.advantages[0], other.advantages[1]).map(+)
                #expect(sums.count == one.advantages[0].count && !sums.isEmpty)
                #expect(zip(sums, one.advantages[0]).allSatisfy { abs($0 - $1) < 1e-12 })
            }
        }
        // By hand: of the first group the means are 4/3 and 5/3, so that the sums are −2, 17/3 and −11/3 … of one size.
        let first = apart.update.groups[0].completions.map { $0.advantages.map { $0[0] } }
        let parts = scores.map { [$0[0] - 4.0 / 3, 2 * ($0[1] - 5.0 / 3)] }
        let scale = first[0][0] / parts[0][0]
        #expect(scale > 0)
        for (found, expected) in zip(first, parts) {
            #expect(relativeDistance(found, expected.map { scale * $0 }) < 1e-12)
        }
    }

    @Test func rewardsThatAreApartStayAsTheyAre() throws {
        var rewards = RewardCombination(names: ["a", "b"], weights: [1, 2])
        rewards.form = .apart
        let batch = CreditBatch(
            groups: [ScoredGroups.group(scores: [[.value(1), .value(0)], [.value(0), .value(4)]], row: 0)])
        let rule = GroupBaseline(rewards: rewards, settings: .init(scaling: .group, epsilon: 0))
        let credited = try rule.credit(batch)
        #expect(rule.apart(credited, of: batch) == credited)
    }
}
