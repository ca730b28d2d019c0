import Foundation
import JSON
import Testing

@Suite("Forced rethinking in a run", .serialized)
struct RethinkingRunTests {
    private let lines =
        "num_generations: 4\nmax_completion_length: 60\nreward_funcs: [{name: regular_expression, pattern: '[0-9]'}]\nsave_steps: 2\n"
        + "forced_rethinking: {probability: 0.65, min_tokens: 1, max_tokens: 12, right_from: 0.5}\n"

    /// From a policy that has learned to end its answers.
    private func trained() throws -> Workplace {
        let place = try Workplace()
        try place.makeModel("longer", contextLength: 128)
        let outcome = try place.train(
            place.job("sft", "model_name_or_path: longer\nmax_steps: 80\nlearning_rate: 1e-2\nsave_steps: 80"),
            "output_dir=start")
        #expect(outcome.status == 0, "\(outcome.progress)")
        return place
    }

    @Test func completionsGoOnAndTheRunResumesToTheBit() throws {
        let place = try trained()
        let job = try place.job("grpo", "model_name_or_path: start\n" + lines)
        let outcome = try place.train(job, "output_dir=whole")
        #expect(outcome.status == 0, "\(outcome.progress)")
        let metrics = try place.metrics("whole")
        #expect(metrics.allSatisfy { ($0["rethinking/forced"] ?? 0) > 0 })
        #expect(metrics.contains { ($0["rethinking/kept"] ?? 0) > 0 && $0["rethinking/loss"] != nil })
        #expect(metrics.allSatisfy { ($0["sampling/sampling_logp_difference/max"] ?? 1) < 1e-3 })
        let rows = try String(
            contentsOf: place.folder.appending(path: "whole/completions/completions_00001.jsonl"), encoding: .utf8)
        #expect(rows.contains("Wait"))
        #expect(try place.train(job, "output_dir=again", "resume_from_checkpoint=whole/checkpoint-2").status == 0)
        #expect(try place.bytes("whole/model.safetensors") == place.bytes("again/model.safetensors"))
        #expect(try place.metrics("again") == Array(metrics.suffix(2)))
    }

    @Test(arguments: [
        (
            "forced_rethinking: {probability: 0.5}",
            "forced_rethinking.max_tokens is 1023; expected below max_completion_length"
        ),
        ("forced_rethinking: {probability: 2}", "forced_rethinking.probability is '2'"),
        (
            "forced_rethinking: {probability: 1, min_tokens: 1, max_tokens: 2, reward: style}",
            "forced_rethinking.reward: it must name the reward that says what is right"
        ),
    ])
    func whatCannotBeIsRefused(_ lines: String, _ says: String) throws {
        let place = try Workplace()
        let outcome = try place.train(place.job("grpo", "num_generations: 4\n" + lines))
        #expect(outcome.status == 65 && outcome.progress.contains(says), "\(outcome.progress)")
    }
}
