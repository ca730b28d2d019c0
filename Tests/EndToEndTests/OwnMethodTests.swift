import Algorithms
import Coordinator
import Credit
import Foundation
import JSON
import Job
import Methods
import PolicyUpdater
import Records
import Tensors
import Testing

/// A method that ships nowhere, whole: REINFORCE against a constant, with a loss and a credit rule of its own.
private struct ConstantBaseline: Method {
    static let name = "constant_baseline"
    static let title = "REINFORCE against a constant (a test's own)"
    static let defaults = MethodDefaults(batches: .init(generations: 1))

    let plan: MethodPlan

    init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let baseline = job.read(
            "constant", default: 0.0, .from(-10, to: 10), "What every reward is compared with.")
        shared.batches.requireOneStepPerRollout(Self.name, &job)
        plan = MethodPlan(
            recipe: StepRecipe(
                method: Self.name,
                calls: [
                    .generate(samplesPerPrompt: shared.batches.generations, greedy: false), .credit, .train,
                ]),
            parts: [PartPlan(Loss(), temperature: shared.sampling.distribution.temperature)],
            credit: Rule(plain: PlainReward(rewards: shared.rewards!), baseline: baseline))
    }

    private struct Rule: CreditRule {
        let plain: PlainReward
        let baseline: Double
        var rewards: RewardCombination { plain.rewards }
        var mixer: Mixer { plain.mixer }

        func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
            var credited = try plain.credit(batch)
            for group in credited.update.parts[0].groups.indices {
                for index in credited.update.parts[0].groups[group].completions.indices {
                    let advantages = credited.update.parts[0].groups[group].completions[index].advantages
                    credited.update.parts[0].groups[group].completions[index].advantages = advantages.map {
                        $0.map { $0 - baseline }
                    }
                }
            }
            return credited
        }
    }

    private struct Loss: Objective {
        var aggregation: LossAggregation { .tokenMean }

        func loss(_ inputs: PolicyLossInputs) throws -> LossResult {
            let products = try inputs.advantages * inputs.logProbabilities
            var report = LossReport()
            try report.note("advantage", inputs.advantages, .mean)
            return LossResult(
                loss: try products.sum() * (-1 / Double(inputs.denominators.tokens)), report: report)
        }
    }
}

private actor Display: RunDisplay {
    private(set) var steps: [Metrics] = []

    func began(_ phase: StepPhase, step: Int) {}
    func completed(_ report: StepReport) { steps.append(report.metrics) }
    func notice(_ text: String) {}
}

@Suite("A new method is one file and one line", .serialized)
struct OwnMethodTests {
    /// The one line.
    private let catalogue = MethodCatalogue(MethodCatalogue.shipped + [ConstantBaseline.self])

    private func job(_ algorithm: String, _ lines: String, _ place: Workplace) throws -> ResolvedJob {
        let text = """
            algorithm: \(algorithm)
            model_name_or_path: \(place.folder.appending(path: "model").path)
            dataset_name: \(place.folder.appending(path: "prompts.jsonl").path)
            output_dir: \(place.folder.appending(path: algorithm).path)
            reward_funcs: [{name: regular_expression, pattern: '[0-9a-zA-Z]'}]
            max_completion_length: 4
            per_device_train_batch_size: 16
            learning_rate: 1e-3
            max_steps: 3
            threads: 1
            \(lines)
            """
        return try ResolvedJob(JobFile(text: text, name: "job.yaml", folder: place.folder), catalogue: catalogue)
    }

    private func train(_ job: ResolvedJob, _ place: Workplace) async throws -> [Metrics] {
        let display = Display()
        let run = try await TrainingRun(job, folder: place.folder, stop: StopSignal())
        _ = try await run.run(display: display)
        return await display.steps
    }

    /// With the constant 0 it is REINFORCE; with another it learns something else.
    @Test func itTrainsFromAJobFile() async throws {
        let place = try Workplace()
        let reinforce = try await train(job("reinforce", "remax_reduction: token_mean", place), place)
        let own = try await train(job("constant_baseline", "", place), place)
        #expect(own.count == 3 && own.contains { ($0["grad_norm"] ?? 0) > 0 })
        for (a, b) in zip(own, reinforce) {
            for name in ["loss", "grad_norm", "reward"] {
                #expect(abs(try #require(a[name]) - (try #require(b[name]))) < 1e-5, "\(name)")
            }
            #expect(abs(try #require(a["advantage"]) - (try #require(a["reward"]))) < 0.5)
        }
        #expect(try place.bytes("constant_baseline/model.safetensors") != place.bytes("model/model.safetensors"))
        try place.remove("constant_baseline")
        let moved = try await train(job("constant_baseline", "constant: 2", place), place)
        #expect(abs(try #require(moved[0]["grad_norm"]) - (try #require(own[0]["grad_norm"]))) > 1e-3)
        let resolved = String(decoding: try place.bytes("constant_baseline/config.yaml"), as: UTF8.self)
        #expect(resolved.contains("constant: 2.0"))
    }

    @Test func itIsExplained() throws {
        let method = try JobExplanation.text(of: "constant_baseline", catalogue: catalogue)
        #expect(method.contains(ConstantBaseline.title) && method.contains("constant"))
        let key = try JobExplanation.text(of: "constant", catalogue: catalogue)
        #expect(key.contains("What every reward is compared with.") && key.contains("read by: constant_baseline"))
    }

    @Test func aWrongValueIsRefusedWithItsLine() throws {
        let place = try Workplace()
        let error = #expect(throws: JobError.self) { try job("constant_baseline", "constant: 11", place) }
        #expect(
            error.map { "\($0)" }?.contains(
                "job.yaml line 11: constant is '11'; expected a finite number from -10 to 10") == true,
            "\(error.map { "\($0)" } ?? "accepted")")
        // A key that only this method reads has no effect elsewhere, and is no unknown key.
        #expect(
            try job("grpo", "constant: 3\nnum_generations: 4", place).notices
                .contains { $0.contains("without effect for grpo") && $0.contains("constant") })
    }
}
