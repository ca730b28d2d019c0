package import Records

/// Settings of ``LeaveOneOut``.
package struct LeaveOneOutSettings: Sendable, Equatable {
    /// Bounds that a reward is clipped to before the KL penalty is taken off; `nil` for none. None where rewards are
    /// kept apart: those of a violated constraint would all be the bound, without a difference to learn from.
    package let rewardClip: ClosedRange<Double>?
    /// The KL penalty of a whole completion; `nil` for none.
    package let penalty: KLToGo?
    /// Whether the advantages of the batch are normalized: (A − mean) / (std + 1e-4). Not in the paper.
    package let normalizesAdvantages: Bool

    /// - Parameter penalty: With the reach `completion`: the action is the whole completion.
    package init(
        rewardClip: ClosedRange<Double>? = nil, penalty: KLToGo? = nil, normalizesAdvantages: Bool = false
    ) {
        self.rewardClip = rewardClip
        self.penalty = penalty
        self.normalizesAdvantages = normalizesAdvantages
    }

    /// - Parameter keepsApart: Whether each reward has its own advantages.
    package init(reading job: inout SettingsReader, penalty: KLToGo?, keepsApart: Bool = false) {
        let clip: [Double] = job.read(
            "reward_clip_range", default: [],
            SettingsBound("in rising order, two of them or none") { $0.isEmpty || ($0.count == 2 && $0[0] < $0[1]) },
            "Two bounds that clip a completion's weighted reward before the KL penalty is subtracted; off unless set."
        )
        rewardClip = clip.count == 2 && clip[0] < clip[1] ? clip[0]...clip[1] : nil
        normalizesAdvantages = job.read(
            "normalize_advantages", default: false, "Whitens advantages over the batch, (A − mean) / (std + 1e-4).")
        self.penalty = penalty
        job.check(
            !keepsApart || rewardClip == nil, "reward_clip_range",
            "[] with constraints or gradient weights, where each reward would be clipped separately: one far beyond its limit would equal the bound in every completion and teach nothing"
        )
        if keepsApart, normalizesAdvantages {
            job.refuse(
                "normalize_advantages",
                "normalize_advantages is true, which normalizes the weighted sum and so undoes multipliers; with constraints or gradient weights expected false (stream_normalization normalizes each reward)"
            )
        }
    }
}

/// REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv:2402.14740): the other completions' mean as baseline.
///
///     R_i = clip(r_i) − β·Σ_t k1_t
///     A_i = R_i − Σ_{j≠i} R_j / (G − 1) = G/(G − 1) · (R_i − mean(R))
///
/// A is linear in R, so the penalty is a stream of its own, the leave-one-out advantage of −Σ k1 with the weight β.
/// Where the advantages of the batch are normalized there is one stream: the mean and the deviation are those of the
/// sum. The baseline does not depend on completion i, so the estimate is unbiased. G counts the completions with a
/// reward; in a group with fewer than two of them every advantage is 0, since one completion alone has no baseline.
package struct LeaveOneOut: CreditRule {
    package let rewards: RewardCombination
    package let settings: LeaveOneOutSettings
    package let overlong: OverlongHandling
    package var mixer: Mixer

    package init(
        rewards: RewardCombination, settings: LeaveOneOutSettings, overlong: OverlongHandling = .keep,
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
        let penalties = try settings.penalty?.penalties(of: batch, rule: "RLOO")
        var streams: [AdvantageStream] = []
        let objectives = try objectives(of: batch, combined)
        for objective in objectives {
            let clipped = objective.rewards.map { group in group.map { $0.map(clip) } }
            let sum = settings.normalizesAdvantages ? clipped.minus(penalties) : clipped
            streams.append(objective.stream(advantages(of: sum).repeated(over: batch), batch, overlong))
        }
        if settings.normalizesAdvantages {
            if streams.count > 1 { throw .oneStream(rule: "RLOO with normalized advantages") }
        } else if let penalties {
            streams.append(penaltyStream(penalties, batch, combined))
        }
        return assemble(
            batch, combined, Advantages(streams, isDead: deadGroups(objectives)), overlong, penalties: penalties)
    }

    /// The leave-one-out advantages of the reward −Σ k, in nats.
    private func penaltyStream(
        _ penalties: KLPenalties, _ batch: CreditBatch, _ combined: [[Double?]]
    ) -> AdvantageStream {
        let isValid = batch.isLearned(combined, overlong)
        var stream = penalties.stream(isCredited: combined.map { $0.map { $0 != nil } }, isValid: isValid)
        let whole: [[Double?]] = stream.values.enumerated().map { group, completions in
            completions.enumerated().map { combined[group][$0] == nil ? nil : $1.first ?? 0 }
        }
        stream.values = advantages(of: whole).repeated(over: batch)
        return stream
    }

    /// One advantage per completion.
    ///
    /// - Parameter rewards: `[group][completion]`, clipped and penalized; `nil` where there is no reward.
    package func advantages(of rewards: [[Double?]]) -> [[Double]] {
        let advantages: [[Double?]] = rewards.map { group in
            let moments = Moments(group.compactMap(\.self))
            guard let mean = moments.mean, !moments.isConstant else { return group.map { $0.map { _ in 0 } } }
            let factor = Double(moments.count) / Double(moments.count - 1)
            return group.map { reward in reward.map { factor * ($0 - mean) } }
        }
        guard settings.normalizesAdvantages else { return advantages.map { $0.map { $0 ?? 0 } } }
        return normalized(advantages)
    }

    private func normalized(_ advantages: [[Double?]]) -> [[Double]] {
        let moments = Moments(advantages.joined().compactMap(\.self))
        guard let mean = moments.mean, let deviation = moments.standardDeviation, !moments.isConstant else {
            return advantages.map { $0.map { _ in 0 } }
        }
        return advantages.map { $0.map { advantage in advantage.map { ($0 - mean) / (deviation + 1e-4) } ?? 0 } }
    }

    private func clip(_ reward: Double) -> Double {
        guard let bounds = settings.rewardClip else { return reward }
        return min(max(reward, bounds.lowerBound), bounds.upperBound)
    }
}
