import Algorithms
import Foundation
import Records
import Tensors
import TestSupport
import Testing

/// What the value loss reads, in plain numbers.
private struct ValueExample {
    var values: [Double]
    var oldValues: [Double]
    var returns: [Double]

    /// Values up to 0.6 from the old ones, on both sides of a clip of 0.2 and at least 1e-3 from it.
    init(count: Int, seed: UInt64) {
        var numbers = TestRandom(seed: seed)
        values = numbers.doubles(count)
        oldValues = values.map { value in
            let shift = numbers.double(in: -0.6...0.6)
            return value + (abs(abs(shift) - 0.2) < 1e-3 ? 0 : shift)
        }
        returns = values.map { $0 + numbers.double() }
    }

    /// L_V, from Schulman's and TRL's words: the worse of the plain and the clipped square of each token, halved.
    func lossByLoops(epsilon: Double) -> Double {
        values.indices.reduce(0) { sum, token in
            let clipped = max(oldValues[token] - epsilon, min(oldValues[token] + epsilon, values[token]))
            let squares = [values[token] - returns[token], clipped - returns[token]].map { $0 * $0 }
            return sum + squares.max()! / 2 / Double(values.count)
        }
    }

    func inputs(_ values: Tensor? = nil) throws -> PPO.ValueInputs {
        PPO.ValueInputs(
            values: try values ?? Tensor(self.values), oldValues: try Tensor(oldValues), returns: try Tensor(returns))
    }
}

@TensorActor @Suite("PPO")
struct PPOTests {
    private func loss(
        _ example: LossExample, values: [Double], oldValues: [Double], returns: [Double], _ settings: PPOSettings
    ) throws -> (result: LossResult, valueGradient: [Double], policyGradient: [Double]) {
        let (inputs, policy, _) = try example.inputs()
        let leaf = try Tensor(values).requiringGradient()
        let result = try PPO.loss(
            inputs, .init(values: leaf, oldValues: Tensor(oldValues), returns: Tensor(returns)), settings)
        try result.loss.backward()
        return (result, try #require(leaf.gradient).doubles(), try #require(policy.gradient).doubles())
    }

    /// L = L_π + c_V·L_V − c_H·H with L_π and H averaged over all 18 tokens.
    @Test func theWholeLossByLoops() throws {
        let example = LossExample(seed: 2)
        let values = ValueExample(count: example.tokenCount, seed: 5)
        let policyLoss = example.policy.indices.reduce(0.0) { sum, token in
            let ratio = exp(example.policy[token] - example.old[token])
            let advantage = example.advantages[token]
            var loss = -min(ratio * advantage, max(0.8, min(1.2, ratio)) * advantage)
            if advantage < 0 { loss = min(loss, -3 * advantage) }
            return sum + loss / 18
        }
        let entropy = example.entropies.reduce(0, +) / 18
        let valueLoss = values.lossByLoops(epsilon: 0.2)
        let settings = PPOSettings(
            clip: .init(upperBound: .dual(3)), valueEpsilon: 0.2, valueCoefficient: 0.4, entropyCoefficient: 0.05)
        let found = try loss(
            example, values: values.values, oldValues: values.oldValues, returns: values.returns, settings)
        #expect(abs(try found.result.loss.item() - (policyLoss + 0.4 * valueLoss - 0.05 * entropy)) < 1e-13)
        let metrics = try found.result.read().metrics.metrics
        #expect(abs(try #require(metrics["policy_loss"]) - policyLoss) < 1e-13)
        #expect(abs(try #require(metrics["value_loss"]) - valueLoss) < 1e-13)
        #expect(abs(try #require(metrics["entropy"]) - entropy) < 1e-13)
    }

    /// A mean over tokens: the bonus falls by c_H / 18 with each token's entropy.
    @Test func theBonusReachesTheEntropies() throws {
        let (inputs, _, entropies) = try LossExample(seed: 2).inputs()
        try PPO.policyLoss(inputs, PPOSettings(entropyCoefficient: 0.36)).loss.backward()
        #expect(
            relativeDistance(try #require(entropies.gradient).doubles(), .init(repeating: -0.02, count: 18)) < 1e-14)
    }

    @Test func theFirstMiniBatchIsThePlainPolicyGradient() throws {
        var example = LossExample(seed: 2)
        example.old = example.policy
        let zeros = example.policy.map { _ in 0.0 }
        let (result, _, gradient) = try loss(
            example, values: zeros, oldValues: zeros, returns: zeros, PPOSettings())
        #expect(relativeDistance(gradient, example.advantages.map { -$0 / 18 }) < 1e-14)
        let metrics = try result.read().metrics.metrics
        #expect(metrics["ratio/max"] == 1)
        #expect(metrics["approx_kl"] == 0)
    }

    // MARK: Values

    /// Two tokens, ε_V 0.2. First: V 1, V_old 0.5, R 2: plain 1, clipped (0.7 − 2)² = 1.69, larger and flat. Second: V
    /// 0.6, V_old 0.5, R 0: both 0.36, slope 2·0.6. L_V = ½·(1.69 + 0.36)/2.
    @Test func valueLossGolden() throws {
        var example = LossExample(seed: 2)
        example.lengths = [2]
        example.advantages = [0, 0]
        let (result, gradient, _) = try loss(
            example, values: [1, 0.6], oldValues: [0.5, 0.5], returns: [2, 0], PPOSettings(valueCoefficient: 1))
        #expect(abs(try result.loss.item() - 0.5125) < 1e-15)
        #expect(relativeDistance(gradient, [0, 0.3]) < 1e-14)
        let metrics = try result.read().metrics.metrics
        #expect(metrics["value_loss"] == (try result.loss.item()))
        #expect(metrics["value_clip_ratio"] == 0.5)
    }

    /// V 1, V_old 0.5, R 0: the plain square is the larger one and keeps its slope although the value is beyond the
    /// clip.
    @Test func aClippedValueStillComesBackTowardsItsReturn() throws {
        var example = LossExample(seed: 2)
        example.lengths = [1]
        example.advantages = [0]
        let (result, gradient, _) = try loss(
            example, values: [1], oldValues: [0.5], returns: [0], PPOSettings(valueCoefficient: 1))
        #expect(try result.loss.item() == 0.5)
        #expect(gradient == [1])
    }

    /// ε_V 0.2. V 0.1 is within it of V_old −0.05, and −0.05 + (0.1 + 0.05) is 0.1 and a rounding more, farther from
    /// the return 0. Of the two tokens the other alone is clipped: V 1, V_old 0.5, R 2.
    @Test func aValueWithinTheClipIsNotCountedForItsRounding() throws {
        let (value, old) = (0.1, -0.05)
        #expect(old + (value - old) > value)
        var example = LossExample(seed: 2)
        example.lengths = [2]
        example.advantages = [0, 0]
        let (result, gradient, _) = try loss(
            example, values: [value, 1], oldValues: [old, 0.5], returns: [0, 2], PPOSettings(valueCoefficient: 1))
        #expect(try result.read().metrics.metrics["value_clip_ratio"] == 0.5)
        #expect(abs(try result.loss.item() - 0.5 * (0.01 + 1.69) / 2) < 1e-15)
        #expect(relativeDistance(gradient, [0.05, 0]) < 1e-14)
    }

    @Test func withoutAValueClipTheLossIsTheSquare() throws {
        var example = LossExample(seed: 2)
        example.lengths = [2]
        example.advantages = [0, 0]
        let (result, gradient, _) = try loss(
            example, values: [1, 0.6], oldValues: [0.5, 0.5], returns: [2, 0],
            PPOSettings(valueEpsilon: nil, valueCoefficient: 0.5))
        #expect(abs(try result.loss.item() - 0.5 * 0.5 * (1 + 0.36) / 2) < 1e-15)
        #expect(relativeDistance(gradient, [-0.25, 0.15]) < 1e-14)
    }

    @Test(arguments: [0.2, nil])
    func theValueGradientIsTheLosssSlope(_ epsilon: Double?) throws {
        let example = ValueExample(count: 18, seed: 6)
        let spans = try CompletionSpans(lengths: [5, 3, 1, 4, 0, 5])
        let denominators = Denominators(tokens: 18, sequences: 6, maxCompletionLength: 8)
        let settings = PPOSettings(valueEpsilon: epsilon, valueCoefficient: 0.7)
        let leaf = try Tensor(example.values).requiringGradient()
        try PPO.valueLoss(example.inputs(leaf), spans, denominators, settings).loss.backward()
        let found = try #require(leaf.gradient).doubles()
        let differences = try centralDifferences(at: example.values, step: 1e-5) { moved in
            try PPO.valueLoss(example.inputs(Tensor(moved)), spans, denominators, settings).loss.item()
        }
        #expect(relativeError(found, differences) < 1e-7)
        // Flat where the clipped square is the larger: with the clip some tokens, without it none.
        #expect(found.contains(0) == (epsilon != nil))
    }

    @Test func theValueLossDoesNotDependOnTheCut() throws {
        let example = ValueExample(count: 18, seed: 7)
        let denominators = Denominators(tokens: 18, sequences: 3, maxCompletionLength: 8)
        func share(_ range: Range<Int>) throws -> LossResult {
            let part = PPO.ValueInputs(
                values: try Tensor(Array(example.values[range])),
                oldValues: try Tensor(Array(example.oldValues[range])),
                returns: try Tensor(Array(example.returns[range])))
            return try PPO.valueLoss(
                part, CompletionSpans(lengths: [range.count]), denominators, PPOSettings(valueCoefficient: 1))
        }
        let parts = [try share(0..<7), try share(7..<8), try share(8..<18)]
        let expected = example.lossByLoops(epsilon: 0.2)
        #expect(abs(try parts.map { try $0.loss.item() }.reduce(0, +) - expected) < 1e-14)
        var metrics = LossMetrics()
        for part in parts { metrics.combine(try part.read().metrics) }
        #expect(abs(try #require(metrics.metrics["value_loss"]) - expected) < 1e-14)
        #expect(metrics.metrics["value_clip_ratio"] == (try share(0..<18).read().metrics.metrics["value_clip_ratio"]))
    }

    @Test func whatDoesNotFitIsRefused() throws {
        let inputs = PPO.ValueInputs(
            values: try Tensor([0.0, 0]), oldValues: try Tensor([0.0]), returns: try Tensor([0.0, 0]))
        #expect(throws: TensorError.self) {
            try PPO.valueLoss(
                inputs, CompletionSpans(lengths: [2]), .init(tokens: 2, sequences: 1, maxCompletionLength: 2),
                PPOSettings())
        }
    }
}
