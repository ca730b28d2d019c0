internal import Foundation
package import Records

/// Settings of ``DistributionalControl``.
package struct DistributionalControlSettings: Sendable, Equatable {
    /// β of the target p·exp(r/β), above 0.
    package let coefficient: Double
    /// The largest w/Z.
    package let cap: Double
    /// Means that rewards have in the target; empty for none.
    package var moments: [MomentTarget]
    /// Rollout steps whose completions the moments are fitted on.
    package let momentWindow: Int

    package init(
        coefficient: Double = 0.1, cap: Double = 10, moments: [MomentTarget] = [], momentWindow: Int = 8
    ) {
        self.coefficient = coefficient
        self.cap = cap
        self.moments = moments
        self.momentWindow = momentWindow
    }

    package init(reading job: inout SettingsReader) {
        coefficient = job.read(
            "beta", default: 0.1, .above(0),
            "β in the target p*(y) ∝ p(y)·exp(r(y)/β), with p the reference policy: the smaller, the further the target is from the reference and the fewer completions carry its weight."
        )
        cap = job.read(
            "gdc.weight_cap", default: 10.0, .atLeast(1),
            "The largest weight w/Z of a completion; gdc/truncated is the share of completions above it.")
        moments = job.read(
            "gdc.moments", default: [],
            "Target means of rewards, each {reward, target}: the target policy is multiplied by exp(Σ λ·reward), λ fitted in every rollout step by self-normalised importance sampling until the weighted completions have these means (arXiv:2012.11635). The reward's weight is β·λ; the others keep their reward_weights."
        )
        momentWindow = job.read(
            "gdc.moment_window", default: 8, .from(1, to: 10_000),
            "Rollout steps whose completions λ is fitted to; a checkpoint keeps their scores and log-probs.")
        job.ignore("gdc.moment_window", when: moments.isEmpty)
    }
}

/// Distributional control (GDC, Khalifa et al. 2021, arXiv:2012.11635; Korbak et al. 2022, arXiv:2206.00761 and
/// 2205.11275): descends the forward KL to the target that a reward with a KL penalty has, where policy gradients
/// descend the reverse one.
///
///     p*(y) = p(y)·exp(r(y)/β)/Z,   w = p(y)·exp(r(y)/β)/π(y)
///     −∇KL(p*‖π) = E_π[(w/Z)·∇log π(y)],   A = min(w/Z, cap) − 1
///
/// A policy that is its target has advantages of 0, not only a mean of 0. Z is a prompt's, the mean of w over its
/// completions; a running mean over the steps, as in the published code, would mix prompts. With few completions that
/// ratio is biased by the order of 1/G. w is worked out from the log-probs of whole completions, in log space.
package struct DistributionalControl: CreditRule {
    package let rewards: RewardCombination
    package let settings: DistributionalControlSettings
    package let overlong: OverlongHandling
    package let mixer = Mixer()
    package var needsDifferences: Bool { false }

    package init(
        rewards: RewardCombination, settings: DistributionalControlSettings = .init(),
        overlong: OverlongHandling = .keep
    ) {
        self.rewards = rewards
        self.settings = settings
        self.overlong = overlong
    }

    /// The rewards of the completions. A moment's reward may weigh 0 for a while; a completion that it scored has one.
    private func rewarded(_ batch: CreditBatch) -> [[Double?]] {
        let held = settings.moments.compactMap { moment in rewards.names.firstIndex(of: moment.reward) }
        return zip(combinedRewards(of: batch), batch.groups).map { combined, group in
            zip(combined, group.scores).map { reward, scores in
                reward ?? (held.contains { scores[$0].score != nil } ? 0 : nil)
            }
        }
    }

    /// A completion without a reward gets 0, as one that is alone in its group. Metrics: those of
    /// ``TargetDistribution``, and `gdc/truncated`.
    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        guard batch.referenceLogProbabilities != nil else { throw .missingReference(rule: "GDC") }
        let combined = rewarded(batch)
        let beta = batch.weights.weight(of: AdvantageStream.penaltyName, own: settings.coefficient)
        var values = combined.map { $0.map { _ in 0.0 } }
        var (truncated, estimated) = (0, 0)
        for (group, estimate) in TargetDistribution.estimates(of: batch, combined, coefficient: beta).enumerated() {
            guard let estimate else { continue }
            let shares = estimate.target.shares(cap: settings.cap)
            for (index, share) in zip(estimate.indices, shares.values) { values[group][index] = share - 1 }
            (truncated, estimated) = (truncated + shares.truncated, estimated + estimate.indices.count)
        }
        let stream = AdvantageStream(
            name: "reward", weight: 1, values: values.repeated(over: batch),
            isValid: batch.isLearned(combined, overlong))
        var credited = assemble(batch, combined, Advantages([stream]), overlong, penalties: nil)
        credited.metrics.merge(TargetDistribution.metrics(of: batch, combined, coefficient: beta))
        if estimated > 0 { credited.metrics["gdc/truncated"] = Double(truncated) / Double(estimated) }
        return credited
    }
}

/// Says when distributional control learns from a few completions alone. Moves no weight.
package struct TargetWatch: RewardController {
    /// The least share of a prompt's completions that carries the weight.
    package static let least = 0.05

    package let name = "target_watch"
    package var state = State()
    private let completions: Int

    package struct State: Sendable, Equatable, Codable {
        fileprivate var isSaid = false
    }

    /// - Parameter completions: Those of a prompt.
    package init(completions: Int) { self.completions = completions }

    package func weights(at step: Int) -> StreamWeights { StreamWeights() }
    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? { ControllerUpdate() }

    /// Of few completions a share can hardly be small: one and a half of them are as little.
    private var threshold: Double { max(Self.least, 1.5 / Double(completions)) }

    /// Metric: `alarms/few_effective_samples`, 1 in a step whose completions carry too little.
    package mutating func observe(trained: Metrics) -> ControllerUpdate? {
        var update = ControllerUpdate()
        guard let share = trained["kl_control/effective_share"], share < threshold else { return update }
        update.metrics["alarms/few_effective_samples", .max] = 1
        guard !state.isSaid else { return update }
        state.isSaid = true
        update.note =
            "\(String(format: "%.1f", share * Double(completions))) of a prompt's \(completions) completions carry "
            + "the weight of the target: what is learned rests on these few; raise beta, num_generations, or "
            + "begin nearer to the target"
        return update
    }
}
