import Foundation
import Job
import Models
import Records
import Testing

/// A job with these lines first.
private func read(_ text: String) throws -> ResolvedJob {
    let rest = ["model_name_or_path: m", "dataset_name: p", "output_dir: o", "reward_funcs: accuracy_reward"]
    return try ResolvedJob(
        JobFile(text: ([text] + rest).joined(separator: "\n"), name: "job.yaml", folder: URL(filePath: "/jobs")))
}

@Suite("The keys of adapters")
struct AdapterKeysTests {
    private func dropout(_ lines: String) throws -> Double? {
        guard case .adapters(let adapters) = try read(lines).model.trained else { return nil }
        return adapters.dropout
    }

    @Test func aShareIsDroppedWhereOneIsNamed() throws {
        #expect(try dropout("use_peft: true") == 0)
        #expect(try dropout("use_peft: true\nlora_dropout: 0.05") == 0.05)
        #expect(try dropout("use_peft: true\nlora_dropout: 0.05\ndisable_dropout: true") == 0)
        #expect(try read("use_peft: true\nlora_dropout: 0.1").notices.filter { $0.contains("dropout") } == [])
        #expect(try read("lora_dropout: 0.1").notices == ["without effect for grpo: lora_dropout"])
        #expect(
            try read("use_peft: true\ndisable_dropout: true").notices.contains(
                "without effect for grpo: disable_dropout"))
        for wrong in ["1", "-0.1", "half"] {
            let error = try #require(throws: JobError.self) { try read("lora_dropout: \(wrong)\nuse_peft: true") }
            #expect("\(error)".contains("job.yaml line 1: lora_dropout is '\(wrong)'"), "\(error)")
        }
    }

    @Test func aBaseInEightBitsIsSampledFromAsItIs() throws {
        let job = try read("use_peft: true\nload_in_8bit: true")
        #expect(job.model.base == .int8 && job.model.generationLayout == .shared)
        #expect(try read("use_peft: true").model.base == .whole)
        #expect(try read("use_peft: true\nload_in_8bit: false").model.generationLayout == .packed)
        for (lines, problem) in [
            ("load_in_8bit: true", "expected use_peft: true beside it"),
            ("load_in_8bit: true\nuse_peft: true\ndtype: bfloat16", "false with dtype bfloat16"),
            ("load_in_8bit: true\nuse_peft: true\ndevice: cuda", "false with device"),
            ("load_in_8bit: true\nuse_peft: true\ngeneration_layout: packed", "shared with load_in_8bit"),
            ("load_in_8bit: true\nuse_peft: true\nbeta: 0.1\nsync_ref_model: true", "load_in_8bit: false"),
        ] {
            let error = try #require(throws: JobError.self) { try read(lines) }
            #expect("\(error)".contains(problem), "\(error)")
        }
    }

    /// One step on a rollout needs no old log-probs, but where they are what a correction compares with the sampler:
    /// those of a pass that drops something are another policy's.
    @Test func oldLogProbsAreScoredWhereACorrectionComparesThem() throws {
        func scores(_ lines: String) throws -> Bool {
            try read("use_peft: true\n" + lines).plan.recipe.calls.contains(.infer(.oldPolicy))
        }
        let correction = "importance_sampling_correction: token_truncate"
        #expect(try !scores("lora_dropout: 0.1"))
        #expect(try !scores(correction))
        #expect(try scores("lora_dropout: 0.1\n" + correction))
        #expect(try scores("lora_dropout: 0.1\ngeneration_layout: int8"))
        #expect(try !scores("lora_dropout: 0.1\ndisable_dropout: true\n" + correction))
    }
}
