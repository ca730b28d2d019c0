import Foundation
import JSON
import Testing

/// A small model that has learned to think: `s`, two tokens or fewer, `e`, and a digit behind it; behind an empty
/// block, a digit.
private final class ThinkingWorkplace {
    let place: Workplace

    init() throws {
        place = try Workplace()
        // Three answers a prompt, some of them rewarded and some not: what is sampled stays diverse.
        let rows = (0..<120).flatMap { index in
            let prompt = "\(index % 10)+\(index / 10 % 4)="
            let digit = (index * 7 + 4 * (index / 40)) % 10
            return [
                #"{"prompt": "\#(prompt)", "completion": "s\#(index % 4)e\#(digit)"}"#,
                #"{"prompt": "\#(prompt)se", "completion": "\#(digit)"}"#,
            ]
        }
        try place.write("thinking.jsonl", rows.joined(separator: "\n"))
        let job = try place.job(
            "sft",
            "dataset_name: thinking.jsonl\nmax_steps: 150\nsave_steps: 1000\nlearning_rate: 1e-2\noutput_dir: thinker")
        let outcome = try place.train(job)
        try #require(outcome.status == 0, "\(outcome.progress)")
    }

    static let markers = "bvpo: {think_start: s, think_end: e, empty_block: se}"

    func pairs(_ arguments: String...) throws -> Command.Outcome {
        try Command.run(
            [
                "pairs", "make", "--model", "thinker", "--prompts", "prompts.jsonl", "--rewards",
                "{name: regular_expression, pattern: '[0-4]'}", "--samples", "3", "--thinking", "--think-start", "s",
                "--think-end", "e", "--empty-block", "se", "--max-completion-length", "8", "--threads", "1",
            ] + arguments, in: place.folder)
    }

    func rows(_ file: String) throws -> [[String: Any]] {
        try String(decoding: place.bytes(file), as: UTF8.self).split(separator: "\n").map {
            try #require(JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
    }

    /// A small job from the thinking model; `lines` win.
    func job(_ algorithm: String, _ lines: String) throws -> String {
        let usual = [
            "model_name_or_path: thinker", "per_device_train_batch_size: 4", "max_completion_length: 8",
            "learning_rate: 1e-3",
        ]
        let own = (usual + (algorithm == "bvpo" ? [Self.markers] : [])).filter { line in
            !lines.split(separator: "\n").contains { $0.hasPrefix(line.prefix { $0 != ":" } + ":") }
        }
        return try place.job(algorithm, (own + [lines]).joined(separator: "\n"))
    }
}

@Suite("Pairs with thinking and without: making them and learning from them", .serialized)
struct ThinkingPairsTests {
    private let work = try! ThinkingWorkplace()
    private var place: Workplace { work.place }

    @Test func pairsAreMadeAndLearnedFrom() throws {
        let made = try work.pairs("--output", "made.jsonl")
        #expect(made.status == 0, "\(made.progress)")
        let rows = try work.rows("made.jsonl")
        let thinking = rows.filter { $0["variant"] as? String == "thinking" }
        let empty = rows.filter { $0["variant"] as? String == "empty" }
        try #require(thinking.count >= 8 && empty.count >= 8, "\(made.output)")
        #expect(made.output.contains("thinking: \(thinking.count) pairs of 40 prompts, 120 completions"))
        #expect(made.output.contains("without a pair:") && made.output.contains("equal rewards"))
        #expect(made.output.contains("with a marker of thinking:"))
        for row in rows {
            let chosen = try #require(row["chosen"] as? String)
            let rejected = try #require(row["rejected"] as? String)
            #expect(chosen != rejected && row["answer"] != nil)
            #expect((row["chosen_score"] as? Double ?? 0) > (row["rejected_score"] as? Double ?? 1))
            // The reward saw the answer alone: a digit of the thinking earns nothing.
            let answer = row["variant"] as? String == "thinking" ? chosen.drop { $0 != "e" }.dropFirst() : chosen[...]
            #expect(answer.contains { "01234".contains($0) }, "\(chosen)")
        }
        #expect(thinking.allSatisfy { $0["prompt_suffix"] == nil && ($0["chosen"] as? String)?.contains("e") == true })
        #expect(empty.allSatisfy { $0["prompt_suffix"] as? String == "se" })
        #expect(!place.exists("made.jsonl.partial") && !place.exists("made.jsonl.progress.jsonl"))

        // The same command again does not write over it; stopped half-way, it goes on to the same file.
        #expect(try work.pairs("--output", "made.jsonl").status == 65)
        let lines = try String(decoding: place.bytes("made.jsonl"), as: UTF8.self)
        let json = try work.pairs("--output", "again.jsonl", "--json")
        #expect(json.output.contains("\"thinking\"") && json.output.contains("\"tie\""))
        #expect(try String(decoding: place.bytes("again.jsonl"), as: UTF8.self) == lines)

        // α = 1 is DPO on the pairs with thinking, to the bit: the same prompts in the same order.
        let paired = Set(thinking.compactMap { $0["prompt"] as? String })
        func write(_ name: String, _ keeps: ([String: Any]) -> Bool) throws {
            let kept = zip(rows, lines.split(separator: "\n")).filter { keeps($0.0) }.map(\.1)
            try place.write(name, kept.joined(separator: "\n"))
        }
        try write("thinking-pairs.jsonl") { $0["variant"] as? String == "thinking" }
        try write("both-pairs.jsonl") { paired.contains($0["prompt"] as? String ?? "") }
        let dpo = try place.train(
            work.job("dpo", "dataset_name: thinking-pairs.jsonl\noutput_dir: dpo\nmax_length: 40"))
        #expect(dpo.status == 0, "\(dpo.progress)")
        let one = try place.train(
            work.job("bvpo", "dataset_name: both-pairs.jsonl\noutput_dir: one\nmax_length: 40"), "bvpo.alpha=1")
        #expect(one.status == 0, "\(one.progress)")
        #expect(try place.bytes("dpo/model.safetensors") == place.bytes("one/model.safetensors"))
        let half = try place.train(work.job("bvpo", "dataset_name: made.jsonl\noutput_dir: half"))
        #expect(half.status == 0, "\(half.progress)")
        #expect(half.progress.contains("pairs: \(thinking.count) thinking, \(empty.count) empty"))
        let metrics = try #require(try place.metrics("half").last)
        for name in ["bvpo/alpha", "thinking/loss", "empty/loss", "thinking/rewards/margins", "loss"] {
            #expect(metrics[name] != nil, "\(name)")
        }
        #expect(metrics["bvpo/alpha"] == 0.5)
        #expect(try place.bytes("half/model.safetensors") != place.bytes("one/model.safetensors"))
        // What names the best checkpoint is the loss that is trained: ¼·L_t + ¾·L_e at α = ¼.
        for split in ["train", "eval"] { try place.write("split/\(split).jsonl", place.bytes("made.jsonl")) }
        let measured = try place.train(
            work.job("bvpo", "dataset_name: split\noutput_dir: measured\nmax_steps: 2\neval_steps: 2"),
            "bvpo.alpha=0.25")
        #expect(measured.status == 0, "\(measured.progress)")
        let evaluations = try place.metrics("measured").filter { $0["eval_loss"] != nil }
        let evaluated = try #require(evaluations.last)
        let ownLoss = try #require(evaluated["eval_thinking/loss"])
        let emptyLoss = try #require(evaluated["eval_empty/loss"])
        let mixed = 0.25 * ownLoss + 0.75 * emptyLoss
        #expect(abs((evaluated["eval_loss"] ?? 0) - mixed) < 1e-6 * mixed, "\(evaluated)")
        // The union is DPO on the whole file.
        let union = try place.train(work.job("dpo", "dataset_name: made.jsonl\noutput_dir: union"))
        #expect(union.status == 0, "\(union.progress)")

        // An estimated α moves, every term is in the record, and a resumed run is the same to the bit.
        let estimated = try work.job(
            "bvpo",
            "dataset_name: made.jsonl\nbvpo: {think_start: s, think_end: e, empty_block: se, alpha_mode: estimated, calibration_steps: 2, calibration_prompts: 12, calibration_marginal_traces: 4, calibration_trace_length: 6, calibration_sketch: 256}"
        )
        let whole = try place.train(estimated, "output_dir=whole")
        #expect(whole.status == 0, "\(whole.progress)")
        let first = try #require(try place.metrics("whole").first)
        #expect(first["bvpo/calibration_prompts"] ?? 0 >= 2, "\(first)")
        for name in [
            "alpha_star", "var_thinking", "var_empty", "var_cross", "bias_thinking", "bias_empty", "bias_cross",
        ] {
            #expect(first["bvpo/\(name)"] != nil, "\(name)")
        }
        #expect(first["bvpo/var_thinking"] ?? 0 > 0)
        let resumed = try place.train(estimated, "output_dir=resumed", "resume_from_checkpoint=whole/checkpoint-2")
        #expect(resumed.status == 0, "\(resumed.progress)")
        #expect(try place.bytes("whole/model.safetensors") == place.bytes("resumed/model.safetensors"))
        #expect(try place.metrics("resumed") == place.metrics("whole").filter { $0["step"] ?? 0 > 2 })

        // What is trained is what is compared: adapters, or some of the weights.
        for (name, trained) in [("adapted", "use_peft=true"), ("partly", "trainable=layers.1.mlp")] {
            let own = try place.train(estimated, "output_dir=\(name)", trained)
            #expect(own.status == 0, "\(own.progress)")
            #expect(try #require(try place.metrics(name).first)["bvpo/var_thinking"] ?? 0 > 0)
        }
        let elsewhere = try place.train(estimated, "output_dir=elsewhere", "trainable=layers.0")
        #expect(elsewhere.status == 65 && elsewhere.progress.contains("nothing of the last block is trained"))
    }

    @Test func pairsAreMadeAnewInEveryStep() throws {
        let job = try work.job(
            "bvpo",
            "per_device_train_batch_size: 24\nnum_generations: 6\nreward_funcs: [{name: regular_expression, pattern: '[0-4]'}]\nbvpo: {think_start: s, think_end: e, empty_block: se, online: true}"
        )
        let whole = try place.train(job, "output_dir=whole")
        #expect(whole.status == 0, "\(whole.progress)")
        let metrics = try place.metrics("whole")
        #expect(metrics.allSatisfy { $0["pairs/thinking/kept"] != nil && $0["pairs/empty/marker"] != nil })
        #expect(metrics.contains { $0["pairs/thinking/kept"] ?? 0 > 0 && $0["thinking/loss"] != nil })
        #expect(metrics.contains { $0["pairs/empty/kept"] ?? 0 > 0 })
        let resumed = try place.train(job, "output_dir=resumed", "resume_from_checkpoint=whole/checkpoint-2")
        #expect(resumed.status == 0, "\(resumed.progress)")
        #expect(try place.bytes("whole/model.safetensors") == place.bytes("resumed/model.safetensors"))
        #expect(try place.metrics("resumed") == metrics.filter { $0["step"] ?? 0 > 2 })
    }

    @Test func whatDoesNotFitIsNamed() throws {
        try place.write(
            "plain.jsonl", #"{"prompt": "1+1=", "chosen": "2", "rejected": "3"}"#)
        let cases: [(String, [String])] = [
            ("dataset_name: plain.jsonl", ["no column `variant`; expected thinking or empty"]),
            ("dataset_name: plain.jsonl\nbvpo: {alpha: 1.5}", ["bvpo.alpha is '1.5'", "from 0 to 1"]),
            (
                "reward_funcs: exact_number\nbvpo: {online: true, alpha_mode: estimated}",
                ["bvpo.alpha_mode is estimated; expected fixed with bvpo.online"]
            ),
            ("dataset_name: plain.jsonl\nbvpo: {alfa: 1}", ["unknown key 'bvpo.alfa'; did you mean bvpo.alpha?"]),
            (
                "dataset_name: plain.jsonl\ntruncation_mode: keep_start",
                ["truncation_mode is keep_start; expected drop"]
            ),
        ]
        for (lines, says) in cases {
            let outcome = try place.train(place.job("bvpo", lines))
            #expect(outcome.status == 65, "\(lines): \(outcome.progress)")
            for piece in says { #expect(outcome.progress.contains(piece), "'\(piece)' in: \(outcome.progress)") }
        }
        let plan = try work.pairs("--output", "never.jsonl", "--dry-run")
        #expect(
            plan.status == 0 && plan.output.contains("240 completions in all") && plan.output.contains("memory, about"))
        #expect(!place.exists("never.jsonl.partial"))
    }

    @Test func makingIsGoneOnWithAfterAStop() throws {
        let arguments = ["--output", "late.jsonl", "--limit", "40"]
        let running = try Command.start(
            [
                "pairs", "make", "--model", "thinker", "--prompts", "prompts.jsonl", "--rewards",
                "{name: regular_expression, pattern: '[0-4]'}", "--samples", "3", "--max-completion-length", "8",
                "--threads", "1",
            ] + arguments, in: place.folder)
        let progress = place.folder.appending(path: "late.jsonl.progress.jsonl")
        for _ in 0..<24_000 where running.process.isRunning && !FileManager.default.fileExists(atPath: progress.path) {
            usleep(1_000)
        }
        running.process.terminate()
        let stopped = try running.wait()
        #expect([0, 75].contains(stopped.status), "\(stopped.progress)")
        func make(_ output: String, _ more: String...) throws -> Command.Outcome {
            try Command.run(
                [
                    "pairs", "make", "--model", "thinker", "--prompts", "prompts.jsonl", "--rewards",
                    "{name: regular_expression, pattern: '[0-4]'}", "--samples", "3", "--max-completion-length", "8",
                    "--threads", "1", "--output", output, "--limit", "40",
                ] + more, in: place.folder)
        }
        if stopped.status == 75 {
            let other = try make("late.jsonl", "--seed", "5")
            #expect(other.status == 65 && other.progress.contains("was begun with another model"))
            let rest = try make("late.jsonl")
            #expect(rest.status == 0 && rest.progress.contains("going on after"), "\(rest.progress)")
        }
        #expect(try make("whole.jsonl").status == 0)
        #expect(try place.bytes("late.jsonl") == place.bytes("whole.jsonl"))
        // Without --thinking a row is a plain preference.
        #expect(try work.rows("whole.jsonl").allSatisfy { $0["variant"] == nil && $0["prompt_suffix"] == nil })
    }
}
