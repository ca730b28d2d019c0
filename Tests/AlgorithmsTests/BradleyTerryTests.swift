import Algorithms
import Foundation
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("The loss of a reward model")
struct BradleyTerryTests {
    /// What `Tests/References/trl_reward_model.py` wrote: TRL's own losses, gradients and metrics.
    private struct TRL: Decodable {
        struct Case: Decodable {
            let centering: Double
            let margins: [Double]
            let loss: Double
            let gradient: [Double]
            let metrics: [String: Double]
        }

        let scores: [[Double]]
        let cases: [Case]
    }

    private func inputs(_ scores: Tensor, _ margins: [Double]) -> PairScores {
        PairScores(
            scores: scores, margins: margins,
            denominators: Denominators(tokens: 99, sequences: margins.count, maxCompletionLength: 7))
    }

    @Test func lossGradientAndMetricsAreThoseOfTRL() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "trl_reward_model.json")
        let trl = try JSONDecoder().decode(TRL.self, from: Data(contentsOf: file))
        #expect(trl.cases.count == 3)
        for example in trl.cases {
            let scores = try Tensor(trl.scores.flatMap(\.self), shape: [trl.scores.count, 2]).requiringGradient()
            let result = try BradleyTerry.loss(
                inputs(scores, example.margins), BradleyTerrySettings(centering: example.centering))
            try result.loss.backward()
            let read = try result.read()
            #expect(relativeError(read.loss, example.loss) < 1e-12)
            #expect(relativeDistance(try #require(scores.gradient).doubles(), example.gradient) < 1e-12)
            let metrics = read.metrics.metrics
            for (name, value) in example.metrics {
                #expect(abs(try #require(metrics[name], "\(name)") - value) < 1e-6, "\(name)")
            }
            #expect(metrics.names.count == example.metrics.count)
        }
    }

    /// −log σ(1.2 − 0.2 − 0.3) = log(1 + e^−0.7) = 0.403186…, and ½·1.4² = 0.98.
    @Test func aPairByHand() throws {
        let scores = try Tensor([1.2, 0.2], shape: [1, 2])
        let result = try BradleyTerry.loss(inputs(scores, [0.3]), BradleyTerrySettings(centering: 0.5))
        #expect(abs(try result.loss.item() - (log(1 + exp(-0.7)) + 0.98)) < 1e-12)
    }

    @Test func gradientsAreCentralDifferences() throws {
        let settings = BradleyTerrySettings(centering: 0.02)
        let error = try gradientError(at: [([0.4, -1.1, 3, 2.5, -0.2, 0.7], [3, 2])]) { leaves in
            try BradleyTerry.loss(inputs(leaves[0], [0.5, 0, -1]), settings).loss
        }
        #expect(error < 1e-7)
    }

    @Test func scoresAreTwoAPair() throws {
        #expect(throws: TensorError.self) {
            try BradleyTerry.loss(inputs(Tensor([1, 2, 3], shape: [3, 1]), [0]), BradleyTerrySettings())
        }
    }
}
