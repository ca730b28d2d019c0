import Foundation
import JSON
import Testing

@Suite("Rewards of every kind in a run", .serialized)
struct RewardTests {
    private static let classifiers = Command.root.appending(path: "Tests/References/classifiers")

    /// A workplace with a reward model beside the policy.
    private func place() throws -> Workplace {
        let place = try Workplace()
        let model = place.folder.appending(path: "reward-model")
        try FileManager.default.copyItem(at: Self.classifiers.appending(path: "qwen3"), to: model)
        let tokenizer = Self.classifiers.appending(path: "tokenizer")
        for file in try FileManager.default.contentsOfDirectory(at: tokenizer, includingPropertiesForKeys: nil) {
            try FileManager.default.copyItem(at: file, to: model.appending(path: file.lastPathComponent))
        }
        return place
    }

    @Test func aRewardModelAndACacheTrainAndResumeToTheBit() throws {
        let place = try place()
        let rewards =
            "reward_funcs: [{model: reward-model, cache_file: scores.jsonl}, {name: length_reward, target_length: 3}]"
        let job = try place.job("grpo", "num_generations: 4\nlogging_steps: 1\n" + rewards)
        let plan = try place.train(job, "--dry-run")
        #expect(plan.output.contains(", reward models 1 MB"), "\(plan.output)\(plan.progress)")
        let outcome = try place.train(job, "output_dir=whole")
        #expect(outcome.status == 0, "\(outcome.progress)")
        let rows = try place.metrics("whole")
        #expect(rows.count == 4)
        for row in rows {
            #expect(row["rewards/reward-model/mean"] != nil && (row["rewards/reward-model/std"] ?? 0) > 0)
            #expect((0...1).contains(row["rewards/reward-model/cache_hit_rate"] ?? -1))
        }
        let half = "resume_from_checkpoint=whole/checkpoint-2"
        #expect(try place.train(job, "output_dir=resumed", half).status == 0)
        #expect(try place.bytes("whole/model.safetensors") == place.bytes("resumed/model.safetensors"))
        // Without a cache the run is the same.
        let plain = try place.job(
            "grpo", "num_generations: 4\nlogging_steps: 1\n" + rewards.replacing(", cache_file: scores.jsonl", with: "")
        )
        #expect(try place.train(plain, "output_dir=plain").status == 0)
        #expect(try place.bytes("whole/model.safetensors") == place.bytes("plain/model.safetensors"))
    }

    /// The same folder name twice: refused with what to write, which then trains and evaluates.
    @Test func modelsInFoldersOfOneNameAreToldApart() throws {
        let place = try place()
        try place.copy("reward-model", to: "other-model")
        try FileManager.default.createDirectory(
            at: place.folder.appending(path: "other"), withIntermediateDirectories: true)
        try FileManager.default.moveItem(
            at: place.folder.appending(path: "other-model"), to: place.folder.appending(path: "other/reward-model"))
        let lines = "num_generations: 4\nlogging_steps: 1\nmax_steps: 1\nreward_funcs: "
        let same = try place.train(
            try place.job("grpo", lines + "[{model: reward-model}, {model: other/reward-model}]"))
        #expect(same.status == 65 && same.progress.contains("2 rewards are named 'reward-model'"), "\(same.progress)")
        let entry = try #require(same.progress.firstMatch(of: /own, as (\{.*\})/)?.1)
        let named = try place.train(try place.job("grpo", lines + "[{model: reward-model}, \(entry)]"))
        #expect(named.status == 0, "\(named.progress)")
        let row = try #require(try place.metrics("run").first)
        let means = ["rewards/reward-model/mean", "rewards/reward-model_2/mean"].map { row[$0] }
        #expect(means[0] != nil && means[0] == means[1], "one model under two names")
    }

    /// Each prompt has one of two rewards, which gives it 1: so do training's reward and the evaluation's, and not 1 +
    /// 1.
    @Test func evaluationAddsRewardsAsTrainingDoes() throws {
        let place = try Workplace()
        let rows = (0..<8).map { #"{"prompt": "\#($0 % 2 == 0 ? "a" : "bb")\#($0) = "}"# }
        try place.write("two.jsonl", rows.joined(separator: "\n"))
        try place.write(
            "halves.py",
            """
            def short(prompts, completions, **columns):
                return [1.0 if p.startswith("a") else None for p in prompts]

            def long(prompts, completions, **columns):
                return [None if p.startswith("a") else 1.0 for p in prompts]
            """)
        let job = try place.job(
            "grpo",
            "num_generations: 4\nlogging_steps: 1\ndataset_name: two.jsonl\neval_steps: 4\nreward_funcs: [halves.py:short, halves.py:long]"
        )
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let metrics = try place.metrics("run")
        #expect(metrics.compactMap { $0["reward"] } == [1, 1, 1, 1])
        #expect(metrics.compactMap { $0["eval_reward"] } == [1])
        #expect(outcome.progress.contains("note: eval_steps evaluates on the training rows"))
    }

    /// 2^64 − 1 from the rows to a reward, from there to the completions file, and from the job to the chat template.
    @Test func wholeNumbersKeepTheirDigitsThroughARun() throws {
        let place = try Workplace()
        let rows = (0..<8).map {
            #"{"prompt": [{"role": "user", "content": "\#($0)"}], "answer": \#($0 % 2 == 0 ? "18446744073709551615" : "9007199254740993")}"#
        }
        try place.write("wide.jsonl", rows.joined(separator: "\n"))
        try place.write(
            "exact.py",
            """
            def exact(completions, answer, log_extra, **columns):
                log_extra("seen", answer)
                return [1.0 if n in (2**64 - 1, 2**53 + 1) and type(n) is int else 0.0 for n in answer]
            """)
        try place.write("model/chat_template.jinja", "{{ mark }}{{ messages[0].content }}")
        let job = try place.job(
            "grpo",
            """
            num_generations: 4
            logging_steps: 1
            max_steps: 1
            per_device_train_batch_size: 32
            dataset_name: wide.jsonl
            reward_funcs: exact.py:exact
            chat_template_kwargs: {mark: 18446744073709551615}
            """)
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(try place.metrics("run").compactMap { $0["reward"] } == [1])
        let lines = String(decoding: try place.bytes("run/completions/completions_00001.jsonl"), as: UTF8.self)
            .split(separator: "\n")
        #expect(lines.count == 32)
        for number in ["18446744073709551615", "9007199254740993"] {
            #expect(lines.count { $0.contains("\"seen\": \(number),") } == 16, "\(lines.first ?? "")")
        }
        let resolved = String(decoding: try place.bytes("run/config.yaml"), as: UTF8.self)
        #expect(resolved.contains("mark: 18446744073709551615"), "\(resolved)")
    }

    /// A reward that logs under the names of the run's own numbers and columns takes none of them away.
    @Test func whatARewardLogsWritesOverNothing() throws {
        let place = try Workplace()
        try place.write(
            "r.py",
            """
            def f(completions, log_metric, log_extra, **kwargs):
                for name in ("reward", "loss", "step", "grad_norm", "eval_reward", "mine"): log_metric(name, 1000)
                for name in ("kl", "empty_steps", "clip_ratio/mine", "mismatch/kl", "rollout/empty"): log_metric(name, 1000)
                for name in ("prompt", "step", "advantage", "f"): log_extra(name, ["x"] * len(completions))
                return [float(len(c)) for c in completions]
            """)
        let job = try place.job("grpo", "num_generations: 4\nlogging_steps: 1\nsave_steps: 2\nreward_funcs: r.py:f")
        let outcome = try place.train(job, "output_dir=run")
        #expect(outcome.status == 0, "\(outcome.progress)")
        let rows = try place.metrics("run")
        #expect(rows.compactMap { $0["step"] } == [1, 2, 3, 4])
        for row in rows {
            for name in ["reward", "loss", "grad_norm"] {
                #expect(row[name] != nil && row[name] != 1000 && row["logged/\(name)"] == 1000, "\(row)")
            }
            // Not every step has a number of these names.
            for name in ["kl", "empty_steps", "clip_ratio/mine", "mismatch/kl", "rollout/empty"] {
                #expect(row[name] != 1000 && row["logged/\(name)"] == 1000, "\(row)")
            }
            #expect(row["mine"] == 1000 && row["logged/step"] == 1000 && row["eval_reward"] == nil)
        }
        let text = String(decoding: try place.bytes("run/completions/completions_00001.jsonl"), as: UTF8.self)
        for line in text.split(separator: "\n") {
            for name in ["prompt", "step", "advantage", "f"] {
                #expect(line.components(separatedBy: "\"\(name)\":").count == 2, "\(line)")
                #expect(line.contains("\"f/\(name)\": \"x\""), "\(line)")
            }
        }
        let report = try Command.run(["report", "run"], in: place.folder)
        #expect(report.status == 0, "\(report.progress)")
        let resumed = try place.train(job, "output_dir=resumed", "resume_from_checkpoint=run/checkpoint-2")
        #expect(resumed.status == 0, "\(resumed.progress)")
    }

    /// A reward that logs the optimizer steps taken, so that an evaluation has its own step and a step the one before.
    private func telling(_ place: Workplace, _ lines: String) throws -> String {
        try place.write(
            "r.py",
            """
            def f(completions, log_metric, trainer_state, **kwargs):
                log_metric("told", trainer_state.global_step)
                log_metric("reward", -1)
                return [float(len(c) % 2) for c in completions]
            """)
        return try place.job("grpo", "num_generations: 4\nreward_funcs: r.py:f\nsave_steps: 1\nmax_steps: 3\n" + lines)
    }

    /// Of what an evaluation logs the last checkpoint has the most, and the first the least.
    @Test(arguments: ["eval_told", "told"]) func whatARewardLogsOfAnEvaluationRanks(_ metric: String) throws {
        let place = try Workplace()
        let job = try telling(place, "eval_steps: 1\neval_limit: 4\nmetric_for_best_model: \(metric)")
        for (isGreater, best) in [(true, 3), (false, 1)] {
            let run = "greater-\(isGreater)"
            let outcome = try place.train(job, "output_dir=\(run)", "greater_is_better=\(isGreater)")
            #expect(outcome.status == 0, "\(outcome.progress)")
            let rows = try place.metrics(run)
            #expect(rows.compactMap { $0["eval_told"] } == [1, 2, 3])
            #expect(rows.compactMap { $0["eval_logged/reward"] } == [-1, -1, -1])
            #expect(rows.compactMap { $0["eval_reward"] }.allSatisfy { $0 >= 0 })
            let says = "best: \(run)/checkpoint-\(best), eval_told \(best)"
            #expect(outcome.progress.contains(says), "\(outcome.progress)")
            let state = try JSONValue(parsing: Array(place.bytes("\(run)/trainer_state.json")))
            #expect(state["best_global_step"]?.int == best && state["best_metric"]?.double == Double(best))
        }
    }

    /// Without an evaluation a step's number ranks: 0, 1 and 2.
    @Test func whatARewardLogsOfAStepRanks() throws {
        let place = try Workplace()
        let job = try telling(place, "metric_for_best_model: told")
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(outcome.progress.contains("best: run/checkpoint-3, told 2"), "\(outcome.progress)")
    }

    /// A reward may log a name later than in the first evaluation. So a run goes on without, and says what there was.
    @Test func aNameThatNoEvaluationHasIsSaidOnce() throws {
        let place = try Workplace()
        let job = try telling(place, "eval_steps: 1\neval_limit: 4\nmetric_for_best_model: eval_tolt")
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let says =
            "metric_for_best_model: no metric 'eval_tolt' in the evaluation of step 1; did you mean eval_told? There are "
            + "eval_reward, eval_rewards/f/mean, "
        #expect(outcome.progress.contains(says), "\(outcome.progress)")
        #expect(outcome.progress.components(separatedBy: "no metric 'eval_tolt'").count == 2, "\(outcome.progress)")
        #expect(outcome.progress.contains("best: none, no checkpoint has a value of eval_tolt"), "\(outcome.progress)")
    }

    @Test func rewardCheckTakesAModel() throws {
        let place = try place()
        try place.write("texts.jsonl", #"{"prompt": "2 + 2 = ", "completion": "5 or so"}"# + "\n")
        let arguments = ["reward", "check", "--reward", "model:reward-model", "--file", "texts.jsonl", "--json"]
        let outcome = try Command.succeed(arguments, in: place.folder)
        let scores = try JSONSerialization.jsonObject(
            with: Data(contentsOf: Self.classifiers.appending(path: "scores.json")))
        let cases = ((scores as? [String: Any])?["qwen3"] as? [String: Any])?["texts"] as? [[String: Any]]
        let expected = try #require((cases?[0]["scores"] as? [[Double]])?[1][0])
        let found = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
        #expect(abs((found?["score"] as? Double ?? .nan) - expected) < 1e-4, "\(outcome.output), expected \(expected)")
        let missing = try Command.run(
            ["reward", "check", "--reward", "model:modle", "--file", "texts.jsonl"], in: place.folder)
        #expect(missing.status == 65 && missing.progress.contains("modle: no such model folder"), "\(missing.progress)")
        let policy = try Command.run(
            ["reward", "check", "--reward", "model:model", "--file", "texts.jsonl"], in: place.folder)
        #expect(policy.status == 65 && policy.progress.contains("expected a sequence classifier"), "\(policy.progress)")
    }

    /// A quarter of the calls fails: within the budget, and yet nothing of it is hidden.
    @Test func aRewardThatFailsNowAndThenIsSaidToAndItsWordsAreKept() throws {
        let place = try Workplace()
        try place.write(
            "r.py",
            """
            calls = 0
            def f(completions, **kwargs):
                global calls
                calls += 1
                print("call", calls)
                if calls % 4 == 2: raise RuntimeError("out of paper")
                return [float(len(c)) for c in completions]
            """)
        let job = try place.job(
            "grpo", "num_generations: 4\nlogging_steps: 1\nreward_error_budget: 1\nreward_funcs: r.py:f")
        let outcome = try place.train(job, "output_dir=run")
        #expect(outcome.status == 0, "\(outcome.progress)")
        let notice = "4 of 16 scores of f failed or timed out in step 1: RuntimeError: out of paper"
        #expect(outcome.progress.contains(notice), "\(outcome.progress)")
        #expect(outcome.progress.components(separatedBy: "out of paper").count == 2, "said once")
        let log = String(decoding: try place.bytes("run/reward_logs/r.py.f.log"), as: UTF8.self)
        #expect(log.hasPrefix("call 1\ncall 2\n"))
        let completions = String(decoding: try place.bytes("run/completions/completions_00001.jsonl"), as: UTF8.self)
        let failed = completions.split(separator: "\n").filter { $0.contains("\"f/state\": \"failed\"") }
        #expect(failed.count == 4 && failed.allSatisfy { $0.contains("\"f/note\": \"Traceback") }, "\(completions)")
        let strict = try place.train(job, "output_dir=strict", "reward_error_budget=0.01")
        #expect(strict.status == 65 && strict.progress.contains("RuntimeError: out of paper"), "\(strict.progress)")
    }

    /// Eight failures are within 5 % of 200, and all there are.
    @Test func aShortRunOfFailuresEndsWithThemAndIsSaved() throws {
        let place = try Workplace()
        try place.write("r.py", "def f(completions, **kwargs):\n    raise RuntimeError('out of paper')\n")
        let job = try place.job(
            "grpo", "num_generations: 4\nper_device_train_batch_size: 8\nmax_steps: 1\nreward_funcs: r.py:f")
        let outcome = try place.train(job)
        #expect(outcome.status == 65, "\(outcome.progress)")
        #expect(
            outcome.progress.contains("reward f: 8 of the last 8 scores failed or timed out, the budget allows 5.0 %"),
            "\(outcome.progress)")
        #expect(place.exists("run/model.safetensors") && place.exists("run/checkpoint-1"))
        let allowed = try place.train(job, "output_dir=other", "reward_error_budget=1")
        #expect(allowed.status == 0, "\(allowed.progress)")
    }

    @Test func anEvaluationTakesRewardsWithSettingsAndStopsWhenTheyFail() throws {
        let place = try Workplace()
        try place.write("e.jsonl", (1...30).map { #"{"q": "\#($0)+1=", "a": "\#($0 + 1)"}"# }.joined(separator: "\n"))
        try place.write(
            "r.py",
            """
            def f(completions, a, **kwargs):
                if a[0] in ("2", "3"): raise RuntimeError("out of paper")
                return [1.0] * len(completions)
            """)
        let arguments = [
            "eval", "--model", "model", "--prompts", "e.jsonl", "--column-map", "prompt=q", "--max-completion-length",
            "2", "--rewards", "{name: length_reward, target_length: 2}", "r.py:f", "-k", "1,3",
        ]
        let outcome = try Command.succeed(arguments + ["--reward-error-budget", "0.1"], in: place.folder)
        // The largest k is the number of samples; 2 of 30 prompts lose their 3 scores.
        let failed = "f: 6 of 90 scores failed or timed out and are in no mean"
        #expect(outcome.output.contains(failed), "\(outcome.output)")
        #expect(outcome.output.contains("RuntimeError: out of paper"))
        // 5 % of 200 are 10, which stops nothing on the way; of 90 it is less than 6.
        let usual = try Command.run(arguments, in: place.folder)
        #expect(usual.status == 65 && usual.output.contains(failed), "\(usual.output)")
        #expect(usual.progress.contains("reward f: 6 of the last 90 scores failed or timed out"), "\(usual.progress)")
        let strict = try Command.run(arguments + ["--reward-error-budget", "0.01"], in: place.folder)
        #expect(strict.status == 65 && strict.progress.contains("RuntimeError: out of paper"), "\(strict.progress)")
    }

    /// TRL's own functions and one in verl's form, as they stand, in one run.
    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["PEERS_PYTHON"] != nil,
            "PEERS_PYTHON names no Python with trl installed"))
    func functionsOfTRLAndVerlTrain() throws {
        let python = ProcessInfo.processInfo.environment["PEERS_PYTHON"] ?? ""
        let place = try Workplace()
        let verl = Command.root.appending(path: "rewards/python/verl_style.py").path
        let job = try place.job(
            "grpo",
            """
            num_generations: 4
            max_steps: 1
            reward_timeout: 120
            reward_funcs: [{path: trl.rewards.get_repetition_penalty_reward, python: "\(python)", settings: {ngram_size: 2}}, \
            {path: trl.rewards.get_soft_overlong_punishment, python: "\(python)", settings: {max_completion_len: 4, soft_punish_cache: 2}}, \
            "\(verl):compute_score"]
            """)
        let outcome = try place.train(job, "output_dir=run")
        #expect(outcome.status == 0, "\(outcome.progress)")
        let row = try #require(try place.metrics("run").last)
        for name in ["repetition_penalty_reward", "soft_overlong_punishment_reward", "compute_score"] {
            #expect(row["rewards/\(name)/mean"] != nil, "\(row)")
        }
    }
}
