import Foundation
import Testing

/// What `--dry-run` says of memory, of models so small that what is looked for stands out. A token has 2 · 2 layers · 32
/// numbers of keys and values: 512 bytes. Prompts have 4 tokens.
@Suite("Memory that a dry run foresees", .serialized)
struct MemoryPlanTests {
    /// 16 prompts with a sampled and a greedy completion each: 32 · 3000 tokens and 16 · 4 are 49.2 MB, without the greedy
    /// ones 24.6. An evaluation of 40 prompts, 32 rows at once, has 32 · 4 tokens of prompts: 49.2 MB as well, and of three
    /// completions each, 64 rows at once, 64 · 3000 + 40 · 4: 98.4.
    @Test func greedyCompletionsAndEvaluationsHaveKeysAndValuesToo() throws {
        let place = try Workplace()
        try place.makeModel("long", contextLength: 4096)
        let job = try place.job("remax", "model_name_or_path: long\nmax_completion_length: 3000")
        let cases: [(overrides: [String], size: String)] = [
            ([], "50 MB"), (["eval_steps=2"], "50 MB"),
            (["eval_steps=2", "num_generations_eval=3", "max_concurrent_completions=64"], "99 MB"),
            (["eval_guard=[{prompts: prompts.jsonl, name: sums}]", "max_concurrent_completions=36"], "56 MB"),
        ]
        for (overrides, size) in cases {
            let plan = try Command.succeed(["train", job, "--dry-run"] + overrides, in: place.folder)
            #expect(plan.output.contains("while generating, keys and values \(size))"), "\(plan.output)")
        }
    }

    /// Two rows at once and their two prompts, whoever asks for completions; what an evaluation had is in the row of the next
    /// step. Keys stand in tiles of 16 tokens: in each of
    /// two layers 2 · (16 + 4) · 32 numbers for prompts and 2 · (16 + 16) · 32 for completions.
    @Test func anEvaluationDecodesAsManyRowsAtOnceAsTheJobSays() throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo",
            "num_generations: 4\nmax_completion_length: 16\nmax_concurrent_completions: 2\neval_steps: 2\nmax_steps: 4")
        let run = try place.train(job)
        #expect(run.status == 0, "\(run.progress)")
        let rows = try String(decoding: place.bytes("run/metrics.jsonl"), as: UTF8.self).split(separator: "\n").map {
            try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any] ?? [:]
        }
        #expect(rows.contains { $0["eval_reward"] != nil })
        let most = rows.compactMap { ($0["memory/kv_cache_gb"] as? NSNumber)?.doubleValue }.max() ?? 0
        #expect(abs(most * 1e9 - 2 * 4 * (2 * 20 + 2 * 32) * 32) < 1, "\(most)")
    }

    /// Of a model of 4 · (4 · 512² + 3 · 512 · 1376 + 2560) + 257 · 512 + 512 numbers weights, gradients and both moments are
    /// 204.7 MB, wherever it stands; a second set of gradients, of another reward, is 51.2 MB.
    @Test func aCriticsModelAndGradientsApartAreCounted() throws {
        let place = try Workplace()
        try Command.succeed(
            [
                "init-model", "--output", "big", "--tokenizer", "model", "--hidden-size", "512", "--layers", "4",
                "--heads", "8", "--context-length", "64",
            ], in: place.folder)
        let ppo = try place.train(place.job("ppo", "critic_model_name_or_path: big"), "--dry-run")
        #expect(ppo.output.contains(", the critic 205 MB"), "\(ppo.output)")
        let rewards = "reward_funcs: [{name: regular_expression, pattern: '[0-9]'}, {name: exact_number}]"
        let job = try place.job("grpo", "model_name_or_path: big\nnum_generations: 4\nforward_cache_gb: 0\n" + rewards)
        let peaks = try ["threads=1", "dynamic_weights={method: gradient}"].map { override -> Int in
            let plan = try Command.succeed(["train", job, "--dry-run", override], in: place.folder).output
            let compares = plan.contains(", at its peak while gradients of streams are compared: weights, gradients")
            #expect(compares == override.hasPrefix("dynamic_weights"), "\(plan)")
            let found = plan.firstMatch(of: /memory, about ([0-9]+) MB/).map { String($0.1) }
            return try #require(found.flatMap { Int($0) })
        }
        #expect([51, 52].contains(peaks[1] - peaks[0]), "\(peaks)")
    }

    /// The same model has 51.2 MB of weights and twice that of moments: 153.5 MB a checkpoint. Ten steps have five of
    /// them; of two that are kept three are there while the third is written.
    @Test func whatCheckpointsTakeOfTheDiskIsSaid() throws {
        let place = try Workplace()
        try Command.succeed(
            [
                "init-model", "--output", "big", "--tokenizer", "model", "--hidden-size", "512", "--layers", "4",
                "--heads", "8", "--context-length", "64",
            ], in: place.folder)
        let job = try place.job("sft", "model_name_or_path: big\nmax_steps: 9\nsave_steps: 2")
        for (override, says) in [
            ("threads=1", "disk, about 819 MB for checkpoints of 154 MB and the final model; save_total_limit is not"),
            ("save_total_limit=1", "disk, about 512 MB for checkpoints of 154 MB and the final model; save_total"),
            ("optim=lion", "disk, about 563 MB for checkpoints of 103 MB and"),
        ] {
            let plan = try place.train(job, "--dry-run", override)
            #expect(plan.output.contains(says), "\(plan.output)")
        }
        let five = try place.train(job, "--dry-run").output
        #expect(five.contains("save_total_limit is not set: all 5 are kept"), "\(five)")
        for (override, says) in [
            ("save_steps=100", "save_total_limit is not set: its one checkpoint is kept\n"),
            ("save_total_limit=1", ": up to 3 at a time, more while optimizer steps are being skipped\n"),
            ("save_total_limit=5", "save_total_limit is 5: up to 5 at a time\n"),
        ] {
            let plan = try place.train(job, "--dry-run", override).output
            #expect(plan.contains(says), "\(plan)")
        }
    }
}
