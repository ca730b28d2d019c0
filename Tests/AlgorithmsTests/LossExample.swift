import Algorithms
import Tensors
import Testing

/// A small batch in plain numbers, from which tensors of any part of it can be made.
struct LossExample: Sendable {
    /// Tokens per completion; one of them is empty.
    var lengths = [5, 3, 1, 4, 0, 5]
    var maxCompletionLength = 8
    /// One per token, as are the next four.
    var policy: [Double]
    var old: [Double]
    var reference: [Double]
    var rollout: [Double]
    var entropies: [Double]
    /// One per token.
    var advantages: [Double]
    /// One per token; `nil` for 1 everywhere.
    var klWeights: [Double]?

    /// Numbers from a small generator, the same for the same seed. Ratios lie on both sides of the usual clips, at
    /// least 1e-3 from them, so that differences of step 1e-5 stay on one side.
    init(seed: UInt64) {
        var state = seed
        func draw(_ low: Double, _ high: Double) -> Double {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return low + (high - low) * Double(state >> 11) / Double(1 << 53)
        }
        let count = lengths.reduce(0, +)
        let policy = (0..<count).map { _ in draw(-3, -0.2) }
        self.policy = policy
        old = policy.map { $0 + draw(-0.7, 0.7) }
        old[1] = policy[1] - 2
        old[6] = policy[6] - 1.9
        reference = policy.map { $0 + draw(-0.8, 0.8) }
        rollout = old.map { $0 + draw(-0.3, 0.3) }
        entropies = policy.map { _ in draw(0.1, 2) }
        let perCompletion = [0.9, -1.1, 0.4, -0.6, 0.7, 0.25]
        advantages = zip(perCompletion, lengths).flatMap { [Double](repeating: $0, count: $1) }
    }

    /// An example of given numbers, with what is left out taken from the small generator.
    ///
    /// - Parameter advantages: One per completion.
    init(
        lengths: [Int], maxCompletionLength: Int, policy: [Double], old: [Double], rollout: [Double],
        reference: [Double]? = nil, entropies: [Double]? = nil, advantages: [Double]
    ) {
        self.init(seed: 1)
        self.lengths = lengths
        self.maxCompletionLength = maxCompletionLength
        self.policy = policy
        self.old = old
        self.rollout = rollout
        self.reference = reference ?? self.reference
        self.entropies = entropies ?? self.entropies
        self.advantages = zip(advantages, lengths).flatMap { [Double](repeating: $0, count: $1) }
    }

    var tokenCount: Int { lengths.reduce(0, +) }

    var denominators: Denominators {
        Denominators(tokens: tokenCount, sequences: lengths.count, maxCompletionLength: maxCompletionLength)
    }

    /// The token positions of each completion.
    var ranges: [Range<Int>] {
        var start = 0
        return lengths.map { length in
            defer { start += length }
            return start..<start + length
        }
    }

    /// The inputs of some completions in the given order, with the whole example's denominators.
    ///
    /// - Returns: The inputs and the leaf that collects the gradient.
    func inputs(
        completions: [Int]? = nil, type: ElementType = .float64
    ) throws -> (inputs: PolicyLossInputs, policy: Tensor, entropies: Tensor) {
        let chosen = completions ?? Array(lengths.indices)
        func tensor(_ values: [Double]) throws -> Tensor {
            try Tensor(chosen.flatMap { values[ranges[$0]] }).to(type)
        }
        let policy = try tensor(policy).requiringGradient()
        let entropies = try tensor(entropies).requiringGradient()
        let inputs = PolicyLossInputs(
            logProbabilities: policy, oldLogProbabilities: try tensor(old),
            rolloutLogProbabilities: try tensor(rollout), referenceLogProbabilities: try tensor(reference),
            klWeights: try klWeights.map(tensor), advantages: try tensor(advantages), entropies: entropies,
            spans: try CompletionSpans(lengths: chosen.map { lengths[$0] }), denominators: denominators)
        return (inputs, policy, entropies)
    }

    /// Loss, gradient over the chosen completions' tokens, and metrics.
    func evaluate(
        _ objective: Objective, completions: [Int]? = nil, type: ElementType = .float64
    ) throws -> (loss: Double, gradient: [Double], metrics: LossMetrics) {
        let (inputs, policy, _) = try inputs(completions: completions, type: type)
        let result = try objective.loss(inputs)
        try result.loss.backward()
        let zeros = [Double](repeating: 0, count: policy.count)
        let found = try result.read()
        return (found.loss, try policy.gradient?.doubles() ?? zeros, found.metrics)
    }

    /// The gradient of the objective's loss by central differences in float64.
    func centralDifferences(_ objective: Objective, step: Double = 1e-5) throws -> [Double] {
        try policy.indices.map { token in
            func loss(_ shift: Double) throws -> Double {
                var moved = self
                moved.policy[token] += shift
                return try objective.loss(moved.inputs().inputs).loss.item()
            }
            return (try loss(step) - loss(-step)) / (2 * step)
        }
    }
}

/// The methods and settings that the invariants are tested on.
struct NamedObjective: Sendable, CustomTestStringConvertible {
    let name: String
    let objective: Objective
    var testDescription: String { name }

    static var all: [NamedObjective] {
        get throws {
            let correction = MismatchCorrection(granularity: .token, constraint: .truncate, maximum: 1.1)
            let sequenceMask = MismatchCorrection(granularity: .sequence, constraint: .mask, maximum: 1.3)
            let gspo = ClippedSurrogate(epsilon: 0.05)
            let delta = ClippedSurrogate(epsilonHigh: 0.28, upperBound: .delta(4))
            let dual = ClippedSurrogate(upperBound: .dual(3))
            let cispo = ClippedSurrogate(epsilonHigh: 5)
            return [
                .init(name: "sft", objective: SupervisedFineTuning()),
                .init(name: "grpo", objective: GRPOSettings(lossType: .grpo, klCoefficient: 0.3)),
                .init(name: "dr_grpo", objective: GRPOSettings(lossType: .drGRPO, clip: delta)),
                .init(name: "dapo, k2", objective: GRPOSettings(clip: dual, klCoefficient: 0.3, klEstimator: .k2)),
                .init(
                    name: "gspo", objective: GRPOSettings(lossType: .grpo, importanceLevel: .sequence, clip: gspo)),
                .init(
                    name: "dapo, token mismatch",
                    objective: GRPOSettings(klCoefficient: 0.3, mismatchCorrection: correction)),
                .init(
                    name: "grpo, sequence mismatch",
                    objective: GRPOSettings(lossType: .grpo, mismatchCorrection: sequenceMask, offPolicyThreshold: 0.02)
                ),
                .init(
                    name: "dapo, k1 corrected and entropy",
                    objective: GRPOSettings(klCoefficient: 0.3, klEstimator: .k1, entropyCoefficient: 0.01)),
                .init(name: "remax", objective: ReMaxSettings()),
                .init(name: "remax, sequence sum", objective: ReMaxSettings(reduction: .sequenceSum)),
                .init(name: "remax, clipped", objective: ReMaxSettings(ratioClip: .init())),
                .init(name: "rloo", objective: RLOOSettings(ratioClip: ClippedSurrogate(epsilon: 0.9))),
                .init(name: "rloo, paper", objective: RLOOSettings(ratioClip: nil)),
                .init(name: "reinforce++", objective: REINFORCEPlusPlusSettings(klCoefficient: 0.2)),
                .init(name: "ppo", objective: PPOSettings()),
                .init(
                    name: "ppo, dual clip and entropy",
                    objective: PPOSettings(clip: dual, entropyCoefficient: 0.01)),
                .init(name: "cispo", objective: GRPOSettings(lossType: .cispo, clip: cispo)),
            ]
        }
    }
}
