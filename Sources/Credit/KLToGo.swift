package import Records

/// The penalty on leaving the reference policy, as part of the reward.
///
///     d_t = log π_old(y_t) − log π_ref(y_t)
///     toGo         P_t = β · Σ_{s ≥ t} k(d_s)      what follows from token t on
///     oneStep      P_t = β · k(d_t)                the token's own share only
///     completion   P_t = β · Σ_s k(d_s)          the same for every token, where a reward is one number per completion
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

    /// What each token answers for, of one share per token.
    func reached(_ shares: [Double]) -> [Double] {
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
        present.coefficient = batch.weights.weight(of: AdvantageStream.penaltyName, own: coefficient)
        let perToken = references.enumerated().map { group, completions in
            completions.enumerated().map { completion, reference in
                estimates(old: batch.oldLogProbabilities(group: group, completion: completion), reference: reference)
            }
        }
        return KLPenalties(penalty: present, estimates: perToken)
    }
}

/// The KL penalties of a batch.
struct KLPenalties {
    /// With the step's β.
    let penalty: KLToGo
    /// k of each token alone, `[group][completion][token]`, in nats.
    let estimates: [[[Double]]]

    /// The estimate averaged over all tokens, in nats, without β; `nil` of no tokens.
    var meanEstimate: Double? { Moments(estimates.joined().joined()).mean }

    /// The penalty of a whole completion in units of reward, where it is one number: with the reach `completion` and
    /// `toGo` the first token's.
    func total(group: Int, completion: Int) -> Double {
        penalty.reached(estimates[group][completion].map { penalty.coefficient * $0 }).first ?? 0
    }

    /// The penalty as an objective of its own: the reward −k per token, summed as far as it reaches, with the weight β.
    ///
    /// - Parameters:
    ///   - isCredited: Whether a completion has advantages at all; the others get 0 here too.
    ///   - isValid: As in ``AdvantageStream``.
    func stream(isCredited: [[Bool]], isValid: [[Bool]]) -> AdvantageStream {
        let values = estimates.enumerated().map { group, completions in
            completions.enumerated().map { completion, estimates in
                isCredited[group][completion] ? penalty.reached(estimates).map { -$0 } : estimates.map { _ in 0 }
            }
        }
        return AdvantageStream(
            name: AdvantageStream.penaltyName, weight: penalty.coefficient, values: values, isValid: isValid)
    }
}
