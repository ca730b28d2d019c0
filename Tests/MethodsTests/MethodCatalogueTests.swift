import Coordinator
import Credit
import Methods
import PolicyUpdater
import Records
import RolloutEngine
import Testing

@Suite("The catalogue: names, presets and what every method's keys refuse")
struct MethodCatalogueTests {
    private let catalogue = MethodCatalogue()

    /// A method reads a job of these lines, with what every job has.
    private func read(
        _ method: any Method.Type, _ values: [(key: String, yaml: String)]
    ) -> (plan: MethodPlan, job: SettingsReader) {
        var job = SettingsReader("the job")
        if method.name == "distill" {  // the one method that has no default for what it learns from
            job.override("teacher_model_name_or_path", SettingsNode(.scalar("teacher", isQuoted: false), place: ""))
        }
        for (line, value) in values.enumerated() {
            job.override(
                value.key, SettingsNode(.scalar(value.yaml, isQuoted: false), place: "job.yaml line \(line + 1)"))
        }
        let shared = SharedSettings(
            sampling: SamplingSettings(reading: &job, temperature: method.defaults.temperature),
            batches: BatchArithmetic(reading: &job, method.defaults.batches),
            control: method.defaults.batches == nil
                ? nil : RewardControl(reading: &job, rewards: [.init("accuracy"), .init("style")]),
            samplerIsExact: true)
        return (method.init(reading: &job, shared).plan, job)
    }

    @Test func aNameStandsForOneThing() {
        let names = catalogue.names
        #expect(Set(names).count == names.count && names.count == 24)
        #expect(Set(catalogue.presetNames).count == catalogue.presetNames.count)
        #expect(catalogue.method(named: "dapo")?.method.name == "grpo")
        #expect(catalogue.method(named: "nobody") == nil && catalogue.preset(named: "nobody") == nil)
    }

    @Test func everyMethodReadsAnEmptyJobWithoutARemark() {
        for method in catalogue.methods {
            let (plan, job) = read(method, [])
            #expect(job.problems.isEmpty, "\(method.name): \(job.problems)")
            #expect(plan.recipe.method == method.name && plan.recipe.calls.last == .train)
            #expect(!method.title.isEmpty && job.entries.allSatisfy { !$0.meaning.isEmpty })
        }
    }

    /// A value that its method does not take would stop every job that names the preset.
    @Test func presetsAndVariantsFit() {
        for method in catalogue.methods {
            for preset in method.variants + method.presets {
                let generations = preset.values.first { $0.key == "num_generations" }?.yaml ?? "8"
                let (_, job) = read(method, preset.values + [("per_device_train_batch_size", generations)])
                #expect(job.problems.isEmpty, "\(preset.name): \(job.problems)")
            }
        }
    }

    /// Every number has an end below, and the message has line, key, value and what would be right.
    @Test func everyNumberIsBoundedAndEveryChoiceClosed() {
        var refused = 0
        for method in catalogue.methods {
            for entry in read(method, []).job.entries {
                let bad =
                    entry.expectation.contains("number") ? "-1e30" : entry.expectation.contains("one of") ? "zzz" : nil
                // Numbers without an end.
                guard let bad,
                    !["best_of_k_threshold", "reward_weights", "dynamic_weights.ceilings"].contains(entry.key)
                else { continue }
                let problems = read(method, [(entry.key, bad)]).job.problems.map(\.description)
                #expect(
                    problems.contains {
                        $0.hasPrefix("job.yaml line 1: \(entry.key) is ")
                            && $0.hasSuffix("expected \(entry.expectation)")
                    }, "\(method.name) \(entry.key): \(problems)")
                refused += 1
            }
        }
        #expect(refused > 150)
    }
}
