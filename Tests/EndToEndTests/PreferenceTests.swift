import Foundation
import Testing

@Suite("Training on preferences")
struct PreferenceTests {
    @Test func aRunLearnsItsPairsAndSaysHowWell() throws {
        let place = try Workplace()
        let job = try place.job("dpo", "max_steps: 20\nsave_steps: 20\nlogging_steps: 5\nlearning_rate: 3e-3")
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(outcome.progress.contains("TRL form, prompt from `prompt`, preferences from `chosen` and `rejected`"))
        #expect(outcome.progress.contains("reference log-probs of 40 pairs: computing them once"))
        let metrics = try place.metrics("run")
        let first = try #require(metrics.first)
        let last = try #require(metrics.last)
        // The first step is at the reference: log 2, no margin.
        #expect(abs((first["loss"] ?? 0) - log(2)) < 1e-6 && abs(first["rewards/margins"] ?? 1) < 1e-6)
        #expect(last["rewards/accuracies"] ?? 0 > 0.9 && last["loss"] ?? 1 < 0.6)
        for name in ["rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected", "entropy", "grad_norm"] {
            #expect(last[name] != nil, "\(name)")
        }
        // 16 pairs a step: an epoch of 40 has two steps.
        #expect(metrics[1]["epoch"] == 0.8)
    }

    @Test func precomputedReferencesAreTheSameRunAndKept() throws {
        let place = try Workplace()
        let job = try place.job("dpo", "max_steps: 6\nsave_steps: 3")
        #expect(try place.train(job, "output_dir=once").status == 0)
        #expect(try place.train(job, "output_dir=ever", "precompute_ref_log_probs=false").status == 0)
        for (once, ever) in zip(try place.metrics("once"), try place.metrics("ever")) {
            for name in ["loss", "grad_norm", "rewards/margins"] {
                #expect(abs((once[name] ?? 0) - (ever[name] ?? 1)) < 1e-4, "\(name)")
            }
        }
        #expect(!place.exists("ever/reference_logps"))
        let folder = place.folder.appending(path: "once/reference_logps")
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        #expect(files.count == 1)
        let again = try place.train(job, "output_dir=once", "resume_from_checkpoint=once/checkpoint-3")
        #expect(again.status == 0 && !again.progress.contains("computing them once"))
        // A file that is torn is made again, and other pairs have a file of their own.
        let file = folder.appending(path: files[0])
        try Data(Data(contentsOf: file).dropLast()).write(to: file)
        let torn = try place.train(job, "output_dir=once", "overwrite_output_dir=true")
        #expect(torn.status == 0 && torn.progress.contains("computing them once"))
        #expect(try place.train(job, "output_dir=once", "overwrite_output_dir=true", "max_length=5").status == 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).count == 2)
    }

    @Test func heldOutPairsAreMeasured() throws {
        let place = try Workplace()
        try place.write("set/train.jsonl", place.bytes("pairs.jsonl"))
        try place.write(
            "set/eval.jsonl",
            "{\"prompt\": \"1+1=\", \"chosen\": \"2\", \"rejected\": \"21\"}\n"
                + "{\"prompt\": \"2+2=\", \"chosen\": \"4\", \"rejected\": \"22\"}\n")
        for precomputes in [true, false] {
            let job = try place.job(
                "dpo",
                "dataset_name: set\neval_steps: 2\nmax_steps: 4\nmetric_for_best_model: eval_loss\noutput_dir: run-\(precomputes)\nprecompute_ref_log_probs: \(precomputes)"
            )
            let outcome = try place.train(job)
            #expect(outcome.status == 0, "\(outcome.progress)")
            let evaluations = try place.metrics("run-\(precomputes)").filter { $0["eval_loss"] != nil }
            #expect(evaluations.count == 2)
            #expect(evaluations.allSatisfy { $0["eval_rewards/accuracies"] != nil && $0["eval_logps/chosen"] != nil })
            #expect(evaluations[1]["eval_loss"] ?? 1 < log(2))
            #expect(outcome.progress.contains("eval_loss") && outcome.progress.contains("on 2 pairs"))
            #expect(outcome.progress.contains("best: run-\(precomputes)/checkpoint-4, eval_loss"))
        }
    }

    @Test func aBestMetricThatPairsLackIsNamedAtTheFirstEvaluation() throws {
        let place = try Workplace()
        let job = try place.job("dpo", "eval_steps: 1\nmax_steps: 4\nmetric_for_best_model: eval_reward\nsave_steps: 2")
        let outcome = try place.train(job)
        #expect(outcome.status == 65, "\(outcome.progress)")
        #expect(outcome.progress.contains("metric_for_best_model: no metric 'eval_reward' in the evaluations"))
        #expect(outcome.progress.contains("eval_rewards/margins") && outcome.progress.contains("eval_loss"))
        #expect(try place.metrics("run").map { $0["step"] } == [1])
    }

    @Test func whatIsLeftOutIsCounted() throws {
        let place = try Workplace()
        let rows = [
            #"{"prompt": "1+1=", "chosen": "2", "rejected": "2"}"#,
            #"{"prompt": "1+1=1+1=1+1=", "chosen": "2", "rejected": "3"}"#,
            #"{"prompt": "1+2=", "chosen": "3 of course", "rejected": "4"}"#,
            #"{"prompt": "1+3=", "chosen": "4", "rejected": "5"}"#,
        ]
        try place.write("few.jsonl", rows.joined(separator: "\n"))
        let job = try place.job(
            "dpo", "dataset_name: few.jsonl\nper_device_train_batch_size: 1\nmax_length: 9\nmax_steps: 1")
        let cut = try place.train(job)
        #expect(cut.status == 0, "\(cut.progress)")
        for line in [
            "left out: 1 of 4 pairs, whose sides are the same",
            "left out: 1 of 4 pairs, whose prompt fills max_length, 9 tokens", "cut to max_length, 9 tokens: 1 pairs",
        ] { #expect(cut.progress.contains(line), "\(cut.progress)") }
        let dropped = try place.train(job, "truncation_mode=drop", "output_dir=dropped")
        #expect(dropped.progress.contains("left out: 1 of 4 pairs, longer than max_length, 9 tokens"))
        try place.write("same.jsonl", rows[0])
        let none = try place.train(job, "dataset_name=same.jsonl", "output_dir=none")
        #expect(none.status == 65 && !place.exists("none"))
        #expect(none.progress.contains("no pair to learn from; left out: 1 of 1 pairs, whose sides are the same"))
    }

    @Test(arguments: [
        ("prompts.jsonl", "", ["no column `chosen`", "preferences need chosen and rejected"]),
        ("pairs.jsonl", "label_smoothing: 0.5", ["label_smoothing is 0.5; expected a share below 0.5"]),
        ("pairs.jsonl", "loss_type: hinge", ["loss_type is 'hinge'; expected one of sigmoid, robust, ipo, simpo"]),
        ("pairs.jsonl", "sync_ref_model: true", ["precompute_ref_log_probs is true; expected false"]),
        ("pairs.jsonl", "loss_type: [sigmoid, ipo]", ["expected one of sigmoid, robust, ipo, simpo"]),
        ("pairs.jsonl", "beta: 0", ["beta is '0'", "above 0"]),
    ])
    func badInputIsNamed(_ set: String, _ lines: String, _ says: [String]) throws {
        let place = try Workplace()
        let outcome = try place.train(place.job("dpo", "dataset_name: \(set)\n\(lines)"))
        #expect(outcome.status == 65)
        for piece in says { #expect(outcome.progress.contains(piece), "'\(piece)' in: \(outcome.progress)") }
        #expect(!place.exists("run"))
    }

    @Test func dataCheckShowsPairsAndWhatIsWrongWithThem() throws {
        let place = try Workplace()
        let good = try Command.run(["data", "check", "pairs.jsonl", "--model", "model"], in: place.folder)
        #expect(good.status == 0, "\(good.progress)")
        #expect(good.output.contains("preferences from `chosen` and `rejected`"))
        #expect(good.output.contains("chosen:") && good.output.contains("rejected:"))
        try place.write(
            "bad.jsonl",
            "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \"a\", \"chosen\": \"b\"}\n"
                + "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"b\"}\n")
        let bad = try Command.run(["data", "check", "bad.jsonl"], in: place.folder)
        #expect(bad.status == 65)
        #expect(bad.output.contains("line 2: no column `rejected`"))
        #expect(bad.output.contains("pairs whose sides are the same: 1"))
    }
}
