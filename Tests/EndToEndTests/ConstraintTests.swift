import Foundation
import JSON
import Testing

@Suite("Constraints in runs of the command", .serialized)
struct ConstraintTests {
    /// Completions of at most four tokens, to be held at two on average while the first reward grows.
    static let held = """
        reward_funcs: [{name: regular_expression, pattern: '[0-9a-zA-Z]'}, completion_length]
        constraints: [{reward: completion_length, limit: 2, kind: at_most}]
        """
    /// Two rewards of different scales.
    static let weighed = "reward_funcs: [{name: regular_expression, pattern: '[0-9a-zA-Z]'}, completion_length]"
    /// Weighed by RECAP, with general rows beside them.
    static let balanced = """
        \(weighed)
        dynamic_weights: {method: recap, ceilings: [2, 5], window: 1, temperature: 0.5, replay: held.jsonl, replay_rows: 3}
        """
    static let methods: [(algorithm: String, lines: String)] = [
        ("grpo", "num_generations: 4\nbeta: 0.05"), ("rloo", "num_generations: 4"), ("remax", "beta: 0.05"),
        ("reinforce", ""), ("reinforce_pp", "num_generations: 4\nbeta: 0.05"),
        ("ppo", "num_iterations: 2"), ("ppo", "critic_shares_trunk: true\nbeta: 0\nstream_normalization: none"),
        ("soft_grpo", "num_generations: 4\nsoft_thinking: {think_end: e}\nmax_completion_length: 6"),
        ("distill", "num_generations: 4\nteacher_model_name_or_path: teacher"),
        ("distill", "num_generations: 4\nteacher_model_name_or_path: teacher\ndistill: {form: sampled}"),
    ]

    @Test(arguments: methods)
    func everyMethodWithAdvantagesTakesThem(_ example: (algorithm: String, lines: String)) throws {
        let place = try Workplace()
        let job = try place.job(example.algorithm, "\(Self.held)\n\(example.lines)\nmax_steps: 8")
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let rows = try place.metrics("run")
        for row in rows {
            let value = try #require(row["constraints/completion_length/value"])
            #expect(value == row["rewards/completion_length/mean"])
            #expect(row["constraints/completion_length/limit"] == 2)
            #expect(row["constraints/completion_length/violation"] == value - 2)
            let multiplier = try #require(row["constraints/completion_length/lambda"])
            // The length weighs −λ/(1 + λ), what is left of the task 1/(1 + λ).
            let weight = try #require(row["reward_weights/completion_length"])
            let task = try #require(row["reward_weights/regular_expression"])
            #expect(abs(weight + multiplier / (1 + multiplier)) < 1e-12 && abs(task - 1 / (1 + multiplier)) < 1e-12)
        }
        // λ ← [λ + 0.1·(J − 2)/2]₊, from one row to the next.
        for (row, next) in zip(rows, rows.dropFirst()) {
            let moved =
                (row["constraints/completion_length/lambda"] ?? 9) + 0.1
                * ((row["constraints/completion_length/value"] ?? 9) - 2) / 2
            guard row["step"] != next["step"] else { continue }
            #expect(abs(max(0, moved) - (next["constraints/completion_length/lambda"] ?? -1)) < 1e-9)
        }
    }

    /// In a sum of rewards and where they are kept apart, also with rows that are imitated beside them; every second
    /// step. The table of the end has them.
    @Test(arguments: [
        "reward_weights: [1, -0.1]", "dynamic_weights: {method: gradient}",
        "dynamic_weights: {method: recap, ceilings: [2, 5], window: 1, replay: held.jsonl, replay_rows: 3}",
    ])
    func theSharesOfTheGradientAddUpToOne(_ line: String) throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo",
            "\(Self.weighed)\n\(line)\nnum_generations: 4\nbeta: 0\ngradient_share_steps: 2\nlogging_steps: 1\nmax_steps: 4"
        )
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let rows = try place.metrics("run")
        let names = ["regular_expression", "completion_length"].map { "rewards/\($0)/gradient_share" }
        #expect(rows.map { $0[names[0]] != nil } == [true, false, true, false])
        for row in rows where row[names[0]] != nil {
            let shares = names.compactMap { row[$0] }
            #expect(shares.count == 2 && abs(shares.reduce(0, +) - 1) < 1e-6)
        }
        #expect(outcome.progress.contains("gradient share, late"), "\(outcome.progress)")
    }

    /// A step does not say what a weight is that nothing moves; the table does, at the end and in the report.
    @Test func fixedWeightsStandInTheTable() throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo", "\(Self.weighed)\nreward_weights: [1, -0.5]\nnum_generations: 4\nmax_steps: 1")
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let report = try Command.succeed(["report", "run"], in: place.folder).output
        for text in [outcome.progress, report] {
            let lines = text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
            #expect(lines.contains { $0.contains(#/^completion_length \S+ \S+ -0\.5 -0\.5/#) }, "\(text)")
        }
    }

    /// The table, the page and the proxy points of runs that weigh their rewards differently.
    @Test func theReportShowsWhatBindsAndWhereTheProxyPointLies() throws {
        let place = try Workplace()
        let held = try place.job(
            "grpo",
            "\(Self.held)\nnum_generations: 4\neval_steps: 1\neval_limit: 8\nnum_generations_eval: 8\nmax_steps: 6"
        )
        #expect(try place.train(held).status == 0)
        let report = try Command.run(["report", "run", "--html", "runs.html"], in: place.folder)
        #expect(report.status == 0, "\(report.progress)")
        for text in ["completion_length", "limit", "multiplier, last", "Pareto front, step", "advantage share, late"] {
            #expect(report.output.contains(text), "\(report.output)")
        }
        let page = String(decoding: try place.bytes("runs.html"), as: UTF8.self)
        #expect(
            page.contains("<svg") && page.contains("completion_length and its limit") && page.contains("Multipliers"))
        let found = try Command.run(["report", "run", "--gold", "completion_length"], in: place.folder)
        #expect(found.status == 0, "\(found.progress)")
        #expect(
            found.output.contains("joint proxy point") && found.output.contains("- {reward: regular_expression, limit:")
        )
        let unknown = try Command.run(["report", "run", "--gold", "nobody"], in: place.folder)
        #expect(unknown.status == 65)
        #expect(unknown.progress.contains("there are completion_length, regular_expression"), "\(unknown.progress)")
        let short = try place.train(held, "output_dir=short", "max_steps=2")
        #expect(short.status == 0)
        let few = try Command.run(["report", "short", "--gold", "regular_expression"], in: place.folder)
        #expect(few.status == 65 && few.progress.contains("it takes 3 or more"), "\(few.progress)")
    }

    /// gold = 0.2 + x − x² over what is seen of x: with x to 1 it turns at 0.5, with x to 0.4 it still rises.
    @Test(arguments: [(1.0, "0.5", false), (0.4, "0.4", true)])
    func aProxyPointAtTheEdgeIsCalledOne(_ to: Double, _ limit: String, _ isEdge: Bool) throws {
        let place = try Workplace()
        let rows = (0...10).map { step in
            let x = to * Double(step) / 10
            let gold = 0.2 + x - x * x
            return #"{"step": \#(step), "reward": 0, "eval_rewards/x/mean": \#(x), "eval_rewards/gold/mean": \#(gold)}"#
        }
        try FileManager.default.createDirectory(
            at: place.folder.appending(path: "course"), withIntermediateDirectories: true)
        try place.write("course/metrics.jsonl", rows.joined(separator: "\n") + "\n")
        let outcome = try Command.succeed(["report", "course", "--gold", "gold"], in: place.folder)
        #expect(outcome.output.contains("- {reward: x, limit: \(limit), kind: equal}"), "\(outcome.output)")
        #expect(outcome.output.contains("lies at the edge of the evaluated range of x") == isEdge, "\(outcome.output)")
    }

    /// As DPO and SFT leave them; `runs/*` also names what is no run.
    @Test func runsWithoutRewardsAreReportedByTheirLoss() throws {
        let place = try Workplace()
        try place.write("runs/pairs/metrics.jsonl", #"{"step": 1, "loss": 0.625, "rewards/margins": 0.1}"# + "\n")
        try place.write("runs/pairs.jsonl", "{}\n")
        let paths = ["runs/pairs", "runs/pairs.jsonl"]
        let losses = try Command.succeed(["report"] + paths + ["--svg", "curves.svg"], in: place.folder)
        #expect(losses.output.contains("loss, last") && losses.output.contains("0.625"), "\(losses.output)")
        #expect(losses.progress.contains("note: runs/pairs.jsonl has no metrics.jsonl and is left out"))
        // Beside a run with rewards it has an empty cell, and no curve.
        try place.write("runs/rewarded/metrics.jsonl", #"{"step": 1, "loss": 0.125, "reward": 0.75}"# + "\n")
        let both = try Command.succeed(
            ["report", "runs/pairs", "runs/rewarded", "--svg", "curves.svg"], in: place.folder)
        #expect(both.output.contains("reward, last") && both.output.contains("0.750"), "\(both.output)")
        #expect(both.output.contains("pairs") && !both.output.contains("0.625"), "\(both.output)")
        let unknown = try Command.run(["report"] + paths + ["--metric", "reward"], in: place.folder)
        #expect(unknown.status == 65 && unknown.progress.contains("pairs: no metric 'reward' in metrics.jsonl; it has"))
        let none = try Command.run(["report", "runs/pairs.jsonl"], in: place.folder)
        #expect(none.status == 65 && none.progress.contains("this is no run folder"), "\(none.progress)")
    }

    /// Eleven evaluations are enough for a parabola; of a reward that never moved there is none.
    @Test func equalMeansAreNotTooFew() throws {
        let place = try Workplace()
        let rows = (0...10).map {
            #"{"step": \#($0), "reward": 0, "eval_rewards/x/mean": 0.1, "eval_rewards/gold/mean": 0.\#($0)}"#
        }
        try place.write("course/metrics.jsonl", rows.joined(separator: "\n") + "\n")
        let equal = try Command.run(["report", "course", "--gold", "gold"], in: place.folder)
        #expect(
            equal.status == 65 && equal.progress.contains("x has the same mean in all of them"), "\(equal.progress)")
        #expect(!equal.progress.contains("it takes"))
        let twice = try Command.run(["report", "course", "./course/"], in: place.folder)
        #expect(twice.status == 65)
        #expect(
            twice.progress.contains("./course/: is the run course, which is named too and would count twice"),
            "\(twice.progress)")
    }

    @Test func aRunSaysWhyItsWeightsMoved() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "\(Self.held)\nnum_generations: 4\nmultipliers: {learning_rate: 2}")
        #expect(try place.train(job).status == 0)
        let notes = String(decoding: try place.bytes("run/notes.jsonl"), as: UTF8.self)
        #expect(notes.contains("the multiplier of completion_length went from 0 to"), "\(notes)")
        #expect(notes.contains("its limit at most 2") && notes.hasPrefix("{\"step\":"))
    }

    @Test func aCheckpointOfAnotherJobIsRefusedByName() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "\(Self.held)\nnum_generations: 4")
        #expect(try place.train(job).status == 0)
        let from = "resume_from_checkpoint=run/checkpoint-2"
        let renamed = try place.train(job, "output_dir=other", "constraints.0.name=length", from)
        #expect(renamed.status == 65)
        #expect(
            renamed.progress.contains("the checkpoint has multipliers of completion_length; the job constrains length"),
            "\(renamed.progress)")
        let none = try place.train(try place.job("grpo", "num_generations: 4"), "output_dir=third", from)
        #expect(none.status == 65)
        #expect(
            none.progress.contains(
                "the checkpoint has the controllers constraints, reward_watch; the job has reward_watch"),
            "\(none.progress)")
        let plain = try place.job("grpo", "num_generations: 4\noutput_dir: plain")
        #expect(try place.train(plain).status == 0)
        let missing = try place.train(job, "output_dir=fourth", "resume_from_checkpoint=plain/checkpoint-2")
        #expect(
            missing.status == 65
                && missing.progress.contains(
                    "the checkpoint has the controllers reward_watch; the job has constraints, reward_watch"),
            "\(missing.progress)")
    }

    /// Weights by step: 1 at first, 0 from the fourth step on, on a line between.
    @Test func weightsFollowTheirSchedule() throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo",
            "reward_funcs: [{name: regular_expression, pattern: '[0-9a-zA-Z]'}, completion_length]\nreward_weights: {completion_length: {0: 1, 4: 0}}\nnum_generations: 4\nmax_steps: 6"
        )
        #expect(try place.train(job).status == 0)
        let rows = try place.metrics("run")
        #expect(rows.map { $0["reward_weights/completion_length"] } == [1, 0.75, 0.5, 0.25, 0, 0])
        for row in rows {
            let sum =
                (row["rewards/regular_expression/mean"] ?? 9)
                + (row["reward_weights/completion_length"] ?? 9) * (row["rewards/completion_length/mean"] ?? 9)
            #expect(abs(sum - (row["reward"] ?? -1)) < 1e-9)
        }
    }

    /// Weights on the simplex, moved by s·I from row to row; the first step has moved ones already.
    @Test(arguments: [("grpo", ""), ("reinforce_pp", ""), ("ppo", "beta: 0")])
    func weightsFollowGradients(_ example: (algorithm: String, lines: String)) throws {
        let place = try Workplace()
        let job = try place.job(
            example.algorithm,
            "num_generations: 4\n\(Self.weighed)\ndynamic_weights: {method: gradient, step_size: 1}\nlr_scheduler_type: constant\nmax_steps: 6\n\(example.lines)"
        )
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let names = ["regular_expression", "completion_length"]
        var weights = [0.5, 0.5]
        for row in try place.metrics("run") {
            let found = names.compactMap { row["reward_weights/\($0)"] }
            #expect(abs(found.reduce(0, +) - 1) < 1e-12)
            if let first = row["dynamic_weights/alignment/\(names[0])"],
                let second = row["dynamic_weights/alignment/\(names[1])"]
            {
                let masses = [weights[0] * exp(first), weights[1] * exp(second)]
                #expect(zip(found, masses).allSatisfy { abs($0 - $1 / masses.reduce(0, +)) < 1e-9 })
                #expect(row["dynamic_weights/backward_passes"] == 2)
                weights = found
            }
        }
        #expect(weights[0] != 0.5)
    }

    /// In the first optimizer step of a rollout nothing clips a ratio: the norm of the mix is that of the step.
    @Test func theMixedNormIsThatOfTheStep() throws {
        let place = try Workplace()
        let job = try place.job(
            "rloo",
            "num_generations: 4\nbeta: 0\n\(Self.weighed)\ndynamic_weights: {method: gradient}\nstream_normalization: none"
        )
        #expect(try place.train(job).status == 0)
        for row in try place.metrics("run") {
            let (mixed, norm) = (row["dynamic_weights/mixed_norm"] ?? 0, row["grad_norm"] ?? 1)
            #expect(abs(mixed - norm) < 1e-4 * norm && norm > 0)
        }
    }

    /// λ from the recorded losses, in plain loops: W = 1, T = ½, so that c = last/before and i = 0.
    @Test(arguments: [("grpo", ""), ("rloo", ""), ("ppo", "num_iterations: 1")])
    func weightGoesToWhatStillMoves(_ example: (algorithm: String, lines: String)) throws {
        let place = try Workplace()
        let job = try place.job(
            example.algorithm, "num_generations: 4\n\(Self.balanced)\nmax_steps: 6\n\(example.lines)")
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(outcome.progress.contains("recap: 2 steps are known"), "\(outcome.progress)")
        let rows = try place.metrics("run")
        let names = ["regular_expression", "completion_length", "replay"]
        for (index, row) in rows.enumerated() {
            let losses = names.map { row["recap/\($0)/loss"] ?? .nan }
            #expect(abs(losses[0] - (2 - (row["rewards/regular_expression/mean"] ?? 9))) < 1e-9)
            #expect(abs(losses[1] - (5 - (row["rewards/completion_length/mean"] ?? 9))) < 1e-9)
            #expect(losses[2] == row["replay/loss"] && losses[2] > 0)
            guard index >= 2 else {
                #expect(names.allSatisfy { row["recap/\($0)/weight"] == 1 })
                continue
            }
            let scores = names.map { name in
                (rows[index - 1]["recap/\(name)/loss"] ?? .nan)
                    / ((rows[index - 2]["recap/\(name)/loss"] ?? .nan) + 1e-8)
            }
            let masses = scores.map { exp($0 / 0.5) }
            for (name, mass) in zip(names, masses) {
                let weight = try #require(row["recap/\(name)/weight"])
                #expect(abs(weight - 3 * mass / masses.reduce(0, +)) < 1e-6)
                if name != "replay" { #expect(row["reward_weights/\(name)"] == weight) }
            }
        }
        #expect(Set(rows.compactMap { $0["recap/replay/weight"] }).count > 2)
        let refused = try place.train(job, "output_dir=other", "algorithm=gdc")
        #expect(refused.status == 65)
        #expect(refused.progress.contains("dynamic_weights.method recap needs a method with advantages of each reward"))
    }

    /// Distributional control raises the reward and says how far the target is.
    @Test func distributionalControlNearsItsTarget() throws {
        let place = try Workplace()
        let job = try place.job(
            "gdc",
            "num_generations: 8\nbeta: 0.5\nper_device_train_batch_size: 64\nlearning_rate: 3e-3\nlr_scheduler_type: constant\nmax_steps: 60"
        )
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let rows = try place.metrics("run")
        func mean(_ name: String, _ rows: some Collection<[String: Double]>) -> Double {
            rows.reduce(0) { $0 + ($1[name] ?? .nan) } / Double(rows.count)
        }
        for name in ["kl_control/distance", "kl_control/forward_distance"] {
            #expect(rows.allSatisfy { ($0[name] ?? -1) >= -1e-9 })
            #expect(mean(name, rows.suffix(10)) < mean(name, rows.prefix(10)), "\(name)")
        }
        #expect(mean("reward", rows.suffix(10)) > mean("reward", rows.prefix(10)))
        #expect(
            mean("kl_control/effective_share", rows.suffix(10)) > mean("kl_control/effective_share", rows.prefix(10)))
        let alone = try place.train(job, "output_dir=alone", "num_generations=1")
        #expect(alone.status == 65 && alone.progress.contains("the normalizer of a prompt's target is their mean"))
    }

    /// Two rewards, one of them with a mean that it is to have and does not begin with.
    static let moments =
        "reward_funcs: [{name: regular_expression, pattern: '[0-9a-zA-Z]'}, completion_length]\nreward_weights: [1, 0]\ngdc: {moments: [{reward: regular_expression, target: 0.4}], moment_window: 3}"

    /// Most completions match at first: the mean comes to the target, and λ is what the window's completions ask for.
    @Test func distributionalControlGivesARewardItsMean() throws {
        let place = try Workplace()
        let job = try place.job(
            "gdc",
            "num_generations: 8\nbeta: 1\nper_device_train_batch_size: 64\nlearning_rate: 3e-3\nlr_scheduler_type: constant\nmax_steps: 80\nsave_steps: 80\n\(Self.moments)"
        )
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let rows = try place.metrics("run")
        let means = rows.compactMap { $0["rewards/regular_expression/mean"] }
        func distance(_ part: some Collection<Double>) -> Double {
            abs(part.reduce(0, +) / Double(part.count) - 0.4)
        }
        #expect(means.count == 80 && distance(means.prefix(3)) > 0.2 && distance(means.suffix(20)) < 0.1, "\(means)")
        for row in rows {
            let lambda = try #require(row["moments/regular_expression/lambda"])
            #expect(abs(try #require(row["reward_weights/regular_expression"]) - lambda) < 1e-12)  // β = 1
            if row["alarms/moment_out_of_reach"] == nil {
                #expect(abs(try #require(row["moments/regular_expression/fitted"]) - 0.4) < 1e-6)
            }
        }
        #expect(rows.count { $0["alarms/moment_out_of_reach"] == nil } > 40)
    }

    @Test func advantagesFollowTheFront() throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo",
            "num_generations: 4\n\(Self.weighed)\neval_steps: 2\neval_limit: 2\ndynamic_weights: {method: hypervolume, minimize: [completion_length]}"
        )
        #expect(try place.train(job).status == 0)
        let rows = try place.metrics("run")
        let factors = rows.compactMap { $0["dynamic_weights/multiplier"] }
        #expect(factors.count == 4 && factors[..<2] == [1, 1])
        let gains = rows.compactMap { $0["dynamic_weights/hypervolume_gain"] }
        #expect(gains.count == 2 && abs(factors[2] - (0.5 + 1.5 * tanh(gains[0]))) < 1e-12)
        #expect(
            rows.filter { $0["dynamic_weights/multiplier"] != nil }.allSatisfy {
                // A weight that nothing moves is not among the numbers.
                ($0["reward_weights/completion_length"] ?? 1) == $0["dynamic_weights/multiplier"]
            })
        let missing = try place.train(job, "eval_steps=", "output_dir=other")
        #expect(
            missing.status == 65 && missing.progress.contains("expected eval_steps beside hypervolume"),
            "\(missing.progress)")
    }

    static let searching = """
        reward_funcs: [{name: regular_expression, pattern: '[0-9a-zA-Z]'}, completion_length]
        constraints: [{reward: completion_length, limit: 2, kind: equal, low: 1, high: 4}]
        threshold_search: {gold: regular_expression, max_rollouts: 6, rollouts_per_point: 1, tolerance: 0}
        dataset_name: set
        num_generations: 4
        eval_steps: 1
        eval_limit: 4
        max_steps: 8
        """

    /// Every rollout is evaluated and tries a point; the final model is the checkpoint whose evaluation was best.
    @Test func aSearchTriesLimitsAndEndsWithItsBestPolicy() throws {
        let place = try Workplace()
        try Self.writeSets(in: place)
        let job = try place.job("grpo", Self.searching)
        let outcome = try place.train(job, "save_steps=1")
        #expect(outcome.status == 0, "\(outcome.progress)")
        let rows = try place.metrics("run")
        let limits = rows.compactMap { $0["constraints/completion_length/limit"] }
        #expect(limits.count == 8 && limits[0] == 2 && Set(limits).count > 2)
        #expect(limits.allSatisfy { (1...4).contains($0) } && limits[6] == limits[7])
        let golds = rows.compactMap { row in row["eval_rewards/regular_expression/mean"].map { (row["step"] ?? 0, $0) }
        }
        let best = try #require(golds.first { gold in golds.allSatisfy { $0.1 <= gold.1 } })
        #expect(
            try place.bytes("run/model.safetensors") == place.bytes("run/checkpoint-\(Int(best.0))/model.safetensors"))
        let notes = String(decoding: try place.bytes("run/notes.jsonl"), as: UTF8.self)
        #expect(notes.contains("the limits completion_length 2 were") && notes.contains("the search has ended"))
    }

    /// In the middle of a search, in the same folder, where the best checkpoint is.
    @Test func aSearchGoesOnToTheBit() throws {
        let place = try Workplace()
        try Self.writeSets(in: place)
        let job = try place.job("grpo", Self.searching)
        #expect(try place.train(job, "save_steps=1").status == 0)
        try place.copy("run", to: "resumed")
        let outcome = try place.train(
            job, "save_steps=1", "output_dir=resumed", "resume_from_checkpoint=resumed/checkpoint-3")
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(try place.metrics("run") == place.metrics("resumed"))
        #expect(try place.bytes("run/notes.jsonl") == place.bytes("resumed/notes.jsonl"))
        #expect(try place.bytes("run/model.safetensors") == place.bytes("resumed/model.safetensors"))
        let state = "checkpoint-8/plumbline_state/controllers/threshold_search.json"
        #expect(try place.bytes("run/\(state)") == place.bytes("resumed/\(state)"))
    }

    @Test func whatASearchMayNotReadIsRefused() throws {
        let place = try Workplace()
        try Self.writeSets(in: place)
        let job = try place.job("grpo", Self.searching)
        for (overrides, words) in [
            (["dataset_test_split=test"], "dataset_test_split is test, and threshold_search chooses limits"),
            (["dataset_name=prompts.jsonl"], "the evaluation would be on the training rows"),
            (["threshold_search.gold=regular"], "threshold_search.gold: no reward is named 'regular'"),
            (["eval_steps="], "set eval_steps"),
            (["constraints.0.high=1.5"], "with low ≤ limit ≤ high; found 1 and 1.5 around 2"),
        ] {
            let outcome = try place.train(job, overrides[0], "output_dir=refused")
            #expect(outcome.status == 65 && outcome.progress.contains(words), "\(outcome.progress)")
        }
    }

    static func writeSets(in place: Workplace) throws {
        let rows = (0..<24).map { #"{"prompt": "\#($0)+1=", "answer": "\#($0 + 1)"}"# }
        try place.write("set/train.jsonl", rows[..<16].joined(separator: "\n"))
        try place.write("set/eval.jsonl", rows[16...].joined(separator: "\n"))
        try place.write("set/test.jsonl", rows[16...].joined(separator: "\n"))
    }
}
