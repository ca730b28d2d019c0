import Foundation
import Testing

@Suite("What looks wrong in a run stands in its folder", .timeLimit(.minutes(10)))
struct RunNotesTests {
    /// A fresh model ends a text once in 257 tokens: of completions of four tokens most are cut off, in every step. A
    /// start says so once, the record has it once, with the step that showed it first.
    @Test func aWarningIsNotedOnceHoweverOftenTheRunIsResumed() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4")
        func noted() throws -> [[String: Any]] {
            try String(decoding: place.bytes("run/notes.jsonl"), as: UTF8.self).split(separator: "\n").compactMap {
                try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
            }.filter { $0["warning"] as? String == "clipped" }
        }
        let text = "of the completions hit max_completion_length"
        for overrides in [["max_steps=2"], ["resume_from_checkpoint=true"]] {
            let outcome = try Command.run(["train", job] + overrides, in: place.folder)
            #expect(outcome.status == 0, "\(outcome.progress)")
            #expect(outcome.progress.components(separatedBy: text).count == 2, "\(outcome.progress)")
            let rows = try noted()
            #expect(rows.count == 1 && (rows.first?["step"] as? NSNumber)?.intValue == 1)
            #expect((rows.first?["note"] as? String)?.contains(text) == true)
        }
        #expect(try place.metrics("run").last?["step"] == 4)
        // As a full disk leaves it.
        try place.write("run/notes.jsonl", try place.bytes("run/notes.jsonl") + Data(#"{"step": 4, "no"#.utf8))
        try Command.succeed(["report", "run", "--html", "page.html"], in: place.folder)
        #expect(String(decoding: try place.bytes("page.html"), as: UTF8.self).contains(text))
    }

    @Test func aStepWithoutAScoreIsNotOneOfEqualRewards() throws {
        let place = try Workplace()
        try place.write("r.py", "def score(completions, **kwargs):\n    return [None for c in completions]\n")
        for algorithm in ["grpo", "reinforce"] {
            let job = try place.job(algorithm, "reward_funcs: r.py:score\nmax_steps: 1\noutput_dir: \(algorithm)")
            let outcome = try place.train(job)
            #expect(outcome.status == 0, "\(outcome.progress)")
            #expect(outcome.progress.contains("no completion was scored: this step has no reward to learn from"))
            #expect(!outcome.progress.contains("equal rewards"), "\(outcome.progress)")
        }
    }

    /// Of completions of one token next to none ends: with all of a step masked no optimizer step is taken.
    @Test func aStepWhoseCompletionsAreAllMaskedIsEmpty() throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo", "num_generations: 4\nmax_completion_length: 1\nmask_truncated_completions: true")
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(outcome.progress.contains("all were cut off, and mask_truncated_completions leaves such ones out"))
        let masked = try place.metrics("run").filter { $0["completions/clipped_ratio"] == 1 }
        #expect(!masked.isEmpty && masked.allSatisfy { $0["empty_steps"] == 1 && $0["grad_norm"] ?? 0 == 0 })
    }
}
