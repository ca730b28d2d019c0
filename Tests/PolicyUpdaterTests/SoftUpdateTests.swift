import Algorithms
import Models
import PolicyUpdater
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Updates on soft tokens", .timeLimit(.minutes(10)))
struct SoftUpdateTests {
    nonisolated static let noises: [SoftNoise] = [
        .gumbel(GumbelNoise(temperature: 0.5)), .gumbel(GumbelNoise(scale: 0.7)),
        .dirichlet(DirichletNoise(concentration: 3)), .gaussian(GaussianNoise(deviation: 0.5)),
        .embedding(EmbeddingNoise(deviation: 0.4)),
    ]

    private func settings(_ noise: SoftNoise, beta: Double = 0.3) throws -> SofTGRPOSettings {
        SofTGRPOSettings(
            surrogate: GRPOSettings(lossType: .grpo, klCoefficient: beta, correctsKLBias: false), noise: noise,
            temperature: 1.4)
    }

    /// ``ExampleBatch/mixed(temperature:)`` with all but the last token of its longer completions soft. In each second
    /// completion the last soft token ends the thinking: its word goes in.
    private func batch(_ settings: SofTGRPOSettings, isFirstStep: Bool = false) async throws -> UpdateBatch {
        let isVector = settings.noise.perturbsEmbedding
        let density = try #require(settings.noise.density)
        var batch = try await ExampleBatch.mixed(temperature: 0.7)
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                let tokens = batch.groups[group].completions[index].tokenIDs
                batch.groups[group].completions[index].oldLogProbabilities = []
                guard tokens.count > 1 else { continue }
                var record = SoftTokens(componentCount: isVector ? 8 : nil)
                for (position, token) in tokens.dropLast().enumerated() {
                    let ids = [token, (token + 2) % 7, (token + 5) % 7].prefix(1 + (position + index) % 3).map(
                        Int32.init)
                    let shares: [Float] =
                        ids.count == 1 ? [0] : ids.count == 2 ? [-0.3567, -1.204] : [-0.6931, -1.204, -1.6094]
                    let parameters = isVector ? (0..<8).map { Float($0 % 3) * 0.2 - 0.2 } : shares
                    let draws = SoftDraws(seed: 5, address: RandomAddress(row: group, sample: index, token: position))
                    record.append(
                        ids: ids, values: density.sample(parameters, slots: Array(parameters.indices), draws),
                        parameters: parameters, entropy: 1, largestWeight: 0.7)
                }
                record.endThinking(entersAsWord: index == 1)
                record.appendOrdinary()
                batch.groups[group].completions[index].softTokens = record
            }
        }
        let scorer = try TinyPolicy(
            settings, .plain(learningRate: 0), temperature: 0.7, reference: TinyPolicy.reference())
        let own = try await scorer.updater.logProbabilities(batch, under: .oldPolicy)
        let reference = try await scorer.updater.logProbabilities(batch, under: .reference)
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                let shifts: [Float] = [0.04, -0.06, 0.02, 0.05]
                func shifted(_ values: [Float]) -> [Float] { values.enumerated().map { $1 + shifts[$0 % 4] } }
                batch.groups[group].completions[index].oldLogProbabilities =
                    isFirstStep ? [] : shifted(own.tokens[group][index])
                batch.groups[group].completions[index].referenceLogProbabilities =
                    reference.tokens[group][index]
                batch.groups[group].completions[index].softTokens?.oldParameters =
                    isFirstStep ? [] : shifted(own.softTokens(group, index)?.oldParameters ?? [])
                batch.groups[group].completions[index].softTokens?.referenceParameters =
                    reference.softTokens(group, index)?.referenceParameters ?? []
            }
        }
        return batch
    }

    @Test(arguments: noises)
    func theGradientIsTheLosssSlopeWithTheRecordFrozen(_ noise: SoftNoise) async throws {
        let settings = try settings(noise)
        try await UpdateGradientTests().expectTheSlopeOfTheLoss(
            settings, batch(settings), tolerance: 2e-6)
    }

    @Test(arguments: noises)
    func theCutAndTheOrderChangeNothing(_ noise: SoftNoise) async throws {
        let settings = try settings(noise)
        let batch = try await batch(settings)
        let gradients = UpdateGradientTests()
        let whole = try await gradients.gradient(settings, batch)
        var turned = UpdateBatch(groups: batch.groups.reversed())
        for index in turned.groups.indices { turned.groups[index].completions.reverse() }
        for (other, limit) in [(batch, 1), (batch, 14), (turned, 9)] {
            let cut = try await gradients.gradient(settings, other, maxTokens: limit)
            #expect(cut.distance(from: whole) < 1e-11)
            for name in ["kl", "soft/kl", "soft/approx_kl", "ratio/max", "loss"] {
                #expect(
                    relativeError(try #require(cut.metrics[name]), try #require(whole.metrics[name])) < 1e-10, "\(name)"
                )
            }
        }
    }

    @Test(arguments: noises)
    func theFirstUpdateHasRatioOneAndTheGradientOfRescoring(_ noise: SoftNoise) async throws {
        let settings = try settings(noise, beta: 0)
        var batch = try await batch(settings, isFirstStep: true)
        for type in [ElementType.float32, .float64] {
            let policy = try TinyPolicy(settings, .plain(learningRate: 0), type: type)
            let metrics = try await policy.updater.train(batch)
            #expect(metrics["ratio/max"] == 1 && metrics["ratio/mean"] == 1 && metrics["approx_kl"] == 0)
        }
        let gradients = UpdateGradientTests()
        let implied = try await gradients.gradient(settings, batch)
        let scorer = try TinyPolicy(settings, .plain(learningRate: 0))
        let present = try await scorer.updater.logProbabilities(batch, under: .oldPolicy)
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].oldLogProbabilities = present.tokens[group][index]
                batch.groups[group].completions[index].payload = present.payloads[group][index]
            }
        }
        let rescored = try await gradients.gradient(settings, batch)
        #expect(rescored.distance(from: implied) < 1e-5)  // old log-probs are kept in float32
    }

    /// Behind the soft token that ended the thinking the word goes in, whatever the mixture was; its own score stays
    /// that of the mixture.
    @Test(arguments: noises)
    func behindTheBoundaryTheWordGoesIn(_ noise: SoftNoise) async throws {
        let settings = try settings(noise, beta: 0)
        let batch = try await batch(settings, isFirstStep: true)
        func scores(_ change: (inout SoftTokens) -> Void) async throws -> [Float] {
            var batch = batch
            var record = try #require(batch.groups[1].completions[1].softTokens)
            change(&record)
            batch.groups[1].completions[1].softTokens = record
            let policy = try TinyPolicy(settings, .plain(learningRate: 0), temperature: 0.7)
            return try await policy.updater.logProbabilities(batch, under: .oldPolicy).tokens[1][1]
        }
        let given = try await scores { _ in }
        let words = try await wordScore(of: batch.groups[1], 1, position: 1)
        #expect(given.count == 2 && abs(given[1] - words) < 1e-6)
        let mixed = try await scores { record in
            var other = SoftTokens(componentCount: record.componentCount)
            other.append(
                ids: record.ids, values: record.values, parameters: record.parameters, entropy: 1, largestWeight: 0.7)
            other.endThinking()
            other.appendOrdinary()
            record = other
        }
        #expect(mixed[0] == given[0])
        #expect(mixed[1] != given[1])
    }

    /// The log-prob that a completion's token has when all before it are words.
    private func wordScore(of group: UpdateGroup, _ index: Int, position: Int) async throws -> Float {
        var plain = group
        plain.completions[index].softTokens = nil
        let policy = try TinyPolicy(SupervisedFineTuning(), .plain(learningRate: 0), temperature: 0.7)
        let scores = try await policy.updater.logProbabilities(
            UpdateBatch(groups: [
                UpdateGroup(promptTokenIDs: group.promptTokenIDs, completions: [plain.completions[index]])
            ]),
            under: .oldPolicy)
        return scores.tokens[0][0][position]
    }

    @Test func relabelledAsWordsItIsGRPOToTheBit() async throws {
        let settings = try settings(Self.noises[0])
        var batch = try await batch(settings)
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].softTokens = nil
            }
        }
        let gradients = UpdateGradientTests()
        let soft = try await gradients.gradient(settings, batch, maxTokens: 14)
        let plain = try await gradients.gradient(settings.surrogate, batch, maxTokens: 14)
        #expect(soft.loss.bitPattern == plain.loss.bitPattern)
        #expect(soft.values.mapValues { $0.map(\.bitPattern) } == plain.values.mapValues { $0.map(\.bitPattern) })
    }

    @Test func theReleasesInputsGiveTheEmbeddingNoInputGradient() async throws {
        let noise = SoftNoise.gumbel(GumbelNoise(followsRelease: true))
        let surrogate = GRPOSettings(lossType: .grpo)
        let gradients = UpdateGradientTests()
        let attached = SofTGRPOSettings(surrogate: surrogate, noise: noise, temperature: 1.4)
        let detached = SofTGRPOSettings(surrogate: surrogate, noise: noise, temperature: 1.4, detachesInputs: true)
        let batch = try await batch(attached)
        let (a, b) = (
            try await gradients.gradient(attached, batch),
            try await gradients.gradient(detached, batch)
        )
        #expect(a.loss == b.loss)
        for (name, values) in a.values {
            // the table is tied to the head, which keeps its own gradient
            #expect((relativeError(b.values[name]!, values) < 1e-12) == !name.contains("embed_tokens"), "\(name)")
        }
    }

    @Test func recordsThatDoNotFitAreRefused() async throws {
        let settings = try settings(Self.noises[0])
        let batch = try await batch(settings)
        func refusal(_ objective: Objective, _ change: (inout UpdateBatch) -> Void) async throws -> String {
            var batch = batch
            change(&batch)
            let policy = try TinyPolicy(objective, .plain(learningRate: 0), reference: TinyPolicy.reference())
            let error = await #expect(throws: UpdateError.self) { try await policy.updater.train(batch) }
            return error.map { "\($0)" } ?? "accepted"
        }
        let soft = settings
        #expect(try await refusal(settings.surrogate) { _ in }.contains("has soft tokens"))
        #expect(
            try await refusal(soft) { $0.groups[0].completions[0].softTokens?.appendOrdinary() }
                .contains("a record of 3 actions for 2"))
        #expect(
            try await refusal(soft) { $0.groups[0].completions[0].softTokens?.referenceParameters = [] }
                .contains("0 referenceParameters"))
        #expect(
            try await refusal(soft) { $0.groups[0].completions[0].softTokens?.oldParameters[0] = .nan }
                .contains("nan among their oldParameters"))
    }
}

extension CompletionLogProbabilities {
    /// A completion's payload, where that is a record of soft tokens.
    fileprivate func softTokens(_ group: Int, _ completion: Int) -> SoftTokens? {
        payloads[group][completion] as? SoftTokens
    }
}
