import Algorithms
import Foundation
import PolicyUpdater
import Records
import Tensors
import Testing

@TensorActor @Suite("A bandit with one best token", .timeLimit(.minutes(10)))
struct BanditTests {
    /// Pulls from the policy's own distribution, improves it, and says how likely the best arm became.
    ///
    /// - Parameter advantages: rewards of the pulled arms and of the greedy arm to one advantage each.
    private func solve(
        _ objective: Objective, pulls: Int, steps: Int, advantages: ([Double], Double) -> [Double]
    ) async throws -> (before: Double, after: Double) {
        let policy = try TinyPolicy(objective, .plain(learningRate: 0.03, maxGradientNorm: 1), type: .float32)
        let arms = UpdateBatch(groups: [ExampleBatch.group([1, 2, 0], (0..<7).map { [$0] })])
        let rewards = [0.1, 0.3, 0.0, 1.0, 0.6, 0.2, 0.4]  // token 3 is best
        func probabilities() async throws -> [Double] {
            try await policy.updater.logProbabilities(arms, under: .oldPolicy)[0].map { exp(Double($0[0])) }
        }
        var random = SplitMix(state: 17)
        let before = try await probabilities()[3]
        for _ in 0..<steps {
            let now = try await probabilities()
            let greedy = now.indices.max { now[$0] < now[$1] }!
            let pulled = (0..<pulls).map { _ -> Int in
                var left = Double.random(in: 0..<now.reduce(0, +), using: &random)
                return now.firstIndex {
                    left -= $0; return left < 0
                } ?? 6
            }
            let credit = advantages(pulled.map { rewards[$0] }, rewards[greedy])
            let group = UpdateGroup(
                promptTokenIDs: [1, 2, 0],
                completions: zip(pulled, credit).map { UpdateCompletion(tokenIDs: [$0], advantages: [$1]) })
            _ = try await policy.updater.train(UpdateBatch(groups: [group]))
        }
        return (before, try await probabilities()[3])
    }

    @Test func isSolvedByGRPO() async throws {
        let solved = try await solve(.grpo(GRPOSettings()), pulls: 16, steps: 60) { rewards, _ in
            let mean = rewards.reduce(0, +) / Double(rewards.count)
            let variance = rewards.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rewards.count - 1)
            return rewards.map { ($0 - mean) / (variance.squareRoot() + 1e-4) }
        }
        #expect(solved.before < 0.5)
        #expect(solved.after > 0.9)
    }

    @Test func isSolvedByReMax() async throws {
        let solved = try await solve(.reMax(ReMaxSettings()), pulls: 16, steps: 80) { rewards, greedy in
            rewards.map { $0 - greedy }
        }
        #expect(solved.before < 0.5)
        #expect(solved.after > 0.9)
    }
}

/// A seeded generator, so that the test is the same every time.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
