internal import Foundation
package import Records

/// Settings of ``GreedyBaseline``.
package struct GreedyBaselineSettings: Sendable, Equatable {
    /// c: the difference r − b is clipped to ± this. `nil` for no clip; the authors' code has 5.
    package let differenceClip: Double?
    /// The KL penalty on each token; `nil` for none.
    package let penalty: KLToGo?
    /// γ: the difference reaches the token that stands k tokens before the last as γᵏ of it.
    package let discount: Double
    /// Whether the last token has one factor γ too, as in the authors' code.
    package let discountsLastToken: Bool

    package init(
        differenceClip: Double? = nil, penalty: KLToGo? = nil, discount: Double = 1, discountsLastToken: Bool = false
    ) {
        self.differenceClip = differenceClip
        self.penalty = penalty
        self.discount = discount
        self.discountsLastToken = discountsLastToken
    }

    package init(reading job: inout SettingsReader, penalty: KLToGo?) {
        differenceClip = job.read(
            "remax_reward_clip", optional: nil, .above(0),
            "Clips r − b to ± this; off unless set (published code: 5) (arXiv:2310.10505).")
        discount = job.read(
            "gamma", default: 1.0, .above(0, atMost: 1), "γ: token t of n gets γⁿ⁻ᵗ(r − b) (arXiv:2310.10505).")
        let compatibility: ReleaseCompatibility = job.read(
            "remax_compat", default: .none,
            "release: one more factor of gamma at every token, including the last, as in the published code (arXiv:2310.10505)."
        )
        discountsLastToken = compatibility == .release
        self.penalty = penalty
    }

    /// The share of the difference that each of `count` tokens gets.
    package func shares(count: Int) -> [Double] {
        guard discount < 1 else { return .init(repeating: 1, count: count) }
        return (0..<count).map { pow(discount, Double(count - 1 - $0 + (discountsLastToken ? 1 : 0))) }
    }
}

/// The baseline of ReMax (Li et al. 2024, arXiv:2310.10505, ICML 2024): the reward of the greedy completion.
///
///     ȳ   = the completion of argmax decoding;  b = r(x, ȳ)
///     A_t = γⁿ⁻ᵗ·clip(r(x, y) − b, −c, c) − β·Σ_{s ≥ t} k1_s     k1 between the old and the reference policy, detached
///
/// b does not depend on the sampled y, so the estimate stays unbiased for any number of completions per prompt. A
/// prompt whose greedy completion has no reward is dropped whole: a baseline of 0 in its place would be another method.
/// A sampled completion without a reward gets 0 on every token. The greedy completion is never learned from and enters
/// no reward metric but its own. The penalty is a stream of its own, −Σ k1 with the weight β; the clip c holds for each
/// objective's difference. A group counts as dead when every sampled reward equals the greedy one.
package struct GreedyBaseline: CreditRule {
    package let rewards: RewardCombination
    package let settings: GreedyBaselineSettings
    package let overlong: OverlongHandling
    package var mixer: Mixer

    package init(
        rewards: RewardCombination, settings: GreedyBaselineSettings, overlong: OverlongHandling = .keep,
        mixer: Mixer = Mixer()
    ) {
        self.rewards = rewards
        self.settings = settings
        self.overlong = overlong
        self.mixer = mixer
    }

    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        let combined = combinedRewards(of: batch)
        let weighed = rewards.weighed(by: batch.weights)
        let baselines = batch.groups.map { $0.greedyScores.flatMap { weighed.combined($0) } }
        let penalties = try settings.penalty?.penalties(of: batch, rule: "ReMax")
        let objectives = try objectives(of: batch, combined).map(\.besideGreedy)
        var streams = objectives.map { objective in
            objective.stream(
                batch.groups.indices.map { group in
                    tokens(batch.groups[group].group, objective.rewards[group], objective.greedy[group])
                }, batch, overlong)
        }
        if let penalties {
            let credited = RewardObjective(name: "sum", weight: 1, rewards: combined, greedy: baselines).besideGreedy
                .rewards
            streams.append(
                penalties.stream(
                    isCredited: credited.map { $0.map { $0 != nil } }, isValid: batch.isLearned(credited, overlong)))
        }
        let isDead = baselines.indices.map { group in
            objectives.allSatisfy { Moments(($0.rewards[group] + [$0.greedy[group]]).compactMap(\.self)).isConstant }
        }
        let advantages = Advantages(streams, isKept: baselines.map { $0 != nil }, isDead: isDead)
        var credited = assemble(batch, combined, advantages, overlong, penalties: penalties)
        Self.describe(baselines, into: &credited.metrics)
        return credited
    }

    /// r − b, clipped where the settings say so.
    package func difference(reward: Double, baseline: Double) -> Double {
        let difference = reward - baseline
        guard let clip = settings.differenceClip else { return difference }
        return min(max(difference, -clip), clip)
    }

    /// `[completion][token]`; zeros for a group without a baseline.
    private func tokens(_ group: RolloutGroup, _ sampled: [Double?], _ baseline: Double?) -> [[Double]] {
        zip(group.rollouts.indices, sampled).map { completion, reward in
            let count = group.rollouts[completion].actionCount
            guard let reward, let baseline else { return .init(repeating: 0, count: count) }
            let difference = difference(reward: reward, baseline: baseline)
            return settings.shares(count: count).map { $0 * difference }
        }
    }

    private static func describe(_ baselines: [Double?], into metrics: inout Metrics) {
        let mean = Moments(baselines.compactMap(\.self)).mean
        metrics["reward/greedy"] = mean
        metrics["remax/baseline_mean"] = mean
        metrics["remax/dropped_prompts"] = Double(baselines.count { $0 == nil })
    }
}
