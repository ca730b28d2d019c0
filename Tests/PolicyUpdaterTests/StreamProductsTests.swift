import Algorithms
import PolicyUpdater
import Records
import TestSupport
import Tensors
import Testing

@TensorActor @Suite("Inner products of the gradients of streams", .timeLimit(.minutes(10)))
struct StreamProductsTests {
    /// The mixed batch with three streams of advantages.
    private func batch(hasReturns: Bool = false) async throws -> UpdateBatch {
        var batch = try await hasReturns ? ExampleBatch.valued() : ExampleBatch.mixed()
        for group in batch.parts[0].groups.indices {
            for index in batch.parts[0].groups[group].completions.indices {
                let own = batch.parts[0].groups[group].completions[index].advantages[0]
                batch.parts[0].groups[group].completions[index].advantages = [
                    own, own.enumerated().map { Double($0) - 0.5 + $1 / 3 }, own.map { -2 * $0 * $0 },
                ]
            }
        }
        batch.parts[0].streamWeights = [0.5, 2, -1]
        return batch
    }

    private func policy(_ maxTokens: Int? = nil) throws -> TinyPolicy {
        try TinyPolicy(
            GRPOSettings(lossType: .grpo), .plain(learningRate: 0.25, beta1: 0, maxTokensPerMicroBatch: maxTokens))
    }

    /// ⟨g_j, g_k⟩ by plain sums over Double, of gradients that an updater of one stream alone has; in one piece and in
    /// several.
    @Test(arguments: [nil, 9])
    func theyAreThoseOfStreamsAlone(_ maxTokens: Int?) async throws {
        let batch = try await batch()
        let policy = try policy(maxTokens)
        let before = try policy.parameters.bits()
        let found = try await policy.updater.streamProducts(batch, stop: nil)
        var gradients: [[Double]] = []
        for stream in 0..<3 {
            var alone = batch
            for group in alone.parts[0].groups.indices {
                for index in alone.parts[0].groups[group].completions.indices {
                    let all = alone.parts[0].groups[group].completions[index].advantages
                    alone.parts[0].groups[group].completions[index].advantages = [all[stream]]
                }
            }
            alone.parts[0].streamWeights = [1]
            let one = try self.policy(maxTokens)
            _ = try await one.updater.train(alone)
            let moments = try one.updater.optimizer.firstMoments.doubles()
            gradients.append(moments.keys.sorted().flatMap { moments[$0]! })
        }
        for row in 0..<3 {
            for column in 0..<3 {
                let expected = zip(gradients[row], gradients[column]).map(*).reduce(0, +)
                #expect(abs(found.gram[row][column] - expected) < 1e-10 * (1 + abs(expected)), "\(row) \(column)")
                #expect(found.gram[row][column] == found.gram[column][row])
            }
        }
        #expect(found.learningRate == 0.25 && found.peakLearningRate == 0.25)
        #expect(try policy.parameters.bits() == before && policy.actor.version == PolicyVersion(0))
    }

    /// Streams are compared before a method has what it imitates beside its rollouts.
    @Test func whatIsImitatedBesideThemIsNotRead() async throws {
        let batch = try await batch()
        let both = try TinyPolicy(
            parts: [
                PartPlan(GRPOSettings(lossType: .grpo)),
                PartPlan(SupervisedFineTuning(), on: .demonstrations, name: "sft"),
            ], .plain(learningRate: 0.25, beta1: 0))
        let found = try await both.updater.streamProducts(batch, stop: nil)
        let alone = try await policy().updater.streamProducts(batch, stop: nil)
        var mixed = batch
        mixed.parts.append(UpdatePart(.demonstrations, batch.groups))
        let whole = try await both.updater.streamProducts(mixed, stop: nil)
        #expect(found == alone && whole == alone)
    }

    /// A teacher's divergence over the whole vocabulary is no reward's: the products are those without it.
    @Test func aTeachersDivergenceIsInNone() async throws {
        let batch = try await batch()
        func products(_ form: DistillationSettings.Form) async throws -> [Double] {
            let policy = try TinyPolicy(
                DistillationSettings(form: form, usesAdvantages: true), .plain(learningRate: 0.25, beta1: 0),
                reference: TinyPolicy.reference())
            return try await policy.updater.streamProducts(batch, stop: nil).gram.flatMap(\.self)
        }
        let (beside, without) = (try await products(.full), try await products(.sampled))
        #expect(zip(beside, without).allSatisfy { abs($0 - $1) < 1e-12 * (1 + abs($1)) } && without[0] > 1e-6)
    }

    /// A critic on the policy's trunk and a bonus of entropy pull alike whatever the advantages: the products are those
    /// of the same loss without them. A KL term is in each.
    @Test func neitherACriticsLossNorAnEntropyBonusIsInAny() async throws {
        let batch = try await batch(hasReturns: true)
        func products(_ objective: any Objective, hasCritic: Bool = false) async throws -> [Double] {
            let head = try hasCritic ? Tensor((0..<8).map { 0.4 * Double(($0 * 5) % 7) - 1 }, shape: [1, 8]) : nil
            let policy = try TinyPolicy(
                objective, .plain(learningRate: 0.25, beta1: 0), reference: TinyPolicy.reference(), valueHead: head)
            return try await policy.updater.streamProducts(batch, stop: nil).gram.flatMap(\.self)
        }
        func equal(_ found: [Double], _ expected: [Double]) -> Bool {
            expected[0] > 1e-6 && zip(found, expected).allSatisfy { abs($0 - $1) < 1e-12 * (1 + abs($1)) }
        }
        let ppo = try await products(PPOSettings())
        #expect(try await equal(products(PPOSettings(valueCoefficient: 1), hasCritic: true), ppo))
        #expect(try await equal(products(PPOSettings(entropyCoefficient: 0.5)), ppo))
        let grpo = try await products(GRPOSettings())
        #expect(try await equal(products(GRPOSettings(entropyCoefficient: 0.5)), grpo))
        #expect(try await !equal(products(GRPOSettings(klCoefficient: 0.5)), grpo))
        let luffy = try await products(LUFFYSettings(entropyCoefficient: 0))
        #expect(try await equal(products(LUFFYSettings(entropyCoefficient: 0.5)), luffy))
    }

    /// ‖Σ w_k g_k‖² is the norm of the step on the mixed advantages: at the ratio 1, which no clip touches, the loss is
    /// linear in them.
    @Test func theMixHasTheNormOfTheStep() async throws {
        var batch = try await batch()
        for group in batch.parts[0].groups.indices {
            for index in batch.parts[0].groups[group].completions.indices {
                batch.parts[0].groups[group].completions[index].oldLogProbabilities = []
            }
        }
        let gram = try await policy().updater.streamProducts(batch, stop: nil).gram
        let weights = batch.parts[0].streamWeights
        let square = (0..<3).map { row in (0..<3).map { weights[row] * weights[$0] * gram[row][$0] }.reduce(0, +) }
            .reduce(0, +)
        let metrics = try await policy().updater.train(batch)
        let norm = try #require(metrics["grad_norm"])
        #expect(abs(norm - square.squareRoot()) < 1e-9 * norm)
        #expect(norm > 1e-3)
    }
}
