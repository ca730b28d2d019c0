internal import Records

/// How much of a step's advantages each reward makes.
///
///     A_i = Σ_k c_{k,i}                  over the completions i that are learned from
///     share_k = Σ_i c_{k,i}·A_i / Σ_i A_i²
///
/// the projection on the whole: the shares add up to 1, and a reward that pulls against the others has one below 0.
/// Where rewards are kept apart, c is the stream's weight times the mean of its advantages over the completion's
/// tokens. Where their sum is one stream,
///
///     c_{k,i} = s_g·w_k·(r_{k,i} − b_{k,g})
///
/// b is the reward's mean over the group, over the batch in a group of one, or the greedy completion's where there is
/// one; s_g scales the group to the size of its advantages. That is exact for baselines that are linear in the reward.
struct RewardShares {
    /// One a reward; `nil` where there is no advantage.
    let shares: [Double]?

    /// - Parameters:
    ///   - parts: c, `[reward][completion]`, as many completions in each.
    init(_ parts: [[Double]]) {
        let whole = (parts.first ?? []).indices.map { index in parts.reduce(0) { $0 + $1[index] } }
        let size = whole.reduce(0) { $0 + $1 * $1 }
        guard size > 0 else {
            shares = nil
            return
        }
        shares = parts.map { part in zip(part, whole).reduce(0) { $0 + $1.0 * $1.1 } / size }
    }

    /// - Parameters:
    ///   - credits: What the completions got, `[group][completion]`.
    ///   - streams: With the weights by which they are added up.
    init(
        _ batch: CreditBatch, _ rewards: RewardCombination, _ credits: [[CompletionCredit]],
        _ streams: [AdvantageStream]
    ) {
        if rewards.form == .apart {
            let own = rewards.names.map { name in streams.first { $0.name == name } }
            self.init(
                own.map { stream in
                    guard let stream else { return credits.joined().map { _ in 0 } }
                    return zip(stream.values, credits).flatMap { group, credits in
                        zip(group, credits).map { $1.advantage == nil ? 0 : stream.weight * (Moments($0).mean ?? 0) }
                    }
                })
            return
        }
        self.init(Self.parts(of: batch, rewards, credits).map { Array($0.joined()) })
    }

    /// c where the rewards' sum is one stream, `[reward][group][completion]`.
    static func parts(
        of batch: CreditBatch, _ rewards: RewardCombination, _ credits: [[CompletionCredit]]
    ) -> [[[Double]]] {
        let centred = Self.centred(batch, rewards)
        let scales = zip(centred, credits).map { group, credits in
            let sum = group.map { $0.reduce(0, +) }
            let (own, given) = (
                sum.reduce(0) { $0 + $1 * $1 }, credits.reduce(0) { $0 + ($1.advantage ?? 0) * ($1.advantage ?? 0) }
            )
            return own > 0 ? (given / own).squareRoot() : 0
        }
        return rewards.names.indices.map { reward in
            zip(centred, scales).map { group, scale in group.map { scale * $0[reward] } }
        }
    }

    /// w·(r − b), `[group][completion][reward]`, r as it counts in the sum; 0 where a reward gave no score.
    private static func centred(_ batch: CreditBatch, _ rewards: RewardCombination) -> [[[Double]]] {
        func values(_ scores: [[RewardScore]], of reward: Int) -> [Double] {
            scores.compactMap { rewards.value($0[reward], at: reward) }
        }
        let all = rewards.names.indices.map { reward in
            Moments(batch.groups.flatMap { values($0.scores, of: reward) }).mean ?? 0
        }
        return batch.groups.map { group in
            let baselines = rewards.names.indices.map { reward -> Double in
                if let greedy = group.greedyScores.flatMap({ rewards.value($0[reward], at: reward) }) { return greedy }
                return group.scores.count > 1 ? Moments(values(group.scores, of: reward)).mean ?? 0 : all[reward]
            }
            return group.scores.map { scores in
                scores.enumerated().map { reward, score in
                    rewards.value(score, at: reward).map { rewards.weights[reward] * ($0 - baselines[reward]) } ?? 0
                }
            }
        }
    }
}
