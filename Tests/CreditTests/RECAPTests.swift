import Credit
import Foundation
import Records
import Testing

@Suite("RECAP's weights")
struct ObjectiveBalanceTests {
    /// W = 3: the last three losses have the means 0.65 and 0.1 and the deviations 0.0408248 and 0, the three before them
    /// the means 0.85 and 0.4. c + i = 0.65/0.85 + 0.0408248/(0.65 + 0.85) = 0.7919224 and 0.1/0.4 + 0 = 0.25; the weights
    /// are 2·exp((c + i)/5) over the sum of both exponentials.
    @Test func theWorkedExample() throws {
        var balance = ObjectiveBalance(["accuracy", "format"], window: 3)
        let losses = zip([0.9, 0.8, 0.85, 0.6, 0.7, 0.65], [0.5, 0.4, 0.3, 0.1, 0.1, 0.1])
        for (accuracy, format) in losses {
            #expect(balance.weights == ["accuracy": 1, "format": 1])
            balance.note(["accuracy": accuracy, "format": format])
        }
        #expect(abs(try #require(balance.score(of: "accuracy")) - 0.7919224351) < 1e-7)
        #expect(abs(try #require(balance.score(of: "format")) - 0.25) < 1e-7)
        #expect(abs(try #require(balance.weights["accuracy"]) - 1.0541392552) < 1e-8)
        #expect(abs(try #require(balance.weights["format"]) - 0.9458607448) < 1e-8)
    }

    @Test func theySumToTheirNumberAndKnowNoScale() {
        var (one, other) = (
            ObjectiveBalance(["a", "b", "c"], window: 2), ObjectiveBalance(["a", "b", "c"], window: 2)
        )
        for step in 0..<9 {
            let losses = ["a": 2 + sin(Double(step)), "b": 1 / Double(step + 1), "c": 3]
            one.note(losses)
            other.note(losses.mapValues { 1000 * $0 })
        }
        #expect(abs(one.weights.values.reduce(0, +) - 3) < 1e-12)
        for (name, weight) in one.weights { #expect(abs(weight - (other.weights[name] ?? 0)) < 1e-6) }
        var equal = ObjectiveBalance(["a", "b"], window: 2)
        for loss in [4.0, 3, 2, 1] { equal.note(["a": loss, "b": loss]) }
        #expect(equal.weights.values.allSatisfy { abs($0 - 1) < 1e-12 })
    }

    @Test func aLossThatIsNotFiniteIsNotNoted() {
        var balance = ObjectiveBalance(["a"], window: 1)
        balance.note(["a": .nan, "b": 1])
        #expect(balance.losses == ["a": []])
    }

    /// Two rewards of ceilings 1 and 2 and replay, W = 1: three losses of each give one comparison.
    @Test func theControllerWeighsWhatStillMoves() throws {
        var recap = RECAP(ceilings: ["a": 1, "b": 2], replays: true, window: 1, temperature: 1)
        #expect(recap.weights(at: 0).factors == ["a": 1, "b": 1])
        func step(_ a: Double, _ b: Double) -> ObservedStep {
            let group = RolloutGroup(
                prompt: ScoredGroups.prompt(0),
                rollouts: [ScoredGroups.rollout(tokens: [1], logProbabilities: [0], sample: 0)],
                policyVersion: PolicyVersion(0))
            return ObservedStep(
                rewardNames: ["a", "b"], groups: [ScoredGroup(group: group, scores: [[.value(a), .value(b)]])])
        }
        var trained = Metrics()
        trained["replay/loss"] = 2
        _ = recap.observe(step(0.2, 1))
        _ = recap.observe(trained: trained)
        #expect(recap.weights(at: 1).imitationFactor == 1)
        // Losses: a 0.8 → 0.4, c + i = ½; b 1 → 1, c + i = 1; replay 2 → 3, c + i = 1.5. The deviation of one number is
        // 0.
        _ = recap.observe(step(0.6, 1))
        trained["replay/loss"] = 3
        let update = recap.observe(trained: trained)
        #expect(update?.note?.hasPrefix("recap: 2 steps are known") == true)
        #expect(update?.metrics["recap/replay/weight"] == 1 && update?.metrics["recap/replay/loss"] == 3)
        let total = exp(0.5) + exp(1) + exp(1.5)
        let weights = recap.weights(at: 2)
        #expect(abs((weights.factors["a"] ?? 0) - 3 * exp(0.5) / total) < 1e-6)
        #expect(abs((weights.factors["b"] ?? 0) - 3 * exp(1) / total) < 1e-6)
        #expect(abs(weights.imitationFactor - 3 * exp(1.5) / total) < 1e-6)
        // A reward's own weight is multiplied; what multipliers add is not.
        var merged = StreamWeights()
        merged.addends = ["a": 2]
        merged.merge(weights)
        #expect(abs(merged.weight(of: "a", own: 0.5) - (1.5 * exp(0.5) / total + 2)) < 1e-6)
        // A number that is none changes nothing.
        let before = recap.state
        trained["replay/loss"] = .nan
        let skipped = recap.observe(trained: trained)
        #expect(skipped == nil && recap.state == before)
        // A step that a reward scored nothing in, of another domain, leaves its losses.
        var silent = step(0, 0)
        silent.groups[0].scores = [[.abstained(reason: ""), .value(1)]]
        _ = recap.observe(silent)
        #expect(recap.state.losses["a"] == before.losses["a"])
    }

    @Test func anotherJobsStateIsRefused() throws {
        let recap = RECAP(ceilings: ["a": 1, "b": 1], replays: false)
        for other in [
            RECAP(ceilings: ["a": 1], replays: true), RECAP(ceilings: ["a": 1, "b": 1], replays: false, window: 3),
        ] {
            #expect(throws: ControllerStateError.self) { try recap.check(other.state) }
        }
        try recap.check(recap.state)
    }
}
