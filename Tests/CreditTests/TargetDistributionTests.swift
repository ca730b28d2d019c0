import Credit
import Foundation
import Records
import Testing

/// Four arms with numbers from the closed form, without this code: p·exp(r/β) is 0.5, 0.25·e², 0.15·e⁴ and 0.1·e⁻², or
/// 0.5, 1.8472640247, 8.1897225050 and 0.0135335283; Z is their sum, 10.5505200580, and the target each over Z.
@Suite("KL control as inference on an enumerable space")
struct TargetDistributionTests {
    private let prior = [0.5, 0.25, 0.15, 0.10]
    private let rewards = [0.0, 1, 2, -1]
    private let beta = 0.5
    private let target = [0.0473910288, 0.1750874852, 0.7762387503, 0.0012827357]

    private func policy(_ logits: [Double]) -> [Double] {
        let masses = logits.map { exp($0) }
        return masses.map { $0 / masses.reduce(0, +) }
    }

    private func distance(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + abs($1.0 - $1.1) } / 2 }

    /// Draws in the very proportions of the prior: 10, 5, 3 and 2 of twenty.
    @Test func estimatesFromTheReference() {
        let arms = [Int](repeating: 0, count: 10) + [Int](repeating: 1, count: 5) + [2, 2, 2, 3, 3]
        let estimate = TargetDistribution(
            rewards: arms.map { rewards[$0] }, policy: arms.map { log(prior[$0]) },
            reference: arms.map { log(prior[$0]) },
            coefficient: beta)
        #expect(abs(estimate.logPartition - log(10.5505200580)) < 1e-9)
        let reverse = zip(prior, target).reduce(0) { $0 + $1.0 * log($1.0 / $1.1) }
        let forward = zip(prior, target).reduce(0) { $0 + $1.1 * log($1.1 / $1.0) }
        #expect(abs(estimate.divergence - reverse) < 1e-6 && abs(estimate.forwardDivergence - forward) < 1e-6)
        let share = 1 / zip(prior, target).reduce(0) { $0 + $1.1 * $1.1 / $1.0 }  // 1/E_p[(p*/p)²]
        #expect(abs(estimate.effectiveCount - 20 * share) < 1e-5)
        // E_{p*} r: the mean over draws of p of r·p*/p
        let weighted = zip(estimate.shares(cap: .infinity).values, arms).reduce(0.0) { $0 + $1.0 * rewards[$1.1] }
        #expect(abs(weighted / 20 - 1.7262822502) < 1e-9)
    }

    /// Drawn from the target all weights are Z: nothing is to go, nothing to learn.
    @Test func atTheTargetNothingIsLeft() {
        let estimate = TargetDistribution(
            rewards: rewards, policy: zip(prior, rewards).map { log($0) + $1 / beta - log(10.5505200580) },
            reference: prior.map { log($0) }, coefficient: beta)
        #expect(abs(estimate.divergence) < 1e-9 && abs(estimate.forwardDivergence) < 1e-9)
        #expect(abs(estimate.effectiveCount - 4) < 1e-8)
        #expect(estimate.shares(cap: 10).values.allSatisfy { abs($0 - 1) < 1e-8 })
    }

    /// E_π r − β·KL(π‖p) = −β·KL(π‖p*) + β·log Z for any policy.
    @Test(arguments: [[0.0, 0, 0, 0], [1, -2, 0.5, 3], [-4, 2, 2, 0]])
    func theObjectiveIsADivergence(_ logits: [Double]) {
        let policy = policy(logits)
        let objective = (0..<4).reduce(0) { $0 + policy[$1] * (rewards[$1] - beta * log(policy[$1] / prior[$1])) }
        let weights = (0..<4).map { prior[$0] * exp(rewards[$0] / beta) }
        let total = weights.reduce(0, +)
        let divergence = (0..<4).reduce(0) { $0 + policy[$1] * log(policy[$1] * total / weights[$1]) }
        #expect(abs(objective - (beta * log(total) - beta * divergence)) < 1e-12)
        #expect(abs(beta * log(total) - 1.1780875767) < 1e-9)
    }

    /// Exact gradients over the softmax's logits: Σ_y π(y)·A(y)·(1[y = k] − π(k)).
    private func ascend(_ steps: Int, _ rate: Double, _ advantages: ([Double]) throws -> [Double]) rethrows -> [Double]
    {
        var logits = prior.map { log($0) }
        for _ in 0..<steps {
            let policy = policy(logits)
            let advantages = try advantages(policy)
            let mean = zip(policy, advantages).map(*).reduce(0, +)
            logits = logits.indices.map { logits[$0] + rate * policy[$0] * (advantages[$0] - mean) }
        }
        return policy(logits)
    }

    /// One completion of one token an arm, with the log-probs of a policy and of the reference.
    private func batch(_ policy: [Double]) -> CreditBatch {
        let rollouts = (0..<4).map { arm in
            ScoredGroups.rollout(tokens: [arm], logProbabilities: [log(policy[arm])], sample: arm)
        }
        let group = RolloutGroup(prompt: ScoredGroups.prompt(0), rollouts: rollouts, policyVersion: PolicyVersion(0))
        return CreditBatch(
            groups: [ScoredGroup(group: group, scores: rewards.map { [.value($0)] })],
            referenceLogProbabilities: [prior.map { [Float(log($0))] }])
    }

    @Test func reinforceWithTheKLReachesTheTarget() throws {
        let rule = PlainReward(rewards: try .single, penalty: KLToGo(coefficient: beta))
        let reached = try ascend(20_000, 1) { policy in
            try rule.credit(batch(policy)).update.advantages[0].map { $0[0] }
        }
        #expect(distance(reached, target) < 1e-4)
        // Without the KL it collapses to the best arm.
        let plain = try ascend(20_000, 1) { policy in
            try PlainReward(rewards: try .single).credit(batch(policy)).update.advantages[0].map { $0[0] }
        }
        #expect(plain[2] > 0.99 && distance(plain, target) > 0.2)
    }

    /// Over Z itself: the arms, each once, are no sample that its estimate could come from.
    @Test func distributionalControlReachesTheTarget() {
        let reached = ascend(20_000, 1) { policy in
            TargetDistribution(
                rewards: rewards, policy: policy.map { log($0) }, reference: prior.map { log($0) }, coefficient: beta
            ).logWeights.map { exp($0) / 10.5505200580 }
        }
        #expect(distance(reached, target) < 1e-4)
    }

    @Test func weightsAreCappedAndCounted() {
        let estimate = TargetDistribution(
            rewards: [0, 0, 0, 50], policy: [-1, -1, -1, -1], reference: [-1, -1, -1, -1], coefficient: 0.1)
        let found = estimate.shares(cap: 3)  // uncapped 4·e⁻⁵⁰⁰ thrice, and 4
        #expect(found.values[..<3].allSatisfy { $0 > 0 && $0 < 1e-200 })
        #expect(found.values[3] == 3 && found.truncated == 1)
        #expect(estimate.logPartition.isFinite && abs(estimate.effectiveCount - 1) < 1e-12)  // no overflow at e^500
    }

    /// Draws in the very proportions of the prior, once as one completion and once cut into two tokens: a token's
    /// log-probs add up.
    @Test(arguments: [1, 2]) func theRuleGivesTheSharesOfTheTarget(_ tokens: Int) throws {
        let arms = [Int](repeating: 0, count: 10) + [Int](repeating: 1, count: 5) + [2, 2, 2, 3, 3]
        let logs = arms.map { arm in [Float](repeating: Float(log(prior[arm]) / Double(tokens)), count: tokens) }
        let rollouts = arms.indices.map { index in
            ScoredGroups.rollout(
                tokens: [Int](repeating: arms[index], count: tokens), logProbabilities: logs[index].map(Double.init),
                sample: index)
        }
        let group = RolloutGroup(prompt: ScoredGroups.prompt(0), rollouts: rollouts, policyVersion: PolicyVersion(0))
        let batch = CreditBatch(
            groups: [ScoredGroup(group: group, scores: arms.map { [.value(rewards[$0])] })],
            referenceLogProbabilities: [logs])
        let credited = try DistributionalControl(
            rewards: try .single, settings: .init(coefficient: beta, cap: 5)
        ).credit(batch)
        for (index, arm) in arms.enumerated() {
            let share = target[arm] / prior[arm]  // 0.0948, 0.7003, 5.1749, 0.0128
            for advantage in credited.update.advantages[0][index] {
                #expect(abs(advantage - (min(share, 5) - 1)) < 1e-5)
            }
        }
        let expected = [
            "kl_control/log_partition": log(10.5505200580), "gdc/truncated": 0.15,
            "kl_control/distance": zip(prior, target).reduce(0) { $0 + $1.0 * log($1.0 / $1.1) },
            "kl_control/forward_distance": zip(prior, target).reduce(0) { $0 + $1.1 * log($1.1 / $1.0) },
            "kl_control/effective_share": 1 / zip(prior, target).reduce(0) { $0 + $1.1 * $1.1 / $1.0 },
        ]
        for (name, value) in expected {
            #expect(abs(try #require(credited.metrics[name]) - value) < 1e-5, "\(name)")
        }
    }

    @Test func withoutAReferenceOrAnotherCompletionThereIsNoTarget() throws {
        let rule = DistributionalControl(rewards: try .single)
        var batch = batch(prior)
        batch.referenceLogProbabilities = nil
        #expect(throws: CreditError.missingReference(rule: "GDC")) { try rule.credit(batch) }
        batch = self.batch(prior)
        batch.groups[0].scores = [
            [.value(1)], [.abstained(reason: "")], [.abstained(reason: "")], [.abstained(reason: "")],
        ]
        let credited = try rule.credit(batch)
        #expect(credited.update.advantages[0].joined().allSatisfy { $0 == 0 })
        #expect(credited.metrics["kl_control/log_partition"] == nil)
    }

    @Test func aKLInTheRewardSaysWhatItTendsTo() throws {
        let rule = PlainReward(rewards: try .single, penalty: KLToGo(coefficient: beta))
        let metrics = try rule.credit(batch(prior)).metrics
        // The four arms once each, as if they had come at their probabilities: the plain mean of exp(r/β).
        let mean = rewards.reduce(0) { $0 + exp($1 / beta) } / 4
        #expect(abs(try #require(metrics["kl_control/log_partition"]) - log(mean)) < 1e-6)
        #expect(try PlainReward(rewards: try .single).credit(batch(prior)).metrics["kl_control/distance"] == nil)
    }

    @Test func fewEffectiveCompletionsAreSaidOnce() {
        var watch = TargetWatch(completions: 100)
        var metrics = Metrics()
        metrics["kl_control/effective_share"] = 0.06
        let quiet = watch.observe(trained: metrics)
        #expect(quiet?.metrics.names.isEmpty == true)
        metrics["kl_control/effective_share"] = 0.04
        let first = watch.observe(trained: metrics)
        #expect(
            first?.metrics["alarms/few_effective_samples"] == 1
                && first?.note?.hasPrefix("4.0 of a prompt's 100") == true)
        let second = watch.observe(trained: metrics)
        #expect(second?.metrics["alarms/few_effective_samples"] == 1 && second?.note == nil)
        var few = TargetWatch(completions: 8)
        metrics["kl_control/effective_share"] = 0.15
        let said = few.observe(trained: metrics)
        #expect(said?.note != nil)
    }
}
