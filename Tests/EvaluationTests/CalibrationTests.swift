import Evaluation
import Foundation
import Testing

@Suite("Calibration of a reward model")
struct CalibrationTests {
    private let odds = log(3.0)

    /// Differences of ±log 3 say ¾; three of four pairs are right, as said: no error, T = 1, and the loss is the
    /// entropy of ¾.
    @Test func whatIsRightAsOftenAsItSaysHasNoError() throws {
        let found = try #require(Calibration(differences: [odds, odds, -odds, odds]))
        #expect(found.pairs == 4 && found.accuracy == 0.75 && abs(found.error) < 1e-12)
        #expect(abs(try #require(found.temperature) - 1) < 1e-9)
        let entropy = -0.75 * log(0.75) - 0.25 * log(0.25)
        #expect(abs(found.loss - entropy) < 1e-12)
        #expect(abs(try #require(found.calibratedLoss) - entropy) < 1e-12)
    }

    /// Twice the differences say 9/10, and are right three times in four: error 0.15, T = 2.
    @Test func whatIsTooSureHasATemperatureAboveOne() throws {
        let found = try #require(Calibration(differences: [2 * odds, 2 * odds, -2 * odds, 2 * odds]))
        #expect(abs(found.error - 0.15) < 1e-12)
        #expect(abs(try #require(found.temperature) - 2) < 1e-9)
    }

    /// Two bins: σ(0.2) = 0.5498 (one right of two) and σ(2.5) = 0.9241 (both right); each half of the pairs.
    @Test func binsAreWeighedByTheirPairs() throws {
        let found = try #require(Calibration(differences: [0.2, -0.2, 2.5, 2.5]))
        let (low, high) = (1 / (1 + exp(-0.2)), 1 / (1 + exp(-2.5)))
        #expect(abs(found.error - (0.5 * abs(0.5 - low) + 0.5 * abs(1 - high))) < 1e-12)
        #expect(found.bins[0].count == 2 && found.bins[8].count == 2 && found.bins[8].accuracy == 1)
    }

    @Test func whereNoTemperatureIsBestThereIsNone() throws {
        for differences in [[1.0, 2], [-1, -2], [0, 0]] {
            let found = try #require(Calibration(differences: differences))
            #expect(found.temperature == nil && found.calibratedLoss == nil)
        }
        #expect(Calibration(differences: []) == nil && Calibration(differences: [.nan]) == nil)
    }
}
