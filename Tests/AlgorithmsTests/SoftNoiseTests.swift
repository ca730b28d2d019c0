import Algorithms
import Foundation
import Records
import Tensors
import TestSupport
import Testing

/// The numbers of one worked step: p = .6, .3, .1 under the old policy and .5, .4, .1 under the new one.
private let values = [0.2, -0.5, -1]
private let oldShares = [0.6, 0.3, 0.1]
private let newShares = [0.5, 0.4, 0.1]

@TensorActor @Suite("Densities of soft steps")
struct SoftNoiseTests {
    private func row(_ numbers: [Double]) throws -> Tensor { try Tensor(numbers, shape: [1, numbers.count]) }
    private func logs(_ shares: [Double]) throws -> Tensor { try row(shares.map { log($0) }) }
    private var filled: Tensor { get throws { try row([1, 1, 1]) } }

    /// Draws of one step each; every step has an address of its own.
    private nonisolated func draws(
        _ density: some SoftDensity, _ shares: [Double], count: Int, seed: UInt64 = 3
    ) -> [[Float]] {
        let parameters = shares.map { Float(log($0)) }
        return (0..<count).map { step in
            density.sample(
                parameters, slots: [4, 9, 2, 7, 30].prefix(shares.count).map(\.self),
                SoftDraws(seed: seed, address: RandomAddress(step: step, row: 1, sample: 2, token: 5)))
        }
    }

    // Every number below was worked with exp and log on paper's terms: ζ = g' − log p, log f = −ζ − e^−ζ.
    @Test func aGumbelStepWorkedByHand() throws {
        let noise = GumbelNoise()
        let parts = try noise.logDensities(row(values), logs(oldShares)).doubles()
        #expect(relativeError(parts, [-1.202064, -1.198589, -1.574413]) < 1e-6)
        // A component's score is 1 − e^−ζ, from which ζ comes back.
        let leaf = try logs(oldShares).requiringGradient()
        try noise.logDensities(row(values), leaf).sum().backward()
        let scores = try #require(try leaf.gradient?.doubles())
        #expect(zip(scores, [0.710826, 0.703973, 1.302585]).allSatisfy { abs(-log(1 - $0) - $1) < 1e-6 })
        let old = try noise.logDensity(row(values), logs(oldShares), filled: filled).item()
        let new = try noise.logDensity(row(values), logs(newShares), filled: filled).item()
        #expect(abs(old + 3.9750665) < 1e-7 && abs(new + 3.9527051) < 1e-7)
        let logRatio = try noise.logRatio(row(values), policy: logs(newShares), old: logs(oldShares), filled: filled)
        #expect(abs(exp(try logRatio.item()) - 1.0226134) < 1e-7)
        for (temperature, expected) in [(0.1, [0.999083, 0.000911, 0.000006]), (0.5, [0.747767, 0.184397, 0.067836])] {
            let weights = GumbelNoise(temperature: temperature).weights(values.map(Float.init))
            #expect(zip(weights, expected).allSatisfy { abs(Double($0) - $1) < 1e-6 })
        }
        let scaled = try GumbelNoise(scale: 2).logDensities(row(values), logs(oldShares)).doubles()
        let zeta = zip(values, oldShares).map { ($0 - log($1)) / 2 }
        #expect(relativeError(scaled, zeta.map { -$0 - exp(-$0) - log(2) }) < 1e-14)
    }

    @Test func theGradientOverLogitsIsTheClosedForm() throws {
        let noise = GumbelNoise()
        let logits = try logs(newShares).requiringGradient()
        let isFilled = try Tensor([true, true, true], shape: [1, 3])
        let parameters = try SoftSupport.logProbabilities(logits, isFilled: isFilled)
        try noise.logDensity(row(values), parameters, filled: filled).sum().backward()
        let gradient = try #require(try logits.gradient?.doubles())
        #expect(zip(gradient, [-0.239024, -0.323216, 0.562240]).allSatisfy { abs($0 - $1) < 1e-6 })
    }

    @Test func theKLOfTwoGumbelsIsTheIntegral() throws {
        let noise = GumbelNoise()
        let found = try noise.divergences(policy: row([0]), reference: row([-0.7])).item()
        #expect(abs(found - 0.1965853) < 1e-7)
        #expect(
            abs(
                found
                    - Self.integral(-6, 40) { x in
                        let density = exp(-x - exp(-x))
                        return density * ((-x - exp(-x)) - (-(x + 0.7) - exp(-(x + 0.7))))
                    }) < 1e-6)
    }

    @Test func theOtherKLsAreTheirIntegrals() throws {
        // Gamma(2·0.6) against Gamma(2·0.5) over x = e^t, and two normals of σ 0.05
        let gamma = DirichletNoise(concentration: 2)
        let found = try gamma.divergences(policy: logs([0.6]), reference: logs([0.5])).item()
        #expect(
            abs(
                found
                    - Self.integral(-30, 5) { t in
                        let x = exp(t)
                        let log1 = 0.2 * t - x - lgamma(1.2)
                        let log2 = -x - lgamma(1.0)
                        return exp(log1 + t) * (log1 - log2)
                    }) < 1e-6)
        let normal = try GaussianNoise().divergences(policy: logs([0.6]), reference: logs([0.5])).item()
        #expect(abs(normal - 0.01 / 2 / 0.0025) < 1e-12)
        let embedding = try EmbeddingNoise(deviation: 0.2).divergences(policy: row([1]), reference: row([0.4])).item()
        #expect(abs(embedding - 0.36 / 2 / 0.04) < 1e-12)
    }

    /// The trapezoid rule on 200,000 steps.
    private static func integral(_ low: Double, _ high: Double, _ function: (Double) -> Double) -> Double {
        let step = (high - low) / 200_000
        return (0...200_000).reduce(0) { sum, index in
            sum + function(low + Double(index) * step) * (index % 200_000 == 0 ? step / 2 : step)
        }
    }

    nonisolated static let densities: [(name: String, density: any SoftDensity)] = [
        ("gumbel", GumbelNoise()), ("gumbel s 0.5", GumbelNoise(scale: 0.5)),
        ("dirichlet", DirichletNoise(concentration: 4)), ("gaussian", GaussianNoise(deviation: 0.1)),
        ("embedding", EmbeddingNoise(deviation: 0.3)),
        ("gumbel, release", GumbelNoise(followsRelease: true)),
        ("dirichlet, release", DirichletNoise(followsRelease: true)),
        ("gaussian, release", GaussianNoise(followsRelease: true)),
    ]

    @Test func ratiosAreDifferencesOfDensitiesAndExactlyZeroOfOnePolicy() throws {
        for (name, density) in Self.densities {
            let drawn = draws(density, oldShares, count: 50)
            let x = try Tensor(drawn.joined().map(Double.init), shape: [50, 3])
            let filled = try Tensor.ones([50, 3], .float64)
            let old = try Tensor((0..<50).flatMap { _ in oldShares.map { log($0) } }, shape: [50, 3])
            let new = try Tensor((0..<50).flatMap { _ in newShares.map { log($0) } }, shape: [50, 3])
            let ratio = try density.logRatio(x, policy: new, old: old, filled: filled).doubles()
            let difference =
                try (density.logDensity(x, new, filled: filled) - density.logDensity(x, old, filled: filled))
            #expect(relativeError(ratio, try difference.doubles()) < 1e-10, "\(name)")
            let same = try density.logRatio(
                x.to(.float32), policy: old.to(.float32), old: old.to(.float32), filled: filled.to(.float32))
            #expect(try same.doubles().allSatisfy { $0 == 0 }, "\(name)")
            let slope = try gradientError(at: [(newShares.map { log($0) }, [1, 3])]) { inputs in
                try density.logRatio(
                    x.narrow(axis: 0, start: 0, count: 1), policy: inputs[0],
                    old: old.narrow(axis: 0, start: 0, count: 1),
                    filled: filled.narrow(axis: 0, start: 0, count: 1))
            }
            #expect(slope < 1e-6, "\(name): \(slope)")
        }
    }

    @Test func theRatioKeepsItsDigitsInSinglePrecision() throws {
        let noise = GumbelNoise()
        let moved = oldShares.map { log($0) + 1e-5 }  // the difference of two float32 densities would have one digit
        let exact = try noise.logRatio(row(values), policy: row(moved), old: logs(oldShares), filled: filled).item()
        // float32 log-probs a hundred-thousandth apart, as numbers of float64
        let oldSingle = oldShares.map { Float(log($0)) }
        let newSingle = moved.map(Float.init)
        let single = try noise.logRatio(
            Tensor(values.map(Float.init), shape: [1, 3]), policy: Tensor(newSingle, shape: [1, 3]),
            old: Tensor(oldSingle, shape: [1, 3]), filled: filled.to(.float32)
        ).item()
        let rounded = try noise.logRatio(
            row(values.map { Double(Float($0)) }), policy: row(newSingle.map(Double.init)),
            old: row(oldSingle.map(Double.init)), filled: filled
        ).item()
        #expect(abs(single - rounded) < 1e-5 * abs(rounded))
        #expect(exact > 0)
    }

    @Test func gammaRatiosMultiplyToTheDirichlets() throws {
        let noise = DirichletNoise(concentration: 3)
        let drawn = draws(noise, oldShares, count: 1)[0].map(Double.init)
        let found = try noise.logRatio(row(drawn), policy: logs(newShares), old: logs(oldShares), filled: filled).item()
        let sum = drawn.map { exp($0) }.reduce(0, +)
        func dirichlet(_ shares: [Double]) -> Double {
            lgamma(3) + zip(shares, drawn).reduce(0) { $0 + (3 * $1.0 - 1) * ($1.1 - log(sum)) - lgamma(3 * $1.0) }
        }
        #expect(abs(found - (dirichlet(newShares) - dirichlet(oldShares))) < 1e-10)
    }

    @Test func scoresHaveMeanZeroAndGumbelsHaveVarianceOne() throws {
        let count = 20_000
        for (name, density) in Self.densities where density.release == nil && !name.hasPrefix("embedding") {
            let drawn = draws(density, oldShares, count: count)
            let x = try Tensor(drawn.joined().map(Double.init), shape: [count, 3])
            let parameters = try Tensor((0..<count).flatMap { _ in oldShares.map { log($0) } }, shape: [count, 3])
                .requiringGradient()
            try density.logDensities(x, parameters).sum().backward()
            let scores = try #require(try parameters.gradient?.doubles())
            for component in 0..<3 {
                let own = stride(from: component, to: scores.count, by: 3).map { scores[$0] }
                let mean = own.reduce(0, +) / Double(count)
                let variance = own.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count)
                #expect(abs(mean) < 4.5 * (variance / Double(count)).squareRoot(), "\(name) \(component): \(mean)")
                guard name == "gumbel" else { continue }
                #expect(abs(variance - 1) < 0.1)  // a standard exponential's square has a deviation of √8: 5 of them
            }
        }
    }

    @Test nonisolated func valueTimesScoreIsTheSlopeOfTheMean() throws {
        // d/dz of E[y₀] by the score against the same draws moved: 60,000 draws leave a few thousandths
        let (count, step) = (60_000, 1e-3)
        let noise = GumbelNoise(temperature: 0.5)
        let shares = [0.5, 0.3, 0.2]
        var byScore = [0.0, 0, 0]
        for drawn in draws(noise, shares, count: count) {
            let y = Double(noise.weights(drawn)[0])
            let score = zip(drawn, shares).map { 1 - exp(-(Double($0) - log($1))) }
            let total = score.reduce(0, +)
            for index in 0..<3 { byScore[index] += (y - 0.45) * (score[index] - shares[index] * total) / Double(count) }
        }
        for index in 0..<3 {
            var means: [Double] = []
            for sign in [1.0, -1] {
                var powers = shares
                powers[index] *= exp(sign * step)
                let moved = powers.map { $0 / powers.reduce(0, +) }
                means.append(
                    draws(noise, moved, count: count).reduce(0) { $0 + Double(noise.weights($1)[0]) } / Double(count))
            }
            #expect(abs(byScore[index] - (means[0] - means[1]) / (2 * step)) < 0.012)
        }
    }

    @Test nonisolated func aColdMixtureIsADrawOfOneWord() throws {
        let noise = GumbelNoise(temperature: 1e-4)
        var counts = [0, 0, 0]
        for drawn in draws(noise, newShares, count: 100_000) {
            let weights = noise.weights(drawn)
            let leading = weights.firstIndex(of: weights.max()!)!
            counts[leading] += 1
        }
        let chiSquare = zip(counts, newShares).reduce(0.0) {
            $0 + pow(Double($1.0) - 100_000 * $1.1, 2) / (100_000 * $1.1)
        }
        #expect(chiSquare < 13.8)  // two degrees of freedom, one in a thousand
        #expect(counts.allSatisfy { $0 > 0 })
    }

    @Test nonisolated func weightsAreAPointOfTheSimplex() throws {
        for (name, density) in Self.densities where !name.hasPrefix("embedding") {
            for drawn in draws(density, [0.7, 0.2, 0.06, 0.03, 0.01], count: 300) {
                let weights = density.weights(drawn).map(Double.init)
                #expect(abs(weights.reduce(0, +) - 1) < 1e-6, "\(name)")
                if !name.hasPrefix("gaussian") { #expect(weights.allSatisfy { $0 >= 0 }) }
            }
        }
        #expect(SoftNoise.none.weights([Float(log(0.7)), Float(log(0.3))]).map { ($0 * 1e6).rounded() } == [7e5, 3e5])
    }

    @Test func theReleaseClampsAndAverages() throws {
        let release = GumbelNoise(followsRelease: true)
        // The noise as a function of u, on the middles of 200,000 equal parts of (0, 1)
        let parts = 200_000
        var (score, low, high) = (0.0, 0, 0)
        for index in 0..<parts {
            let noise = release.noise(-log(-log((Double(index) + 0.5) / Double(parts))))
            score += (1 - exp(-noise)) / Double(parts)
            low += noise == -1.5 ? 1 : 0
            high += noise == 3 ? 1 : 0
        }
        #expect(abs(score - 0.0100952) < 1e-5)
        #expect(abs(Double(low) / 2e5 - 0.0113143) < 6e-6 && abs(Double(high) / 2e5 - 0.0485680) < 6e-6)
        // The mean over components instead of the sum; the third policy leaves its last word out
        let ratio = try release.logRatio(row(values), policy: logs(newShares), old: logs(oldShares), filled: filled)
        #expect(abs(exp(try ratio.item()) - 1.0074817) < 1e-7)
        let few = try release.logDensity(row(values), logs([0.56, 0.4, 0.04]), filled: filled).item()
        let zetas = zip(values, [0.56, 0.4]).map { $0 - log($1) }
        #expect(abs(few - zetas.map { -$0 - exp(-$0) }.reduce(0, +) / 2) < 1e-12)
        // A word below e^−4.5 of the likeliest never leads
        var counts = [0, 0, 0]
        for drawn in draws(release, [0.97, 0.02, 0.01], count: 50_000) {
            counts[drawn.firstIndex(of: drawn.max()!)!] += 1
        }
        #expect(abs(Double(counts[0]) / 5e4 - 0.994) < 2e-3 && counts[1] > 0 && counts[2] == 0)
        // Above it one may lead half as often as its probability says: four deviations of 50,000 draws, and rounding
        counts = [0, 0, 0]
        for drawn in draws(release, [0.9, 0.07, 0.03], count: 50_000) {
            counts[drawn.firstIndex(of: drawn.max()!)!] += 1
        }
        for (count, expected) in zip(counts, [0.925, 0.060, 0.015]) {
            let deviation = (expected * (1 - expected) / 5e4).squareRoot()
            #expect(abs(Double(count) / 5e4 - expected) < 4 * deviation + 5e-4)
        }
    }

    @Test nonisolated func drawsBelongToWordsAndNotToTheirOrder() throws {
        let address = SoftDraws(seed: 1, address: RandomAddress(step: 3, row: 2, sample: 1, token: 4))
        for (name, density) in Self.densities where !name.hasPrefix("gaussian") {
            let one = density.sample([-0.5, -1, -2], slots: [7, 3, 5], address)
            let other = density.sample([-2, -0.5], slots: [5, 7], address)
            #expect(other == [one[2], one[0]], "\(name)")
        }
        let noise = GumbelNoise()
        let elsewhere = SoftDraws(seed: 1, address: RandomAddress(step: 3, row: 2, sample: 1, token: 5))
        #expect(noise.sample([-1], slots: [7], address) != noise.sample([-1], slots: [7], elsewhere))
    }

    /// Each noise takes its own settings; a value that it cannot have is refused by its name.
    @Test nonisolated func settingsAreChecked() throws {
        func read(_ lines: [(String, String)]) throws -> SoftThinking {
            var job = SettingsReader("the job")
            for (key, yaml) in lines {
                job.override("soft_thinking.\(key)", SettingsNode(.scalar(yaml, isQuoted: false), place: "test"))
            }
            let settings = SoftThinking(reading: &job)
            try job.finish()
            return settings
        }
        let gumbel = try read([("noise_factor", "0.5"), ("gumbel_temperature", "0.2")])
        #expect(gumbel.noise == .gumbel(GumbelNoise(scale: 0.5, temperature: 0.2)))
        let dirichlet = try read([("noise", "dirichlet"), ("dirichlet_alpha", "4"), ("compat", "release")])
        #expect(dirichlet.noise == .dirichlet(DirichletNoise(concentration: 4, followsRelease: true)))
        let gaussian = try read([("noise", "gaussian"), ("gaussian_sigma", "1")])
        #expect(gaussian.noise == .gaussian(GaussianNoise(deviation: 1)))
        let embedding = try read([("noise", "embedding_gaussian"), ("gaussian_sigma", "2")])
        #expect(embedding.noise == .embedding(EmbeddingNoise(deviation: 2)))
        let refused = [
            ("gumbel", "noise_factor", "0"), ("gumbel", "gumbel_temperature", "0"), ("gumbel", "top_p", "0"),
            ("gumbel", "top_p", "1.5"), ("gumbel", "min_p", "-0.1"), ("gumbel", "temperature", "0"),
            ("dirichlet", "dirichlet_alpha", "0"), ("gaussian", "gaussian_sigma", "0"),
            ("gaussian", "gaussian_sigma", "2"), ("embedding_gaussian", "gaussian_sigma", "-1"),
            ("embedding_gaussian", "compat", "release"),
        ]
        for (noise, key, value) in refused {
            let error = #expect(throws: SettingsError.self, "\(noise) \(key) \(value)") {
                _ = try read([("noise", noise), (key, value)])
            }
            #expect(error?.problems.count == 1 && error?.description.contains("soft_thinking.\(key)") == true)
        }
    }
}

@TensorActor @Suite("The words of a soft step")
struct SoftSupportTests {
    @Test func filtersKeepTheCrossingWordAndRenormalize() throws {
        // .5 .25 .15 .06 .04 among themselves
        let shares = [0.5, 0.25, 0.15, 0.06, 0.04]
        let logs = shares.map { Float(log($0 * 0.8)) }  // a fifth of the mass lies elsewhere
        func kept(_ support: SoftSupport) -> [Double] { support.logProbabilities(logs).map { exp(Double($0)) } }
        #expect(relativeError(kept(SoftSupport(topK: 5, topP: 1)), shares) < 1e-6)
        #expect(relativeError(kept(SoftSupport(topK: 5, topP: 0.76)), [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9]) < 1e-6)
        #expect(relativeError(kept(SoftSupport(topK: 2, topP: 1)), [2.0 / 3, 1.0 / 3]) < 1e-6)
        #expect(
            relativeError(kept(SoftSupport(topK: 5, topP: 1, minP: 0.2)), [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9])
                < 1e-6)
        #expect(SoftSupport(topK: 5, topP: 0.3).logProbabilities(logs) == [0])
        let release = SoftSupport(topK: 4, topP: 0.7, keepsAllSlots: true).logProbabilities(logs)
        #expect(release.count == 4)
        #expect(abs(Double(release[3]) - log(1e-6)) < 1e-5 && abs(Double(release[0]) - log(2.0 / 3 + 1e-6)) < 1e-6)
    }

    @Test func scoringRenormalizesOverFilledSlotsAlone() throws {
        let logits = try Tensor([1, 2, 5, 0.5, 7, 7], shape: [2, 3]).requiringGradient()
        let isFilled = try Tensor([true, true, false, true, false, false], shape: [2, 3])
        let found = try SoftSupport.logProbabilities(logits, isFilled: isFilled)
        let sum = log(exp(1.0) + exp(2.0))
        #expect(relativeError(try found.doubles(), [1 - sum, 2 - sum, 0, 0, 0, 0]) < 1e-14)
        try (found * Tensor([3.0, 1, 1, 2, 1, 1], shape: [2, 3])).sum().backward()
        let gradient = try #require(try logits.gradient?.doubles())
        let share = exp(1 - sum)
        // 3 − 4·p₀ and 1 − 4·p₁; a lone word and empty slots get exactly nothing
        #expect(relativeError(Array(gradient[..<2]), [3 - 4 * share, 1 - 4 * (1 - share)]) < 1e-13)
        #expect(gradient[2...].allSatisfy { $0 == 0 })
    }
}
