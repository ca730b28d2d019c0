import Foundation
import Job
import Testing

private let folder = URL(filePath: "/jobs")

private func job(_ text: String, _ overrides: [String] = []) throws -> JobFile {
    try JobFile(text: text, name: "job.yaml", folder: folder, overrides: overrides)
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
        let job = try ResolvedJob(job(complete))
        let settings = job.settings
        #expect(settings.numGenerations == 8)
        #expect(settings.maxCompletionLength == 512)
        #expect(settings.learningRate == 1e-6)
        #expect(settings.beta == 0)
        #expect(settings.epsilon == 0.2)
        #expect(settings.lossType == .dapo)
        #expect(settings.scaleRewards == .group)
        #expect(settings.saveSteps == 500)
        #expect(job.batches.promptsPerStep == 1)
        #expect(job.batches.optimizerStepsPerRollout == 1)
    }

    @Test func methodsBringTheirOwnDefaults() throws {
        let remax = try ResolvedJob(job(complete + "\nalgorithm: remax"))
        #expect(remax.settings.numGenerations == 1)
        #expect(remax.recipe.calls == [.generate(samplesPerPrompt: 1, greedy: true), .credit, .train])
        let rloo = try ResolvedJob(job(complete + "\nalgorithm: rloo"))
        #expect(rloo.settings.beta == 0.05)
        #expect(rloo.recipe.calls.contains(.infer(.reference)))
        // The exact KL has the reference beside the policy in the update, and asks for no log-probs before it.
        let exact = try ResolvedJob(job(complete + "\nbeta: 0.1\nkl_estimator: full"))
        #expect(!exact.recipe.calls.contains(.infer(.reference)))
        let sft = try ResolvedJob(job(complete + "\nalgorithm: sft"))
        #expect(sft.recipe.calls == [.demonstrate, .train])
        #expect(sft.settings.learningRate == 2e-5)
    }

    /// The penalty compares the old policy with the reference, both as the trainer has them where the sampler rounds to bfloat16.
    @Test func aPenaltyInTheRewardAsksTheTrainerWhereTheSamplerIsNotExact() throws {
        func asks(_ lines: String) throws -> Bool {
            try ResolvedJob(job(complete + "\n" + lines)).recipe.calls.contains(.infer(.oldPolicy))
        }
        #expect(try asks("algorithm: rloo\ndtype: bfloat16"))
        #expect(try !asks("algorithm: rloo"))
        #expect(try !asks("algorithm: rloo\nbeta: 0\ndtype: bfloat16"))
        #expect(try !asks("beta: 0.1\ndtype: bfloat16"))  // grpo's penalty is in its loss
    }

    @Test func softGRPOBringsThePapersSettings() throws {
        let file = try job(
            complete + "\nalgorithm: soft_grpo\nsoft_thinking:\n  noise: dirichlet\n  dirichlet_alpha: 4",
            ["soft_thinking.top_k=7"])
        let soft = try ResolvedJob(file)
        #expect(soft.settings.beta == 0.001 && soft.settings.lossType == .grpo && soft.settings.delta == 3)
        #expect(soft.recipe.calls.contains(.infer(.reference)))
        var expected = JobSoftThinking()
        #expect(expected.topP == 0.95 && expected.gumbelTemperature == 0.1 && expected.noiseFactor == 1)
        (expected.noise, expected.dirichletAlpha, expected.topK) = (.dirichlet, 4, 7)
        #expect(soft.settings.softThinking == expected)
        #expect(try ResolvedJob(job(soft.yaml)).settings == soft.settings)
        let unused = try ResolvedJob(job(complete + "\nsoft_thinking: {top_k: 3}")).notices
        #expect(unused == ["without effect for grpo: soft_thinking.top_k"])
        #expect(try JobExplanation.text(of: "soft_thinking").contains("soft_thinking.cold_stop_steps"))
    }

    @Test func overridesComeLastAndReadAsYAML() throws {
        let file = try job(
            complete, ["learning_rate=2e-6", "--seed=7", "column_map.prompt=question", "stop_strings=['\\n', END]"])
        #expect(file.settings.learningRate == 2e-6)
        #expect(file.settings.seed == 7)
        #expect(file.settings.columnMap == [JobColumn(name: "prompt", value: .string("question"))])
        #expect(file.settings.stopStrings == ["\\n", "END"])
    }

    @Test func aResolvedJobReadBackIsTheSameJob() throws {
        let first = try ResolvedJob(
            job(
                complete + """

                    reward_weights: [0.5]
                    column_map: {prompt: question, answer: "the answer"}
                    stop_strings: ["a: b", "#", "\\t", "it's \\"quoted\\""]
                    top_k: 40
                    min_p: 0.05
                    save_total_limit: 3
                    resume_from_checkpoint: true
                    """))
        let again = try ResolvedJob(job(first.yaml))
        #expect(again.settings == first.settings)
        #expect(again.yaml == first.yaml)
    }

    @Test func rewardsMayHaveSettings() throws {
        let file = try job(
            complete.replacing(
                "accuracy_reward",
                with:
                    "[accuracy_reward, {name: length_reward, target: 20}, 'rewards.py:score', {command: ./judge --fast, timeout: 5}]"
            ))
        #expect(
            file.settings.rewards.map(\.reference) == [
                "accuracy_reward", "length_reward", "rewards.py:score", "command: ./judge --fast",
            ])
        #expect(file.settings.rewards[1].settings == ["target": .number(20)])
        #expect(try job(ResolvedJob(file).yaml).settings.rewards == file.settings.rewards)
    }

    @Test func keysOfTheFieldWithoutEffectAreNamedOnce() throws {
        let file = try job(
            complete + "\nuse_vllm: true\nvllm_gpu_memory_utilization: 0.3\nreport_to: wandb\nuse_peft: false")
        #expect(file.notices == ["without effect here: use_vllm, vllm_gpu_memory_utilization, report_to, use_peft"])
    }

    /// A line of a job file and a piece of the message it must bring.
    static let wrongLines: [(line: String, message: String)] = [
        ("learning_rat: 1", "unknown key 'learning_rat'; did you mean learning_rate?"),
        ("zzzzzz: 1", "unknown key 'zzzzzz'"),
        ("learning_rate: fast", "learning_rate is 'fast'; expected a finite number"),
        ("learning_rate: .nan", "learning_rate is '.nan'"),
        ("num_generations: 2.5", "num_generations is '2.5'; expected a whole number"),
        ("num_generations: -1", "num_generations is '-1'"),
        ("temperature: 0", "temperature is '0'; expected a finite number above 0"),
        ("top_p: 1.5", "top_p is '1.5'"),
        ("delta: 0.9", "delta is '0.9'; expected a finite number above 1, or nothing"),
        ("threads: -3", "threads is '-3'; expected a whole number of at least 1, or nothing"),
        ("loss_type: gpro", "loss_type is 'gpro'; expected one of grpo, dapo, cispo, bnpo, dr_grpo"),
        ("dtype: float16", "dtype is 'float16'; expected one of float32, bfloat16, float64"),
        ("mask_truncated_completions: maybe", "expected true or false"),
        ("reward_weights: [1, x]", "reward_weights is a list of 2; expected a list, each a finite number"),
        ("use_peft: true", "use_peft is not supported: LoRA is not built"),
        ("bvpo: {alpha: 1}", "bvpo is not supported"),
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
        #expect(
            error.problems.map(\.place) == [
                "the override 'nothing'", "the override '=3'", "job.yaml line 1", "job.yaml line 2", "job.yaml line 3",
                "the override 'beta=-2'",
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
        ("reward_weights: [1, 2]", "reward_weights has 2 numbers for 1 rewards"),
        ("importance_sampling_level: sequence", "expected loss_type grpo (GSPO)"),
        (
            "gradient_accumulation_steps: 2\nsteps_per_generation: 3",
            "expected a multiple of gradient_accumulation_steps = 2"
        ),
        ("algorithm: remax\nnum_iterations: 2", "remax takes one optimizer step per rollout"),
        ("sync_ref_model: true", "beta = 0 loads none"),
        ("algorithm: remax\nkl_placement: loss", "remax has its KL term in the reward"),
        ("algorithm: rloo\nkl_estimator: full", "expected k1, k2 or k3 for rloo"),
        ("beta: 0.1\nkl_placement: reward\nkl_estimator: full", "for grpo with kl_placement reward"),
        ("algorithm: reinforce_pp\nkl_estimator: k3", "reinforce_pp with groups has k2 in its loss"),
        ("algorithm: best_of_k\nbeta: 0.1\nsync_ref_model: true", "sync_ref_model needs a reference policy"),
        ("algorithm: remax\nbeta: 0.1\nremax_kl: none\nkl_target: 0.1", "expected beta above 0"),
        (
            "eval_steps: 200\nmetric_for_best_model: eval_reward",
            "save_steps is 500; expected a multiple of eval_steps, 200"
        ),
        // What only the method's parts know is refused with the job's keys all the same.
        ("loss_type: cispo\ndelta: 4", "delta is 4.0; expected none with cispo"),
        (
            "importance_sampling_correction: token_mask\nimportance_sampling_min: 5",
            "importance_sampling_max is 3.0; expected above the minimum"
        ),
        ("algorithm: sft\nnum_generations: 4", "sft does not generate"),
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
    ]

    @Test(arguments: contradictions)
    func contradictionsAreRefused(_ example: (lines: String, message: String)) throws {
        let file = try job(complete + "\n" + example.lines)
        let error = try #require(throws: JobError.self) { try ResolvedJob(file) }
        #expect(error.description.contains(example.message), "\(error)")
    }

    /// A key that its method does not read, and was given another value than its default, is named.
    @Test(arguments: [
        ("algorithm: rloo\nmissing_eos_penalty: 1.0\nentropy_coef: 0.1", "rloo: entropy_coef, missing_eos_penalty"),
        ("algorithm: best_of_k\nbeta: 0.04", "best_of_k: beta"), ("algorithm: sft\nbeta: 0.1", "sft: beta"),
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
    ])
    func whatHasNoEffectIsSaid(_ example: (lines: String, notice: String)) throws {
        let notices = try ResolvedJob(job(complete + "\n" + example.lines)).notices
        #expect(notices == ["without effect for " + example.notice])
    }

    @Test(arguments: [
        "algorithm: ppo\ndelta: 1.5", "algorithm: reinforce_pp\ndelta: 1.5",
        "algorithm: rloo\nimportance_sampling_level: sequence\nloss_type: grpo",
        "bypass_old_log_probs: true\nimportance_sampling_correction: token_mask\ntop_p: 0.9",
        "algorithm: ppo\nbootstrap_truncated: true",
        "algorithm: cispo",
    ])
    func whatHasAnEffectIsNotSaidToHaveNone(_ lines: String) throws {
        let notices = try ResolvedJob(job(complete + "\n" + lines)).notices.filter {
            $0.contains("without effect") && !$0.contains("importance_sampling_level")
        }
        #expect(notices.isEmpty, "\(notices)")
    }

    @Test func bnpoIsTakenAsDAPOWithANotice() throws {
        let resolved = try ResolvedJob(job(complete + "\nloss_type: bnpo"))
        #expect(resolved.settings.lossType == .dapo)
        #expect(
            resolved.notices == [
                "loss_type bnpo depends on the micro-batch; taken as dapo, its limit for one micro-batch"
            ])
    }

    /// A weight that is at most 0.2 is no weight.
    @Test func cispoWithAClipsBoundIsNoticed() throws {
        #expect(try ResolvedJob(job(complete + "\nloss_type: cispo")).notices.count == 1)
        #expect(try ResolvedJob(job(complete + "\nloss_type: cispo\nepsilon_high: 5")).notices.isEmpty)
    }

    /// 32 completions of 4 prompts are sampled, and the best of each is learned from: 4, in one batch of up to 8.
    @Test func bestOfKCountsWhatItLearnsFrom() throws {
        let job = try ResolvedJob(job(complete + "\nalgorithm: best_of_k\nsteps_per_generation: 4"))
        #expect(job.batches.promptsPerStep == 4 && job.batches.optimizerStepsPerRollout == 1)
    }

    @Test func methodsThatNeedNoReferenceLoadNone() throws {
        for (lines, loads) in [
            ("algorithm: best_of_k\nbeta: 0.1", false), ("algorithm: sft\nbeta: 0.1", false),
            ("algorithm: reinforce\nbeta: 0.1\nremax_kl: none", false), ("algorithm: reinforce\nbeta: 0.1", true),
        ] {
            let calls = try ResolvedJob(job(complete + "\n" + lines)).recipe.calls
            #expect(calls.contains(.infer(.reference)) == loads, "\(lines)")
        }
    }

    @Test func plainREINFORCESumsOverTokens() throws {
        #expect(try ResolvedJob(job(complete + "\nalgorithm: reinforce")).settings.remaxReduction == .sequenceSum)
        #expect(try ResolvedJob(job(complete + "\nalgorithm: remax")).settings.remaxReduction == .tokenMean)
    }

    @Test func whatIsMissingIsNamed() throws {
        let error = try #require(throws: JobError.self) { try ResolvedJob(job("seed: 1")) }
        #expect(error.problems.count == 4)  // model, dataset, output folder, reward
    }

    @Test func everyFieldIsExplainedAndNamedOnce() {
        let names = JobFields.supported.map(\.name)
        #expect(Set(names).count == names.count)
        #expect(JobFields.supported.allSatisfy { $0.summary.hasSuffix(".") && $0.summary.count > 20 })
    }
}
