import Algorithms
import Foundation
import Models
import Placement
import PolicyUpdater
import Records
import TestSupport
import Tensors
import Testing

@TensorActor @Suite("PPO's critic as adapters over a frozen base", .timeLimit(.minutes(10)))
struct CriticAdapterTests {
    private static let head = (0..<8).map { 0.4 * Double(($0 * 5) % 7) - 1 }
    private static let objective = PPOSettings(valueEpsilon: 0.2, valueCoefficient: 0.5)

    private func configuration(
        alpha: Double = 3, targets: LoRAConfiguration.Targets = .allLinear, dropout: Double = 0
    ) throws -> ModelConfiguration {
        try TinyPolicy.configuration().adapted(
            by: LoRAConfiguration(rank: 2, alpha: alpha, targets: targets, dropout: dropout))
    }

    /// A and B of both signs, none of them 0.
    private func adapters() throws -> [String: [Double]] {
        let named = try configuration().adapterShapes.enumerated().map { number, shape in
            (shape.name, (0..<shape.count).map { 0.3 * sin(1.7 * Double($0) + Double(number) + 0.5) })
        }
        return Dictionary(uniqueKeysWithValues: named)
    }

    private func tensors(_ adapters: [String: [Double]], _ type: ElementType = .float64) throws -> [String: Tensor] {
        let shapes = Dictionary(uniqueKeysWithValues: try configuration().adapterShapes.map { ($0.name, $0.shape) })
        return try Dictionary(
            uniqueKeysWithValues: adapters.map { ($0, try Tensor($1, shape: shapes[$0]!).to(type)) })
    }

    private func critic(
        _ adapters: [String: [Double]]? = nil, head: [Double] = Self.head, over base: [String: Tensor]? = nil,
        learningRate: Double = 0, beta1: Double = 0, maxTokens: Int? = nil, dropout: Double = 0,
        type: ElementType = .float64
    ) throws -> Critic {
        try TensorEngine.setThreadCount(1)
        let own = try tensors(adapters ?? self.adapters(), type)
        let base = try base ?? TinyPolicy.tensors(TinyPolicy.weights(), type)
        let trunk = try Transformer(
            configuration: configuration(dropout: dropout), parameters: base.merging(own) { $1 })
        return try Critic(
            trunk: trunk, head: Tensor(head, shape: [1, 8]).to(type), objective: Self.objective,
            settings: UpdaterSettings(
                optimizer: UpdaterSettings.plain(learningRate: learningRate, beta1: beta1).optimizer,
                maxCompletionLength: 9, maxTokensPerMicroBatch: maxTokens, dropoutSeed: 5),
            verification: .everyHandOver)
    }

    /// A whole critic whose matrices are W + s·B·A, with s = 3/2, summed in loops here.
    @Test func itsValuesAreThoseOfTheMergedMatrices() async throws {
        let (own, shapes) = (try adapters(), try TinyPolicy.configuration().parameterShapes)
        var weights = try TinyPolicy.weights()
        for shape in shapes where own[shape.name.replacing(".weight", with: ".lora_A.weight")] != nil {
            let down = own[shape.name.replacing(".weight", with: ".lora_A.weight")]!
            let up = own[shape.name.replacing(".weight", with: ".lora_B.weight")]!
            let (rows, columns) = (shape.shape[0], shape.shape[1])
            for row in 0..<rows {
                for column in 0..<columns {
                    let product = up[2 * row] * down[column] + up[2 * row + 1] * down[columns + column]
                    weights[shape.name]![row * columns + column] += 1.5 * product
                }
            }
        }
        let whole = try Critic(
            trunk: Transformer(
                configuration: TinyPolicy.configuration(), parameters: TinyPolicy.tensors(weights)),
            head: Tensor(Self.head, shape: [1, 8]), objective: Self.objective, settings: .plain(learningRate: 0))
        let batch = try await ExampleBatch.valued()
        func values(_ critic: Critic) async throws -> [Double] {
            try await critic.values(batch).tokens.flatMap { $0.flatMap { $0[0].map(Double.init) } }
        }
        let (found, expected) = (try await values(critic()), try await values(whole))
        #expect(relativeDistance(found, expected) < 1e-6)  // they are handed on as float32
        let plain = try await values(critic(adapters().mapValues { $0.map { _ in 0 } }))
        #expect(relativeDistance(plain, expected) > 1e-2)
    }

    /// Central differences of the loss along a direction in each of A, B and the head. β₁ = 0: first moments are
    /// gradients.
    @Test func itsGradientIsThatOfAdaptersAndHeadAlone() async throws {
        let batch = try await ExampleBatch.valued()
        let critic = try critic()
        #expect(try #require(try await critic.train(batch)["value_loss"]) > 0.01)
        let gradients = try critic.optimizer.firstMoments.mapValues { try $0.doubles() }
        let own = try adapters()
        #expect(Set(gradients.keys) == Set(own.keys).union([Critic.headName]))
        for name in gradients.keys.sorted() {
            let direction = (0..<gradients[name]!.count).map { cos(2.3 * Double($0)) }
            try await expectSlope(name, of: gradients, along: direction, from: own, head: Self.head) { moved, head in
                try #require(try await self.critic(moved, head: head).train(batch)["value_loss"])
            }
            #expect(gradients[name]!.contains { abs($0) > 1e-6 }, "\(name)")
        }
    }

    /// Policy and critic have adapters of their own over one base.
    @Test func policyAndCriticHaveOneBaseWhichNobodyWrites() async throws {
        let base = try TinyPolicy.tensors(TinyPolicy.weights(), .float32)
        let before = try base.bits()
        let critic = try critic(over: base, learningRate: 0.02, beta1: 0.9, type: .float32)
        let own = try tensors(adapters(), .float32)
        let role = try ReallocatingActor(
            role: "policy",
            parameters: ParameterSet(trainable: own, frozen: base, adapters: configuration().lowRankUpdates),
            verification: .everyHandOver)
        let updater = try PolicyUpdater(
            policy: role, configuration: configuration(), critic: critic, parts: [PartPlan(Self.objective)],
            settings: .plain(learningRate: 0.01))
        func count(_ shapes: [ParameterShape]) -> Int { shapes.reduce(0) { $0 + $1.count } }
        let (all, added) = try (
            count(TinyPolicy.configuration().parameterShapes), count(configuration().adapterShapes)
        )
        var held = role.footprint()
        held.add(critic.owner.footprint())
        #expect(held.bytes(.weights) == 4 * (all + 2 * added) && held.bytes(.valueHead) == 4 * 8)
        #expect(held.bytes(.optimizer) == 8 * (2 * added + 8))
        let batch = try await ExampleBatch.valued()
        let (values, start) = (try await critic.values(batch), try own.bits())
        for _ in 0..<3 { _ = try await updater.train(batch) }
        #expect(try base.bits() == before)
        #expect(try await critic.values(batch) != values)
        #expect(try own.bits() != start)
    }

    @Test func itGoesOnFromACheckpointOfWhatIsTrained() async throws {
        let batch = try await ExampleBatch.valued()
        func fresh() throws -> Critic { try self.critic(learningRate: 0.02, beta1: 0.9, dropout: 0.3, type: .float32) }
        let critic = try fresh()
        for _ in 0..<3 { _ = try await critic.train(batch) }
        let folder = try TemporaryFolder()
        try await critic.save(to: folder.url)
        let next = try await critic.train(batch)
        let file = try TensorFile(url: folder.url.appending(path: "weights.safetensors"))
        #expect(try Set(file.names) == Set(adapters().keys).union([Critic.headName]))
        let other = try fresh()
        #expect(try await other.values(batch) != critic.values(batch))
        try await other.restore(from: folder.url)
        #expect(try await other.train(batch) == next)
        #expect(try await other.values(batch) == critic.values(batch))
        // A checkpoint of adapters is none of a whole critic.
        let whole = try Critic(
            trunk: TinyPolicy.reference(phase: 0, .float32), objective: Self.objective,
            settings: .plain(learningRate: 0.02))
        await #expect(throws: UpdateError.self) { try await whole.restore(from: folder.url) }
    }

    /// Of a scale names and shapes show nothing; of ranks and projections they do, and the message names the key.
    @Test func adaptersThatAddSomethingElseAreRefused() async throws {
        let folder = try TemporaryFolder()
        try await critic(type: .float32).save(to: folder.url)
        func refusal(_ adapted: ModelConfiguration) async throws -> String {
            let own = try adapted.freshAdapters(seed: 1, elementType: .float32, device: .cpu)
            let trunk = try Transformer(
                configuration: adapted,
                parameters: TinyPolicy.tensors(TinyPolicy.weights(), .float32).merging(own) { $1 })
            let other = try Critic(trunk: trunk, objective: Self.objective, settings: .plain(learningRate: 0))
            let error = await #expect(throws: UpdateError.self) { try await other.restore(from: folder.url) }
            return try #require(error).description
        }
        // 3 / 2 and 4 / 2.
        #expect(
            try await refusal(configuration(alpha: 4)).contains(
                "the critic's adapters are scaled by 1.5, those of the job by 2.0: set lora_r, lora_alpha"))
        #expect(
            try await refusal(configuration(targets: .names(["q_proj"]))).contains("set lora_target_modules as it was"))
        let larger = LoRAConfiguration(rank: 4, alpha: 6, targets: .allLinear)
        #expect(
            try await refusal(TinyPolicy.configuration().adapted(by: larger)).contains(
                "adapters have rank 2, those of the job 4: set lora_r as it was"))
    }

    /// The masks are those of tokens, not of passes; and values are read without any.
    @Test func itDropsInTrainingHoweverABatchIsCut() async throws {
        let batch = try await ExampleBatch.valued()
        func gradients(_ critic: Critic) async throws -> [String: [Double]] {
            _ = try await critic.train(batch)
            return try critic.optimizer.firstMoments.doubles()
        }
        let dropping = try critic(dropout: 0.4)
        #expect(try await dropping.values(batch) == critic().values(batch))
        let whole = try await gradients(dropping)
        let cut = try await gradients(critic(maxTokens: 9, dropout: 0.4))
        let plain = try await gradients(critic())
        for (name, expected) in whole {
            #expect(relativeDistance(cut[name]!, expected) < 1e-10, "\(name)")
            #expect(relativeDistance(plain[name]!, expected) > 1e-3, "\(name)")
        }
    }
}
