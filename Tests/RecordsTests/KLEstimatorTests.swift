import Records
import Testing

@Suite("KL estimators of one token")
struct KLEstimatorTests {
    /// e^(−0.5) − 1 + 0.5 = 0.10653066.
    @Test(arguments: zip(KLEstimator.allCases, [0.5, 0.125, 0.106_530_659_7, 0.5]))
    func halfANat(_ estimator: KLEstimator, _ expected: Double) {
        #expect(abs(estimator.estimate(0.5) - expected) < 1e-10)
    }

    @Test func negativeDifferences() {
        #expect(KLEstimator.k1.estimate(-0.5) == -0.5)
        #expect(KLEstimator.abs.estimate(-0.5) == 0.5)
        #expect(abs(KLEstimator.k3.estimate(-0.5) - 0.148_721_270_7) < 1e-10)  // e^0.5 − 1.5
    }

    @Test func differencesBeyondTwentyNatsCountAsTwenty() {
        #expect(KLEstimator.k1.estimate(500) == 20)
        #expect(KLEstimator.k3.estimate(-500).isFinite)
    }
}
