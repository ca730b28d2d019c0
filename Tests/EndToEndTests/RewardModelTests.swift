import Foundation
import Testing

@Suite("A reward model from preferences, and where it is used", .serialized)
struct RewardModelTests {
    /// Rewards whose answers are the right sums are preferred to others.
    private func trained(_ lines: String = "") throws -> (place: Workplace, job: String) {
        let place = try Workplace()
        let job = try place.job(
            "reward_model",
            "per_device_train_batch_size: 16\nlearning_rate: 5e-3\nmax_steps: 60\nsave_steps: 30\nlr_scheduler_type: constant\n"
                + "eval_steps: 30\noutput_dir: rm\n" + lines)
        let run = try place.train(job)
        #expect(run.status == 0, "\(run.progress)")
        return (place, job)
    }

    @Test func itLearnsResumesToTheBitAndIsReadAsARewardAndACritic() throws {
        let (place, job) = try trained("center_rewards_coefficient: 0.01")
        let rows = try place.metrics("rm")
        #expect(abs((rows.first?["loss"] ?? 0) - log(2)) < 1e-4)  // heads of zeros tell nothing apart
        #expect((rows.last?["eval_accuracy"] ?? 0) > 0.9)
        #expect(rows.last?["eval_calibration_error"] != nil && place.exists("rm/calibration.json"))
        #expect(try place.train(job, "output_dir=again", "resume_from_checkpoint=rm/checkpoint-30").status == 0)
        for file in ["model.safetensors", "checkpoint-60/plumbline_state/policy_updater/moments.safetensors"] {
            #expect(try place.bytes("rm/\(file)") == place.bytes("again/\(file)"))
        }
        #expect(try place.metrics("again").last == rows.last)

        let ppo = try place.job(
            "ppo", "critic_model_name_or_path: rm\nreward_funcs: [{model: rm}]\noutput_dir: ppo\nmax_steps: 2")
        let run = try place.train(ppo)
        #expect(run.status == 0, "\(run.progress)")
        #expect(try place.metrics("ppo").allSatisfy { $0["rewards/rm/mean"] != nil && $0["value_loss"] != nil })
        let evaluated = try Command.run(
            [
                "eval", "--model", "model", "--prompts", "prompts.jsonl", "--rewards", "{model: rm}",
                "--max-completion-length",
                "4", "--json",
            ], in: place.folder)
        #expect(evaluated.status == 0 && evaluated.output.contains("\"rm\""), "\(evaluated.progress)")
    }

    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["PEERS_PYTHON"] != nil,
            "PEERS_PYTHON names no Python with transformers"))
    func transformersLoadsItWithTheSameScores() throws {
        let place = try trained().place
        try place.write(
            "completions.jsonl",
            #"{"prompt": "2+3=", "completion": "5"}"# + "\n" + #"{"prompt": "9+3=", "completion": "20"}"# + "\n")
        let own = try Command.succeed(
            ["reward", "check", "--reward", "{model: rm}", "--file", "completions.jsonl", "--json"], in: place.folder)
        let scores = own.output.split(separator: "\n").compactMap {
            (try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])?["score"] as? Double
        }
        let program = """
            import torch
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
            model, tokenizer = AutoModelForSequenceClassification.from_pretrained("rm"), AutoTokenizer.from_pretrained("rm")
            assert model.config.id2label == {0: "reward"}, model.config
            for text in ["2+3=5", "9+3=20"]:
                ids = tokenizer(text + tokenizer.eos_token, return_tensors="pt")
                print(model(input_ids=ids.input_ids).logits.item())
            """
        let process = Process()
        process.executableURL = URL(filePath: ProcessInfo.processInfo.environment["PEERS_PYTHON"] ?? "")
        process.arguments = ["-c", program]
        process.currentDirectoryURL = place.folder
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        let theirs = text.split(separator: "\n").compactMap { Double($0) }
        #expect(scores.count == 2 && theirs.count == 2)
        for (own, their) in zip(scores, theirs) { #expect(abs(own - their) < 1e-4) }
    }

    @Test func headsShareATrunkAndLearnFromTheirOwnPairs() throws {
        let place = try Workplace()
        // The second head prefers what the first one rejects.
        let rows = try String(contentsOf: place.folder.appending(path: "pairs.jsonl"), encoding: .utf8)
            .split(separator: "\n").flatMap { row in
                let other = row.replacing("chosen", with: "x").replacing("rejected", with: "chosen").replacing(
                    "\"x\"", with: "\"rejected\"")
                return [
                    row.replacing("{\"prompt", with: "{\"head\": \"right\", \"prompt"),
                    other.replacing("{\"prompt", with: "{\"head\": \"wrong\", \"margin\": 0.5, \"prompt"),
                ]
            }
        try place.write("pairs.jsonl", rows.joined(separator: "\n") + "\n")
        let job = try place.job(
            "reward_model",
            "reward_heads: [right, wrong]\nper_device_train_batch_size: 16\nlearning_rate: 5e-3\nmax_steps: 60\neval_steps: 60\nlr_scheduler_type: constant\nsave_steps: 60"
        )
        #expect(try place.train(job).status == 0)
        let last = try #require(place.metrics("run").last)
        // Zeros to begin with: half of the pairs have a margin of ½.
        let start = (log(2) + log(1 + exp(0.5))) / 2
        #expect(abs((try place.metrics("run").first?["loss"] ?? 0) - start) < 0.08)
        #expect((last["eval_right/accuracy"] ?? 0) > 0.9 && (last["eval_wrong/accuracy"] ?? 0) > 0.9)
        let config = try String(contentsOf: place.folder.appending(path: "run/config.json"), encoding: .utf8)
        #expect(config.contains("\"1\": \"wrong\"") && config.contains("ForSequenceClassification"))
    }

    @Test(arguments: [
        (#"{"prompt": "1+1=", "chosen": "", "rejected": "3"}"#, "", "line 1: the chosen side is empty"),
        (
            #"{"prompt": "1+1=", "chosen": "2", "rejected": "2"}"#, "",
            "no pair to learn from; left out: 1 of 1 pairs, whose sides"
        ),
        (
            #"{"prompt": "1+1=", "chosen": "2", "rejected": "3", "margin": "big"}"#, "",
            "column margin is big; expected a finite"
        ),
        (#"{"prompt": "1+1=", "chosen": "2", "rejected": "3"}"#, "max_length=5", "longer than max_length, 5 tokens"),
        (
            #"{"prompt": "1+1=", "chosen": "2", "rejected": "3"}"#, "reward_heads=[a, b]",
            "column head is missing; expected one of"
        ),
        (
            #"{"prompt": "1+1=", "chosen": "2", "rejected": "3"}"#, "reward_heads=[a, a]",
            "expected one name or several different"
        ),
    ])
    func whatCannotBeLearnedFromIsNamed(_ row: String, _ override: String, _ message: String) throws {
        let place = try Workplace()
        try place.write("bad.jsonl", row + "\n")
        let job = try place.job("reward_model", "dataset_name: bad.jsonl")
        let run = try Command.run(["train", job] + (override.isEmpty ? [] : [override]), in: place.folder)
        #expect(run.status == 65 && run.progress.contains(message), "\(run.progress)")
        #expect(!place.exists("run"))
    }
}
