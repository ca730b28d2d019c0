import Credit
import Foundation
import Records
import TestSupport
import Testing

/// Three traces, of which the first is the empty one, and two answers: everything about BVPO's gradients by
/// enumeration, over Double.
private struct Toy {
    let beta = 0.5
    let trace = [-0.5, 0.3, 0.8]
    let answer = [[0.4, -0.2], [0.1, 0.6], [-0.7, 0.5]]

    static func shares(_ logits: [Double]) -> [Double] {
        let total = logits.reduce(0) { $0 + exp($1) }
        return logits.map { exp($0) / total }
    }

    /// log π(r, y) and its gradient over the nine logits, against a reference of uniform traces and answers.
    func sequence(_ r: Int, _ y: Int, drawn: Double = 0) -> TraceGradients.Sequence {
        let (traces, answers) = (Self.shares(trace), Self.shares(answer[r]))
        var gradient = traces.indices.map { ($0 == r ? 1 : 0) - traces[$0] }
        for row in answer.indices {
            gradient += answers.indices.map { row == r ? ($0 == y ? 1 : 0) - answers[$0] : 0 }
        }
        return TraceGradients.Sequence(
            logProbability: log(traces[r] * answers[y]), reference: log(1.0 / 6), drawn: drawn, gradient: gradient)
    }

    /// π(r | y)
    func posterior(_ y: Int) -> [Double] {
        let joint = trace.indices.map { exp(sequence($0, y).logProbability) }
        return joint.map { $0 / joint.reduce(0, +) }
    }

    /// g_t of every pair of traces, with its probability.
    var traceGradients: [(share: Double, gradient: [Double])] {
        let (chosen, rejected) = (posterior(1), posterior(0))
        return trace.indices.flatMap { a in
            trace.indices.map { b in
                (
                    chosen[a] * rejected[b],
                    TraceGradients.single(beta: beta, chosen: sequence(a, 1), rejected: sequence(b, 0))
                )
            }
        }
    }

    var emptyGradient: [Double] { TraceGradients.single(beta: beta, chosen: sequence(0, 1), rejected: sequence(0, 0)) }

    /// μ: each trace once, as if drawn uniformly, is the sum over all of them.
    var ideal: [Double] {
        func all(_ y: Int) -> [TraceGradients.Sequence] { trace.indices.map { sequence($0, y, drawn: log(1.0 / 3)) } }
        return TraceGradients.marginal(beta: beta, chosen: all(1), rejected: all(0))
    }

    var terms: ThinkingBalanceTerms {
        let mean = expectation(traceGradients)
        let (trace, empty) = (minus(mean, ideal), minus(emptyGradient, ideal))
        return ThinkingBalanceTerms(
            traceVariance: traceGradients.reduce(0) {
                $0 + $1.share * dot(minus($1.gradient, mean), minus($1.gradient, mean))
            },
            traceBias: dot(trace, trace), emptyBias: dot(empty, empty), crossBias: dot(trace, empty))
    }
}

private func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
private func minus(_ a: [Double], _ b: [Double]) -> [Double] { zip(a, b).map { $0 - $1 } }
private func expectation(_ values: [(share: Double, gradient: [Double])]) -> [Double] {
    values[0].gradient.indices.map { index in values.reduce(0) { $0 + $1.share * $1.gradient[index] } }
}

/// Covariance matrix, row by row.
private func covariance(_ values: [(share: Double, gradient: [Double])]) -> [Double] {
    let mean = expectation(values)
    return mean.indices.flatMap { a in
        mean.indices.map { b in
            values.reduce(0) { $0 + $1.share * ($1.gradient[a] - mean[a]) * ($1.gradient[b] - mean[b]) }
        }
    }
}

@Suite("BVPO's balance of thinking")
struct ThinkingBalanceTests {
    private let toy = Toy()

    /// The golden numbers, worked out with complex steps outside this code.
    @Test func theTermsOfTheEnumeratedExample() throws {
        func near(_ found: Double, _ expected: Double) -> Bool { abs(found - expected) < 1e-8 }
        let terms = toy.terms
        // L_m = −log σ(β·[log π(1)/π(0)]): the reference's answers are as likely as each other.
        let shares = Toy.shares(toy.trace)
        let better = toy.trace.indices.reduce(0) { $0 + shares[$1] * Toy.shares(toy.answer[$1])[1] }
        #expect(near(log(1 + pow((1 - better) / better, toy.beta)), 0.539_793_739_5))
        #expect(near(dot(toy.ideal, toy.ideal), 0.032_109_203_8))
        #expect(near(terms.traceVariance, 0.078_938_922_2))
        #expect(near(terms.traceBias, 0.000_706_963_9))
        #expect(near(terms.emptyBias, 0.161_602_664_8))
        #expect(near(terms.crossBias, 0.004_264_832_9))
        #expect(near(try #require(terms.optimum), 0.676_085_363_0))
        #expect(near(terms.meanSquaredError(1), 0.079_645_886_1))
        #expect(near(terms.meanSquaredError(0), 0.161_602_664_8))
        #expect(near(terms.meanSquaredError(0.676_085_363_0), 0.055_228_859_6))
        #expect(near(terms.meanSquaredError(0.5), 0.062_444_554_2))
        let grid = (0...10_000).map { Double($0) / 10_000 }
        #expect(grid.min { terms.meanSquaredError($0) < terms.meanSquaredError($1) } == 0.6761)
    }

    /// Cov(g_c) = α²·Cov(g_t), every element of it; and E g_c is the mixture of the means.
    @Test(arguments: [0.0, 0.25, 0.5, 0.9, 1]) func mixingWithAGivenGradientScalesTheCovariance(_ alpha: Double) {
        let traces = toy.traceGradients
        let mixed = traces.map { share, gradient in
            (share, zip(gradient, toy.emptyGradient).map { alpha * $0 + (1 - alpha) * $1 })
        }
        for (own, expected) in zip(covariance(mixed), covariance(traces)) {
            #expect(abs(own - alpha * alpha * expected) < 1e-12)
        }
        let error = mixed.reduce(0) { $0 + $1.0 * dot(minus($1.1, toy.ideal), minus($1.1, toy.ideal)) }
        #expect(abs(error - toy.terms.meanSquaredError(alpha)) < 1e-12)
    }

    @Test func noWeightIsBetterThanTheBest() {
        var random = TestRandom(seed: 3)
        func vector() -> [Double] { (0..<5).map { _ in Double.random(in: -1...1, using: &random) } }
        for _ in 0..<1000 {
            let (biasT, biasE) = (vector(), vector())
            // Both noises are made of the same four directions, so that they may be correlated.
            let noise = (0..<4).map { _ in (vector(), vector()) }
            let terms = ThinkingBalanceTerms(
                traceVariance: noise.reduce(0) { $0 + dot($1.0, $1.0) },
                emptyVariance: noise.reduce(0) { $0 + dot($1.1, $1.1) },
                crossVariance: noise.reduce(0) { $0 + dot($1.0, $1.1) }, traceBias: dot(biasT, biasT),
                emptyBias: dot(biasE, biasE), crossBias: dot(biasT, biasE))
            let best = terms.meanSquaredError(terms.optimum ?? .nan)
            #expect(best <= min(terms.meanSquaredError(0), terms.meanSquaredError(1)) + 1e-12)
        }
        let flat = ThinkingBalanceTerms(traceVariance: 0, traceBias: 1, emptyBias: 1, crossBias: 1)
        #expect(flat.optimum == nil)
    }

    /// The estimate of sampled traces, more and more of them, against the enumerated terms.
    @Test func theEstimateConverges() throws {
        var random = TestRandom(seed: 11)
        let shares = Toy.shares(toy.trace)
        func drawnTrace() -> Int {
            let u = Double.random(in: 0...1, using: &random)
            return u < shares[0] ? 0 : u < shares[0] + shares[1] ? 1 : 2
        }
        func sequences(_ traces: [Int], _ y: Int) -> [TraceGradients.Sequence] {
            traces.map { toy.sequence($0, y, drawn: log(shares[$0])) }
        }
        func estimate(prompts: Int, traces: Int) -> ThinkingBalanceEstimate {
            ThinkingBalanceEstimate(
                (0..<prompts).map { _ in
                    let sides = [1, 0].map { sequences((0..<traces).map { _ in drawnTrace() }, $0) }
                    let kept = sides.map {
                        TraceGradients.resampled(
                            $0, uniforms: (0..<traces).map { _ in Double.random(in: 0...1, using: &random) })
                    }
                    func half(_ range: Range<Int>) -> [Double] {
                        TraceGradients.mean(
                            beta: toy.beta, chosen: Array(sides[0][range]), rejected: Array(sides[1][range]),
                            isWeighted: (kept[0].isWeighted, kept[1].isWeighted))
                    }
                    let marginal = (0..<2).map { _ in
                        let drawn = (0..<traces).map { _ in drawnTrace() }
                        return TraceGradients.marginal(
                            beta: toy.beta, chosen: sequences(drawn, 1), rejected: sequences(drawn, 0))
                    }
                    return ThinkingBalanceSample(
                        traceGradients: zip(kept[0].indices, kept[1].indices).map {
                            TraceGradients.single(beta: toy.beta, chosen: sides[0][$0], rejected: sides[1][$1])
                        }, traceHalves: (half(0..<traces / 2), half(traces / 2..<traces)),
                        emptyGradient: toy.emptyGradient, marginalHalves: (marginal[0], marginal[1]))
                })
        }
        let expected = toy.terms
        let fine = estimate(prompts: 150, traces: 400)
        #expect(abs(fine.terms.traceVariance / expected.traceVariance - 1) < 0.02)
        #expect(abs(fine.terms.emptyBias / expected.emptyBias - 1) < 0.02)
        #expect(abs(fine.terms.traceBias - expected.traceBias) < 3e-4)
        #expect(abs(fine.terms.crossBias - expected.crossBias) < 1e-3)
        #expect(abs(try #require(fine.terms.optimum) - 0.676_085) < 0.01)
        #expect(fine.emptyBiasRatio > 2)
        // Four traces, drawn again, vary by 0.061 about their mean, and halves that share them would call 0.021 a bias.
        // Over 4,000 prompts both have a standard error below 0.001.
        let coarse = estimate(prompts: 4000, traces: 4)
        #expect(abs(coarse.terms.traceVariance - expected.traceVariance) < 7e-3)
        #expect(abs(coarse.terms.traceBias - expected.traceBias) < 5e-3)
    }

    /// One dimension, by hand. The replicates 1, 3, 5 and 7 have the variance 20/3, and their halves' means less μ̂,
    /// 2 − 0 and 6 − 1, the product 10; the traces' own halves have (4 − 0)·(4 − 1) = 12. The sum stays 50/3, and with
    /// it α*. ‖b_e‖² is (−2)·(−3) = 6, ⟨b_t, b_e⟩ (2·(−3) + 5·(−2))/2 = −8.
    @Test func whatHalvesOfReplicatesShareIsVariance() throws {
        let sample = ThinkingBalanceSample(
            traceGradients: [[1], [3], [5], [7]], traceHalves: ([4], [4]), emptyGradient: [-2],
            marginalHalves: ([0], [1]))
        let terms = ThinkingBalanceEstimate([sample, sample]).terms
        #expect(abs(terms.traceVariance - 14.0 / 3) < 1e-12 && terms.traceBias == 12)
        #expect(terms.emptyBias == 6 && terms.crossBias == -8)
        let shared = ThinkingBalanceTerms(traceVariance: 20.0 / 3, traceBias: 10, emptyBias: 6, crossBias: -8)
        let expected: Double = 14 / (50 / 3 + 6 + 16)
        for optimum in [terms.optimum, shared.optimum] {
            #expect(abs(try #require(optimum) - expected) < 1e-12)
        }
    }

    /// Each trace once, as if drawn uniformly: by weight that is the enumerated mean, else that of nine pairs alike.
    @Test func theMeanOverAllPairsOfTraces() {
        func all(_ y: Int) -> [TraceGradients.Sequence] {
            toy.trace.indices.map { toy.sequence($0, y, drawn: log(1.0 / 3)) }
        }
        func mean(_ isWeighted: Bool) -> [Double] {
            TraceGradients.mean(
                beta: toy.beta, chosen: all(1), rejected: all(0), isWeighted: (isWeighted, isWeighted))
        }
        let alike = toy.traceGradients.map { (share: 1.0 / 9, gradient: $0.gradient) }
        for (own, expected) in [(mean(true), expectation(toy.traceGradients)), (mean(false), expectation(alike))] {
            #expect(largestDifference(own, expected) < 1e-12)
        }
        #expect(largestDifference(mean(true), mean(false)) > 1e-3)
    }

    /// Two prompts in two dimensions, worked by hand: g_t means (2, 0) and (0, 2), so (1, 1); g_e means (3, 0) and (1,
    /// 0), so (2, 0).
    @Test func aCalibrationTellsOfItsGradients() throws {
        func sample(_ center: [Double], _ empty: [Double]) -> ThinkingBalanceSample {
            ThinkingBalanceSample(
                traceGradients: [1, -1, 2, -2].map { [center[0] + $0, center[1]] }, traceHalves: (center, center),
                emptyGradient: empty, marginalHalves: ([0, 0], [0, 0]))
        }
        let samples = [sample([2, 0], [3, 0]), sample([0, 2], [1, 0])]
        let metrics = samples.gradientMetrics(alpha: 0.3)
        func value(_ name: String) throws -> Double { try #require(metrics["bvpo/\(name)"]) }
        #expect(abs(try value("grad_norm_thinking") - 2.0.squareRoot()) < 1e-12)
        #expect(abs(try value("grad_norm_empty") - 2) < 1e-12)
        #expect(abs(try value("grad_cosine") - 0.5.squareRoot()) < 1e-12)
        #expect(abs(try value("variance_ratio") - 0.09) < 1e-12)
    }

    @Test func tracesAreDrawnAgainByTheirWeight() {
        func sequence(_ weight: Double) -> TraceGradients.Sequence {
            TraceGradients.Sequence(logProbability: log(weight) - 7, reference: 0, drawn: -7, gradient: [])
        }
        // Shares 1/2, 1/4, 1/4: an effective number of 8/3.
        let found = TraceGradients.resampled([2, 1, 1].map(sequence), uniforms: [0.49, 0.51, 0.76])
        #expect(found.isWeighted && found.indices == [0, 1, 2])
        #expect(TraceGradients.resampled([2, 1, 1].map(sequence), uniforms: [0.1, 0.2, 0.3]).indices == [0, 0, 0])
        // One of them has nearly all the weight: fewer than two count.
        let lone = TraceGradients.resampled([1000, 1, 1].map(sequence), uniforms: [0.1, 0.2, 0.3])
        #expect(!lone.isWeighted && lone.indices == [0, 1, 2])
    }

    @Test func anEstimatedWeightMovesSlowlyAndIsHeldInDoubt() throws {
        var weight = ThinkingBalance(alpha: 0.5)
        let bounds = ThinkingBalance.Bounds()
        // α* = 0.3 / 0.4
        let terms = ThinkingBalanceTerms(traceVariance: 0.1, traceBias: 0, emptyBias: 0.3, crossBias: 0)
        let metrics = weight.take(ThinkingBalanceEstimate(terms: terms, emptyBiasRatio: 5), bounds)
        #expect(abs(weight.alpha - 0.6) < 1e-12 && abs((metrics["bvpo/alpha_star"] ?? 0) - 0.75) < 1e-12)
        #expect(metrics["bvpo/var_thinking"] == 0.1 && metrics["bvpo/bias_empty_ratio"] == 5)
        _ = weight.take(ThinkingBalanceEstimate(terms: terms, emptyBiasRatio: 1.9), bounds)
        #expect(abs(weight.alpha - 0.6) < 1e-12 && weight.held == 1)
        // Terms move by a tenth of the way: α* of 0.9·(0.1, 0.3) + 0.1·(0.9, 0.3) is 0.3/0.48.
        _ = weight.take(
            ThinkingBalanceEstimate(
                terms: ThinkingBalanceTerms(traceVariance: 0.9, traceBias: 0, emptyBias: 0.3, crossBias: 0),
                emptyBiasRatio: 5),
            bounds)
        #expect(abs(weight.alpha - 0.625) < 1e-12)
        let before = weight
        _ = weight.take(
            ThinkingBalanceEstimate(
                terms: ThinkingBalanceTerms(traceVariance: .nan, traceBias: 0, emptyBias: 1, crossBias: 0),
                emptyBiasRatio: 5),
            bounds)
        #expect(weight.alpha == before.alpha && weight.terms == before.terms && weight.held == 2)
        // The range ends it.
        for _ in 0..<10 {
            _ = weight.take(
                ThinkingBalanceEstimate(
                    terms: ThinkingBalanceTerms(traceVariance: 0, traceBias: 0, emptyBias: 9, crossBias: 0),
                    emptyBiasRatio: .infinity), bounds)
        }
        #expect(weight.alpha == 0.9)
        let copy = try JSONDecoder().decode(ThinkingBalance.self, from: JSONEncoder().encode(weight))
        #expect(copy == weight)
    }
}
