import Credit
import Foundation
import Records
import TestSupport
import Testing

/// Four arms with two rewards: the nearest policy to the prior with means 0.5 and 0.45 is p·exp(Σ λ*_i r_i/β)/Z with
/// β = 0.5 (arXiv:2012.11635, where β is 1), and λ* solves the two equations for the means, worked out without this code.
@Suite("Moments of distributional control: λ by self-normalized importance sampling")
struct MomentConstraintsTests {
    private let prior = [0.5, 0.25, 0.15, 0.10]
    private let scores = [[0.0, 0.1], [1, 0.8], [0.2, 1], [0.9, 0]]
    private let targets = [0.5, 0.45]
    private let multipliers = [0.3099608907, -0.0058968801]
    private let solution = [0.3834963528, 0.3534878376, 0.1288600946, 0.1341557150]
    private let beta = 0.5
    private let rewards = RewardCombination(names: ["one", "two"])

    private func moments(_ targets: [Double]? = nil, window: Int = 8) -> MomentConstraints {
        let own = zip(rewards.names, targets ?? self.targets).map { MomentTarget($0, target: $1) }
        return MomentConstraints(own, coefficient: beta, window: window)
    }

    /// Prompts with their completions: an arm each, with the log-prob of the policy that drew it.
    private func batch(_ groups: [[(arm: Int, policy: Double)]], _ scores: [[Double?]]? = nil) -> CreditBatch {
        let scored = groups.enumerated().map { row, group in
            let rollouts = group.enumerated().map { index, drawn in
                ScoredGroups.rollout(tokens: [drawn.arm], logProbabilities: [drawn.policy], sample: index)
            }
            return ScoredGroup(
                group: RolloutGroup(
                    prompt: ScoredGroups.prompt(row), rollouts: rollouts, policyVersion: PolicyVersion(0)),
                scores: group.map { drawn in (scores ?? self.scores)[drawn.arm].map(ScoredGroups.score) })
        }
        return CreditBatch(
            groups: scored, referenceLogProbabilities: groups.map { $0.map { [Float(log(prior[$0.arm]))] } })
    }

    private func prepared(
        _ fitted: inout MomentConstraints, _ batch: CreditBatch, _ rewards: RewardCombination
    ) throws -> ControllerUpdate {
        let update = fitted.prepare(for: batch, rewards)
        return try #require(update)
    }

    /// Draws in the very proportions of the prior: 10, 5, 3 and 2 of twenty.
    private var drawnFromPrior: [(arm: Int, policy: Double)] {
        zip([0, 1, 2, 3], [10, 5, 3, 2]).flatMap { arm, count in
            (0..<count).map { _ in (arm, log(prior[arm])) }
        }
    }

    /// Every arm once, as a policy without a preference would draw them.
    private let drawnEvenly = (0..<4).map { (arm: $0, policy: log(0.25)) }

    @Test func lambdasAreTheClosedFormsOnes() throws {
        for draws in [drawnFromPrior, drawnEvenly] {
            var fitted = moments()
            let update = try prepared(&fitted, batch([draws]), rewards)
            let weights = fitted.weights(at: 0)
            for (index, name) in rewards.names.enumerated() {
                // The log-probs of the arms are rounded to Float where they do not cancel.
                let tolerance = draws.count == 20 ? 1e-9 : 1e-6
                #expect(abs(try #require(weights[name]) - multipliers[index]) < tolerance, "\(name)")
                #expect(abs((update.metrics["moments/\(name)/fitted"] ?? 9) - targets[index]) < 1e-9)
                #expect(update.metrics["moments/\(name)/target"] == targets[index])
                #expect(update.metrics["moments/\(name)/lambda"] == fitted.state.lambdas[name])
            }
            #expect(update.note == nil && update.metrics["alarms/moment_out_of_reach"] == nil)
        }
    }

    /// With the weights of the fit, the shares of the target are those of the closed form.
    @Test func theRuleLearnsTheTargetWithTheseMeans() throws {
        var fitted = moments()
        var batch = batch([drawnEvenly])
        _ = fitted.prepare(for: batch, rewards)
        batch.weights = fitted.weights(at: 0)
        let rule = DistributionalControl(
            rewards: rewards, settings: .init(coefficient: beta, moments: fitted.moments))
        let credited = try rule.credit(batch)
        for (arm, share) in solution.enumerated() {
            #expect(abs(credited.update.advantages[0][arm][0] - (4 * share - 1)) < 1e-5)
        }
        // λ = 0 is a target like others, the prior; without moments nothing was rewarded.
        batch.weights = ["one": 0, "two": 0]
        for (arm, share) in prior.enumerated() {
            #expect(abs(try rule.credit(batch).update.advantages[0][arm][0] - (4 * share - 1)) < 1e-5)
        }
        let plain = try DistributionalControl(rewards: rewards, settings: .init(coefficient: beta)).credit(batch)
        #expect(plain.update.advantages[0].joined().allSatisfy { $0 == 0 })
    }

    /// Two prompts drawn by other policies beside a reward of a weight of its own, two steps: where the mean over the
    /// prompts, in plain loops, is the target, by halving.
    @Test func severalPromptsStepsAndRewardsAgainstHalving() throws {
        let steps: [[[(arm: Int, policy: Double)]]] = [
            [[(0, -1.5), (1, -0.5), (1, -0.5), (3, -2)], [(2, -1), (2, -1), (0, -0.25), (3, -3)]],
            [[(3, -0.125), (0, -2), (2, -2.5)], [(1, -1), (0, -1)]],
        ]
        func means(_ lambda: Double, _ steps: [[[(arm: Int, policy: Double)]]]) -> Double {
            let groups = steps.joined().map { group -> Double in
                let weights = group.map { drawn in
                    exp(
                        Double(Float(log(prior[drawn.arm]))) - drawn.policy
                            + (2 * scores[drawn.arm][1]) / beta + lambda * scores[drawn.arm][0])
                }
                return zip(weights, group).reduce(0) { $0 + $1.0 * scores[$1.1.arm][0] } / weights.reduce(0, +)
            }
            return groups.reduce(0, +) / Double(groups.count)
        }
        func root(_ steps: [[[(arm: Int, policy: Double)]]]) -> Double {
            var (low, high) = (-15.0, 15.0)
            for _ in 0..<200 {
                let middle = (low + high) / 2
                if means(middle, steps) < 0.55 { low = middle } else { high = middle }
            }
            return low
        }
        let weighed = RewardCombination(names: ["one", "two"], weights: [1, 2])
        for (window, seen) in [(8, steps), (1, [steps[1]])] {
            var fitted = MomentConstraints([MomentTarget("one", target: 0.55)], coefficient: beta, window: window)
            for step in steps {
                var batch = batch(step)
                batch.weights = fitted.weights(at: 0)
                _ = fitted.prepare(for: batch, weighed)
            }
            let expected = root(seen)
            #expect(abs(means(expected, seen) - 0.55) < 1e-9 && abs(expected) > 0.1)
            #expect(abs((fitted.state.lambdas["one"] ?? 99) - expected) < 1e-7, "\(window), expected \(expected)")
        }
    }

    /// A policy that begins as the prior and learns from its own draws alone.
    @Test func aSampledPolicyComesToTheMeans() throws {
        var random = TestRandom(seed: 7)
        var fitted = moments()
        let rule = DistributionalControl(
            rewards: rewards, settings: .init(coefficient: beta, moments: fitted.moments))
        var logits = prior.map { log($0) }
        var (mean, lambdas) = ([0.0, 0, 0, 0], [0.0, 0])
        let steps = 400
        for step in 0..<steps {
            let masses = logits.map { exp($0) }
            let policy = masses.map { $0 / masses.reduce(0, +) }
            let groups = (0..<8).map { _ in
                (0..<16).map { _ -> (arm: Int, policy: Double) in
                    var left = Double.random(in: 0..<1, using: &random)
                    let arm = policy.firstIndex { share in
                        left -= share
                        return left < 0
                    }
                    return (arm ?? 3, log(policy[arm ?? 3]))
                }
            }
            var batch = batch(groups)
            _ = fitted.prepare(for: batch, rewards)
            batch.weights = fitted.weights(at: step)
            let advantages = try rule.credit(batch).update.advantages
            for (group, drawn) in groups.enumerated() {
                for (index, choice) in drawn.enumerated() {
                    let size = 0.5 * (1 - Double(step) / Double(steps)) * advantages[group][index][0] / (8 * 16)
                    for arm in 0..<4 { logits[arm] += size * ((arm == choice.arm ? 1 : 0) - policy[arm]) }
                }
            }
            guard step >= steps - 100 else { continue }
            for arm in 0..<4 { mean[arm] += policy[arm] / 100 }
            for (index, name) in rewards.names.enumerated() {
                lambdas[index] += (fitted.state.lambdas[name] ?? 99) / 100
            }
        }
        let distance = zip(mean, solution).reduce(0) { $0 + abs($1.0 - $1.1) } / 2
        #expect(distance < 0.02, "\(mean)")
        for (found, expected) in zip(lambdas, multipliers) { #expect(abs(found - expected / beta) < 0.1) }
    }

    /// No weights make a mean of 0.5 of zeros: λ goes a nat over the reward's range, here the way to the target, at a
    /// time, and is fitted as soon as there is something to fit on.
    @Test func whatIsOutOfReachIsSaidOnceAndGoneTowards() throws {
        var fitted = MomentConstraints([MomentTarget("one", target: 0.5)], coefficient: beta, window: 1)
        let one = RewardCombination(names: ["one"])
        let zeros = batch([drawnFromPrior], [[0], [0], [0], [0]])
        let first = try prepared(&fitted, zeros, one)
        #expect(fitted.state.lambdas == ["one": 2] && first.metrics["alarms/moment_out_of_reach"] == 1)
        #expect(first.note?.contains("one 0 of 0.5") == true, "\(first.note ?? "")")
        let second = try prepared(&fitted, zeros, one)
        #expect(fitted.state.lambdas == ["one": 4] && second.note == nil)
        // One in ten: λ = log(9).
        let few = try prepared(&fitted, batch([drawnFromPrior], [[0], [0], [0], [1]]), one)
        #expect(abs((fitted.state.lambdas["one"] ?? 0) - log(9)) < 1e-9 && few.note == nil)
        #expect(few.metrics["alarms/moment_out_of_reach"] == nil)
        let again = try prepared(&fitted, zeros, one)
        #expect(again.note != nil)
    }

    @Test func completionsWithoutAScoreAndNumbersThatAreNoneAreLeftOut() throws {
        var fitted = moments()
        // An arm of which one reward says nothing is no part of the fit.
        var partial = scores.map { $0.map(Optional.some) }
        partial[3][1] = nil
        _ = fitted.prepare(for: batch([drawnFromPrior], partial), rewards)
        var without = moments()
        _ = without.prepare(for: batch([drawnFromPrior.filter { $0.arm != 3 }]), rewards)
        #expect(fitted.state == without.state && fitted.state.lambdas["one"] != 0)
        let before = fitted
        let update = fitted.prepare(for: batch([[(0, -.infinity), (1, -1)]]), rewards)
        #expect(update == nil && fitted == before)
        // Nothing to fit on, and no reference.
        var empty = moments()
        let single = try prepared(&empty, batch([[(0, -1)]]), rewards)
        var blind = batch([drawnFromPrior])
        blind.referenceLogProbabilities = nil
        let unseen = try prepared(&empty, blind, rewards)
        #expect(single == ControllerUpdate() && unseen == single && empty == moments())
    }

    @Test func aSavedStateGoesOnToTheBit() throws {
        let steps = [
            batch([drawnFromPrior]), batch([[(0, -1.1), (1, -0.7), (2, -2.3)], [(3, -0.3), (1, -1.9)]]),
            batch([drawnEvenly]),
        ]
        var whole = moments(window: 2)
        for step in steps { _ = whole.prepare(for: step, rewards) }
        var half = moments(window: 2)
        for step in steps[..<2] { _ = half.prepare(for: step, rewards) }
        var resumed = moments(window: 2)
        try resumed.takeState(from: half.encodedState(with: JSONEncoder()), with: JSONDecoder())
        #expect(resumed == half)
        _ = resumed.prepare(for: steps[2], rewards)
        #expect(resumed == whole && whole != half)
        var other = MomentConstraints([MomentTarget("one", target: 0.5)], coefficient: beta, window: 2)
        let error = #expect(throws: ControllerStateError.self) {
            try other.takeState(from: half.encodedState(with: JSONEncoder()), with: JSONDecoder())
        }
        #expect(error?.description == "the checkpoint has moments of one, two; the job of one")
    }
}
