internal import Foundation
package import Tensors

/// Which words a soft step mixes, and their probabilities among themselves.
///
///     the `topK` likeliest, renormalized; of those the ones before which less than `topP` of the mass stands (at
///     least one); of those the ones of at least `minP` times the likeliest; renormalized
package struct SoftSupport: Sendable, Equatable {
    /// K, the most words of a step.
    package let topK: Int
    package let topP: Double
    package let minP: Double
    /// As the published SofT-GRPO code: all K words stay, with log(p + 1e-6) of the filtered p, so that those outside
    /// stand at −13.8.
    package let keepsAllSlots: Bool

    /// Log-probs within the support are clamped to at least this many nats when they are scored.
    static let lowestLogProbability = -30.0

    package init(topK: Int = 5, topP: Double = 0.95, minP: Double = 0, keepsAllSlots: Bool = false) {
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.keepsAllSlots = keepsAllSlots
    }

    /// The log-probs of the words that stay.
    ///
    /// - Parameter largest: Log-probs of the `topK` likeliest words, falling.
    /// - Returns: One for each of the first words of `largest`; the rest is out.
    package func logProbabilities(_ largest: [Float]) -> [Float] {
        let shares = Self.softmax(largest.prefix(topK).map(Double.init))
        var kept: [Double] = []
        var before = 0.0
        for share in shares {
            guard kept.isEmpty || (before < topP && share >= minP * shares[0]) else { break }
            kept.append(share)
            before += share
        }
        let mass = kept.reduce(0, +)
        guard keepsAllSlots else { return kept.map { kept.count == 1 ? 0 : Float(log($0 / mass)) } }
        return shares.indices.map { Float(log(($0 < kept.count ? kept[$0] / mass : 0) + 1e-6)) }
    }

    /// The log-probs that logits give to the words of given supports, among themselves.
    ///
    ///     out[n, k] = z[n, k] − logsumexp over the filled slots of z[n]
    ///
    /// - Parameters:
    ///   - logits: `[steps, K]`, over the temperature already; differentiable.
    ///   - isFilled: `[steps, K]` bool.
    /// - Returns: `[steps, K]`, clamped to ``lowestLogProbability``; 0 in empty slots. A support of one word gives
    ///   exactly 0, with a gradient of exactly 0.
    package static func logProbabilities(_ logits: Tensor, isFilled: Tensor) throws -> Tensor {
        let isEmpty = try isFilled.logicalNot()
        // Far below every logit and finite: an infinity would make NaN of a gradient of 0.
        return try logits.filled(where: isEmpty, with: -1e9).logSoftmax(axis: 1)
            .filled(where: isEmpty, with: 0).clamped(to: lowestLogProbability...0)
    }

    static func softmax(_ values: [Double]) -> [Double] {
        let highest = values.max() ?? 0
        let powers = values.map { exp($0 - highest) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    }
}
