import Algorithms
import Foundation
import Models
import Placement
import PolicyUpdater
import Records
import Tensors
import Testing

/// Training steps as TRL's DPOTrainer took them, by `References/trl_dpo_step.py`.
private struct TRLPreferenceSteps: Decodable {
    struct Pair: Decodable {
        let prompt: [Int]
        let chosen: [Int]
        let rejected: [Int]
    }

    let pairs: [Pair]
    /// `[case][number][step]`; the norm before the clip.
    let cases: [String: [String: [Double]]]

    init() throws {
        self = try JSONDecoder().decode(
            TRLPreferenceSteps.self, from: Data(contentsOf: TRLSteps.folder.appending(path: "dpo_steps.json")))
    }
}

@TensorActor @Suite("Whole steps on pairs equal TRL's: loss, gradient, clip and AdamW")
struct TRLPreferenceStepTests {
    static let settings = [
        "dpo": DPOSettings(beta: 0.1), "dpo_robust": DPOSettings(lossType: .robust, beta: 0.5, labelSmoothing: 0.2),
        "dpo_ipo": DPOSettings(lossType: .ipo, beta: 0.1),
    ]

    /// Takes two steps on all pairs; every number and every weight that differs from TRL's by more than its limit, with
    /// the distance.
    private func differences(_ name: String, _ settings: DPOSettings) async throws -> [String: Double] {
        try TensorEngine.setThreadCount(1)  // a team of threads costs more than these matrices
        let trl = try TRLPreferenceSteps()
        let expected = try #require(trl.cases[name])
        let start = try ModelFolder.load(TRLSteps.folder)
        let file = try TensorFile(url: TRLSteps.folder.appending(path: "reference.safetensors"))
        let reference = Dictionary(uniqueKeysWithValues: try file.names.map { ($0, try file.tensor(named: $0)) })
        let policy = try ReallocatingActor(role: "policy", parameters: ParameterSet(trainable: start.parametersByName))
        // The rates of trl_dpo_step.py.
        let optimizer = OptimizerSettings(
            learningRate: 5e-3, weightDecay: 0.01, maxGradientNorm: 1,
            schedule: LearningRateSchedule(.constant, totalSteps: 2))
        let updater = try PolicyUpdater(
            policy: policy, configuration: start.configuration,
            reference: ReallocatingActor(role: "reference", parameters: ParameterSet(frozen: reference)),
            parts: [PartPlan(settings, on: .pairs)], settings: UpdaterSettings(optimizer: optimizer))
        var part = UpdatePart(
            .pairs,
            trl.pairs.map { pair in
                UpdateGroup(
                    promptTokenIDs: pair.prompt,
                    completions: [pair.chosen, pair.rejected].map { UpdateCompletion(tokenIDs: $0) })
            })
        part.takeReference(try await updater.logProbabilities(UpdateBatch(parts: [part]), under: .reference).tokens)

        var found: [String: Double] = [:]
        func note(_ what: String, _ distance: Double, _ limit: Double) {
            if !(distance <= limit) { found[what] = max(found[what] ?? 0, distance) }
        }
        for step in 0..<2 {
            let metrics = try await updater.train(UpdateBatch(parts: [part]))
            for (number, values) in expected where number != "loss" && number != "gradNorm" {
                note(number, abs(try #require(metrics[number]) - values[step]), 1e-5)
            }
            let loss = try #require(expected["loss"])[step]
            note("loss", abs(try #require(metrics["loss"]) - loss), 2e-6 * max(1, abs(loss)))
            note("norm", abs(try #require(metrics["grad_norm"]) / (expected["gradNorm"]?[step] ?? 1) - 1), 1e-5)
            let own = try await policy.infer { lease in try lease.parameters.mapValues { try $0.floats() } }.value
            let weights = try TRLSteps.weights(name, after: step + 1)
            #expect(Set(weights.keys) == Set(own.keys))
            for (tensor, values) in weights {
                for (a, b) in zip(try #require(own[tensor]), values) { note("weights", Double(abs(a - b)), 1e-6) }
            }
        }
        return found
    }

    @Test(arguments: ["dpo", "dpo_robust", "dpo_ipo"])
    func everyNumberIsTRLs(_ name: String) async throws {
        let found = try await differences(name, try #require(Self.settings[name]))
        #expect(found.isEmpty, "\(found)")
    }

    @Test func anotherLossIsNotTRLs() async throws {
        for other in [DPOSettings(beta: 0.5), DPOSettings(beta: 0.1, labelSmoothing: 0.1), DPOSettings(lossType: .ipo)]
        {
            #expect(try await differences("dpo", other)["weights"] ?? 0 > 1e-5)
        }
    }
}
