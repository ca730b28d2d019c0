import Algorithms
import Models
import Placement
import PolicyUpdater
import Records
import TestSupport
import Tensors
import Testing

@TensorActor @Suite("A critic on the policy's trunk", .timeLimit(.minutes(10)))
struct SharedTrunkTests {
    private static let head = (0..<8).map { 0.4 * Double(($0 * 5) % 7) - 1 }
    /// The first moments' name of the head.
    private static let headName = Critic.headName

    private func objective(valueCoefficient: Double = 0.5) throws -> PPOSettings {
        PPOSettings(
            clip: ClippedSurrogate(upperBound: .dual(3)), valueCoefficient: valueCoefficient, entropyCoefficient: 0.1)
    }

    private func policy(
        head: [Double]? = Self.head, weights: [String: [Double]]? = nil, learningRate: Double = 0, beta1: Double = 0,
        maxGradientNorm: Double? = nil, maxTokens: Int? = nil, type: ElementType = .float64
    ) throws -> TinyPolicy {
        try TinyPolicy(
            objective(),
            .plain(
                learningRate: learningRate, beta1: beta1, maxGradientNorm: maxGradientNorm,
                maxTokensPerMicroBatch: maxTokens),
            weights: weights, type: type, valueHead: head.map { try Tensor($0, shape: [1, 8]).to(type) })
    }

    private func critic() throws -> Critic {
        try Critic(
            trunk: Transformer(
                configuration: TinyPolicy.configuration(), parameters: TinyPolicy.tensors(TinyPolicy.weights())),
            head: Tensor(Self.head, shape: [1, 8]), objective: objective(), settings: .plain(learningRate: 0, beta1: 0))
    }

    /// Old values near the present ones, some beyond the clip range; returns of both signs around them.
    private func batch() async throws -> UpdateBatch {
        var batch = try await ExampleBatch.mixed()
        let values = try await policy().updater.values(batch)
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                let own = values.tokens[group][index][0].enumerated()
                batch.groups[group].completions[index].oldValues = [own.map { $1 + ($0 % 3 == 0 ? 0.5 : 0.05) }]
                batch.groups[group].completions[index].returns = [own.map { Double($1) + ($0 % 2 == 0 ? 0.7 : -0.4) }]
            }
        }
        return batch
    }

    private func gradients(_ updater: PolicyUpdater) throws -> [String: [Double]] {
        try updater.optimizer.firstMoments.mapValues { try $0.doubles() }
    }

    @Test func itsValuesAreThoseOfACriticOfTheSameWeights() async throws {
        let batch = try await ExampleBatch.mixed()
        let found = try await policy().updater.values(batch)
        #expect(try await critic().values(batch) == found)
        #expect(found.tokens.joined().joined().joined().contains { $0 != 0 })
        await #expect(throws: UpdateError.missingCritic) {
            _ = try await policy(head: nil).updater.values(batch)
        }
    }

    /// One loss: what reaches the trunk is the sum of what the policy's and a separate critic's loss would send.
    @Test func theTrunkGetsBothGradients() async throws {
        let batch = try await batch()
        let (shared, plain, critic) = (try policy(), try policy(head: nil), try critic())
        let metrics = try await shared.updater.train(batch)
        let policyMetrics = try await plain.updater.train(batch)
        let criticMetrics = try await critic.train(batch)
        let value = try #require(criticMetrics["value_loss"])
        #expect(abs(try #require(metrics["loss"]) - (try #require(policyMetrics["loss"]) + 0.5 * value)) < 1e-12)
        #expect(metrics["value_loss"] == value)
        #expect(metrics["value_clip_ratio"] == criticMetrics["value_clip_ratio"])
        let (found, own) = (try gradients(shared.updater), try gradients(plain.updater))
        for (name, moment) in critic.optimizer.firstMoments {
            let theirs = try moment.doubles()
            let sum = own[name].map { zip($0, theirs).map(+) } ?? theirs
            #expect(relativeError(try #require(found[name]), sum, floor: 1e-6) < 1e-11, "\(name)")
        }
        #expect(own[Self.headName] == nil && found.count == own.count + 1)
    }

    /// Along one direction in every tensor, the head's among them.
    @Test func theGradientIsTheLosssSlope() async throws {
        let batch = try await batch()
        let shared = try policy()
        _ = try await shared.updater.train(batch)
        let found = try gradients(shared.updater)
        let weights = try TinyPolicy.weights()
        let step = 1e-5
        for name in weights.keys.sorted() + [Self.headName] {
            let count = weights[name]?.count ?? 8
            let direction: [Double] = (0..<count).map { index in
                let size = 0.5 * Double((index * 7) % 5)
                return index % 2 == 0 ? 1 + size : 1 - size
            }
            var losses: [Double] = []
            for sign in [1.0, -1] {
                var (moved, head) = (weights, Self.head)
                if name == Self.headName {
                    for (index, along) in direction.enumerated() { head[index] += sign * step * along }
                } else {
                    for (index, along) in direction.enumerated() { moved[name]![index] += sign * step * along }
                }
                let metrics = try await policy(head: head, weights: moved).updater.train(batch)
                losses.append(try #require(metrics["loss"]))
            }
            let expected = (losses[0] - losses[1]) / (2 * step)
            let products: [Double] = zip(found[name]!, direction).map { $0 * $1 }
            let slope = products.reduce(0, +)
            #expect(abs(slope - expected) < 1e-6 * max(1, abs(expected)), "\(name): \(slope), \(expected)")
        }
    }

    @Test func howABatchIsCutChangesNothing() async throws {
        let batch = try await batch()
        let (whole, cut) = (try policy(), try policy(maxTokens: 9))
        let metrics = [try await whole.updater.train(batch), try await cut.updater.train(batch)]
        for name in ["loss", "value_loss", "policy_loss", "grad_norm"] {
            #expect(abs(try #require(metrics[0][name]) - #require(metrics[1][name])) < 1e-11, "\(name)")
        }
        let (expected, found) = (try gradients(whole.updater), try gradients(cut.updater))
        for (name, values) in expected { #expect(relativeDistance(found[name]!, values) < 1e-11) }
    }

    /// One optimizer: the norm that clips runs over trunk and head together.
    @Test func theHeadIsClippedWithTheTrunk() async throws {
        let batch = try await batch()
        let (free, clipped) = (try policy(), try policy(maxGradientNorm: 0.01))
        let norm = try #require(try await free.updater.train(batch)["grad_norm"])
        _ = try await clipped.updater.train(batch)
        let (before, after) = (try gradients(free.updater), try gradients(clipped.updater))
        let sum = before.values.joined().reduce(0) { $0 + $1 * $1 }
        #expect(abs(norm - sum.squareRoot()) < 1e-11)
        for (name, values) in before {
            #expect(relativeDistance(after[name]!, values.map { $0 * 0.01 / (norm + 1e-6) }) < 1e-9, "\(name)")
        }
    }

    @Test func itLearnsReturnsAndGoesOnFromACheckpoint() async throws {
        let batch = try await batch()
        func policy(weights: [String: [Double]]? = nil) throws -> TinyPolicy {
            try self.policy(
                head: Array(repeating: 0, count: 8), weights: weights, learningRate: 0.02, beta1: 0.9, type: .float32)
        }
        /// As each new rollout has it: present log-probs and values as the old ones, and advantages that ask for
        /// little.
        func step(_ policy: TinyPolicy) async throws -> Metrics {
            var batch = batch
            let old = try await policy.updater.logProbabilities(batch, under: .oldPolicy).tokens
            let values = try await policy.updater.values(batch)
            for group in batch.groups.indices {
                for index in batch.groups[group].completions.indices {
                    batch.groups[group].completions[index].oldLogProbabilities = old[group][index]
                    batch.groups[group].completions[index].oldValues = values.tokens[group][index]
                    batch.groups[group].completions[index].advantages = [
                        old[group][index].indices.map { 0.1 * (Double($0) - 1) }
                    ]
                }
            }
            return try await policy.updater.train(batch)
        }
        let straight = try policy()
        let first = try #require(try await step(straight)["value_loss"])
        for _ in 0..<60 { _ = try await step(straight) }
        let folder = try TemporaryFolder()
        try await straight.updater.save(to: folder.url)
        let saved = try straight.parameters.mapValues { try $0.to(.float64).doubles() }
        let resumed = try policy(weights: saved)
        try await resumed.updater.restore(from: folder.url)
        let expected = [try await step(straight), try await step(straight)]
        #expect([try await step(resumed), try await step(resumed)] == expected)
        #expect(try resumed.bits() == straight.bits())
        let last = try #require(expected[0]["value_loss"])
        #expect(last < 0.2 * first, "\(first), \(last)")
        let headless = try TinyPolicy(objective(), .plain(learningRate: 0.02), weights: saved, type: .float32)
        await #expect(throws: UpdateError.self) { try await headless.updater.restore(from: folder.url) }
    }

    /// The head belongs to the policy's owner: it is lent, watched and written with the trunk, and is no part of the
    /// model.
    @Test func theHeadIsOneOfThePolicysParameters() async throws {
        let head = try Tensor(Self.head, shape: [1, 8])
        let policy = try TinyPolicy(objective(), .plain(learningRate: 0.01), valueHead: head)
        let names = try await policy.actor.infer { lease in
            #expect(lease.parameters.keys.sorted() == lease.masters.keys.sorted())
            #expect(lease.heads.keys.sorted() == [Self.headName])
            return lease.masters.keys.sorted()
        }.value
        #expect(names == policy.parameters.keys.sorted())
        _ = try await policy.updater.train(try await batch())
        #expect(try head.doubles() != Self.head)
        try head.multiplyInPlace(2)
        await #expect(
            throws: PlacementError.weightsChanged(
                role: "policy", parameter: Self.headName, phase: .inferring(PolicyVersion(1)))
        ) { _ = try await policy.updater.values(batch()) }
    }

    @Test func aBatchWithoutReturnsIsRefused() async throws {
        let batch = try await ExampleBatch.mixed()
        await #expect(throws: UpdateError.self) { _ = try await policy().updater.train(batch) }
        _ = try await policy(head: nil).updater.train(batch)
    }
}
