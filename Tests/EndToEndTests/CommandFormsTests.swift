import Foundation
import JSON
import Runs
import TestSupport
import Testing

@Suite("Machine-readable forms: one JSON object a line, in the order of the input")
struct CommandFormsTests {
    private let place: Workplace
    init() throws { place = try Workplace() }

    /// Standard output of a command, parsed line by line.
    private func lines(_ arguments: [String]) throws -> [JSONValue] {
        try Command.succeed(arguments, in: place.folder).output.split(separator: "\n").map {
            try JSONValue(parsing: Array($0.utf8))
        }
    }

    private func write(_ name: String, _ rows: [JSONValue]) throws {
        try place.write(name, rows.map { $0.serialized + "\n" }.joined())
    }

    private func keys(_ json: JSONValue?) -> [String] { json?.members?.map(\.key) ?? [] }
    private func doubles(_ json: JSONValue?) -> [Double?] { json?.elements?.map(\.double) ?? [] }
    private func integers(_ json: JSONValue?) -> [Int] { json?.elements?.compactMap(\.int) ?? [] }

    /// With one token a byte and one special, a byte's id is not far to seek: the bytes in GPT-2's order behind the
    /// special.
    @Test func tokenizerEncodeAndDecode() throws {
        let texts = ["a b", "", "Ünï 12\n\t\"quoted\"", "日本語 🙂", String(repeating: "ab", count: 300)]
        try write("texts.jsonl", texts.map { .object(["text": .string($0)]) })
        let encoded = try lines(["tokenizer", "encode", "--tokenizer", "model", "--input", "texts.jsonl", "--json"])
        #expect(encoded.map(keys) == texts.map { _ in ["ids"] })
        #expect(encoded.map { integers($0["ids"]).count } == texts.map(\.utf8.count))
        let ids = encoded.map { integers($0["ids"]) }
        #expect(ids[0][2] == ids[0][0] + 1)  // b comes after a
        #expect(ids[4] == Array(repeating: [ids[0][0], ids[0][2]], count: 300).flatMap { $0 })
        try write("ids.jsonl", ids.map { .object(["ids": .array($0.map { .number($0) })]) })
        let decoded = try lines(["tokenizer", "decode", "--tokenizer", "model/tokenizer.json", "--input", "ids.jsonl"])
        #expect(decoded.map(keys) == texts.map { _ in ["text"] })
        #expect(decoded.map { $0["text"]?.string } == texts)
    }

    /// The template lies beside the file of the tokenizer, wherever that is named.
    @Test func chatsAreEncodedWithTheTemplateBesideTheTokenizerFile() throws {
        try place.write("model/chat_template.jinja", "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}")
        try place.write("chats.jsonl", #"{"messages": [{"role": "user", "content": "a"}]}"# + "\n")
        let encode = ["tokenizer", "encode", "--input", "chats.jsonl", "--chat", "--tokenizer"]
        let named = try lines(encode + ["model/tokenizer.json"])
        #expect(named.map { $0["text"]?.text } == ["[user]a"])
        #expect(try named == lines(encode + ["model"]))
    }

    /// The command's own option stands among the job's keys, and before the job.
    @Test func overridesAreReadAsTRLsUsersWriteThem() throws {
        let job = try place.job("grpo", "num_generations: 4")
        func resolved(_ arguments: [String]) throws -> String {
            try Command.succeed(["train"] + arguments, in: place.folder).output
        }
        let flag = "mask_truncated_completions"
        let plain = try resolved([job, "beta=0.04", "seed=7", "\(flag)=true", "--dry-run"])
        #expect(plain.contains("\nbeta: 0.04\n") && plain.contains("\n\(flag): true\n"))
        #expect(try resolved(["--dry-run", "--config", job, "--beta", "0.04", "--seed=7", "--\(flag)"]) == plain)
        #expect(try resolved(["--beta=0.04", job, "--\(flag)", "--dry-run", "--seed", "7"]) == plain)
    }

    /// A model is the work of hours: making a fresh one does not replace it unasked.
    @Test func aModelIsNotReplacedUnasked() throws {
        let before = try place.bytes("model/model.safetensors")
        let make = [
            "init-model", "--output", "model", "--tokenizer", "model", "--hidden-size", "16", "--layers", "1",
            "--heads", "2",
        ]
        let refused = try Command.run(make, in: place.folder)
        #expect(refused.status == 65)
        #expect(refused.progress.contains("there is a model already (config.json)"), "\(refused.progress)")
        #expect(try place.bytes("model/model.safetensors") == before)
        try Command.succeed(make + ["--overwrite"], in: place.folder)
        #expect(try place.bytes("model/model.safetensors") != before)
    }

    @Test func tokenizerEncodeOfChats() throws {
        try place.write(
            "chat.jinja",
            "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
        )
        try Command.succeed(
            [
                "tokenizer", "train", "--input", "prompts.jsonl", "--output", "chatty", "--vocabulary-size", "257",
                "--chat-template", "chat.jinja",
            ], in: place.folder)
        try write("chats.jsonl", [.object(["messages": [.object(["role": "user", "content": "1+1?"])]])])
        let encode = ["tokenizer", "encode", "--tokenizer", "chatty", "--input", "chats.jsonl", "--chat", "--json"]
        let opened = try lines(encode)
        #expect(opened.map(keys) == [["text", "ids"]])
        #expect(opened[0]["text"]?.string == "<user>1+1?<assistant>")
        #expect(integers(opened[0]["ids"]).count == "<user>1+1?<assistant>".utf8.count)
        #expect(try lines(encode + ["--no-generation-prompt"])[0]["text"]?.string == "<user>1+1?")
    }

    /// Natural logs at temperature 1: over all tokens that can come second their probabilities add up to 1.
    @Test func logprobs() throws {
        var rows = (0..<257).map { JSONValue.object(["token_ids": [5, .number($0)]]) }
        rows.append(.object(["prompt": "1+1=", "completion": "2"]))
        rows.append(.object(["prompt": "1+1=2"]))
        try write("rows.jsonl", rows)
        let found = try lines(["logprobs", "--model", "model", "--input", "rows.jsonl", "--json"])
        #expect(found.count == 259)
        #expect(
            found.allSatisfy { keys($0) == ["token_ids", "log_probs"] && $0["log_probs"]?.elements?.first == .null })
        #expect(found.indices.prefix(257).allSatisfy { integers(found[$0]["token_ids"]) == [5, $0] })
        let second = found.prefix(257).compactMap { doubles($0["log_probs"])[1] }
        #expect(second.count == 257 && abs(second.map(exp).reduce(0, +) - 1) < 1e-5)
        #expect(integers(found[257]["token_ids"]).count == 5)
        #expect(found[257] == found[258])  // with one token a byte, where the prompt ends changes nothing
        #expect(doubles(found[257]["log_probs"]).dropFirst().allSatisfy { $0.map { $0 < 0 } ?? false })
    }

    @Test func generateAgreesWithLogprobsAndDecode() throws {
        let prompts = ["1+1=", "a", "1+1=", "longer than the others: "]
        try write("p.jsonl", prompts.map { .object(["prompt": .string($0)]) })
        let groups = try lines([
            "generate", "--model", "model", "--prompts", "p.jsonl", "--samples", "3", "--max-completion-length", "20",
            "--seed", "4", "--json",
        ])
        #expect(groups.map { $0["prompt"]?.string } == prompts)
        #expect(groups.allSatisfy { keys($0) == ["prompt", "completions"] && $0["completions"]?.elements?.count == 3 })
        let samples = zip(prompts, groups).flatMap { prompt, group in
            (group["completions"]?.elements ?? []).map { (prompt, $0) }
        }
        #expect(samples.allSatisfy { keys($0.1) == ["text", "token_ids", "log_probs", "finish_reason"] })
        #expect(samples.allSatisfy { ["length", "stop"].contains($0.1["finish_reason"]?.string) })
        try write("texts.jsonl", samples.map { .object(["text": .string($0.0)]) })
        let opened = try lines(["tokenizer", "encode", "--tokenizer", "model", "--input", "texts.jsonl"])
        let whole = zip(opened, samples).map { integers($0["ids"]) + integers($1.1["token_ids"]) }
        try write("ids.jsonl", whole.map { .object(["token_ids": .array($0.map { .number($0) })]) })
        let scored = try lines(["logprobs", "--model", "model", "--input", "ids.jsonl"])
        for ((prompt, sample), line) in zip(samples, scored) {
            let sampled = doubles(sample["log_probs"]).compactMap { $0 }
            let again = doubles(line["log_probs"]).dropFirst(prompt.utf8.count).compactMap { $0 }
            #expect(sampled.count == again.count && sampled.count == integers(sample["token_ids"]).count)
            #expect(zip(sampled, again).allSatisfy { abs($0 - $1) < 1e-4 }, "\(sampled) \(again)")
        }
        try write("out.jsonl", samples.map { .object(["ids": $0.1["token_ids"] ?? .null]) })
        let decode = ["tokenizer", "decode", "--tokenizer", "model", "--input", "out.jsonl", "--skip-special-tokens"]
        #expect(try lines(decode).map { $0["text"]?.string } == samples.map { $0.1["text"]?.string })
    }

    /// The model's context is 64 tokens; a fresh policy seldom ends by itself.
    @Test func withoutALengthHalfOfASmallContextIsTheCompletions() throws {
        let found = try lines(["generate", "--model", "model", "--prompt", "1+1=", "--samples", "8", "--json"])
        let lengths = (found[0]["completions"]?.elements ?? []).map { integers($0["token_ids"]).count }
        #expect(lengths.count == 8 && lengths.max() == 32, "\(lengths)")
    }

    @Test func rewardCheckHasFourStates() throws {
        try place.write(
            "r.py",
            """
            import time
            def judged(completions, **kwargs):
                if "raise" in completions: raise ValueError("boom")
                if "sleep" in completions: time.sleep(600)
                return [None if text == "none" else float(len(text)) for text in completions]
            """)
        let texts = ["abc", "none", "raise", "sleep", "", "nan"]
        // A prompt each: completions of one prompt share a call, and what becomes of it.
        try write("c.jsonl", texts.map { .object(["prompt": .string("\($0)?"), "completion": .string($0)]) })
        let found = try lines([
            "reward", "check", "--reward", "r.py:judged", "--file", "c.jsonl", "--setting", "timeout=1", "--json",
        ])
        #expect(found.map(keys) == texts.map { _ in ["score", "state", "note"] })
        #expect(found.map { $0["score"] } == [3, .null, .null, .null, 0, 3])
        #expect(
            found.map { $0["state"]?.string } == ["scored", "abstained", "failed", "timedOut", "scored", "scored"])
        #expect(found[2]["note"]?.string?.contains("ValueError: boom") == true)
        #expect(found[0]["note"] == .null)
    }

    /// A reward that reads the row alone makes every number of an evaluation known beforehand: 3 of 4 rows are right.
    @Test func evalIsOneObject() throws {
        try place.write(
            "r.py", "def right(completions, ok, **kwargs):\n    return [None if o is None else float(o) for o in ok]\n")
        try write("e.jsonl", [1, 1, 0, 1].map { .object(["prompt": "1+1=", "ok": .number($0)]) })
        let evaluation = [
            "eval", "--model", "model", "--prompts", "e.jsonl", "--rewards", "r.py:right", "--samples", "2", "-k",
            "1,2",
            "--max-completion-length", "1", "--json",
        ]
        let found = try lines(evaluation)
        #expect(found.count == 1)
        #expect(keys(found[0]) == ["model", "partial", "results", "comparisons"])
        let set = try #require(found[0]["results"]?.elements?.first)
        #expect(set["prompt_set"] == "e.jsonl" && set["n"] == 4 && set["samples"] == 2)
        let truncated = try #require(set["truncated"]?.double)
        #expect((0.0...1).contains(truncated) && truncated * 8 == (truncated * 8).rounded())
        let reward = try #require(set["rewards"]?.elements?.first)
        #expect(reward["reward"] == "right" && reward["n"] == 4 && reward["failed"] == 0 && reward["mean"] == 0.75)
        #expect(reward["pass@k"] == .object(["1": 0.75, "2": 0.75]))
        #expect(doubles(reward["prompt_means"]) == [1, 1, 0, 1])
        let interval = doubles(reward["interval"]).compactMap { $0 }
        #expect(interval.count == 2 && interval[0] >= 0 && interval[0] < 0.75 && interval[1] > 0.75 && interval[1] <= 1)
        let first = try lines(evaluation + ["--pass-at-k", "first"])
        #expect(first[0]["pass@k_estimator"] == "first")
        let wrong = try Command.run(evaluation + ["--pass-at-k", "best"], in: place.folder)
        #expect(wrong.status == 64 && wrong.progress.contains("one of unbiased, first, chunks"), "\(wrong.progress)")
    }

    @Test(arguments: ["step", "rollout", "update"])
    func benchEndsWithOneObject(_ part: String) throws {
        let output = try Command.succeed(
            [
                "bench", part, "--model", "model", "--prompts", "2", "--completions", "3", "--prompt-tokens", "5",
                "--completion-tokens", "4", "--steps", "2", "--threads", "1",
            ], in: place.folder
        ).output
        let last = try JSONValue(parsing: Array(try #require(output.split(separator: "\n").last).utf8))
        for key in ["step_s", "generation_s", "update_s"] {
            let isMeasured = key == "step_s" || part == "step" || (part == "rollout") == (key == "generation_s")
            #expect(keys(last[key]) == (isMeasured ? ["median", "p10", "p90"] : []), "\(key)")
        }
        for key in ["tokens_per_s", "ceiling_gflops", "ceiling_gbps", "fraction_of_ceiling", "peak_rss_bytes"] {
            #expect(last[key]?.double.map { $0 > 0 && $0.isFinite } == true, "\(key)")
        }
        let workload = try #require(last["workload"])
        let sizes = ["prompts", "completions", "prompt_tokens", "completion_tokens", "steps", "threads"]
        #expect(sizes.map { workload[$0]?.integer } == [2, 3, 5, 4, 2, 1] && workload["part"]?.string == part)
        let rate = try #require(last["tokens_per_s"]?.double)
        let median = try #require(last["step_s"]?["median"]?.double)
        #expect(abs(rate * median - 2 * 3 * 4) < 1e-6)  // completion tokens of a repetition
    }

    @Test(arguments: ["rollout", "update"])
    func benchTakesOneCompletion(_ part: String) throws {
        let output = try Command.succeed(
            [
                "bench", part, "--model", "model", "--prompts", "2", "--completions", "1", "--prompt-tokens", "5",
                "--completion-tokens", "4", "--steps", "1", "--threads", "1", "--json",
            ], in: place.folder
        ).output
        let object = try JSONValue(parsing: Array(output.utf8))
        #expect(object["workload"]?["completions"]?.integer == 1)
        #expect(object["step_s"]?["median"]?.double.map { $0 > 0 && $0.isFinite } == true)
    }

    /// What the estimate says an optimizer keeps is what it holds, to the byte, whatever is trained.
    @Test(arguments: [
        ["--optim", "lion"], ["--optim", "low_rank", "--low-rank", "rank=4", "remainder=fira"],
        ["--lora-rank", "4", "--load-in-8bit"],
    ])
    func benchTakesWhatATableOfOptimizersCompares(_ flags: [String]) throws {
        let output = try Command.succeed(
            [
                "bench", "update", "--model", "model", "--prompts", "2", "--completions", "2", "--prompt-tokens", "5",
                "--completion-tokens", "4", "--steps", "1", "--threads", "1", "--json",
            ] + flags, in: place.folder
        ).output
        let object = try JSONValue(parsing: Array(output.utf8))
        let estimated = try #require(object["optimizer_state_bytes"]?.integer)
        let held = try #require(object["memory"]?["optimizer_gb"]?.double)
        #expect(estimated > 0 && abs(held * 1e9 - Double(estimated)) < 1, "\(estimated), \(held)")
        #expect(object["workload"]?["lora_rank"]?.integer == (flags.contains("--lora-rank") ? 4 : nil))
    }

    @Test(arguments: [
        ["--load-in-8bit"], ["--lora-rank", "0"], ["--low-rank", "rank"],
        ["--optim", "low_rank", "--low-rank", "rang=4"], ["--low-rank", "rank=4"],
    ])
    func benchRefusesWhatTrainsNothing(_ flags: [String]) throws {
        let outcome = try Command.run(
            ["bench", "update", "--model", "model", "--completion-tokens", "4"] + flags, in: place.folder)
        #expect([64, 65].contains(outcome.status), "\(outcome.progress)")
        #expect(flags.contains { outcome.progress.contains($0) }, "\(outcome.progress)")
    }

    /// Controllers are timed apart, and so are the gradients that one of them compares.
    @Test(arguments: [(["constraints", "hypervolume"], 0), (["gradient"], 2)])
    func benchTimesControllers(_ example: (names: [String], passes: Int)) throws {
        let arguments =
            [
                "bench", "step", "--model", "model", "--prompts", "2", "--completions", "3", "--prompt-tokens", "5",
                "--completion-tokens", "4", "--steps", "2", "--threads", "1", "--controllers",
            ] + example.names
        let output = try Command.succeed(arguments, in: place.folder).output
        let lines = output.split(separator: "\n")
        let last = try JSONValue(parsing: Array(try #require(lines.last).utf8))
        let found = try #require(last["controllers"])
        #expect(found["names"]?.elements?.compactMap(\.string) == example.names)
        #expect(found["backward_passes"]?.integer == example.passes)
        #expect(keys(found["gradients_s"]) == (example.passes > 0 ? ["median", "p10", "p90"] : []))
        let (seconds, step) = (found["seconds"]?["median"]?.double ?? 0, last["step_s"]?["median"]?.double ?? 0)
        #expect(seconds > 0 && seconds < step)
        #expect(abs((found["share_of_step"]?.double ?? 9) - seconds / step) < 1e-9)
        #expect(lines.contains { $0.hasPrefix("controllers (\(example.names.joined(separator: ", "))): ") })
    }

    @Test(arguments: [
        ["--controllers", "constraints", "gradient"], ["--controllers", "gradient", "gradient"],
        ["--algorithm", "dpo", "--controllers", "hypervolume"], ["--controllers", "recap"],
    ])
    func benchRefusesControllersThatDoNotFit(_ flags: [String]) throws {
        let outcome = try Command.run(["bench", "step", "--model", "model"] + flags, in: place.folder)
        #expect([64, 65].contains(outcome.status) && outcome.progress.contains("--controllers"), "\(outcome.progress)")
    }

    @Test func rewardListNamesEveryReward() throws {
        let list = try #require(try lines(["reward", "list", "--json"]).first?.elements)
        #expect(list.allSatisfy { keys($0) == ["name", "range", "settings"] })
        let expression = list.first { $0["name"] == "regular_expression" }
        #expect(expression?["settings"]?.elements?.contains("pattern") == true && expression?["range"] == "0…1")
    }
}
