import Algorithms
import Foundation
import JSON
import Records
import Tensors
import Testing

/// What `Tests/References/trl_losses.py` wrote: TRL's own losses, gradients and metrics.
private struct TRLReference: Decodable, Sendable {
    struct Settings: Decodable, Sendable {
        var loss_type: String?
        var importance_sampling_level: String?
        var beta: Double?
        var use_bias_correction_kl: Bool?
        var epsilon: Double?
        var epsilon_high: Double?
        var delta: Double?
        var entropy_coef: Double?
        var off_policy_mask_threshold: Double?
        /// Mode, lower bound, upper bound.
        var importance_sampling: [JSONValue]?
    }

    struct Case: Decodable, Sendable {
        var settings: Settings
        var loss: Double
        var gradient: [Double]
        var entropyGradient: [Double]?
        var metrics: [String: Double]
    }

    var lengths: [Int]
    var maxCompletionLength: Int
    var logProbabilities: [Double]
    var oldLogProbabilities: [Double]
    var referenceLogProbabilities: [Double]
    var rolloutLogProbabilities: [Double]
    var entropies: [Double]
    /// One per completion.
    var advantages: [Double]
    var grpo: [Case]
    var rloo: [Case]

    static func read() throws -> TRLReference {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "trl_losses.json")
        return try JSONDecoder().decode(TRLReference.self, from: Data(contentsOf: file))
    }

    var example: LossExample {
        LossExample(
            lengths: lengths, maxCompletionLength: maxCompletionLength, policy: logProbabilities,
            old: oldLogProbabilities, rollout: rolloutLogProbabilities, reference: referenceLogProbabilities,
            entropies: entropies, advantages: advantages)
    }
}

extension TRLReference.Settings {
    /// The settings of ours that say the same.
    var grpo: GRPOSettings {
        get throws {
            let clip = ClippedSurrogate(
                epsilon: epsilon ?? 0.2, epsilonHigh: epsilon_high, upperBound: delta.map { .delta($0) } ?? .none)
            // With one micro-batch TRL's bnpo is dapo.
            let lossType = try #require(GRPOSettings.LossType(rawValue: loss_type == "bnpo" ? "dapo" : loss_type ?? ""))
            return try GRPOSettings(
                lossType: lossType, importanceLevel: importance_sampling_level == "sequence" ? .sequence : .token,
                clip: clip, klCoefficient: beta ?? 0, correctsKLBias: use_bias_correction_kl ?? false,
                entropyCoefficient: entropy_coef ?? 0, mismatchCorrection: mismatchCorrection,
                offPolicyThreshold: off_policy_mask_threshold)
        }
    }

    private var mismatchCorrection: MismatchCorrection? {
        get throws {
            guard let importance_sampling else { return nil }
            let mode = try #require(importance_sampling[0].text).split(separator: "_")
            return MismatchCorrection(
                granularity: try #require(.init(rawValue: String(mode[0]))),
                constraint: try #require(.init(rawValue: String(mode[1]))), minimum: importance_sampling[1].number,
                maximum: importance_sampling[2].number)
        }
    }
}

@TensorActor @Suite("Losses against TRL's own")
struct TRLLossTests {
    private let reference: TRLReference

    init() throws { reference = try .read() }

    /// TRL's bias correction with sequence ratios is not among the cases: that form is no KL's gradient, see
    /// ``GRPOTests``.
    ///
    /// 1e-6 absolute covers TRL's metrics, which it keeps in float32, and our float32 losses.
    @Test(arguments: [ElementType.float64, .float32])
    func grpo(_ type: ElementType) throws {
        #expect(reference.grpo.count == 27)
        for example in reference.grpo {
            let objective = try example.settings.grpo
            try compare(example, reference.example.evaluate(objective, type: type))
            guard let expected = example.entropyGradient else { continue }
            let (inputs, _, entropies) = try reference.example.inputs(type: type)
            try objective.loss(inputs).loss.backward()
            expectClose(try #require(entropies.gradient).doubles(), expected, example)
        }
    }

    @Test(arguments: [ElementType.float64, .float32])
    func rloo(_ type: ElementType) throws {
        #expect(reference.rloo.count == 2)
        for var example in reference.rloo {
            // TRL's loss has the constant −A/6 of the empty completion in it. It has no gradient, and no token here.
            example.loss += reference.advantages[4] / 6
            let objective = RLOOSettings(
                ratioClip: ClippedSurrogate(epsilon: try #require(example.settings.epsilon)))
            try compare(example, reference.example.evaluate(objective, type: type))
        }
    }

    private func compare(
        _ example: TRLReference.Case, _ found: (loss: Double, gradient: [Double], metrics: LossMetrics)
    ) throws {
        expectClose([found.loss], [example.loss], example)
        expectClose(found.gradient, example.gradient, example)
        for (name, expected) in example.metrics where name != "entropy_coef" {
            let value = try #require(found.metrics.metrics[name], "\(name) for \(example.settings)")
            // TRL counts an empty completion as one of six when ratios are per completion; it has no ratio here.
            let isPerCompletion = example.settings.loss_type == nil || example.settings.importance_sampling_level != nil
            let scale = isPerCompletion && name.hasPrefix("clip_ratio") && name.hasSuffix("mean") ? 5.0 / 6 : 1
            expectClose([value * scale], [expected], example, name)
        }
    }

    private func expectClose(
        _ found: [Double], _ expected: [Double], _ example: TRLReference.Case, _ what: String = "",
        tolerance: Double = 2e-6
    ) {
        let distance = zip(found, expected).map { abs($0 - $1) }.max() ?? 0
        #expect(found.count == expected.count && distance < tolerance, "\(what) \(distance): \(example.settings)")
    }
}
