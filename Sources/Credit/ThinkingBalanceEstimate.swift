internal import Foundation
package import Records

/// What a prompt of a calibration tells of the terms of ``ThinkingBalanceTerms``: gradients of one pair, or sketches
/// that keep their inner products.
package struct ThinkingBalanceSample: Sendable {
    /// g_t of each pair of replicated traces, at least 4, an even number. Replicates may be of the same trace.
    package var traceGradients: [[Double]]
    /// The mean g_t of either half of the traces that those are of: the halves have none in common.
    package var traceHalves: (first: [Double], second: [Double])
    /// g_e.
    package var emptyGradient: [Double]
    /// μ̂ of either half of the traces that are set apart for it.
    package var marginalHalves: (first: [Double], second: [Double])

    package init(
        traceGradients: [[Double]], traceHalves: (first: [Double], second: [Double]), emptyGradient: [Double],
        marginalHalves: (first: [Double], second: [Double])
    ) {
        precondition(traceGradients.count >= 4 && traceGradients.count.isMultiple(of: 2), "halves of two replicates")
        self.traceGradients = traceGradients
        self.traceHalves = traceHalves
        self.emptyGradient = emptyGradient
        self.marginalHalves = marginalHalves
    }

    /// The unbiased variance of the replicates, summed over coordinates: of draws from the traces that there are.
    var replicateVariance: Double {
        let mean = Self.mean(traceGradients[...])
        let squares = traceGradients.reduce(0) { $0 + Self.dot(Self.difference($1, mean), Self.difference($1, mean)) }
        return squares / Double(traceGradients.count - 1)
    }

    /// tr Σ_t, ‖b_t‖², ‖b_e‖² and ⟨b_t, b_e⟩; the biases by products of two halves that share no trace, so that noise
    /// does not inflate them.
    ///
    /// Halves of the replicates may share one. By as much as the variance of replicates falls short of that of fresh
    /// traces, the product of their halves exceeds ‖b_t‖²; the sum of both, which decides α*, is right. ‖b_t‖² is taken
    /// from the halves of the traces, and what is left of the sum is the variance.
    var terms: (variance: Double, trace: Double, empty: Double, cross: Double) {
        let half = traceGradients.count / 2
        let (firstMu, secondMu) = marginalHalves
        let replicates = (
            Self.difference(Self.mean(traceGradients[..<half]), firstMu),
            Self.difference(Self.mean(traceGradients[half...]), secondMu)
        )
        let trace = Self.dot(
            Self.difference(traceHalves.first, firstMu), Self.difference(traceHalves.second, secondMu))
        let empty = (Self.difference(emptyGradient, firstMu), Self.difference(emptyGradient, secondMu))
        return (
            replicateVariance + Self.dot(replicates.0, replicates.1) - trace, trace, Self.dot(empty.0, empty.1),
            (Self.dot(replicates.0, empty.1) + Self.dot(replicates.1, empty.0)) / 2
        )
    }

    fileprivate static func mean(_ vectors: ArraySlice<[Double]>) -> [Double] {
        let count = Double(vectors.count)
        return vectors.dropFirst().reduce(vectors[vectors.startIndex]) { zip($0, $1).map { $0 + $1 } }.map {
            $0 / count
        }
    }
    private static func difference(_ a: [Double], _ b: [Double]) -> [Double] { zip(a, b).map { $0 - $1 } }
    fileprivate static func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
}

extension [ThinkingBalanceSample] {
    /// What the gradients of a calibration look like at an α, for a person: `bvpo/grad_norm_thinking` and
    /// `bvpo/grad_norm_empty`, of the means over the prompts, `bvpo/grad_cosine` between them, and
    /// `bvpo/variance_ratio`, the variance of α·g_t + (1 − α)·g_e over that of g_t: α² where g_e does not depend on the
    /// trace (Th. 1).
    package func gradientMetrics(alpha: Double) -> Metrics {
        let thinking = ThinkingBalanceSample.mean(map { ThinkingBalanceSample.mean($0.traceGradients[...]) }[...])
        let empty = ThinkingBalanceSample.mean(map(\.emptyGradient)[...])
        let norms = (
            ThinkingBalanceSample.dot(thinking, thinking).squareRoot(),
            ThinkingBalanceSample.dot(empty, empty).squareRoot()
        )
        var metrics = Metrics()
        metrics["bvpo/grad_norm_thinking"] = norms.0
        metrics["bvpo/grad_norm_empty"] = norms.1
        if norms.0 > 0, norms.1 > 0 {
            metrics["bvpo/grad_cosine"] = ThinkingBalanceSample.dot(thinking, empty) / (norms.0 * norms.1)
        }
        let mixed = map { sample in
            var mixed = sample
            mixed.traceGradients = sample.traceGradients.map { gradient in
                zip(gradient, sample.emptyGradient).map { alpha * $0 + (1 - alpha) * $1 }
            }
            return mixed.replicateVariance
        }
        let variance = reduce(0) { $0 + $1.replicateVariance }
        if variance > 0 { metrics["bvpo/variance_ratio"] = mixed.reduce(0, +) / variance }
        return metrics
    }
}

/// The terms as a calibration finds them.
package struct ThinkingBalanceEstimate: Sendable, Equatable {
    package var terms: ThinkingBalanceTerms
    /// ‖b̂_e‖² over its jackknife standard error: below 2 it cannot be told from noise. Infinite without noise.
    package var emptyBiasRatio: Double

    package init(terms: ThinkingBalanceTerms, emptyBiasRatio: Double) {
        self.terms = terms
        self.emptyBiasRatio = emptyBiasRatio
    }

    /// Means over the prompts. The pairs are given, so g_e has no variance of its own.
    ///
    /// - Parameter samples: At least 2.
    package init(_ samples: [ThinkingBalanceSample]) {
        precondition(samples.count >= 2, "a standard error needs two prompts")
        let count = Double(samples.count)
        let found = samples.map(\.terms)
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / count }
        let empty = found.map(\.empty)
        let center = mean(empty)
        terms = ThinkingBalanceTerms(
            traceVariance: mean(found.map(\.variance)), traceBias: mean(found.map(\.trace)), emptyBias: center,
            crossBias: mean(found.map(\.cross)))
        // Of a mean, the jackknife's standard error is the usual one.
        let error = sqrt(empty.reduce(0) { $0 + ($1 - center) * ($1 - center) } / (count * (count - 1)))
        emptyBiasRatio = error > 0 ? center / error : (center > 0 ? .infinity : 0)
    }
}

/// The gradients of a pair whose answers have traces, out of those of its single sequences.
package enum TraceGradients {
    /// One trace behind the prompt with a side's answer.
    package struct Sequence: Sendable {
        /// log π(r, y | x) of the policy, in nats.
        package var logProbability: Double
        /// log π_ref(r, y | x).
        package var reference: Double
        /// log q(r | x): of the trace alone, under the distribution that it was drawn from.
        package var drawn: Double
        /// ∇ log π(r, y | x), or a sketch of it.
        package var gradient: [Double]

        package init(logProbability: Double, reference: Double, drawn: Double, gradient: [Double]) {
            self.logProbability = logProbability
            self.reference = reference
            self.drawn = drawn
            self.gradient = gradient
        }

        /// log of the share that the trace has in π(y | x): log π(r, y | x) − log q(r | x).
        var logWeight: Double { logProbability - drawn }
    }

    /// The gradient of −log σ(βΔ): −β σ(−βΔ)·(∇s⁺ − ∇s⁻).
    package static func preference(
        beta: Double, margin: Double, chosen: [Double], rejected: [Double]
    ) -> [Double] {
        let scale = slope(beta, margin)
        return zip(chosen, rejected).map { scale * ($0 - $1) }
    }

    /// d/dΔ of −log σ(βΔ).
    private static func slope(_ beta: Double, _ margin: Double) -> Double { -beta / (1 + exp(beta * margin)) }

    /// Δ of one trace for each side.
    private static func margin(_ chosen: Sequence, _ rejected: Sequence) -> Double {
        (chosen.logProbability - chosen.reference) - (rejected.logProbability - rejected.reference)
    }

    /// g_t of one trace for each side.
    package static func single(beta: Double, chosen: Sequence, rejected: Sequence) -> [Double] {
        preference(
            beta: beta, margin: margin(chosen, rejected), chosen: chosen.gradient, rejected: rejected.gradient)
    }

    /// The mean of g_t over all pairs of a trace of each side, each trace in proportion to π(y | x, r): what pairs that
    /// are ``resampled(_:uniforms:)`` come to on average.
    ///
    /// - Parameter isWeighted: For each side, whether its traces have that weight; else they count alike.
    package static func mean(
        beta: Double, chosen: [Sequence], rejected: [Sequence], isWeighted: (chosen: Bool, rejected: Bool)
    ) -> [Double] {
        func shares(_ sequences: [Sequence], _ isWeighted: Bool) -> [Double] {
            isWeighted ? Self.shares(of: sequences) : sequences.map { _ in 1 / Double(sequences.count) }
        }
        let (better, worse) = (shares(chosen, isWeighted.chosen), shares(rejected, isWeighted.rejected))
        // What each trace's own gradient counts, over all traces of the other side.
        var own = [Double](repeating: 0, count: chosen.count)
        var other = [Double](repeating: 0, count: rejected.count)
        for first in chosen.indices {
            for second in rejected.indices {
                let scale = better[first] * worse[second] * slope(beta, margin(chosen[first], rejected[second]))
                own[first] += scale
                other[second] -= scale
            }
        }
        var mean = [Double](repeating: 0, count: chosen[0].gradient.count)
        for (sequence, factor) in zip(chosen + rejected, own + other) {
            for index in mean.indices { mean[index] += factor * sequence.gradient[index] }
        }
        return mean
    }

    /// The traces' shares of π(y | x), as far as it is known by them.
    private static func shares(of sequences: [Sequence]) -> [Double] {
        let weights = sequences.map(\.logWeight)
        let total = logSum(weights)
        return weights.map { exp($0 - total) }
    }

    /// μ̂: the gradient of the preference loss on log π̂(y|x) = log mean_k exp[log π(r_k, y|x) − log q(r_k|x)], the
    /// reference's by the same traces. Consistent as the traces grow in number.
    package static func marginal(beta: Double, chosen: [Sequence], rejected: [Sequence]) -> [Double] {
        func side(_ sequences: [Sequence]) -> (ratio: Double, gradient: [Double]) {
            let weights = sequences.map(\.logWeight)
            let total = logSum(weights)
            var gradient = [Double](repeating: 0, count: sequences[0].gradient.count)
            for (sequence, weight) in zip(sequences, weights) {
                let share = exp(weight - total)
                for index in gradient.indices { gradient[index] += share * sequence.gradient[index] }
            }
            return (total - logSum(sequences.map { $0.reference - $0.drawn }), gradient)
        }
        let (better, worse) = (side(chosen), side(rejected))
        return preference(
            beta: beta, margin: better.ratio - worse.ratio, chosen: better.gradient, rejected: worse.gradient)
    }

    /// Which of the drawn traces stand for those that come with an answer: as many, drawn again in proportion to π(y |
    /// x, r). Where fewer than two of them carry the weight they are taken as they are.
    ///
    /// - Parameter uniforms: One of (0, 1) a trace.
    /// - Returns: Indices, and whether their weights were used.
    package static func resampled(_ sequences: [Sequence], uniforms: [Double]) -> (indices: [Int], isWeighted: Bool) {
        let shares = shares(of: sequences)
        let effective = 1 / shares.reduce(0) { $0 + $1 * $1 }
        guard effective >= 2 else { return (Array(sequences.indices), false) }
        let indices = uniforms.prefix(sequences.count).map { uniform in
            var rest = uniform
            return shares.firstIndex {
                rest -= $0
                return rest <= 0
            } ?? shares.count - 1
        }
        return (indices, true)
    }

    private static func logSum(_ values: [Double]) -> Double {
        let most = values.max() ?? 0
        return most + log(values.reduce(0) { $0 + exp($1 - most) })
    }
}
