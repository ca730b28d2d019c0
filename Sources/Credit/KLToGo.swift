package import Records

/// The penalty on leaving the reference policy, as part of the reward.
///
///     d_t = log π_old(y_t) − log π_ref(y_t)
///     toGo         P_t = β · Σ_{s ≥ t} k(d_s)      what follows from token t on
///     oneStep      P_t = β · k(d_t)                the token's own share only
///     completion   P_t = β · Σ_s k(d_s)            the same for every token, where a reward is one number per completion
///
/// k is ``Records/KLEstimator``; with k1 and `toGo` or `completion` the expected gradient of −P is −β·∇KL(π‖π_ref) over
/// completions. With `oneStep` it is not: a token is not charged for the states it leads to. That form is there because
/// released code uses it.
package struct KLToGo: Sendable, Equatable {
    /// Which later tokens' estimates a token answers for.
    package enum Reach: String, Sendable, Equatable, CaseIterable { case toGo, oneStep, completion }

    /// β, above 0. Without a penalty there is no `KLToGo`.
    package private(set) var coefficient: Double
    package let estimator: KLEstimator
    package let reach: Reach

    package init(coefficient: Double, estimator: KLEstimator = .k1, reach: Reach = .toGo) {
        self.coefficient = coefficient
        self.estimator = estimator
        self.reach = reach
    }

    /// One penalty per token, in units of reward.
    ///
    /// - Parameters:
    ///   - old: Log-probs of the policy that wrote the completion, one per token.
    ///   - reference: The reference policy's, as many; a rule checks that when a batch comes in.
    package func penalties(old: [Float], reference: [Float]) -> [Double] {
        let shares = estimates(old: old, reference: reference).map { coefficient * $0 }
        switch reach {
        case .oneStep: return shares
        case .completion: return shares.map { _ in shares.reduce(0, +) }
        case .toGo:
            var toGo = 0.0
            return shares.reversed().map { share in
                toGo += share
                return toGo
            }.reversed()
        }
    }

    func estimates(old: [Float], reference: [Float]) -> [Double] {
        zip(old, reference).map { estimator.estimate(Double($0) - Double($1)) }
    }

    /// The penalties of a whole batch.
    ///
    /// - Parameter rule: Who asks, for the message.
    func penalties(of batch: CreditBatch, rule: String) throws(CreditError) -> KLPenalties {
        guard let references = batch.referenceLogProbabilities else { throw .missingReference(rule: rule) }
        var present = self
        if let coefficient = batch.klCoefficient { present.coefficient = coefficient }
        var tokens: [[[Double]]] = []
        var all: [Double] = []
        for (group, completions) in references.enumerated() {
            tokens.append(
                completions.enumerated().map { completion, reference in
                    let old = batch.oldLogProbabilities(group: group, completion: completion)
                    all += estimates(old: old, reference: reference)
                    return present.penalties(old: old, reference: reference)
                })
        }
        return KLPenalties(tokens: tokens, meanEstimate: Moments(all).mean)
    }
}

/// The KL penalties of a batch.
struct KLPenalties {
    /// `[group][completion][token]`, in units of reward.
    let tokens: [[[Double]]]
    /// The estimate averaged over all tokens, in nats, without β; `nil` of no tokens.
    let meanEstimate: Double?

    /// The penalty of a whole completion, where it is one number: with the reach `completion` and `toGo` the first token's.
    func total(group: Int, completion: Int) -> Double { tokens[group][completion].first ?? 0 }
}
