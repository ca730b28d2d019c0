import Algorithms
import Models
import Placement
import PolicyUpdater
import Records
import TestSupport
import Tensors
import Testing

@TensorActor @Suite("PPO's critic", .timeLimit(.minutes(10)))
struct CriticTests {
    private static let head = (0..<8).map { 0.4 * Double(($0 * 5) % 7) - 1 }

    private func critic(
        _ weights: [String: [Double]]? = nil, training names: Set<String>? = nil, head: [Double]? = Self.head,
        learningRate: Double = 0, beta1: Double = 0, maxTokens: Int? = nil, type: ElementType = .float64,
        hasKLHead: Bool = false
    ) throws -> Critic {
        try TensorEngine.setThreadCount(1)
        let trunk = try Transformer(
            configuration: TinyPolicy.configuration(),
            parameters: TinyPolicy.tensors(weights ?? TinyPolicy.weights(), type))
        return try Critic(
            trunk: trunk, training: names, head: head.map { try Tensor($0, shape: [$0.count / 8, 8]).to(type) },
            objective: PPOSettings(valueEpsilon: 0.2, valueCoefficient: 0.5, hasKLHead: hasKLHead),
            settings: .plain(learningRate: learningRate, beta1: beta1, maxTokensPerMicroBatch: maxTokens),
            verification: .everyHandOver)
    }

    /// Returns of both signs; old values near the present ones, some beyond the clip range.
    private func batch() async throws -> UpdateBatch {
        var batch = try await ExampleBatch.mixed()
        let values = try await critic().values(batch)
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                let own = values.tokens[group][index]
                batch.groups[group].completions[index].oldValues = own.map {
                    $0.enumerated().map { $1 + ($0 % 3 == 0 ? 0.5 : 0.05) }
                }
                batch.groups[group].completions[index].returns = own.map {
                    $0.enumerated().map { Double($1) + ($0 % 2 == 0 ? 0.7 : -0.4) }
                }
            }
        }
        return batch
    }

    @Test func aHeadOfZerosGivesValuesOfZero() async throws {
        let batch = try await ExampleBatch.mixed()
        let values = try await critic(head: nil).values(batch)
        let counts = batch.groups.map { $0.completions.map { [$0.tokenIDs.count] } }
        #expect(values.tokens.map { $0.map { $0.map(\.count) } } == counts)
        #expect(values.tokens.joined().joined().joined().allSatisfy { $0 == 0 })
    }

    /// V_t by hand: the head times the hidden state that a plain forward pass over prompt and completion gives one
    /// token before t; behind the last token the state is that of the token itself.
    @Test func aValueBelongsToTheStateBeforeItsToken() async throws {
        let group = ExampleBatch.group([1, 2, 3], [[4, 5, 6]])
        let values = try await critic().values(UpdateBatch(groups: [group]))
        let model = try TinyPolicy.reference(phase: 0)
        let layout = try SequenceLayout(sequenceLengths: [6])
        let hidden = try model.hiddenStates(tokens: Tensor([1, 2, 3, 4, 5, 6]), layout: layout).doubles()
        for (token, value) in (values.tokens[0][0][0] + values.ends[0][0]).enumerated() {
            let state = hidden[(2 + token) * 8..<(3 + token) * 8]
            let products: [Double] = zip(state, Self.head).map { $0 * $1 }
            let expected = products.reduce(0, +)
            #expect(abs(Double(value) - expected) < 1e-5)
        }
    }

    @Test func itsGradientIsThatOfTheClippedSquares() async throws {
        let batch = try await batch()
        let critic = try critic()
        let loss = try #require(try await critic.train(batch)["value_loss"])
        let gradients = try critic.optimizer.firstMoments.mapValues { try $0.doubles() }
        #expect(loss > 0.01)
        let weights = try TinyPolicy.weights()
        for name in weights.keys.sorted() + [Critic.headName] {
            let count = weights[name]?.count ?? 8
            let direction: [Double] = (0..<count).map { index in
                let size = 0.5 * Double((index * 7) % 5)
                return index % 2 == 0 ? 1 + size : 1 - size
            }
            try await expectSlope(name, of: gradients, along: direction, from: weights, head: Self.head) {
                moved, head in
                try #require(try await self.critic(moved, head: head).train(batch)["value_loss"])
            }
        }
    }

    /// Two heads on one trunk are two critics whose losses are added with weights: each head's gradient is its own, the
    /// trunk's is the sum. ½ mean over tokens and two rewards of (V − R)² counts each by ½; ½ mean over tokens and one
    /// reward + 0.2 mean over tokens of the KL's counts them by 1 and by 0.4.
    @Test(arguments: [(false, [0.5, 0.5]), (true, [1, 0.4])])
    func aHeadForEachStreamIsFittedToItsOwnReturns(_ hasKLHead: Bool, _ weights: [Double]) async throws {
        let other = Self.head.map { 0.3 - 0.5 * $0 }
        let both = try critic(head: Self.head + other, hasKLHead: hasKLHead)
        let single = [try critic(), try critic(head: other)]
        let batch = try await ExampleBatch.mixed()
        let values = try await both.values(batch)
        for (stream, critic) in single.enumerated() {
            let own = try await critic.values(batch)
            #expect(own.tokens == values.tokens.map { $0.map { [$0[stream]] } })
            #expect(own.ends == values.ends.map { $0.map { [$0[stream]] } })
        }
        func taught(_ streams: [Int]) -> UpdateBatch {
            var batch = batch
            for group in batch.groups.indices {
                for index in batch.groups[group].completions.indices {
                    let own = streams.map { values.tokens[group][index][$0] }
                    batch.groups[group].completions[index].oldValues = own
                    batch.groups[group].completions[index].returns = zip(streams, own).map { stream, values in
                        values.enumerated().map { Double($1) + ($0 % 2 == stream ? 0.7 : -0.4) }
                    }
                }
            }
            return batch
        }
        let loss = try #require(try await both.train(taught([0, 1]))["value_loss"])
        var losses: [Double] = []
        for (stream, critic) in single.enumerated() {
            losses.append(try #require(try await critic.train(taught([stream]))["value_loss"]))
        }
        #expect(abs(loss - weights[0] * losses[0] - weights[1] * losses[1]) < 1e-12 && losses[0] != losses[1])
        func gradient(_ critic: Critic, _ name: String) throws -> [Double] {
            try #require(critic.optimizer.firstMoments[name]).doubles()
        }
        for name in both.optimizer.firstMoments.keys {
            let parts = try zip(single, weights).map { critic, weight in
                try gradient(critic, name).map { weight * $0 }
            }
            let expected = name == Critic.headName ? parts[0] + parts[1] : zip(parts[0], parts[1]).map { $0 + $1 }
            #expect(relativeDistance(try gradient(both, name), expected) < 1e-10, "\(name)")
        }
        await #expect(throws: UpdateError.self) { _ = try await both.train(taught([0])) }
    }

    /// The others have the same gradients as in a critic that trains everything, are not moved, and no file has them.
    @Test func itMayTrainAPartOfItsTrunk() async throws {
        let batch = try await batch()
        let names: Set = ["model.layers.0.mlp.up_proj.weight", "model.norm.weight"]
        let (part, whole) = (try critic(training: names), try critic())
        let loss = try await part.train(batch)["value_loss"]
        #expect(try await whole.train(batch)["value_loss"] == loss)
        let gradients = part.optimizer.firstMoments
        #expect(Set(gradients.keys) == names.union([Critic.headName]))
        for (name, gradient) in gradients {
            let expected = try #require(whole.optimizer.firstMoments[name]).doubles()
            #expect(try relativeDistance(gradient.doubles(), expected) < 1e-12, "\(name)")
        }
        let folder = try TemporaryFolder()
        let moving = try critic(training: names, learningRate: 0.02, beta1: 0.9)
        _ = try await moving.train(batch)
        try await moving.save(to: folder.url)
        let file = try TensorFile(url: folder.url.appending(path: "weights.safetensors"))
        #expect(Set(file.names) == names.union([Critic.headName]))
        let (start, weights) = (try TinyPolicy.weights(), try await moving.owner.masters { try $0.model.doubles() })
        for (name, values) in start { #expect((weights[name] == values) == !names.contains(name), "\(name)") }
    }

    @Test func howABatchIsCutChangesNothing() async throws {
        let batch = try await batch()
        let (whole, cut) = (try critic(), try critic(maxTokens: 9))
        _ = try await whole.train(batch)
        _ = try await cut.train(batch)
        for (name, moment) in whole.optimizer.firstMoments {
            #expect(relativeDistance(try cut.optimizer.firstMoments[name]!.doubles(), try moment.doubles()) < 1e-11)
        }
    }

    /// A completion that nobody scored is masked. Its old values and returns are far from what the critic says now, and
    /// its advantages large: unmasked it would pull at both networks.
    @Test func aMaskedCompletionMovesNeitherNetwork() async throws {
        let settings = PPOSettings(valueEpsilon: 0.2, valueCoefficient: 0.5)
        /// First moments of policy and critic: with β₁ = 0 their gradients.
        func gradients(_ batch: UpdateBatch) async throws -> [[String: [Double]]] {
            let critic = try critic()
            let policy = try TinyPolicy(settings, .plain(learningRate: 0, beta1: 0), critic: critic)
            _ = try await policy.updater.train(batch)
            return [try policy.updater.optimizer.firstMoments.doubles(), try critic.optimizer.firstMoments.doubles()]
        }
        var batch = try await batch()
        batch.groups[0].completions[1].advantages = [[50, -40, 30, 60]]
        batch.groups[0].completions[1].oldValues = [[7, 8, 9, 10]]
        batch.groups[0].completions[1].returns = [[-20, -20, -20, -20]]
        let pulled = try await gradients(batch)
        batch.groups[0].completions[1].isMasked = true
        let masked = try await gradients(batch)
        batch.groups[0].completions.remove(at: 1)
        let removed = try await gradients(batch)
        for network in 0..<2 {
            for (name, expected) in removed[network] where expected.contains(where: { $0 != 0 }) {
                #expect(relativeDistance(masked[network][name]!, expected) < 1e-11, "\(network): \(name)")
                #expect(relativeDistance(pulled[network][name]!, expected) > 0.01, "\(network): \(name)")
            }
        }
    }

    @Test func aBatchThatTrainsNothingIsNoStep() async throws {
        var batch = try await batch()
        let critic = try critic(learningRate: 0.1, beta1: 0.9)
        _ = try await critic.train(batch)
        let values = try await critic.values(batch)
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].isMasked = true
            }
        }
        let metrics = try await critic.train(batch)
        #expect(try await critic.values(batch) == values)
        #expect(metrics["critic/grad_norm"] == 0 && metrics["critic/skipped_steps"] == 0)
    }

    @Test func itLearnsReturnsAndGoesOnFromACheckpoint() async throws {
        let batch = try await batch()
        let critic = try critic(head: nil, learningRate: 0.02, beta1: 0.9, type: .float32)
        let first = try #require(try await critic.train(batch)["value_loss"])
        for _ in 0..<60 { _ = try await critic.train(try await rescored(batch, critic)) }
        let folder = try TemporaryFolder()
        try await critic.save(to: folder.url)
        let next = try await critic.train(try await rescored(batch, critic))
        #expect(try #require(next["value_loss"]) < 0.1 * first)
        let other = try self.critic(head: nil, learningRate: 0.02, beta1: 0.9, type: .float32)
        try await other.restore(from: folder.url)
        #expect(try await other.train(try await rescored(batch, other)) == next)
        #expect(try await other.values(batch) == critic.values(batch))
    }

    /// The batch with the critic's present values as old ones, as each new rollout has them.
    private func rescored(_ batch: UpdateBatch, _ critic: Critic) async throws -> UpdateBatch {
        var batch = batch
        let values = try await critic.values(batch)
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].oldValues = values.tokens[group][index]
            }
        }
        return batch
    }
}
