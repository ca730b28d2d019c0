internal import Records
package import Tensors

/// What a policy-gradient loss reads of one micro-batch.
///
/// Every tensor is `[actionTokens]`, of one floating-point type: the generated tokens of the completions that are
/// trained, end to end. Only `logProbabilities`, and `entropies` where an entropy bonus is asked for, carry a gradient.
package struct PolicyLossInputs {
    /// The current policy's, in nats.
    package var logProbabilities: Tensor
    /// Log-probs of the policy that produced the data, scored by the trainer. `nil` when this is the first optimizer
    /// step on the data: they are then the current ones without their gradient.
    package var oldLogProbabilities: Tensor?
    /// The sampler's own of the policy, before filters.
    package var rolloutLogProbabilities: Tensor?
    /// Log-probs under the distribution that was sampled from, for the mismatch correction; `nil` where they are
    /// ``rolloutLogProbabilities``.
    package var samplingLogProbabilities: Tensor?
    /// The reference policy's; needed where KL is part of the loss.
    package var referenceLogProbabilities: Tensor?
    /// KL(π‖π_ref) at each token's position over the whole vocabulary, with a gradient; needed where the loss has the
    /// exact KL.
    package var exactDivergences: Tensor?
    /// What the KL term at each token is multiplied by; `nil` for 1.
    package var klWeights: Tensor?
    /// From a credit rule; no gradient flows into them.
    package var advantages: Tensor
    /// 1 at the tokens of demonstrations, 0 at the policy's own; `nil` where there are none.
    package var demonstrationMask: Tensor?
    /// The entropy averaged over the action tokens of the whole step, a scalar without a gradient; `nil` where the
    /// micro-batch is the whole.
    package var meanEntropy: Tensor?
    /// The current policy's entropy at each token, in nats; reported when present.
    package var entropies: Tensor?
    package var spans: CompletionSpans
    package var denominators: Denominators
    /// What the objective's own scorer found at actions that are more than their words; the log-probs above hold 0 at
    /// their positions. `nil` where every action is a word.
    package var payload: (any PayloadLossInputs)?

    package init(
        logProbabilities: Tensor, oldLogProbabilities: Tensor? = nil, rolloutLogProbabilities: Tensor? = nil,
        samplingLogProbabilities: Tensor? = nil, referenceLogProbabilities: Tensor? = nil,
        exactDivergences: Tensor? = nil, klWeights: Tensor? = nil,
        advantages: Tensor, demonstrationMask: Tensor? = nil, meanEntropy: Tensor? = nil,
        entropies: Tensor? = nil, spans: CompletionSpans,
        denominators: Denominators, payload: (any PayloadLossInputs)? = nil
    ) {
        self.logProbabilities = logProbabilities
        self.oldLogProbabilities = oldLogProbabilities
        self.rolloutLogProbabilities = rolloutLogProbabilities
        self.samplingLogProbabilities = samplingLogProbabilities
        self.referenceLogProbabilities = referenceLogProbabilities
        self.exactDivergences = exactDivergences
        self.klWeights = klWeights
        self.advantages = advantages
        self.demonstrationMask = demonstrationMask
        self.meanEntropy = meanEntropy
        self.entropies = entropies
        self.spans = spans
        self.denominators = denominators
        self.payload = payload
    }

    /// The old policy's log-probs, without a gradient.
    var oldOrCurrent: Tensor { get throws { try (oldLogProbabilities ?? logProbabilities).detached() } }

    /// The reference policy's log-probs.
    ///
    /// - Throws: ``LossError/missing(_:method:)`` without them.
    func requireReference(_ method: String) throws -> Tensor {
        guard let referenceLogProbabilities else {
            throw LossError.missing("the reference policy's log-probs", method: method)
        }
        return referenceLogProbabilities
    }

    /// Checks that every tensor has one element per action token.
    ///
    /// - Throws: `TensorError.shape`.
    func requireShapes(_ method: String) throws {
        let tensors = [
            logProbabilities, oldLogProbabilities, rolloutLogProbabilities, samplingLogProbabilities,
            referenceLogProbabilities, advantages,
            entropies, exactDivergences, klWeights, demonstrationMask,
        ]
        for tensor in tensors.compactMap(\.self) { try spans.requireTokens(tensor, in: method) }
    }

    /// The entropy averaged over action tokens, for metrics.
    func noteEntropy(in report: inout LossReport) throws {
        if let entropies { try report.note("entropy", entropies, .mean) }
    }

    /// How far the policy has moved from the one that produced the data: k3 of the two, averaged over tokens, in nats.
    func noteDrift(from old: Tensor, in report: inout LossReport) throws {
        // With d = log π_old − log π, the samples are π_old's and k3 is never negative.
        let drift = try KLEstimator.k3.estimate(policy: old, reference: logProbabilities.detached())
        try report.note("approx_kl", drift, .mean)
    }
}

/// What an objective that brings its own scorer gets from it for one micro-batch. Only that objective knows the type.
package protocol PayloadLossInputs {}

extension CompletionSpans {
    /// - Throws: `TensorError.shape` unless the tensor is `[actionTokens]`.
    func requireTokens(_ tensor: Tensor, in method: String) throws {
        guard tensor.shape == [tokenCount] else {
            throw TensorError.shape(
                operation: method, expected: "[\(tokenCount)], one element per action token", got: tensor.shape)
        }
    }
}

/// A loss that cannot be computed from what it was given.
package enum LossError: Error, Sendable, Equatable, CustomStringConvertible {
    /// An input that the settings ask for is absent.
    case missing(String, method: String)
    /// An entropy bonus was asked for, and the entropies carry no gradient: the bonus would do nothing.
    case entropyWithoutGradient(method: String)

    package var description: String {
        switch self {
        case .missing(let what, let method): "\(method): \(what) are missing"
        case .entropyWithoutGradient(let method): "\(method): an entropy bonus needs entropies with a gradient"
        }
    }
}
