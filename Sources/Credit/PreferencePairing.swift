package import Records

/// Makes a pair of a prompt's completions: the best and the worst by reward.
///
/// Left out are completions without a reward, those that the length limit cut off, and those whose thinking is never
/// closed. The best is one that may be chosen, the worst any of them. The earliest of equals is taken; where the best is
/// no better than the worst, or they read the same, there is no pair.
package struct PreferencePairing: Sendable, Equatable {
    /// What closes thinking; `nil` for completions that do not think.
    package var thinkEnd: String?
    /// What an answer without thinking must not hold; empty for nothing.
    package var markers: [String] = []

    package init(thinkEnd: String? = nil, markers: [String] = []) {
        self.thinkEnd = thinkEnd
        self.markers = markers
    }

    /// Why a prompt has no pair.
    package enum Reason: String, Sendable, CaseIterable {
        /// Fewer than two completions can be compared.
        case tooFew = "too_few"
        /// None of those that can be compared may be chosen.
        case beyondLimits = "beyond_limits"
        case tie
        case sameText = "same_text"
    }

    package enum Choice: Sendable, Equatable {
        /// Indices of the completions.
        case pair(chosen: Int, rejected: Int)
        case none(Reason)
    }

    /// - Parameters:
    ///   - rewards: One a rollout; `nil` where no reward gave a score.
    ///   - barred: Indices of completions that are never chosen; they may be rejected.
    package func choice(of rollouts: [Rollout], rewards: [Double?], barred: Set<Int> = []) -> Choice {
        let candidates = zip(rollouts.indices, rewards).compactMap { index, reward -> (index: Int, reward: Double)? in
            guard let reward, reward.isFinite, canBeCompared(rollouts[index].completion) else { return nil }
            return (index, reward)
        }
        guard candidates.count >= 2, var worst = candidates.first else { return .none(.tooFew) }
        guard var best = candidates.first(where: { !barred.contains($0.index) }) else { return .none(.beyondLimits) }
        for candidate in candidates {
            if candidate.reward > best.reward, !barred.contains(candidate.index) { best = candidate }
            if candidate.reward < worst.reward { worst = candidate }
        }
        guard best.reward > worst.reward else { return .none(.tie) }
        guard rollouts[best.index].completion.tokenIDs != rollouts[worst.index].completion.tokenIDs else {
            return .none(.sameText)
        }
        return .pair(chosen: best.index, rejected: worst.index)
    }

    private func canBeCompared(_ completion: Completion) -> Bool {
        !completion.isTruncated && !completion.tokenIDs.isEmpty && isClosed(completion)
    }

    /// Whether the completion's thinking ends.
    package func isClosed(_ completion: Completion) -> Bool {
        thinkEnd.map { completion.textWithInnerSpecials.contains($0) } ?? true
    }

    /// Whether an answer that should not think has a marker of thinking in it.
    package func hasMarker(_ completion: Completion) -> Bool {
        markers.contains { completion.textWithInnerSpecials.contains($0) }
    }
}

/// Pairs of what a policy has just written, for methods that compare: a part of pairs for each form in which prompts
/// are asked.
///
/// A prompt without a pair in one of its forms has two masked completions there, so that the loss is divided by
/// prompts.
package struct PairsOfGroups: CreditRule {
    package let rewards: RewardCombination
    /// What a completion must keep to be chosen, each by its own score; a reward that gave it none has no say.
    package let limits: [Constraint]
    /// How pairs are made in each form, in the order of the step's variants, with their names.
    package let forms: [(name: String, pairing: PreferencePairing)]
    package var mixer: Mixer { Mixer() }

    /// - Parameter limits: On some of the rewards, each `at_least` or `at_most`.
    package init(
        rewards: RewardCombination, limits: [Constraint] = [], forms: [(name: String, pairing: PreferencePairing)]
    ) {
        self.rewards = rewards
        self.limits = limits
        self.forms = forms
    }

    /// Metrics beside the rewards' own, for each form: `pairs/{form}/kept`, the share of prompts with a pair,
    /// `pairs/{form}/tie` and the other reasons, `pairs/{form}/unclosed` and `pairs/{form}/marker`, shares of
    /// completions, and `constraints/{limit}/violations`, the share of all completions that do not keep it.
    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        try batch.requireShapes(rewardCount: rewards.names.count)
        let combined = combinedRewards(of: batch)
        var metrics = RewardStatistics(batch, combined, rewards, isDead: []).metrics
        var parts: [UpdatePart] = []
        for (variant, form) in forms.enumerated() {
            let indices = batch.groups.indices.filter { batch.groups[$0].group.variant == variant }
            let choices = indices.map { index in
                form.pairing.choice(
                    of: batch.groups[index].group.rollouts, rewards: combined[index],
                    barred: Set(limits.flatMap { violations(of: $0, in: batch.groups[index]) }))
            }
            parts.append(
                UpdatePart(.pairs, zip(indices, choices).map { Self.group(of: batch.groups[$0].group, $1) }))
            let rollouts = indices.flatMap { batch.groups[$0].group.rollouts.map(\.completion) }
            let prompts = Double(max(indices.count, 1))
            let count = Double(max(rollouts.count, 1))
            let family = "pairs/\(form.name)"
            metrics["\(family)/kept"] = Double(choices.count { if case .pair = $0 { true } else { false } }) / prompts
            for reason in PreferencePairing.Reason.allCases {
                metrics["\(family)/\(reason.rawValue)"] = Double(choices.count { $0 == .none(reason) }) / prompts
            }
            if form.pairing.thinkEnd != nil {
                metrics["\(family)/unclosed"] = Double(rollouts.count { !form.pairing.isClosed($0) }) / count
            }
            if !form.pairing.markers.isEmpty {
                metrics["\(family)/marker"] = Double(rollouts.count { form.pairing.hasMarker($0) }) / count
            }
        }
        let completions = Double(max(batch.groups.reduce(0) { $0 + $1.scores.count }, 1))
        for limit in limits {
            let count = batch.groups.reduce(0) { $0 + violations(of: limit, in: $1).count }
            metrics["constraints/\(limit.name)/violations"] = Double(count) / completions
        }
        let credits = combined.map { $0.map { CompletionCredit(reward: $0, advantage: nil) } }
        return CreditedBatch(update: UpdateBatch(parts: parts), streams: [], credits: credits, metrics: metrics)
    }

    /// Indices of the completions that do not keep a limit.
    private func violations(of limit: Constraint, in group: ScoredGroup) -> [Int] {
        guard let reward = rewards.names.firstIndex(of: limit.reward) else { return [] }
        return group.scores.indices.filter { index in
            group.scores[index][reward].score.map { limit.violation($0) > 0 } ?? false
        }
    }

    private static func group(of group: RolloutGroup, _ choice: PreferencePairing.Choice) -> UpdateGroup {
        guard case .pair(let chosen, let rejected) = choice else {
            return UpdateGroup.withoutPair(promptTokenIDs: group.prompt.tokenIDs)
        }
        return UpdateGroup(
            promptTokenIDs: group.prompt.tokenIDs,
            completions: [chosen, rejected].map { index in
                let rollout = group.rollouts[index]
                return UpdateCompletion(tokenIDs: rollout.completion.tokenIDs, isAction: rollout.isAction)
            })
    }
}
