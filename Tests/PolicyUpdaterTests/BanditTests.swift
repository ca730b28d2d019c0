import Algorithms
import Foundation
import Models
import PolicyUpdater
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("A bandit with one best token", .timeLimit(.minutes(10)))
struct BanditTests {
    private static let prompt = [1, 2, 0]
    private static let rewards = [0.1, 0.3, 0.0, 1.0, 0.6, 0.2, 0.4]  // token 3 is best

    /// How likely each token is after the prompt.
    private func probabilities(_ policy: TinyPolicy) async throws -> [Double] {
        let arms = UpdateBatch(groups: [ExampleBatch.group(Self.prompt, (0..<7).map { [$0] })])
        return try await policy.updater.logProbabilities(arms, under: .oldPolicy).tokens[0].map { exp(Double($0[0])) }
    }

    private func pull(_ count: Int, _ probabilities: [Double], _ random: inout TestRandom) -> [Int] {
        (0..<count).map { _ in
            var left = Double.random(in: 0..<probabilities.reduce(0, +), using: &random)
            return probabilities.firstIndex {
                left -= $0
                return left < 0
            } ?? 6
        }
    }

    /// Pulls from the policy's own distribution, improves it, and says how likely the best arm became.
    ///
    /// - Parameter advantages: rewards of the pulled arms and of the greedy arm to one advantage each.
    private func solve(
        _ objective: Objective, pulls: Int, steps: Int, advantages: ([Double], Double) -> [Double]
    ) async throws -> (before: Double, after: Double) {
        let policy = try TinyPolicy(objective, .plain(learningRate: 0.03, maxGradientNorm: 1), type: .float32)
        var random = TestRandom(seed: 17)
        let before = try await probabilities(policy)[3]
        for _ in 0..<steps {
            let now = try await probabilities(policy)
            let greedy = now.indices.max { now[$0] < now[$1] }!
            let pulled = pull(pulls, now, &random)
            let credit = advantages(pulled.map { Self.rewards[$0] }, Self.rewards[greedy])
            let group = UpdateGroup(
                promptTokenIDs: Self.prompt,
                completions: zip(pulled, credit).map { UpdateCompletion(tokenIDs: [$0], advantages: [[$1]]) })
            _ = try await policy.updater.train(UpdateBatch(groups: [group]))
        }
        return (before, try await probabilities(policy)[3])
    }

    /// (x − mean) / (std + floor)
    private static func normalized(_ values: [Double], floor: Double = 1e-4) -> [Double] {
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)
        return values.map { ($0 - mean) / (variance.squareRoot() + floor) }
    }

    @Test func isSolvedByGRPO() async throws {
        let solved = try await solve(GRPOSettings(), pulls: 16, steps: 60) { rewards, _ in
            Self.normalized(rewards)
        }
        #expect(solved.before < 0.5)
        #expect(solved.after > 0.9)
    }

    @Test func isSolvedByReMax() async throws {
        let solved = try await solve(ReMaxSettings(), pulls: 16, steps: 80) { rewards, greedy in
            rewards.map { $0 - greedy }
        }
        #expect(solved.before < 0.5)
        #expect(solved.after > 0.9)
    }

    @Test func isSolvedByRLOO() async throws {
        let solved = try await solve(RLOOSettings(), pulls: 16, steps: 80) { rewards, _ in
            let sum = rewards.reduce(0, +)
            return rewards.map { $0 - (sum - $0) / Double(rewards.count - 1) }
        }
        #expect(solved.before < 0.5)
        #expect(solved.after > 0.9)
    }

    @Test func isSolvedByREINFORCEPlusPlus() async throws {
        let settings = REINFORCEPlusPlusSettings()
        let solved = try await solve(settings, pulls: 16, steps: 60) { rewards, _ in
            Self.normalized(rewards)
        }
        #expect(solved.before < 0.5)
        #expect(solved.after > 0.9)
    }

    /// The critic learns beside the policy what the prompt is worth, which is the baseline; each rollout serves two
    /// steps, the second with ratios.
    @Test func isSolvedByPPOWithItsCritic() async throws {
        let settings = PPOSettings(valueCoefficient: 1)
        let critic = try Critic(
            trunk: Transformer(
                configuration: TinyPolicy.configuration(),
                parameters: TinyPolicy.tensors(TinyPolicy.weights(), .float32)),
            objective: settings, settings: .plain(learningRate: 0.02, maxGradientNorm: 1))
        let policy = try TinyPolicy(
            settings, .plain(learningRate: 0.01, maxGradientNorm: 1), type: .float32, critic: critic)
        var random = TestRandom(seed: 18)
        let before = try await probabilities(policy)[3]
        var batch = UpdateBatch(groups: [])
        for _ in 0..<60 {
            let pulled = pull(32, try await probabilities(policy), &random)
            batch.groups = [
                UpdateGroup(promptTokenIDs: Self.prompt, completions: pulled.map { UpdateCompletion(tokenIDs: [$0]) })
            ]
            let old = try await policy.updater.logProbabilities(batch, under: .oldPolicy).tokens[0]
            let values = try await policy.updater.values(batch).tokens[0]
            for (index, token) in pulled.enumerated() {
                batch.groups[0].completions[index].advantages = [[Self.rewards[token] - Double(values[index][0][0])]]
                batch.groups[0].completions[index].oldLogProbabilities = old[index]
                batch.groups[0].completions[index].oldValues = values[index]
                batch.groups[0].completions[index].returns = [[Self.rewards[token]]]
            }
            for _ in 0..<2 { _ = try await policy.updater.train(batch) }
        }
        #expect(before < 0.5)
        let after = try await probabilities(policy)
        #expect(after[3] > 0.9)
        let worth = zip(after, Self.rewards).map { $0 * $1 }.reduce(0, +)
        #expect(abs(Double(try await critic.values(batch).tokens[0][0][0][0]) - worth) < 0.1)
    }
}
