import Algorithms
import Foundation
import Records
import Tensors
import TestSupport
import Testing

/// What `Tests/References/verl_core.py` wrote: verl's own losses, gradients and KL penalties.
private struct VerlReference: Decodable, Sendable {
    struct Policy: Decodable, Sendable {
        var name: String
        /// verl's `loss_agg_mode`.
        var mode: String
        var loss: Double
        var gradient: [Double]
        var clipFraction: Double?
        var dualFraction: Double?
    }

    struct Value: Decodable, Sendable {
        var clip: Double
        var loss: Double
        var gradient: [Double]
        var clipFraction: Double
    }

    struct KL: Decodable, Sendable {
        /// verl's name of the estimator.
        var kind: String
        var values: [Double]
        var slopes: [Double]
    }

    var lengths: [Int]
    var maxCompletionLength: Int
    var logProbabilities: [Double]
    var oldLogProbabilities: [Double]
    var rolloutLogProbabilities: [Double]
    /// One per completion.
    var advantages: [Double]
    var policy: [Policy]
    /// One per token, as are the next two.
    var values: [Double]
    var oldValues: [Double]
    var returns: [Double]
    var value: [Value]
    /// log π − log π_ref.
    var differences: [Double]
    var kl: [KL]

    static func read() throws -> VerlReference {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "verl_losses.json")
        return try JSONDecoder().decode(VerlReference.self, from: Data(contentsOf: file))
    }

    var example: LossExample {
        LossExample(
            lengths: lengths, maxCompletionLength: maxCompletionLength, policy: logProbabilities,
            old: oldLogProbabilities, rollout: rolloutLogProbabilities, advantages: advantages)
    }
}

extension VerlReference.Policy {
    /// The method of ours that has this loss. verl's dual clip of 3 is always on.
    var objective: Objective {
        get throws {
            let dual = ClippedSurrogate(upperBound: .dual(3))
            switch (name, mode) {
            case ("vanilla", "token-mean"): return PPOSettings(clip: dual)
            case ("vanilla", "seq-mean-token-sum"): return ReMaxSettings(reduction: .sequenceSum, ratioClip: dual)
            case ("vanilla", "seq-mean-token-mean"): return REINFORCEPlusPlusSettings(clip: dual)
            case ("vanilla", _): return GRPOSettings(lossType: .drGRPO, clip: dual)
            case ("uncounted", _): return GRPOSettings(lossType: .grpo, clip: dual)
            case ("clip higher", _): return PPOSettings(clip: .init(epsilonHigh: 0.28, upperBound: .dual(10)))
            case ("gspo", _):
                return GRPOSettings(
                    lossType: .grpo, importanceLevel: .sequence, clip: .init(epsilon: 0.03, epsilonHigh: 0.04))
            case ("cispo", _): return GRPOSettings(lossType: .cispo, clip: .init(epsilonHigh: 5))
            case ("reinforce", "token-mean"): return ReMaxSettings()
            case ("reinforce", _): return RLOOSettings(ratioClip: nil)
            default: return try GRPOSettings(clip: dual, mismatchCorrection: mismatchCorrection)
            }
        }
    }

    /// `weighted LEVEL MAXIMUM` truncates, `weighted LEVEL MINIMUM_MAXIMUM` masks; verl calls the second IcePop.
    private var mismatchCorrection: MismatchCorrection {
        get throws {
            let words = name == "bypass" ? ["weighted", "token", "1.125"] : name.split(separator: " ").map(String.init)
            let bounds = words[2].split(separator: "_").compactMap { Double($0) }
            return MismatchCorrection(
                granularity: try #require(.init(rawValue: words[1])),
                constraint: bounds.count == 2 ? .mask : .truncate, minimum: bounds.count == 2 ? bounds[0] : nil,
                maximum: bounds.last)
        }
    }
}

@TensorActor @Suite("Losses against verl's own")
struct VerlLossTests {
    private let reference: VerlReference

    init() throws { reference = try .read() }

    /// In bypass mode the sampler's log-probs are the old ones: the ratio corrects for it, and every weight is 1.
    @Test(arguments: [ElementType.float64, .float32])
    func policyLosses(_ type: ElementType) throws {
        #expect(reference.policy.count == 15)
        for expected in reference.policy {
            var example = reference.example
            if expected.name == "bypass" { example.old = example.rollout }
            let found = try example.evaluate(expected.objective, type: type)
            // verl counts five completions where the batch's own number is not given: the empty one is left out. Six
            // here.
            let scale = expected.name == "uncounted" ? 6.0 / 5 : 1
            let tolerance = type == .float64 ? 1e-8 : 1e-6
            #expect(abs(found.loss * scale - expected.loss) < tolerance, "\(expected.name), \(expected.mode)")
            let gradient = found.gradient.map { $0 * scale }
            #expect(largestDifference(gradient, expected.gradient) < tolerance, "\(expected.name), \(expected.mode)")
        }
    }

    /// GSPO's are left out: verl counts tokens where the ratio is a completion's. CISPO's too: verl counts what is
    /// beyond the clip whatever the advantage, which that loss learns from all the same.
    @Test func shareOfClippedTokens() throws {
        let clipped = reference.policy.filter { !["gspo", "cispo", "reinforce"].contains($0.name) }
        #expect(clipped.count == 11)
        for expected in clipped {
            var example = reference.example
            if expected.name == "bypass" { example.old = example.rollout }
            let metrics = try example.evaluate(expected.objective).metrics.metrics
            for (name, share) in [
                ("clip_ratio/region_mean", expected.clipFraction), ("clip_ratio/dual_mean", expected.dualFraction),
            ] {
                #expect(abs(try #require(metrics[name]) - #require(share)) < 1e-8, "\(name), \(expected.name)")
            }
        }
    }

    @Test(arguments: [ElementType.float64, .float32])
    func valueLosses(_ type: ElementType) throws {
        for expected in reference.value {
            let values = try Tensor(reference.values).to(type).requiringGradient()
            let found = try PPO.valueLoss(
                .init(
                    values: values, oldValues: Tensor(reference.oldValues).to(type),
                    returns: Tensor(reference.returns).to(type)),
                CompletionSpans(lengths: reference.lengths), reference.example.denominators,
                PPOSettings(valueEpsilon: expected.clip, valueCoefficient: 1))
            try found.loss.backward()
            #expect(abs(try found.loss.item() - expected.loss) < 1e-6)
            #expect(largestDifference(try #require(values.gradient).doubles(), expected.gradient) < 1e-6)
            let share = try #require(found.read().metrics.metrics["value_clip_ratio"])
            #expect(abs(share - expected.clipFraction) < 1e-8)
        }
    }

    /// With verl's clamp all numbers are verl's.
    @Test func k3ClampedIsVerls() throws {
        let expected = try #require(reference.kl.first { $0.kind == "k3" })
        let policy = try Tensor(reference.differences).requiringGradient()
        let estimate = try KLEstimator.k3.estimate(
            policy: policy, reference: Tensor(reference.differences.map { _ in 0 }), largestK3: 10)
        try estimate.sum().backward()
        #expect(largestDifference(try estimate.doubles(), expected.values) < 1e-12)
        #expect(largestDifference(try #require(policy.gradient).doubles(), expected.slopes) < 1e-12)
        #expect(expected.values.count { $0 == 10 } == 2)
    }

    /// In GRPO's loss, by plain loops, each token's share of three.
    @Test func aClampedTermOfTheLoss() throws {
        let policy = [-1.0, -0.5, -4]
        let distances = [-4.0, 0.5, 12]  // log π − log π_ref; k3 is 49.6, 0.1 and 11.0
        let example = LossExample(
            lengths: [2, 1], maxCompletionLength: 2, policy: policy, old: [-1.5, -0.5, -3.5],
            rollout: [-1.5, -0.5, -3.5], reference: zip(policy, distances).map { $0 - $1 }, entropies: [1, 1, 1],
            advantages: [0, 0])
        func found(_ clamp: Double?) throws -> (loss: Double, gradient: [Double]) {
            let found = try example.evaluate(
                GRPOSettings(klCoefficient: 0.3, correctsKLBias: false, largestK3: clamp))
            return (found.loss, found.gradient)
        }
        var (loss, gradient) = (0.0, [0.0, 0.0, 0.0])
        for (token, d) in distances.enumerated() {
            let k3 = exp(-d) - 1 + d
            loss += 0.3 * min(k3, 10) / 3
            if k3 < 10 { gradient[token] = 0.3 * (1 - exp(-d)) / 3 }
        }
        let clamped = try found(10)
        #expect(abs(clamped.loss - loss) < 1e-12, "\(clamped.loss), \(loss)")
        #expect(largestDifference(clamped.gradient, gradient) < 1e-12, "\(clamped.gradient), \(gradient)")
        let plain = try found(nil)
        #expect(plain.loss > loss + 1 && plain.gradient[0] < -1)
    }

    /// Where verl's k3 is clamped to 10, ours goes on as e^(−d) − 1 + d with the slope 1 − e^(−d), as its definition
    /// says.
    @Test func klPenalties() throws {
        let differences = reference.differences
        var clamped: [Double] = []
        for expected in reference.kl {
            let estimator = try #require(KLEstimator(rawValue: expected.kind))
            let policy = try Tensor(differences).requiringGradient()
            let estimate = try estimator.estimate(policy: policy, reference: Tensor(differences.map { _ in 0 }))
            try estimate.sum().backward()
            let (values, slopes) = (try estimate.doubles(), try #require(policy.gradient).doubles())
            for (index, d) in differences.enumerated() {
                var (value, slope) = (expected.values[index], expected.slopes[index])
                if estimator == .k3, value == 10 {
                    #expect(slope == 0)
                    (value, slope) = (exp(-d) - 1 + d, 1 - exp(-d))
                    clamped.append(d)
                }
                #expect(
                    abs(values[index] - value) < 1e-12 && abs(slopes[index] - slope) < 1e-12, "\(expected.kind), \(d)")
            }
        }
        #expect(reference.kl.count == 4 && clamped == [-4, 12])
    }
}
