internal import Credit
internal import Foundation
internal import PolicyUpdater
internal import Records

/// The credit of a timed step, with the controllers that move its rewards' weights, and what they take of it.
struct ControlledStep: Sendable {
    private let rule: GroupBaseline
    private var controllers: [any RewardController]
    /// Seconds of the last step that the controllers themselves took: weights asked for, scores, evaluation and training
    /// looked at.
    private(set) var seconds = 0.0
    /// Seconds of the last step for the gradients that they compare.
    private(set) var gradientSeconds = 0.0
    /// Backward passes of these.
    private(set) var backwardPasses = 0

    init(_ chosen: [Workload.Controller]) {
        // One reward is all that a step without controllers needs.
        let names = chosen.isEmpty ? ["spread"] : ["spread", "evenness"]
        let isApart = chosen.contains { $0 != .hypervolume }
        rule = GroupBaseline(
            rewards: RewardCombination(names: names, form: isApart ? .apart : .summed),
            settings: GroupBaselineSettings())
        controllers = chosen.map { controller in
            switch controller {
            case .constraints: LagrangianConstraints([Constraint("evenness", limit: 0.4, kind: .atMost)])
            case .hypervolume: HypervolumeWeighting(names.map { HypervolumeWeighting.Axis($0) })
            case .gradient: GradientWeighting(names)
            }
        }
    }

    /// Rewards that differ inside a group, so that advantages are not zero: the sum of the token ids modulo a prime, and
    /// beside controllers the share of even ones.
    func scores(of rollout: Rollout) -> [RewardScore] {
        let ids = rollout.completion.tokenIDs
        let sum = ids.reduce(rollout.sample, &+)
        let even = Double(ids.count { $0.isMultiple(of: 2) }) / Double(max(ids.count, 1))
        return Array([.value(Double(sum % 97) / 97), .value(even)].prefix(rule.rewards.names.count))
    }

    private mutating func timed<Result>(_ work: (inout [any RewardController]) -> Result) -> Result {
        let clock = ContinuousClock()
        let start = clock.now
        defer { seconds += (clock.now - start) / .seconds(1) }
        return work(&controllers)
    }

    private mutating func weights(at step: Int) -> StreamWeights {
        timed { controllers in controllers.reduce(into: StreamWeights()) { $0.merge($1.weights(at: step)) } }
    }

    /// What a step learns of its groups; the controllers see all that they see in a run, and an evaluation in every
    /// step: the step's own means.
    mutating func credit(
        _ groups: [ScoredGroup], at step: Int, _ updater: PolicyUpdater
    ) async throws -> UpdateBatch {
        (seconds, gradientSeconds, backwardPasses) = (0, 0, 0)
        var batch = CreditBatch(groups: groups, weights: weights(at: step))
        let rewards = rule.rewards
        timed { [batch] controllers in
            for index in controllers.indices { _ = controllers[index].prepare(for: batch, rewards) }
        }
        if controllers.contains(where: \.readsGradients) {
            let clock = ContinuousClock()
            let start = clock.now
            let credited = rule.apart(try rule.credit(batch), of: batch)
            let products = try await updater.streamProducts(credited.update, stop: nil)
            gradientSeconds = (clock.now - start) / .seconds(1)
            backwardPasses = credited.streams.count
            timed { controllers in
                for index in controllers.indices { _ = controllers[index].weigh(products, of: credited.streams) }
            }
            batch.weights = weights(at: step)
        }
        // In a group of one nothing differs from the mean; its reward itself is something to learn.
        let isAlone = groups.allSatisfy { $0.group.rollouts.count == 1 }
        let credited = isAlone ? try PlainReward(rewards: rewards).credit(batch) : try rule.credit(batch)
        let observed = ObservedStep(rewardNames: rewards.names, groups: groups, meanKL: nil)
        timed { controllers in
            let means = Dictionary(uniqueKeysWithValues: rewards.names.map { ($0, observed.tally(of: $0).mean) })
            for index in controllers.indices {
                _ = controllers[index].observe(observed)
                _ = controllers[index].observe(ObservedEvaluation(step: step, means: means))
            }
        }
        return credited.update
    }

    /// Shows the controllers what the training of the step measured.
    mutating func observe(_ trained: Metrics) {
        timed { controllers in
            for index in controllers.indices { _ = controllers[index].observe(trained: trained) }
        }
    }
}

/// What controllers take of a step.
package struct ControllerCost: Sendable, Equatable {
    package let names: [String]
    /// Seconds of a step in the controllers themselves; the evaluations that some ask for are not among them.
    package let seconds: Spread
    /// Seconds for the gradients of the rewards apart; `nil` where none are compared.
    package let gradients: Spread?
    /// Backward passes of a step beside its own.
    package let backwardPasses: Int

    package init(names: [String], seconds: Spread, gradients: Spread?, backwardPasses: Int) {
        self.names = names
        self.seconds = seconds
        self.gradients = gradients
        self.backwardPasses = backwardPasses
    }
}
