import Algorithms
import Credit
import Foundation
import Job
import Methods
import Records
import Testing

private let folder = URL(filePath: "/jobs")

private func job(_ text: String, _ overrides: [String] = []) throws -> ResolvedJob {
    try ResolvedJob(JobFile(text: text, name: "job.yaml", folder: folder, overrides: overrides))
}

private let complete = """
    model_name_or_path: model
    dataset_name: prompts
    output_dir: runs/one
    reward_funcs: accuracy_reward
    """

@Suite("A job file says what it means, or says what is wrong with it")
struct JobFileTests {
    @Test func defaultsAreTRLs() throws {
        let job = try job(complete)
        let expected = [
            "num_generations": "8", "max_completion_length": "512", "learning_rate": "1e-06", "beta": "0.0",
            "epsilon": "0.2", "epsilon_high": "null", "loss_type": "dapo", "scale_rewards": "group",
            "save_steps": "500", "temperature": "1.0", "num_iterations": "1", "steps_per_generation": "1",
        ]
        for (key, value) in expected { #expect(job[key] == value, "\(key)") }
        #expect(job.batches.generations == 8 && job.sampling.maxCompletionLength == 512)
        #expect(job.optimizer.learningRate == 1e-6 && job.run.saveSteps == 500)
        #expect(job.batches.promptsPerStep == 1)
        #expect(job.batches.optimizerStepsPerRollout == 1)
    }

    @Test func aRunThatEndsWithItsBestModelSavesWhatItEvaluates() throws {
        let best = try job(complete + "\neval_steps: 20\nload_best_model_at_end: true")
        #expect(best.run.placesBest && best.run.bestMetric == "eval_reward" && best.run.saveSteps == 20)
        let plain = try job(complete + "\neval_steps: 20")
        #expect(!plain.run.placesBest && plain.run.bestMetric == nil && plain.run.saveSteps == 500)
    }

    /// As in transformers a name means the evaluation's metric, with or without `eval_` before it. Where nothing is
    /// evaluated it is a training step's.
    @Test func aBestMetricIsTheEvaluationsWhereThereIsOne() throws {
        let evaluated = "\neval_steps: 20\nsave_steps: 40\nmetric_for_best_model: "
        for (lines, name) in [
            (evaluated + "length", "eval_length"), (evaluated + "eval_length", "eval_length"),
            ("\nmetric_for_best_model: length", "length"),
        ] {
            let job = try job(complete + lines)
            #expect(job.run.bestMetric == name && job["metric_for_best_model"] == name)
        }
    }

    /// The job's folder and the working folder each have a set and a reward.
    @Test func typedPathsCountFromTheWorkingFolder() throws {
        let root = FileManager.default.temporaryDirectory.appending(path: "typed-\(UUID().uuidString)")
            .resolvingSymlinksInPath()
        defer { try? FileManager.default.removeItem(at: root) }  // a leftover in /tmp harms no test
        for name in ["jobs/set.jsonl", "here/set.jsonl", "here/r.py", "here/sub/one.jsonl", "jobs/only.jsonl"] {
            let file = root.appending(path: name)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data().write(to: file)
        }
        let (jobs, here) = (root.appending(path: "jobs"), root.appending(path: "here"))
        func read(_ overrides: [String], from working: URL) throws -> ResolvedJob {
            try ResolvedJob(
                JobFile(
                    text: complete.replacing("dataset_name: prompts", with: "dataset_name: set.jsonl"),
                    name: "job.yaml",
                    folder: jobs, overrides: overrides, workingFolder: working))
        }
        #expect(try read([], from: here)["dataset_name"] == "set.jsonl")
        #expect(try read(["dataset_name=set.jsonl"], from: jobs)["dataset_name"] == "set.jsonl")
        let typed = try read(["dataset_name=set.jsonl", "reward_funcs=r.py:score"], from: here)
        #expect(typed["dataset_name"] == (here.path + "/set.jsonl").yaml)
        #expect(typed.data.datasets.map(\.path) == [here.path + "/set.jsonl"])
        #expect(typed.rewards?.entries.map(\.reference) == [here.path + "/r.py:score"])
        // A file that only the job's folder has is not taken for the one that was typed; what nobody has may be a name.
        #expect(try read(["dataset_name=only.jsonl"], from: here).data.datasets[0].path == here.path + "/only.jsonl")
        #expect(try read(["dataset_name=org/name"], from: here).data.datasets[0].path == "org/name")
        #expect(
            try read(["reward_funcs=accuracy_reward"], from: here).rewards?.entries[0].reference == "accuracy_reward")
        let several = try read(["datasets=[{path: set.jsonl}, sub/one.jsonl]", "datasets.0.split=train"], from: here)
        #expect(several.data.datasets.map(\.path) == [here.path + "/set.jsonl", here.path + "/sub/one.jsonl"])
        // The resolved job says the same from everywhere.
        let again = try ResolvedJob(JobFile(text: typed.yaml, name: "config.yaml", folder: root, workingFolder: root))
        #expect(again.data.datasets == typed.data.datasets && again.yaml == typed.yaml)
    }

    /// Every key with a number, at the ends of what a number can be: taken, or refused by its name; never a crash or
    /// another error.
    @Test func everyNumericKeyTakesOrNamesAnyNumber() throws {
        let numbers = [
            "0", "-1", "1", "2", "0.5", "1e-300", "-1e-300", "1e-12", "1e12", "1e15", "1e30", "1e300", "-1e300",
            "9223372036854775807", "9223372036854775808", "-9223372036854775808", "nan", "inf", "-inf", "65536",
        ]
        var tried = 0
        for key in JobKeys().supported where key.entry.expectation.contains("number") {
            let algorithm = key.methods?.first ?? "grpo"
            for number in numbers {
                tried += 1
                let name = key.entry.key
                do throws(JobError) {
                    _ = try ResolvedJob(
                        JobFile(
                            text: complete, name: "job.yaml", folder: folder,
                            overrides: ["algorithm=\(algorithm)", "\(name)=\(number)"]))
                } catch {
                    // A key may be refused for what it does to others: batch sizes, for one.
                    #expect(!error.problems.isEmpty && error.problems.allSatisfy { !$0.message.isEmpty }, "\(name)")
                }
            }
        }
        #expect(tried > 1000)
    }

    @Test func methodsBringTheirOwnDefaults() throws {
        let remax = try job(complete + "\nalgorithm: remax")
        #expect(remax.batches.generations == 1)
        #expect(remax.recipe.calls == [.generate(samplesPerPrompt: 1, greedy: true), .credit, .train])
        let rloo = try job(complete + "\nalgorithm: rloo")
        #expect(rloo["beta"] == "0.05" && rloo.batches.generations == 2)
        #expect(rloo.recipe.calls.contains(.infer(.reference)))
        // The exact KL has the reference beside the policy in the update, and asks for no log-probs before it.
        let exact = try job(complete + "\nbeta: 0.1\nkl_estimator: full")
        #expect(!exact.recipe.calls.contains(.infer(.reference)))
        let sft = try job(complete + "\nalgorithm: sft")
        #expect(sft.recipe.calls == [.demonstrate, .train])
        #expect(sft.optimizer.learningRate == 2e-5)
        let ppo = try job(complete + "\nalgorithm: ppo")
        #expect(ppo.sampling.distribution.temperature == 0.7 && ppo.batches.iterations == 4 && ppo.batches.shuffles)
    }

    /// The penalty compares the old policy with the reference, both as the trainer has them where the sampler rounds to
    /// bfloat16.
    @Test func aPenaltyInTheRewardAsksTheTrainerWhereTheSamplerIsNotExact() throws {
        func asks(_ lines: String) throws -> Bool {
            try job(complete + "\n" + lines).recipe.calls.contains(.infer(.oldPolicy))
        }
        #expect(try asks("algorithm: rloo\ndtype: bfloat16"))
        #expect(try !asks("algorithm: rloo"))
        #expect(try !asks("algorithm: rloo\nbeta: 0\ndtype: bfloat16"))
        #expect(try !asks("beta: 0.1\ndtype: bfloat16"))  // grpo's penalty is in its loss
    }

    @Test func softGRPOBringsThePapersSettings() throws {
        let soft = try job(
            complete + "\nalgorithm: soft_grpo\nsoft_thinking:\n  noise: dirichlet\n  dirichlet_alpha: 4",
            ["soft_thinking.top_k=7"])
        #expect(soft["beta"] == "0.001" && soft["loss_type"] == "grpo" && soft["delta"] == "3.0")
        #expect(soft.recipe.calls.contains(.infer(.reference)))
        let thinking = try #require(soft.plan.softThinking)
        #expect(thinking.noise == .dirichlet(DirichletNoise(concentration: 4)))
        #expect(thinking.support == SoftSupport(topK: 7, topP: 0.95) && thinking.thinkEnd == "</think>")
        let loss = try #require(soft.plan.parts[0].objective as? SofTGRPOSettings)
        #expect(loss.surrogate.lossType == .grpo && loss.surrogate.clip.upperBound == .delta(3))
        #expect(!loss.surrogate.correctsKLBias && loss.divergence == .analytic)
        let gumbel = try job(complete + "\nalgorithm: soft_grpo").plan.softThinking
        #expect(gumbel?.noise == .gumbel(GumbelNoise(scale: 1, temperature: 0.1)))
        #expect(try job(soft.yaml).yaml == soft.yaml)
        let unused = try job(complete + "\nsoft_thinking: {top_k: 3}").notices
        #expect(unused == ["without effect for grpo: soft_thinking.top_k"])
        #expect(try JobExplanation.text(of: "soft_thinking").contains("soft_thinking.cold_stop_steps"))
    }

    @Test func overridesComeLastAndReadAsYAML() throws {
        let job = try job(
            complete, ["learning_rate=2e-6", "seed=7", "column_map.prompt=question", "stop_strings=['\\n', END]"])
        #expect(job.optimizer.learningRate == 2e-6)
        #expect(job.model.seed == 7)
        #expect(job.data.columnMap == [NamedValue(name: "prompt", value: .string("question"))])
        #expect(job.sampling.stopStrings == ["\\n", "END"])
    }

    @Test func aResolvedJobReadBackIsTheSameJob() throws {
        let first = try job(
            complete + """

                reward_weights: [0.5]
                column_map: {prompt: question, answer: "the answer"}
                stop_strings: ["a: b", "#", "\\t", "it's \\"quoted\\""]
                top_k: 40
                min_p: 0.05
                save_total_limit: 3
                resume_from_checkpoint: true
                """)
        let again = try job(first.yaml)
        #expect(again.yaml == first.yaml)
        #expect(again.sampling == first.sampling && again.data.columnMap == first.data.columnMap)
        #expect(again.notices.filter { $0.contains("without effect") }.isEmpty, "\(again.notices)")
    }

    @Test func rewardsMayHaveSettings() throws {
        let rewards = try job(
            complete.replacing(
                "accuracy_reward",
                with:
                    "[accuracy_reward, {name: length_reward, target: 20}, 'rewards.py:score', {command: ./judge --fast, timeout: 5}]"
            ))
        let entries = try #require(rewards.rewards?.entries)
        #expect(
            entries.map(\.reference) == [
                "accuracy_reward", "length_reward", "rewards.py:score", "command: ./judge --fast",
            ])
        #expect(entries[1].settings == ["target": .number(20)])
        #expect(try job(rewards.yaml).rewards?.entries == entries)
    }

    /// Two models in folders of one name, one reward with two targets: each by a name of its own, with its own weight.
    @Test func rewardsOfOneNameAreToldApartByTheNamesTheyAreGiven() throws {
        let text = complete.replacing(
            "accuracy_reward",
            with:
                "[{model: a/rm}, {model: b/rm, name: judge}, {name: length_reward, target_length: 9}, {name: length_reward, target_length: 90, metric_name: long}, {path: 'r.py:f', name: mine}]"
        )
        let resolved = try job(text + "\nreward_weights: {judge: 2, long: 3, rm: 4, mine: 5}")
        #expect(resolved.plan.credit?.rewards.names == ["rm", "judge", "length_reward", "long", "mine"])
        #expect(resolved.plan.credit?.rewards.weights == [4, 2, 1, 3, 5])
        let entries = try #require(resolved.rewards?.entries)
        #expect(entries[1] == JobReward(reference: "model: b/rm", settings: ["metric_name": .string("judge")]))
        #expect(try job(resolved.yaml).rewards?.entries == entries)
        // Every name is known before a reward is open, and so is the range of a renamed one.
        let unknown = try #require(throws: JobError.self) { try job(text + "\nreward_weights: {jugde: 2}") }
        #expect("\(unknown)".contains("no reward is named 'jugde'; did you mean judge?"), "\(unknown)")
        let beyond = try #require(throws: JobError.self) {
            try job(text + "\nconstraints: [{reward: long, limit: 2, kind: at_least}]")
        }
        #expect("\(beyond)".contains("long can never be"), "\(beyond)")
    }

    @Test(arguments: [
        (
            "[{model: a/rm}, {model: b/rm}]", "2 rewards are named 'rm': model: a/rm and model: b/rm", "{model: ",
            "name: rm_2}"
        ),
        (
            "[{url: 'http://h/a'}, {url: 'http://h/b'}]",
            "2 rewards are named 'h': url: http://h/a and url: http://h/b",
            "{url: ", "name: h_2}"
        ),
        (
            "[accuracy_reward, accuracy_reward, {name: accuracy_reward, column: x}]",
            "3 rewards are named 'accuracy_reward'",
            "{name: accuracy_reward, ", "metric_name: accuracy_reward_3}"
        ),
        ("['r.py:f', 'r.py:f']", "2 rewards are named 'r.py:f'", "{name: ", "metric_name: f_2}"),
        ("[{model: a/rm, name: x}, {path: 'r.py:f', metric_name: x}]", "2 rewards are named 'x'", "{name: ", "x_2}"),
    ])
    func rewardsOfOneNameAreRefusedWithWhatToWrite(
        _ rewards: String, _ problem: String, _ start: String, _ end: String
    ) throws {
        let error = try #require(throws: JobError.self) {
            try job(complete.replacing("accuracy_reward", with: rewards))
        }
        #expect(error.problems.map(\.place) == ["job.yaml line 4"])
        let message = error.problems[0].message
        let advice = try #require(message.components(separatedBy: "own, as ").last)
        #expect(message.contains(problem) && advice.hasPrefix(start) && message.hasSuffix(end), "\(message)")
        // What it says to write is an entry.
        #expect(try JobReward(argument: advice).settings.keys.sorted() == ["metric_name"])
    }

    @Test(arguments: [
        ("{model: a, url: 'http://h'}", "exactly one of name, path, command, url, model"),
        ("{model: a, name: x, metric_name: y}", "name and metric_name, which mean the same beside model"),
        ("{model: a, name: [x]}", "a reward's name is no text"), ("{model: a, name: ''}", "a reward's name is no text"),
    ])
    func aSectionThatNamesARewardTwiceIsRefused(_ reward: String, _ message: String) throws {
        let error = try #require(throws: JobError.self) {
            try job(complete.replacing("accuracy_reward", with: "[\(reward)]"))
        }
        #expect(error.problems.count == 1 && "\(error)".contains(message), "\(error)")
    }

    @Test func keysOfTheFieldWithoutEffectAreNamedOnce() throws {
        let job = try job(
            complete + "\nuse_vllm: true\nvllm_gpu_memory_utilization: 0.3\nlog_level: info\nuse_peft: false")
        #expect(job.notices == ["without effect here: use_vllm, vllm_gpu_memory_utilization, log_level"])
    }

    /// A line of a job file and a piece of the message it must bring.
    static let wrongLines: [(line: String, message: String)] = [
        ("learning_rat: 1", "unknown key 'learning_rat'; did you mean learning_rate?"),
        ("zzzzzz: 1", "unknown key 'zzzzzz'"),
        ("learning\u{200B}_rate: 1", "_rate', which has the invisible character U+200B; did you mean learning_rate?"),
        ("seed\u{A0}x: 1", "x', which has the invisible character U+00A0"),
        ("learning_rate: fast", "learning_rate is 'fast'; expected a finite number"),
        ("learning_rate: .nan", "learning_rate is '.nan'"),
        ("num_generations: 2.5", "num_generations is '2.5'; expected a whole number"),
        ("num_generations: -1", "num_generations is '-1'"),
        ("temperature: 0", "temperature is '0'; expected a finite number above 0"),
        ("top_p: 1.5", "top_p is '1.5'"),
        ("delta: 0.9", "delta is '0.9'; expected a finite number above 1, or nothing"),
        ("threads: -3", "threads is '-3'; expected a whole number from 1 to 1024, or nothing"),
        ("loss_type: gpro", "loss_type is 'gpro'; expected one of grpo, dr_grpo, dapo, cispo, or bnpo"),
        ("dtype: float16", "dtype is 'float16'; expected one of float32, bfloat16, float64"),
        ("mask_truncated_completions: maybe", "expected true or false"),
        ("reward_weights: [1, x]", "reward_weights is a list of 2; expected a list, each a number or weights by step"),
        ("lora_r: 0\nuse_peft: true", "lora_r is '0'; expected a whole number from 1 to 65536"),
        ("trainable: mlp\nuse_peft: true", "trainable beside use_peft"),
        ("trainable: '(a'", "trainable is '(a', which is no regular expression"),
        ("lora_target_modules: ['a+', b]", "lora_target_modules is a list of 2; expected names of projections"),
        ("soft_thinking: gumbel", "soft_thinking is 'gumbel'; expected a section"),
        ("soft_thinking: {top_k: 0}", "soft_thinking.top_k is '0'; expected a whole number from 1 to 1024"),
        ("soft_thinking: {topk: 5}", "unknown key 'soft_thinking.topk'; did you mean soft_thinking.top_k"),
        ("soft_thinking: {noise: gumble}", "soft_thinking.noise is 'gumble'; expected one of none, gumbel"),
        ("column_map: question", "column_map is 'question'; expected a section"),
        ("max_steps: 0", "max_steps is '0'; expected a whole number above 0, or -1"),
        ("gradient_accumulation_steps: 0", "gradient_accumulation_steps is '0'"),
    ]

    @Test(arguments: wrongLines)
    func aWrongLineIsNamed(_ example: (line: String, message: String)) throws {
        let error = try #require(throws: JobError.self) { try job(complete + "\n" + example.line) }
        #expect(error.problems.count == 1)
        #expect(error.problems.first?.place == "job.yaml line 5")
        #expect(error.description.contains(example.message), "\(error)")
    }

    @Test func everyProblemComesAtOnce() throws {
        let error = try #require(throws: JobError.self) {
            try job("sed: 1\nepsilon: -1\nloss_type: x", ["beta=-2", "nothing", "=3"])
        }
        // In the order of the file, then what stands nowhere in it: bad overrides, and the four that are missing.
        #expect(
            error.problems.map(\.place) == [
                "job.yaml line 1", "job.yaml line 2", "job.yaml line 3", "the override 'beta=-2'",
                "the override 'nothing'", "the override '=3'", "the job", "the job", "the job", "the job",
            ])
    }

    /// Whole texts that are no job.
    @Test(arguments: [
        ("a: [1, 2", "job.yaml line 2: this is no YAML: while parsing a flow sequence"),
        ("seed: 1\nseed: 2", "job.yaml line 2: the key 'seed' stands twice, first in line 1"),
        ("- a\n- b", "a job is a list of"),
        ("just words", "a job is a list of"), ("a: &x 1\nb: *x", "unknown key 'b'"), ("\u{0}", "this is no YAML"),
        ("? [a]\n: 1", "a key must be a plain name"),
    ])
    func aTextThatIsNoJobIsRefused(_ text: String, _ message: String) throws {
        let error = try #require(throws: JobError.self) { try job(text) }
        #expect(error.description.contains(message), "\(error)")
    }

    /// Values that contradict each other.
    static let contradictions: [(lines: String, message: String)] = [
        ("num_generations: 6", "8 completions cannot be shared out in groups of num_generations = 6; 6 or 12 would do"),
        ("num_generations: 1", "one completion has no baseline"),
        ("reward_weights: [1, 2]", "reward_weights gives 2 for 1 reward; expected 1"),
        ("importance_sampling_level: sequence", "expected loss_type grpo (GSPO)"),
        (
            "gradient_accumulation_steps: 2\nsteps_per_generation: 3",
            "expected a multiple of gradient_accumulation_steps = 2"
        ),
        ("algorithm: remax\nnum_iterations: 2", "remax takes one optimizer step per rollout"),
        ("sync_ref_model: true", "the job loads none; set beta above 0"),
        ("algorithm: remax\nkl_placement: loss", "remax has its KL term in the reward"),
        ("algorithm: rloo\nkl_estimator: full", "is for grpo's loss; expected k1 for rloo"),
        ("beta: 0.1\nkl_placement: reward\nkl_estimator: full", "for grpo with kl_placement reward"),
        ("algorithm: reinforce_pp\nkl_estimator: k3", "reinforce_pp with groups has k2 in its loss"),
        ("algorithm: best_of_k\nbeta: 0.1\nsync_ref_model: true", "sync_ref_model needs a reference policy"),
        ("algorithm: remax\nbeta: 0.1\nremax_kl: none\nkl_target: 0.1", "expected beta above 0"),
        // 1 − 0.2 · 8 / 1.6 = 0: from there down a step of 8 completions could take all of β.
        (
            "algorithm: rloo\nkl_target: 0.1\nkl_horizon: 1.6",
            "kl_horizon is 1.6; expected above 1.6, 0.2 × the 8 completions of a rollout step"
        ),
        (
            "algorithm: rloo\nkl_target: 0.1\nkl_horizon: 2\nsteps_per_generation: 2",
            "kl_horizon is 2.0; expected above 3.2, 0.2 × the 16 completions of a rollout step"
        ),
        (
            "eval_steps: 200\nmetric_for_best_model: eval_reward",
            "save_steps is 500; expected a multiple of eval_steps, 200"
        ),
        (
            "load_best_model_at_end: true",
            "metric_for_best_model is eval_reward, and nothing is evaluated; set eval_steps"
        ),
        // What only the method's parts know is refused with the job's keys all the same.
        ("loss_type: cispo\ndelta: 4", "delta is 4.0; expected none with cispo"),
        (
            "importance_sampling_correction: token_mask\nimportance_sampling_min: 5",
            "importance_sampling_max is 3.0; expected above the minimum"
        ),
        (
            "algorithm: ppo\ncritic_shares_trunk: true\ncritic_model_name_or_path: other",
            "critic_model_name_or_path is other, and critic_shares_trunk makes the critic a head on the policy"
        ),
        ("algorithm: soft_grpo\nsoft_thinking: {noise: none}", "without noise thinking has no density"),
        (
            "algorithm: soft_grpo\nsoft_thinking: {noise: embedding_gaussian, compat: release}",
            "the published code has no"
        ),
        ("algorithm: soft_grpo\nentropy_coef: 0.01", "soft_grpo has no entropy bonus"),
        ("algorithm: soft_grpo\nloss_type: cispo", "soft_grpo takes grpo, dapo or dr_grpo"),
        ("algorithm: soft_grpo\nrepetition_penalty: 1.1", "expected 1"),
        // A detached k2 or k3 has lost the gradient that made it a KL's.
        ("beta: 0.1\nkl_placement: reward\nkl_estimator: k3", "what remains of k3 vanishes"),
        ("algorithm: rloo\nkl_estimator: k2", "what remains of k2 vanishes"),
        ("algorithm: remax\nbeta: 0.1\nkl_estimator: k3", "expected k1"),
        ("algorithm: ppo\nkl_estimator: k2", "expected k1"),
        (
            "algorithm: gspo\nbeta: 0.1\nuse_bias_correction_kl: true",
            "use_bias_correction_kl is true; expected false with importance_sampling_level sequence"
        ),
        ("beta: 0.1\nk3_clamp: 10", "k3_clamp is 10.0; expected none, or use_bias_correction_kl: false"),
        ("reward_clip_range: [5, -5]\nalgorithm: rloo", "reward_clip_range is a list of 2; expected a list"),
        (
            "algorithm: rloo\nreward_clip_range: [-1, 1]\nconstraints: [{reward: accuracy_reward, limit: 0.5, kind: at_least}]",
            "reward_clip_range is [-1.0, 1.0]; expected [] with constraints or gradient weights"
        ),
        (
            "algorithm: rloo\nreward_clip_range: [-1, 1]\ndynamic_weights: {method: gradient}",
            "reward_clip_range is [-1.0, 1.0]; expected [] with constraints or gradient weights"
        ),
        ("algorithm: reinforce_pp\nnum_generations: 1\nreinforce_pp_baseline: group", "one completion has no mean"),
        (
            "replay_buffer_size: 16\nsteps_per_generation: 4",
            "replay_max_age is 2; expected at least the 4 optimizer steps of a rollout"
        ),
        ("algorithm: rloo\nratio_clip: false\nnum_iterations: 2", "rloo takes one optimizer step per rollout"),
        // The signs of srft and the best completion of a group know no multipliers.
        (
            "algorithm: srft\nconstraints: [{reward: accuracy_reward, limit: 0.5, kind: at_most}]",
            "constraints need a method with advantages of each reward; srft has none"
        ),
        (
            "algorithm: best_of_k\ndynamic_weights: {method: gradient}",
            "dynamic_weights.method gradient needs a method with advantages of each reward; best_of_k has none"
        ),
        (
            "algorithm: best_of_k\neval_steps: 5\ndynamic_weights: {method: hypervolume}",
            "dynamic_weights.method hypervolume needs a method that learns by the size of its advantages; best_of_k does not"
        ),
        (
            "algorithm: srft\neval_steps: 5\ndynamic_weights: {method: hypervolume, target: reward}",
            "dynamic_weights.method hypervolume needs a method that learns by the size of its advantages; srft does not"
        ),
        (
            "algorithm: distill\nteacher_model_name_or_path: t\nlmbda: 0.5\ndynamic_weights: {method: recap, replay: g.jsonl}",
            "dynamic_weights.replay is set, and distill imitates demonstrations of its own already"
        ),
        (
            "algorithm: bvpo\nbvpo: {online: true}\nconstraints: [{reward: accuracy_reward, limit: 0.5, kind: equal}]",
            "constraints: accuracy_reward is equal, and bvpo applies limits to each completion; expected at_least or at_most"
        ),
        (
            "algorithm: bvpo\nbvpo: {online: true}\nmultipliers: {variant: mu_ppo}\nconstraints: [{reward: accuracy_reward, limit: 0.5, kind: at_least}]",
            "multipliers.variant is mu_ppo, and bvpo has no multipliers: a completion that breaks a limit is never chosen"
        ),
        (
            "algorithm: bvpo\nbvpo: {online: true}\neval_steps: 5\ndynamic_weights: {method: hypervolume}",
            "dynamic_weights.method is hypervolume, which weighs advantages; bvpo has none"
        ),
        (
            "algorithm: bvpo\nbvpo: {online: true}\ndynamic_sampling: true",
            "and bvpo.online needs the same prompts for both; expected false"
        ),
        // 8 completions are one optimizer step: 9 rows beside them would make it two.
        (
            "algorithm: amft\ndemonstrations: {order: own, per_step: 9}",
            "demonstrations.per_step is 9; expected at most 8"
        ),
        (
            "dynamic_weights: {method: recap, replay: general.jsonl, replay_rows: 9}",
            "dynamic_weights.replay_rows is 9; expected at most 8"
        ),
    ]

    /// β would stand in for the weight of a reward of the KL's name.
    @Test func aRewardThatIsNamedAsTheKLIsNotMovedWithIt() throws {
        let resolved = try job(complete + "\nalgorithm: rloo\nkl_target: 0.1")
        let error = try #require(throws: JobError.self) { try resolved.naming(rewards: ["kl"]) }
        #expect(error.description.contains("named kl, and a reward has that name too"), "\(error)")
        #expect(try resolved.naming(rewards: ["style"]).method == "rloo")
    }

    /// Of a sum beside a demonstration, and of completions that are imitated, nobody knows a reward's part.
    @Test(arguments: ["luffy", "srft", "best_of_k"])
    func sharesOfTheGradientThatAreNotKnownAreNotMeasured(_ method: String) throws {
        let text = complete.replacing(
            "accuracy_reward", with: "[accuracy_reward, {name: length_reward, target_length: 9}]")
        let resolved = try job("\(text)\nalgorithm: \(method)\ngradient_share_steps: 5")
        #expect(resolved.notices == ["without effect for \(method): gradient_share_steps"])
        #expect(!resolved.plan.controllers.contains { $0.readsGradients })
        let known = try job("\(text)\nalgorithm: rloo\ngradient_share_steps: 5")
        #expect(known.notices.isEmpty && known.plan.controllers.contains { $0.readsGradients })
    }

    /// An accuracy of 1 and a length of 300 at the limit 200: with ppo_sat 1 − ((300 − 200)/200)² = 0.75, with all_ppo
    /// 1 + 300/200 = 2.5. A reward that is named alone is the utility as it is scored.
    @Test(arguments: [("equal", "ppo_sat", 0.75), ("at_most", "all_ppo", 2.5)])
    func theUtilityOfAMFTCountsRewardsAsTrainingDoes(_ kind: String, _ variant: String, _ expected: Double) throws {
        let text =
            complete.replacing("accuracy_reward", with: "[accuracy_reward, completion_length]")
            + "\nalgorithm: amft\nmultipliers: {variant: \(variant)}"
            + "\nconstraints: [{reward: completion_length, limit: 200, kind: \(kind)}]\n"
        let scores = [RewardScore.value(1), .value(300)]
        let whole = try #require(job(text + "amft: {validation: held.jsonl}").plan.weighing?.utility)
        #expect(whole.rewards.form == .summed && whole.rewards.combined(scores) == expected)
        let one = try #require(
            job(text + "amft: {validation: held.jsonl, utility_reward: completion_length}").plan.weighing?.utility)
        #expect(one.rewards.combined(scores) == 300)
    }

    /// Pairs that are made on the way are chosen by the weights of their step.
    @Test func pairsAreMadeByWeightsOfTheStep() throws {
        let resolved = try job(complete + "\nalgorithm: bvpo\nbvpo: {online: true}\nreward_weights: [{0: 1, 5: 2}]")
        let schedules = resolved.plan.controllers.compactMap { $0 as? WeightSchedule }
        #expect(schedules.map { $0.weights(at: 0)["accuracy_reward"] } == [1])
        #expect(schedules.map { $0.weights(at: 5)["accuracy_reward"] } == [2])
        #expect(try job(complete + "\nalgorithm: bvpo\nbvpo: {online: true}").plan.controllers.isEmpty)
    }

    /// Constraints of a method that makes pairs are limits on what it chooses; nothing moves a multiplier.
    @Test func pairsAreChosenWithinLimits() throws {
        let resolved = try job(
            complete
                + "\nalgorithm: bvpo\nbvpo: {online: true}\nconstraints: [{reward: accuracy_reward, limit: 0.5, kind: at_least}]"
        )
        let credit = try #require(resolved.plan.credit as? PairsOfGroups)
        #expect(credit.limits == [Constraint("accuracy_reward", limit: 0.5)] && credit.rewards.form == .summed)
        #expect(resolved.plan.controllers.isEmpty)
    }

    /// Moments, and what owns a weight beside them.
    @Test(arguments: [
        (
            "[{reward: lenght_reward, target: 0.5}]", "",
            "no reward is named 'lenght_reward'; did you mean length_reward?"
        ),
        ("[{reward: length_reward, target: 1}]", "", "its scores lie from 0 to 1; expected a target between them"),
        (
            "[{reward: length_reward, target: 0.5}, {reward: length_reward, target: 0.6}]", "",
            "has two targets for length_reward"
        ),
        ("[{reward: length_reward}]", "", "expected a section with reward and target"),
        ("[{reward: length_reward, target: 0.5, kind: equal}]", "", "a moment has no 'kind'"),
        ("[{reward: length_reward, target: 0.5}]", "reward_weights: [1, 2]", "weights of length_reward"),
        ("[{reward: length_reward, target: 0.5}]", "reward_weights: [1, {0: 0, 9: 1}]", "a weight has one owner"),
        (
            "[{reward: length_reward, target: 0.5}]",
            "dynamic_sampling: true\ndynamic_sampling_metric: accuracy_reward", "expected false"
        ),
        (
            "[{reward: length_reward, target: 0.5}]",
            "constraints: [{reward: accuracy_reward, limit: 0.5, kind: at_least}]\nmultipliers: {variant: ppo_sat}",
            "beside constraints"
        ),
        (
            "[{reward: length_reward, target: 0.5}]",
            "eval_steps: 5\ndynamic_weights: {method: hypervolume, target: reward}", "expected advantage"
        ),
        (
            "[{reward: length_reward, target: 1e308}]", "",
            "a moment's target is '1e308'; expected a finite number, of a size from 1e-15 to 1e15"
        ),
    ])
    func momentsAreChecked(_ moments: String, _ lines: String, _ message: String) throws {
        let text = complete.replacing(
            "accuracy_reward", with: "[accuracy_reward, {name: length_reward, target_length: 9}]")
        let error = try #require(throws: JobError.self) {
            try job("\(text)\nalgorithm: gdc\ngdc: {moments: \(moments)}\n\(lines)")
        }
        #expect(error.problems.contains { $0.message.contains(message) }, "\(error)")
    }

    @Test func momentsAreAControllerOfGDC() throws {
        let text =
            complete.replacing("accuracy_reward", with: "[accuracy_reward, {name: length_reward, target_length: 9}]")
            + "\nalgorithm: gdc\nbeta: 0.2\ngdc: {moments: [{reward: length_reward, target: 0.5}], moment_window: 3}"
        let resolved = try job(text)
        let expected = MomentConstraints([MomentTarget("length_reward", target: 0.5)], coefficient: 0.2, window: 3)
        #expect(resolved.plan.controllers.compactMap { $0 as? MomentConstraints } == [expected])
        #expect((resolved.plan.credit as? DistributionalControl)?.settings.moments == expected.moments)
        let again = try job(resolved.yaml)
        #expect(again.yaml == resolved.yaml)
        #expect(again.plan.controllers.compactMap { $0 as? MomentConstraints } == [expected])
        let other = try job(text.replacing("algorithm: gdc", with: "algorithm: rloo"))
        #expect(other.notices.contains { $0.hasSuffix("gdc.moments, gdc.moment_window") }, "\(other.notices)")
    }

    @Test(arguments: contradictions)
    func contradictionsAreRefused(_ example: (lines: String, message: String)) throws {
        let error = try #require(throws: JobError.self) { try job(complete + "\n" + example.lines) }
        #expect(error.description.contains(example.message), "\(error)")
    }

    /// A key that its method does not read, and was given another value than its default, is named.
    @Test(arguments: [
        ("algorithm: rloo\nmissing_eos_penalty: 1.0\nentropy_coef: 0.1", "rloo: missing_eos_penalty, entropy_coef"),
        ("algorithm: best_of_k\nbeta: 0.04", "best_of_k: beta"),
        ("algorithm: sft\nbeta: 0.1\nnum_generations: 4", "sft: reward_funcs, beta, num_generations"),
        ("algorithm: remax\nbeta: 0.05\nremax_kl: none", "remax: beta"),
        ("best_of_k_threshold: 1", "grpo: best_of_k_threshold"),
        ("algorithm: reinforce\ngamma: 0.9", "reinforce: gamma"),
        ("lr_scheduler_type: constant\nwarmup_steps: 5", "grpo: warmup_steps"),
        ("algorithm: ppo\ncritic_shares_trunk: true\ncritic_learning_rate: 1e-3", "ppo: critic_learning_rate"),
        (
            "bypass_old_log_probs: true\nimportance_sampling_correction: token_mask",
            "grpo: importance_sampling_correction"
        ),
        ("multi_objective_aggregation: normalize_then_sum\nscale_rewards: none", "grpo: scale_rewards"),
        ("gradient_part_steps: 5", "grpo: gradient_part_steps"),
        ("gradient_checkpointing: true\nforward_cache_gb: 1", "grpo: forward_cache_gb"),
        ("steps_per_generation: 2\nforward_cache_gb: 1", "grpo: forward_cache_gb"),
        ("dtype: bfloat16\nforward_cache_gb: 1", "grpo: forward_cache_gb"),
        ("algorithm: dpo\nforward_cache_gb: 1", "dpo: reward_funcs, forward_cache_gb"),
        ("stream_normalization: none", "grpo: stream_normalization"),  // named by two who read it, and said once
        (
            "algorithm: luffy\nconstraints: [{reward: accuracy_reward, limit: 0.5, kind: at_least}]\nstream_normalization: none",
            "luffy: stream_normalization"
        ),
        // Without a weight there is no KL term; in the reward there is no ratio and no group that takes it, and the
        // exact one has nothing to correct.
        (
            "kl_estimator: k2\nkl_placement: reward\nuse_bias_correction_kl: false\nkl_on_zero_std_groups: false",
            "grpo: kl_estimator, kl_placement, use_bias_correction_kl, kl_on_zero_std_groups"
        ),
        (
            "beta: 0.1\nkl_placement: reward\nuse_bias_correction_kl: false\nkl_on_zero_std_groups: false",
            "grpo: use_bias_correction_kl, kl_on_zero_std_groups"
        ),
        ("beta: 0.1\nkl_estimator: full\nuse_bias_correction_kl: false", "grpo: use_bias_correction_kl"),
        ("k3_clamp: 10", "grpo: k3_clamp"), ("beta: 0.1\nkl_estimator: k2\nk3_clamp: 10", "grpo: k3_clamp"),
        // The teacher's divergence is no KL term that groups could be without.
        (
            "algorithm: distill\nteacher_model_name_or_path: t\nkl_on_zero_std_groups: false",
            "distill: kl_on_zero_std_groups"
        ),
        ("algorithm: rloo\nbeta: 0\nkl_estimator: k2", "rloo: kl_estimator"),
        ("loss_type: cispo\nepsilon: 0.1\nepsilon_high: 5", "grpo: epsilon"),
        (
            "algorithm: soft_grpo\nbeta: 0\nsoft_thinking: {noise: dirichlet, noise_factor: 0.5, gumbel_temperature: 0.2, cold_stop_steps: 8, kl: sampled}\nkl_on_zero_std_groups: false",
            "soft_grpo: soft_thinking.gumbel_temperature, soft_thinking.noise_factor, soft_thinking.cold_stop_steps, soft_thinking.kl, kl_on_zero_std_groups"
        ),
        (
            "algorithm: soft_grpo\nsoft_thinking: {dirichlet_alpha: 4, gaussian_sigma: 0.1}",
            "soft_grpo: soft_thinking.dirichlet_alpha, soft_thinking.gaussian_sigma"
        ),
    ])
    func whatHasNoEffectIsSaid(_ example: (lines: String, notice: String)) throws {
        let notices = try job(complete + "\n" + example.lines).notices
        #expect(notices == ["without effect for " + example.notice])
    }

    /// A method that needs no reward takes none, and every other says so in its own name.
    @Test func rewardsThatAreNoneAreRefusedInTheMethodsOwnNameAlone() throws {
        let others = ["distill": "\nteacher_model_name_or_path: teacher"]
        let none = complete.replacing("reward_funcs: accuracy_reward", with: "reward_funcs: null")
        let without = ["sft", "reward_model", "dpo", "bvpo", "distill"]
        for name in MethodCatalogue.shipped.map({ $0.name }) {
            let text = none + "\nalgorithm: \(name)" + (others[name] ?? "")
            if without.contains(name) {
                #expect(try job(text).notices.filter { $0.contains("reward_funcs") } == [], "\(name)")
                #expect(try job(text, ["reward_weights=null", "constraints=[]"]).method == name)
            } else {
                let error = try #require(throws: JobError.self, "\(name)") { try job(text) }
                #expect(
                    error.problems.map(\.description) == [
                        "job.yaml line 4: reward_funcs is missing; \(name) learns from at least one reward"
                    ])
            }
        }
    }

    /// What other methods make of a key beside others is no matter to one that does not read it; a value that is right
    /// for none is wrong all the same.
    @Test(arguments: [
        ("algorithm: dpo\nnum_generations: 1", "dpo: reward_funcs, num_generations"),
        ("algorithm: sft\nloss_type: ipo", "sft: reward_funcs, loss_type"),
        ("algorithm: sft\nteacher_model_name_or_path:", "sft: reward_funcs"),
        ("algorithm: dpo\ndelta: 4\nepsilon_high: 5", "dpo: reward_funcs, delta, epsilon_high"),
    ])
    func keysOfOtherMethodsAreJudgedByTheirValueAlone(_ example: (lines: String, notice: String)) throws {
        #expect(try job(complete + "\n" + example.lines).notices == ["without effect for " + example.notice])
    }

    @Test(arguments: [
        ("algorithm: dpo\nnum_generations: 2.5", "num_generations is '2.5'; expected a whole number"),
        ("algorithm: sft\nloss_type: gpro", "loss_type is 'gpro'; expected one of"),
        ("algorithm: sft\nbvpo: {alpha: 2}", "bvpo.alpha is '2'; expected a finite number from 0 to 1"),
    ])
    func aValueThatIsRightForNoMethodIsNamed(_ example: (lines: String, message: String)) throws {
        let error = try #require(throws: JobError.self) { try job(complete + "\n" + example.lines) }
        #expect(
            error.problems.count == 1 && error.description.contains("job.yaml line 6: \(example.message)"), "\(error)")
    }

    @Test(arguments: [
        "algorithm: ppo\ndelta: 1.5", "algorithm: reinforce_pp\ndelta: 1.5",
        "algorithm: rloo\nimportance_sampling_level: sequence\nloss_type: grpo",
        "bypass_old_log_probs: true\nimportance_sampling_correction: token_mask\ntop_p: 0.9",
        "algorithm: ppo\nbootstrap_truncated: true",
        "algorithm: cispo", "algorithm: srft\ngradient_part_steps: 5",
        "loss_type: cispo\nepsilon: 5",
        "beta: 0.1\nkl_estimator: k2\nuse_bias_correction_kl: false\nkl_on_zero_std_groups: false",
        "beta: 0.1\nuse_bias_correction_kl: false\nk3_clamp: 10", "algorithm: soft_grpo\nk3_clamp: 10",
        "algorithm: soft_grpo\nsoft_thinking: {noise: embedding_gaussian, gaussian_sigma: 0.1}",
        "algorithm: soft_grpo\nsoft_thinking: {noise_factor: 0.5, gumbel_temperature: 0.2, kl: sampled}",
        "algorithm: soft_grpo\nsoft_thinking: {cold_stop_entropy: 0.1, cold_stop_steps: 8}",
        "algorithm: luffy\nluffy: {entropy_coef: 0}\ngradient_part_steps: 5",
        "algorithm: amft\ngradient_part_steps: 5\namft: {controller: fixed}",
        "algorithm: distill\nteacher_model_name_or_path: t\ngradient_part_steps: 5",
    ])
    func whatHasAnEffectIsNotSaidToHaveNone(_ lines: String) throws {
        let notices = try job(complete + "\n" + lines).notices.filter {
            $0.contains("without effect") && !$0.contains("importance_sampling_level")
        }
        #expect(notices.isEmpty, "\(notices)")
    }

    @Test func aSamplerInEightBitsIsCorrectedForUnlessTheFileSaysOtherwise() throws {
        let correction = "importance_sampling_correction"
        #expect(try job(complete)["generation_layout"] == "packed")
        #expect(try job(complete)[correction] == "none")
        #expect(try job(complete + "\ngeneration_layout: int8")[correction] == "token_truncate")
        #expect(try job(complete + "\ngeneration_layout: int8\n\(correction): none")[correction] == "none")
        #expect(try job(complete + "\ndtype: bfloat16")["generation_layout"] == "shared")
        let error = #expect(throws: JobError.self) {
            try job(complete + "\ndtype: bfloat16\ngeneration_layout: packed")
        }
        #expect("\(error!)".contains("generation_layout is packed; expected shared with dtype bfloat16"))
    }

    @Test func productsWaitForTheUpdateUpToSoManyBytes() throws {
        #expect(try job(complete).forwardCacheBytes == 2_500_000_000)
        #expect(try job(complete + "\nforward_cache_gb: 0.25").forwardCacheBytes == 250_000_000)
        #expect(try job(complete + "\nforward_cache_gb: 0").forwardCacheBytes == 0)
        for line in [
            "generation_layout: int8", "gradient_checkpointing: true", "use_peft: true\nlora_dropout: 0.1\nbeta: 0.1",
            "algorithm: soft_grpo", "algorithm: luffy", "algorithm: srft",
            "max_staleness: 1\nimportance_sampling_correction: token_truncate",
        ] {
            #expect(try job(complete + "\n" + line).forwardCacheBytes == 0, "\(line)")
        }
        let error = #expect(throws: JobError.self) { try job(complete + "\nforward_cache_gb: -1") }
        #expect("\(error!)".contains("forward_cache_gb is '-1'"))
    }

    @Test func bnpoIsTakenAsDAPOWithANotice() throws {
        let resolved = try job(complete + "\nloss_type: bnpo")
        #expect(resolved["loss_type"] == "dapo")
        #expect(
            resolved.notices == [
                "loss_type bnpo depends on the micro-batch; taken as dapo, its limit for one micro-batch"
            ])
    }

    /// A weight that is at most 0.2 is no weight.
    @Test func cispoWithAClipsBoundIsNoticed() throws {
        #expect(try job(complete + "\nloss_type: cispo").notices.count == 1)
        #expect(try job(complete + "\nloss_type: cispo\nepsilon_high: 5").notices.isEmpty)
    }

    /// 32 completions of 4 prompts are sampled, and the best of each is learned from: 4, in one batch of up to 8.
    @Test func bestOfKCountsWhatItLearnsFrom() throws {
        let job = try job(complete + "\nalgorithm: best_of_k\nsteps_per_generation: 4")
        #expect(job.batches.promptsPerStep == 4 && job.batches.optimizerStepsPerRollout == 1)
    }

    @Test func methodsThatNeedNoReferenceLoadNone() throws {
        for (lines, loads) in [
            ("algorithm: best_of_k\nbeta: 0.1", false), ("algorithm: sft\nbeta: 0.1", false),
            ("algorithm: reinforce\nbeta: 0.1\nremax_kl: none", false), ("algorithm: reinforce\nbeta: 0.1", true),
        ] {
            let plan = try job(complete + "\n" + lines).plan
            #expect(plan.recipe.calls.contains(.infer(.reference)) == loads, "\(lines)")
            #expect((plan.reference != nil) == loads, "\(lines)")
        }
    }

    @Test func plainREINFORCESumsOverTokens() throws {
        for (method, reduction) in [("reinforce", ReMaxSettings.Reduction.sequenceSum), ("remax", .tokenMean)] {
            let objective = try job(complete + "\nalgorithm: \(method)").plan.parts[0].objective
            #expect((objective as? ReMaxSettings)?.reduction == reduction)
        }
    }

    /// A section begins a line below its key, an alias's value stands at its anchor: both are found at the key.
    @Test(arguments: [
        ("\nbeta:\n  value: 0.1", "job.yaml line 5: beta is a section with value; expected a finite number"),
        ("\nlearning_rate:\n  fast", "job.yaml line 5: learning_rate is 'fast'; expected a finite number"),
        ("\nrun_name: &a x\nseed: *a", "job.yaml line 6: seed is 'x'; expected a whole number"),
        ("\nsoft_thinking:\n  top_k:\n    - 1", "job.yaml line 6: soft_thinking.top_k is a list of 1; expected"),
        ("\n<<: {seed: 3}", "job.yaml line 5: << is not supported: merge keys are not read"),
    ])
    func aValueIsFoundWhereItsKeyStands(_ lines: String, _ message: String) throws {
        let error = try #require(throws: JobError.self) { try job(complete + lines) }
        #expect(error.problems.count == 1 && error.description.hasPrefix(message), "\(error)")
    }

    /// What is missing or wrong beside it is judged once it is known.
    @Test func anUnknownMethodIsToldAlone() throws {
        let error = try #require(throws: JobError.self) { try job("algorithm: kto\ndesirable_weight: 1.5") }
        #expect(error.problems.count == 1, "\(error)")
        #expect(error.description.hasPrefix("job.yaml line 1: algorithm is 'kto'; expected"), "\(error)")
    }

    @Test func aWrongValueOfAnotherMethodsKeySaysWhoDoesNotReadIt() throws {
        let error = try #require(throws: JobError.self) { try job(complete + "\nalgorithm: sft\nloss_type: dft") }
        #expect(error.description.hasSuffix("; sft does not read it"), "\(error)")
    }

    @Test func aLineOfMegabytesIsShortenedInItsMessage() throws {
        let error = try #require(throws: JobError.self) {
            try job(complete + "\nseed: x" + String(repeating: "1", count: 1_000_000))
        }
        #expect(error.description.hasPrefix("job.yaml line 5: seed is 'x11") && error.description.utf8.count < 400)
        #expect(error.description.contains("1… (1000001 characters)'; expected a whole number"), "\(error)")
    }

    @Test func whatIsMissingIsNamed() throws {
        let error = try #require(throws: JobError.self) { try job("seed: 1") }
        #expect(
            error.problems.map { $0.message.prefix { $0 != " " } }
                == ["model_name_or_path", "dataset_name", "reward_funcs", "output_dir"])
    }

    @Test func everyFieldIsExplainedAndNamedOnce() {
        let entries = JobKeys().supported.map(\.entry)
        #expect(Set(entries.map(\.key)).count == entries.count && entries.count > 100)
        for entry in entries {
            #expect(entry.meaning.hasSuffix(".") && entry.meaning.count > 14, "\(entry.key): \(entry.meaning)")
        }
    }
}
