import Credit
import Foundation
import Records
import TestSupport
import Testing

/// Three quadratics in the plane: imitation draws towards `a`, reward towards `b`, what is wanted is `c`.
///
///     L_S = ½‖θ − a‖²,  L_R = ½‖θ − b‖²,  L_val = ½‖θ − c‖²,  θ' = θ − η·(μ·(θ − a) + (1 − μ)·(θ − b))
private struct Quadratics {
    let a = [1.0, 0], b = [0.0, 1], c = [0.7, 0.3]
    let rate = 0.1
    var theta = [0.2, 0.2]

    func ahead(_ weight: Double) -> [Double] {
        theta.indices.map { i in
            theta[i] - rate * (weight * (theta[i] - a[i]) + (1 - weight) * (theta[i] - b[i]))
        }
    }

    func validationLoss(_ point: [Double]) -> Double { zip(point, c).reduce(0) { $0 + pow($1.0 - $1.1, 2) / 2 } }

    /// The slope of U = −L_val at θ' (`exact`) or θ.
    func meta(_ weight: Double, exact: Bool) -> MetaGradient {
        let point = exact ? ahead(weight) : theta
        let loss = zip(point, c).map { $0 - $1 }
        let direction = zip(b, a).map { $0 - $1 }  // g_S − g_R
        let product = zip(loss, direction).reduce(0) { $0 + $1.0 * $1.1 }
        func norm(_ v: [Double]) -> Double { v.reduce(0) { $0 + $1 * $1 }.squareRoot() }
        return MetaGradient(slope: rate * product, cosine: product / (norm(loss) * norm(direction) + 1e-12))
    }
}

@Suite("The mixture of imitation and reward")
struct MixtureTests {
    /// By hand at μ = ½: θ' = (.23, .23), θ' − c = (−.47, −.07), a − b = (1, −1): dθ'/dμ = (.1, −.1), dL/dμ = −.047 +
    /// .007 = −.04.
    @Test func theSlopeIsThatOfTheUtility() {
        let toy = Quadratics()
        #expect(abs(toy.meta(0.5, exact: true).slope - 0.04) < 1e-12)
        #expect(abs(toy.meta(0.8, exact: true).slope - 0.034) < 1e-12)
        #expect(abs(toy.meta(0.8, exact: false).slope - 0.04) < 1e-12)
        for weight in [0.5, 0.8] {
            let difference = centralDifferences(at: [weight]) { -toy.validationLoss(toy.ahead($0[0])) }[0]
            #expect(abs(toy.meta(weight, exact: true).slope - difference) < 1e-9)
        }
    }

    /// The published code subtracts what is added here, and would climb the validation loss.
    @Test func aPositiveSlopeRaisesTheWeight() throws {
        let toy = Quadratics()
        for norm in [MixtureSettings.MetaNorm.raw, .cosine] {
            var mixture = MixtureController(MixtureSettings(start: 0.8, metaNorm: norm, metaRate: 0.1))
            let meta = toy.meta(mixture.demonstrationWeight, exact: true)
            let before = toy.validationLoss(toy.ahead(mixture.demonstrationWeight))
            let moved = mixture.weigh(meta)
            #expect(try #require(moved).metrics["amft/mu"] == mixture.demonstrationWeight)
            #expect(mixture.demonstrationWeight > 0.8)
            #expect(toy.validationLoss(toy.ahead(mixture.demonstrationWeight)) < before)
        }
    }

    /// Steps and weighings in turn: θ goes to μ·a + (1 − μ)·b, and the best of these is at ⟨c − b, a − b⟩/‖a − b‖² =
    /// (.7 + .7)/2 = .7.
    @Test(arguments: [0.1, 0.5, 0.9])
    func theLoopComesToRestAtTheBestMix(_ start: Double) {
        func end(_ norm: MixtureSettings.MetaNorm, rate: Double, steps: Int) -> Double {
            var toy = Quadratics()
            var mixture = MixtureController(
                MixtureSettings(start: start, metaEvery: 1, metaNorm: norm, metaRate: rate))
            for _ in 0..<steps {
                _ = mixture.weigh(toy.meta(mixture.demonstrationWeight, exact: true))
                toy.theta = toy.ahead(mixture.demonstrationWeight)
            }
            return mixture.demonstrationWeight
        }
        #expect(abs(end(.raw, rate: 0.5, steps: 2000) - 0.7) < 1e-9)
        #expect(abs(end(.cosine, rate: 0.02, steps: 4000) - 0.7) < 0.03)
    }

    @Test func theOptimumOutsideTheBoundsIsHeldAtTheBoundAndLeftAtOnce() {
        var mixture = MixtureController(MixtureSettings(start: 0.9, metaNorm: .raw, metaRate: 1))
        for _ in 0..<50 { _ = mixture.weigh(MetaGradient(slope: 0.5, cosine: 1)) }
        #expect(mixture.demonstrationWeight == 0.95)
        _ = mixture.weigh(MetaGradient(slope: -0.01, cosine: -1))  // nothing has wound up
        #expect(abs(mixture.demonstrationWeight - 0.94) < 1e-12)
    }

    /// μ + η_H·(H* − H) = .5 + .01·(1 − 1.5) = .495; with the other sign .505.
    @Test(arguments: [(1.0, 0.495), (-1, 0.505)])
    func entropyAboveItsTargetLowersTheWeight(_ sign: Double, _ expected: Double) {
        var mixture = MixtureController(MixtureSettings(start: 0.5, entropyRate: sign * 0.01, entropyTarget: 1))
        #expect(mixture.note(entropy: 1.5) == nil)
        _ = mixture.weigh(nil)
        #expect(abs(mixture.demonstrationWeight - expected) < 1e-12)
    }

    /// .5 + .02/√2·.6 + .01·(1.25 − 1) in one move, at the second meta-gradient.
    @Test func bothTermsMoveItTogetherAndTheRateOfTheCosineFalls() throws {
        var mixture = MixtureController(MixtureSettings(start: 0.5, metaEvery: 2, entropyTarget: 1.25))
        #expect(mixture.wantsMetaGradient)
        _ = mixture.weigh(MetaGradient(slope: 9, cosine: 0))
        #expect(mixture.demonstrationWeight == 0.5 && !mixture.wantsMetaGradient)
        _ = mixture.weigh(nil)
        #expect(mixture.wantsMetaGradient)
        _ = mixture.note(entropy: 1)
        _ = mixture.weigh(MetaGradient(slope: 9, cosine: 0.6))
        #expect(abs(mixture.demonstrationWeight - (0.5 + 0.02 / 2.0.squareRoot() * 0.6 + 0.0025)) < 1e-12)
        #expect(abs(mixture.rolloutWeight + mixture.demonstrationWeight - 1) < 1e-15)
    }

    @Test func theTargetIsMeasuredOnceAndSaid() {
        var mixture = MixtureController(MixtureSettings(entropyTargetSteps: 2))
        #expect(mixture.note(entropy: 1.25) == nil && mixture.state.entropyTarget == nil)
        #expect(mixture.note(entropy: 1.75) == "amft: the entropy target is 1.5 nats a token")
        #expect(mixture.note(entropy: 9) == nil && mixture.state.entropyTarget == 1.5)
    }

    @Test(arguments: [Double.nan, .infinity])
    func aSlopeThatIsNotFiniteMovesNothing(_ value: Double) {
        var mixture = MixtureController(MixtureSettings(start: 0.5))
        #expect(mixture.weigh(MetaGradient(slope: value, cosine: value)) == nil)
        #expect(mixture.demonstrationWeight == 0.5)
        #expect(!mixture.wantsMetaGradient)  // it is not asked for again at once
    }

    @Test func aFixedMixtureStays() {
        var mixture = MixtureController(MixtureSettings(controller: .fixed, start: 0, bounds: 0...1))
        #expect(!mixture.wantsMetaGradient && mixture.note(entropy: 3) == nil)
        for _ in 0..<3 { _ = mixture.weigh(nil) }
        #expect(mixture.demonstrationWeight == 0 && mixture.rolloutWeight == 1)
    }

    @Test func ratesOfZeroAreAFixedMixture() {
        var mixture = MixtureController(MixtureSettings(start: 0.3, metaRate: 0, entropyRate: 0, entropyTarget: 1))
        _ = mixture.note(entropy: 2)
        _ = mixture.weigh(MetaGradient(slope: 0.7, cosine: 0.9))
        #expect(mixture.demonstrationWeight == 0.3)
    }
}
