import Algorithms
import Foundation
import Records
import Tensors
import TestSupport
import Testing

/// What `Tests/References/trl_preferences.py` wrote: TRL's own losses, gradients and metrics.
private struct TRLPreferences: Decodable, Sendable {
    struct Settings: Decodable, Sendable {
        let loss_type: String
        let beta: Double
        let label_smoothing: Double?
        let simpo_gamma: Double?
        let reference_free: Bool?

        var own: DPOSettings {
            get throws {
                DPOSettings(
                    lossType: try #require(.init(rawValue: loss_type)), beta: beta,
                    labelSmoothing: label_smoothing ?? 0, simpoGamma: simpo_gamma ?? 0.5,
                    isReferenceFree: reference_free ?? false)
            }
        }
    }

    struct Case: Decodable, Sendable {
        let settings: Settings
        let loss: Double
        let gradient: [Double]
        let metrics: [String: Double]
    }

    let lengths: [Int]
    let logProbabilities: [Double]
    let referenceLogProbabilities: [Double]
    let cases: [Case]

    static let read = Result {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "trl_preferences.json")
        return try JSONDecoder().decode(TRLPreferences.self, from: Data(contentsOf: file))
    }
}

@TensorActor @Suite("DPO and its kin")
struct DPOTests {
    /// Completions of `lengths` tokens, chosen and rejected in turns, in float64.
    private func inputs(
        _ logProbabilities: Tensor, _ lengths: [Int], reference: [Double]? = nil, prompts: Int? = nil
    ) throws -> PolicyLossInputs {
        let count = lengths.reduce(0, +)
        return PolicyLossInputs(
            logProbabilities: logProbabilities, referenceLogProbabilities: try reference.map { try Tensor($0) },
            advantages: try Tensor.zeros([count], .float64), spans: try CompletionSpans(lengths: lengths),
            denominators: Denominators(
                tokens: count, sequences: prompts ?? lengths.count / 2, maxCompletionLength: 8))
    }

    private func value(
        _ policy: [Double], _ reference: [Double]?, _ lengths: [Int], _ settings: DPOSettings, prompts: Int? = nil
    ) throws -> (loss: Double, gradient: [Double], metrics: Metrics) {
        let leaf = try Tensor(policy).requiringGradient()
        let result = try DPO.loss(inputs(leaf, lengths, reference: reference, prompts: prompts), settings)
        try result.loss.backward()
        let read = try result.read()
        return (read.loss, try #require(leaf.gradient).doubles(), read.metrics.metrics)
    }

    @Test func everyNumberIsTRLs() throws {
        let trl = try TRLPreferences.read.get()
        for example in trl.cases {
            let found = try value(
                trl.logProbabilities, trl.referenceLogProbabilities, trl.lengths, example.settings.own)
            #expect(abs(found.loss / example.loss - 1) < 1e-12, "\(example.settings)")
            for (own, theirs) in zip(found.gradient, example.gradient) { #expect(abs(own - theirs) < 1e-12) }
            #expect(found.gradient.count == example.gradient.count)
            for (name, theirs) in example.metrics {  // TRL's accuracies are float32
                #expect(abs(try #require(found.metrics[name]) - theirs) < 1e-7, "\(name) of \(example.settings)")
            }
            #expect(!example.metrics.isEmpty)
        }
        #expect(trl.cases.count == 10)
    }

    /// −log σ(0.2) = 0.5981388694, and β·σ(−0.2) = 0.0450166003 of it to each side.
    @Test func theWorkedExample() throws {
        let found = try value([-1, -2, -3], [-2, -2, -2], [1, 2], DPOSettings(beta: 0.1))
        // Δ = (−1 + 2) − (−5 + 4) = 2
        #expect(abs(found.loss - 0.598_138_869_4) < 1e-10)
        for (own, expected) in zip(found.gradient, [-0.045_016_600_3, 0.045_016_600_3, 0.045_016_600_3]) {
            #expect(abs(own - expected) < 1e-10)
        }
        #expect(found.metrics["rewards/margins"].map { abs($0 - 0.2) < 1e-12 } == true)
        // Log-probs −1 and −5, lengths 1 and 2: half of 16 and half of 1.
        #expect(found.metrics["logps/variance"] == 8 && found.metrics["lengths/variance"] == 0.5)
    }

    @Test func aPolicyThatIsItsReferenceHasTheLossOfACoin() throws {
        let same = [-0.1, -3.3, -0.7]
        let found = try value(same, same, [2, 1], DPOSettings(beta: 0.1))
        #expect(abs(found.loss - log(2)) < 1e-15)
        #expect(found.metrics["rewards/accuracies"] == 0 && found.metrics["rewards/margins"] == 0)
        #expect(found.gradient == [-0.05, -0.05, 0.05])
    }

    /// L(−Δ) is the loss of the swapped halves; together with the conservative loss of ½ it is symmetric.
    @Test func swappedHalvesNegateTheMargin() throws {
        let (policy, reference) = ([-0.4, -1.2, -2.0, -0.3], [-0.9, -1.0, -1.1, -0.2])
        let one = try value(policy, reference, [2, 2], DPOSettings(beta: 0.4))
        let other = try value(
            [policy[2], policy[3], policy[0], policy[1]], [reference[2], reference[3], reference[0], reference[1]],
            [2, 2], DPOSettings(beta: 0.4))
        let margin = try #require(one.metrics["rewards/margins"])
        #expect(abs(margin + (other.metrics["rewards/margins"] ?? 0)) < 1e-15 && margin != 0)
        // −log σ(z) − (−log σ(−z)) = −z
        #expect(abs(one.loss - other.loss + margin) < 1e-14)
    }

    @Test(arguments: [
        DPOSettings(beta: 0.3), DPOSettings(beta: 0.3, labelSmoothing: 0.1),
        DPOSettings(lossType: .robust, beta: 0.3, labelSmoothing: 0.2), DPOSettings(lossType: .ipo, beta: 0.3),
        DPOSettings(lossType: .simpo, beta: 1.5, simpoGamma: 0.4), DPOSettings(beta: 0.3, isReferenceFree: true),
    ])
    func gradientsAreCentralDifferences(_ settings: DPOSettings) throws {
        let lengths = [3, 1, 2, 4]
        let policy = (0..<10).map { -0.3 - 0.17 * Double($0 * 7 % 10) }
        let reference = (0..<10).map { -0.5 - 0.13 * Double($0 * 3 % 10) }
        let error = try gradientError(at: [(policy, [10])]) { leaves in
            try DPO.loss(inputs(leaves[0], lengths, reference: reference), settings).loss
        }
        #expect(error < 1e-7)
    }

    /// A step divides by its prompts, however it is cut, also by those without a pair.
    @Test func microBatchesAddUp() throws {
        let trl = try TRLPreferences.read.get()
        let settings = DPOSettings(beta: 0.2)
        let whole = try value(
            trl.logProbabilities, trl.referenceLogProbabilities, trl.lengths, settings, prompts: 5)
        var start = 0
        var sum = 0.0
        for pair in stride(from: 0, to: trl.lengths.count, by: 2) {
            let lengths = Array(trl.lengths[pair..<pair + 2])
            let end = start + lengths[0] + lengths[1]
            sum += try value(
                Array(trl.logProbabilities[start..<end]), Array(trl.referenceLogProbabilities[start..<end]), lengths,
                settings, prompts: 5
            ).loss
            start = end
        }
        #expect(abs(whole.loss - sum) < 1e-14)
        let three = try value(trl.logProbabilities, trl.referenceLogProbabilities, trl.lengths, settings)
        #expect(abs(whole.loss * 5 - three.loss * 3) < 1e-13)
    }

    /// Four outcomes with rewards log 1, 2, 4, 8: Bradley–Terry says how often each beats the other, exactly in 45
    /// comparisons. The fit is p_ref·exp(r/β)/Z.
    @Test func itReachesTheClosedFormOptimum() throws {
        let beta = 0.5
        let reference = [0.4, 0.3, 0.2, 0.1]
        var sides: [Int] = []
        for low in 0..<4 {
            for high in (low + 1)..<4 {
                let wins = 45 * (1 << (high - low)) / ((1 << (high - low)) + 1)
                sides += (0..<45).flatMap { $0 < wins ? [high, low] : [low, high] }
            }
        }
        var logits = reference.map { log($0) }
        for _ in 0..<400 {
            let leaf = try Tensor(logits).requiringGradient()
            let chosen = try leaf.logSoftmax(axis: 0).rows(at: sides)
            try DPO.loss(
                inputs(chosen, sides.map { _ in 1 }, reference: sides.map { log(reference[$0]) }),
                DPOSettings(beta: beta)
            ).loss.backward()
            logits = zip(logits, try #require(leaf.gradient).doubles()).map { $0 - 20 * $1 }
        }
        let found = try Tensor(logits).softmax(axis: 0).doubles()
        let raised = reference.enumerated().map { $1 * pow(Double(1 << $0), 1 / beta) }
        let optimum = raised.map { $0 / raised.reduce(0, +) }
        let distance = zip(found, optimum).reduce(0) { $0 + abs($1.0 - $1.1) } / 2
        #expect(distance < 1e-3)
        #expect(zip(reference, optimum).contains { abs($0 - $1) > 0.2 })
    }

    @Test func whatIsMissingIsAnError() throws {
        let leaf = try Tensor([-1.0, -2])
        #expect(throws: LossError.missing("the reference policy's log-probs", method: "dpo")) {
            try DPO.loss(inputs(leaf, [1, 1]), DPOSettings())
        }
        #expect(throws: LossError.missing("the other sides of pairs", method: "dpo")) {
            try DPO.loss(inputs(leaf, [2], prompts: 1), DPOSettings(isReferenceFree: true))
        }
    }
}
