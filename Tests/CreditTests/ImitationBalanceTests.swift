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

@Suite("The balance of imitation and reward")
struct ImitationBalanceTests {
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
        for norm in [ImitationBalanceSettings.MetaNorm.raw, .cosine] {
            var balance = ImitationBalanceController(
                ImitationBalanceSettings(start: 0.8, metaNorm: norm, metaRate: 0.1))
            let meta = toy.meta(balance.demonstrationWeight, exact: true)
            let before = toy.validationLoss(toy.ahead(balance.demonstrationWeight))
            let moved = balance.weigh(meta)
            #expect(try #require(moved).metrics["amft/mu"] == balance.demonstrationWeight)
            #expect(balance.demonstrationWeight > 0.8)
            #expect(toy.validationLoss(toy.ahead(balance.demonstrationWeight)) < before)
        }
    }

    /// Steps and weighings in turn: θ goes to μ·a + (1 − μ)·b, and the best of these is at ⟨c − b, a − b⟩/‖a − b‖² =
    /// (.7 + .7)/2 = .7.
    @Test(arguments: [0.1, 0.5, 0.9])
    func theLoopComesToRestAtTheBestMix(_ start: Double) {
        func end(_ norm: ImitationBalanceSettings.MetaNorm, rate: Double, steps: Int) -> Double {
            var toy = Quadratics()
            var balance = ImitationBalanceController(
                ImitationBalanceSettings(start: start, metaEvery: 1, metaNorm: norm, metaRate: rate))
            for _ in 0..<steps {
                _ = balance.weigh(toy.meta(balance.demonstrationWeight, exact: true))
                toy.theta = toy.ahead(balance.demonstrationWeight)
            }
            return balance.demonstrationWeight
        }
        #expect(abs(end(.raw, rate: 0.5, steps: 2000) - 0.7) < 1e-9)
        #expect(abs(end(.cosine, rate: 0.02, steps: 4000) - 0.7) < 0.03)
    }

    @Test func theOptimumOutsideTheBoundsIsHeldAtTheBoundAndLeftAtOnce() {
        var balance = ImitationBalanceController(ImitationBalanceSettings(start: 0.9, metaNorm: .raw, metaRate: 1))
        for _ in 0..<50 { _ = balance.weigh(MetaGradient(slope: 0.5, cosine: 1)) }
        #expect(balance.demonstrationWeight == 0.95)
        _ = balance.weigh(MetaGradient(slope: -0.01, cosine: -1))  // nothing has wound up
        #expect(abs(balance.demonstrationWeight - 0.94) < 1e-12)
    }

    /// μ + η_H·(H* − H) = .5 + .01·(1 − 1.5) = .495; with the other sign .505.
    @Test(arguments: [(1.0, 0.495), (-1, 0.505)])
    func entropyAboveItsTargetLowersTheWeight(_ sign: Double, _ expected: Double) {
        var balance = ImitationBalanceController(
            ImitationBalanceSettings(start: 0.5, entropyRate: sign * 0.01, entropyTarget: 1))
        #expect(balance.note(entropy: 1.5) == nil)
        _ = balance.weigh(nil)
        #expect(abs(balance.demonstrationWeight - expected) < 1e-12)
    }

    /// .5 + .02/√2·.6 + .01·(1.25 − 1) in one move, at the second meta-gradient.
    @Test func bothTermsMoveItTogetherAndTheRateOfTheCosineFalls() throws {
        var balance = ImitationBalanceController(
            ImitationBalanceSettings(start: 0.5, metaEvery: 2, entropyTarget: 1.25))
        #expect(balance.wantsMetaGradient)
        _ = balance.weigh(MetaGradient(slope: 9, cosine: 0))
        #expect(balance.demonstrationWeight == 0.5 && !balance.wantsMetaGradient)
        _ = balance.weigh(nil)
        #expect(balance.wantsMetaGradient)
        _ = balance.note(entropy: 1)
        _ = balance.weigh(MetaGradient(slope: 9, cosine: 0.6))
        #expect(abs(balance.demonstrationWeight - (0.5 + 0.02 / 2.0.squareRoot() * 0.6 + 0.0025)) < 1e-12)
        #expect(abs(balance.rolloutWeight + balance.demonstrationWeight - 1) < 1e-15)
    }

    @Test func theTargetIsMeasuredOnceAndSaid() {
        var balance = ImitationBalanceController(ImitationBalanceSettings(entropyTargetSteps: 2))
        #expect(balance.note(entropy: 1.25) == nil && balance.state.entropyTarget == nil)
        #expect(balance.note(entropy: 1.75) == "amft: the entropy target is 1.5 nats a token")
        #expect(balance.note(entropy: 9) == nil && balance.state.entropyTarget == 1.5)
    }

    @Test(arguments: [Double.nan, .infinity])
    func aSlopeThatIsNotFiniteMovesNothing(_ value: Double) {
        var balance = ImitationBalanceController(ImitationBalanceSettings(start: 0.5))
        #expect(balance.weigh(MetaGradient(slope: value, cosine: value)) == nil)
        #expect(balance.demonstrationWeight == 0.5)
        #expect(!balance.wantsMetaGradient)  // it is not asked for again at once
    }

    @Test func aFixedBalanceStays() {
        var balance = ImitationBalanceController(ImitationBalanceSettings(controller: .fixed, start: 0, bounds: 0...1))
        #expect(!balance.wantsMetaGradient && balance.note(entropy: 3) == nil)
        for _ in 0..<3 { _ = balance.weigh(nil) }
        #expect(balance.demonstrationWeight == 0 && balance.rolloutWeight == 1)
    }

    @Test func ratesOfZeroAreAFixedBalance() {
        var balance = ImitationBalanceController(
            ImitationBalanceSettings(start: 0.3, metaRate: 0, entropyRate: 0, entropyTarget: 1))
        _ = balance.note(entropy: 2)
        _ = balance.weigh(MetaGradient(slope: 0.7, cosine: 0.9))
        #expect(balance.demonstrationWeight == 0.3)
    }
}
