import Algorithms
import Foundation
import Models
import Placement
import PolicyUpdater
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Dropout of adapters in an update")
struct AdapterDropoutTests {
    /// The tiny policy's weights under adapters that add something.
    @TensorActor
    private struct Adapted {
        let role: ReallocatingActor
        let updater: PolicyUpdater
        let adapters: [String: Tensor]

        init(
            _ share: Double, maxTokens: Int? = nil, checkpointsBlocks: Bool = false, seed: UInt64 = 3,
            adapters given: [String: [Double]]? = nil
        ) throws {
            try TensorEngine.setThreadCount(1)
            let configuration = try TinyPolicy.configuration().adapted(
                by: LoRAConfiguration(rank: 2, alpha: 4, targets: .allLinear, dropout: share))
            var adapters = try configuration.freshAdapters(seed: 1, elementType: .float64)
            for (name, tensor) in adapters {
                let fresh = try tensor.doubles().enumerated().map { $1 + Double($0 % 3 - 1) / 10 }
                let values = given?[name] ?? fresh
                adapters[name] = try Tensor(values, shape: tensor.shape)
            }
            self.adapters = adapters
            role = try ReallocatingActor(
                role: "policy",
                parameters: ParameterSet(
                    trainable: adapters, frozen: TinyPolicy.tensors(TinyPolicy.weights()),
                    adapters: configuration.lowRankUpdates))
            updater = try PolicyUpdater(
                policy: role, configuration: configuration, parts: [PartPlan(GRPOSettings())],
                settings: UpdaterSettings(
                    optimizer: UpdaterSettings.plain(learningRate: 0.02).optimizer, maxCompletionLength: 9,
                    maxTokensPerMicroBatch: maxTokens, checkpointsBlocks: checkpointsBlocks, dropoutSeed: seed))
        }

        /// What the adapters are after some steps on a batch.
        func behind(_ steps: Int, _ batch: UpdateBatch) async throws -> [String: [Double]] {
            for _ in 0..<steps { _ = try await updater.train(batch) }
            return try adapters.mapValues { try $0.doubles() }
        }
    }

    private let batch = UpdateBatch(groups: [
        ExampleBatch.group([1, 2, 3], [[4, 5], [6, 0, 1, 2], [3]]),
        ExampleBatch.group([5], [[2, 2, 6, 4, 1], [0, 3]]),
    ])

    private func distance(_ a: [String: [Double]], _ b: [String: [Double]]) -> Double {
        a.map { name, values in largestDifference(values, b[name] ?? []) }.max() ?? .infinity
    }

    /// Every token's mask is its own: a batch cut into passes of a few tokens, with prompts read again, is the same.
    @Test func theCutOfABatchChangesNothing() async throws {
        let whole = try await Adapted(0.4).behind(2, batch)
        #expect(try await distance(Adapted(0.4, maxTokens: 8).behind(2, batch), whole) < 1e-9)
        #expect(try await distance(Adapted(0.4, checkpointsBlocks: true).behind(2, batch), whole) < 1e-9)
        // The check can fail: another seed is another mask, as is none.
        #expect(try await distance(Adapted(0.4, seed: 4).behind(2, batch), whole) > 1e-4)
        #expect(try await distance(Adapted(0).behind(2, batch), whole) > 1e-4)
    }

    /// Neither old nor present log-probs are scored with a mask, and evaluation has none.
    @Test func onlyTrainingDrops() async throws {
        let (dropping, plain) = (try Adapted(0.4), try Adapted(0))
        let found = try await dropping.updater.logProbabilities(batch, under: .oldPolicy).tokens
        #expect(try await found == plain.updater.logProbabilities(batch, under: .oldPolicy).tokens)
        let (plan, part) = (PartPlan(SupervisedFineTuning()), batch.parts[0])
        let measured = try await dropping.updater.measure(part, by: plan).loss
        #expect(try await measured == plain.updater.measure(part, by: plan).loss)
        func trained(_ adapted: Adapted) async throws -> Double {
            try await adapted.updater.lend { point in
                .skipped(try adapted.updater.gradients(of: part, by: plan, at: point).loss)
            }.value
        }
        #expect(try await abs(trained(plain) - measured) < 1e-9)
        #expect(try await abs(trained(dropping) - measured) > 1e-4)
    }

    @Test func aResumedRunDropsWhatItWouldHave() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "dropout-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { #expect(throws: Never.self) { try FileManager.default.removeItem(at: folder) } }
        let straight = try Adapted(0.4)
        let saved = try await straight.behind(2, batch)
        try await straight.updater.save(to: folder)
        let expected = try await straight.behind(2, batch)
        let resumed = try Adapted(0.4, adapters: saved)
        try await resumed.updater.restore(from: folder)
        #expect(try await resumed.behind(2, batch) == expected)
    }

    /// The sampler is compared with log-probs that were scored for it, and with none where all are a mask's.
    @Test func theSamplersDistanceIsNotTheMasks() async throws {
        var batch = batch
        let scored = try await Adapted(0).updater.logProbabilities(batch, under: .oldPolicy).tokens
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].rolloutLogProbabilities = scored[group][index].map { $0 + 0.25 }
            }
        }
        let name = "sampling/sampling_logp_difference/mean"
        #expect(try await Adapted(0.4).updater.train(batch)[name] == nil)
        #expect(try await abs((Adapted(0).updater.train(batch)[name] ?? 0) - 0.25) < 1e-6)
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].oldLogProbabilities = scored[group][index]
            }
        }
        #expect(try await abs((Adapted(0.4).updater.train(batch)[name] ?? 0) - 0.25) < 1e-6)
    }
}
