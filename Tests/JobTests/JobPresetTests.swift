import Credit
import Foundation
import Job
import Testing

@Suite("Presets say what they set, and the job's own keys win")
struct JobPresetTests {
    private func job(_ lines: String, _ overrides: [String] = []) throws -> ResolvedJob {
        let text = "model_name_or_path: m\ndataset_name: p\noutput_dir: o\nreward_funcs: accuracy_reward\n" + lines
        return try ResolvedJob(
            JobFile(text: text, name: "job.yaml", folder: URL(filePath: "/jobs"), overrides: overrides))
    }

    @Test func aVariantIsGRPOWithItsPapersMathematics() throws {
        let dr = try job("algorithm: dr_grpo")
        #expect(dr.method == "grpo")
        #expect(dr["loss_type"] == "dr_grpo" && dr["scale_rewards"] == "none")
        #expect(dr["num_generations"] == "8")  // sizes stay TRL's
        #expect(
            dr.notices.contains { $0.contains("loss_type: dr_grpo, scale_rewards: none") && $0.contains("2503.20783") })
        let dapo = try job("algorithm: dapo")
        #expect(dapo["epsilon_high"] == "0.28")
        #expect(dapo.dynamicSampling?.reward == 0 && dapo["dynamic_sampling_metric"] == "accuracy_reward")
        #expect(dapo.notices.contains { $0.contains("is a reward, get_soft_overlong_punishment)") })
        let gspo = try job("algorithm: gspo")
        #expect(gspo["importance_sampling_level"] == "sequence" && gspo["epsilon"] == "0.0003")
        #expect(gspo["use_bias_correction_kl"] == "false")  // one ratio for a completion corrects no token's estimate
        #expect(try job("algorithm: cispo")["epsilon_high"] == "5.0")
    }

    @Test func theJobsOwnKeysWinWhereverTheyStand() throws {
        #expect(try job("epsilon_high: 0.3\nalgorithm: dapo")["epsilon_high"] == "0.3")
        #expect(try job("algorithm: dapo", ["epsilon_high=0.4"])["epsilon_high"] == "0.4")
        let plain = try job("algorithm: dapo", ["algorithm=grpo"])
        #expect(plain["epsilon_high"] == "null" && plain.dynamicSampling == nil)
    }

    @Test func aPaperBringsItsSizesAndItsMethod() throws {
        let math = try job("preset: deepseek_math\nper_device_train_batch_size: 64")
        #expect(math.batches.generations == 64 && math["beta"] == "0.04")
        #expect(try job("preset: remax").method == "remax")
        let release = try job("preset: remax_release\ngamma: 0.95")
        let baseline = try #require(release.plan.credit as? GreedyBaseline).settings
        #expect(baseline.penalty?.reach == .oneStep && baseline.differenceClip == 5)
        #expect(baseline.discount == 0.95 && baseline.discountsLastToken)
        #expect(throws: JobError.self) { try job("preset: remax\nalgorithm: rloo") }
        #expect(throws: JobError.self) { try job("preset: nobody") }
    }

    @Test(arguments: [
        "algorithm: dapo\nnum_generations: 4", "preset: gspo\nper_device_train_batch_size: 16", "preset: lite_ppo",
        "algorithm: best_of_k\nnum_generations: 4", "algorithm: reinforce", "replay_buffer_size: 16",
    ])
    func theResolvedJobReadBackIsTheSame(_ lines: String) throws {
        let first = try job(lines)
        let again = try ResolvedJob(
            JobFile(text: first.yaml, name: "config.yaml", folder: URL(filePath: "/jobs")))
        #expect(again.yaml == first.yaml)
        #expect(again.recipe == first.recipe)
    }

    @Test(arguments: [
        ("algorithm: reinforce\ndynamic_sampling: true", "at least 2"),
        ("kl_target: 0.1", "kl_placement reward"), ("algorithm: rloo\nreplay_buffer_size: 4", "grpo"),
        ("algorithm: best_of_k\nnum_generations: 1", "at least 2"),
        ("algorithm: reinforce\nsteps_per_generation: 2", "one optimizer step"),
    ])
    func whatContradictsItselfIsRefused(_ lines: String, _ message: String) throws {
        do {
            _ = try job(lines)
            Issue.record("nothing was refused")
        } catch let error as JobError {
            #expect("\(error)".contains(message), "\(error)")
        }
    }

    @Test func ofSeveralRewardsTheDecidingOneIsNamed() throws {
        let two = "reward_funcs=[accuracy_reward, think_format_reward]"
        #expect(throws: JobError.self) { try job("dynamic_sampling: true", [two]) }
        let named = try job("dynamic_sampling: true\ndynamic_sampling_metric: accuracy_reward", [two])
        #expect(named.dynamicSampling?.reward == 0)
    }

    @Test(
        arguments: [("", 10), ("dynamic_sampling_max_waves: 3", 3), ("dynamic_sampling_max_waves: 0", nil)]
            as [(String, Int?)])
    func wavesHaveALimitUnlessItIsZero(_ line: String, _ most: Int?) throws {
        let sampling = try #require(job("dynamic_sampling: true\n" + line).dynamicSampling)
        #expect(sampling.maxWaves == most)
        #expect(throws: JobError.self) { try job("dynamic_sampling: true\ndynamic_sampling_max_waves: -1") }
    }

    @Test(arguments: [
        ("grpo", false), ("luffy", false), ("remax", false), ("rloo", false), ("reinforce_pp", false),
        ("srft", true), ("reinforce", true), ("ppo", true), ("best_of_k", true),
        ("reinforce_pp\nreinforce_pp_baseline: none", true),
    ])
    func whatDynamicSamplingWouldKeepFromBeingLearnedIsSaid(_ method: String, _ isSaid: Bool) throws {
        let notices = try job("algorithm: \(method)\nnum_generations: 2\ndynamic_sampling: true").notices
        #expect(notices.contains { $0.contains("have equal rewards") && $0.contains("learns from them") } == isSaid)
    }

    @Test func recipesFollowTheSettings() throws {
        #expect(try job("bypass_old_log_probs: true").recipe.calls.contains(.infer(.sampler)))
        #expect(try job("replay_buffer_size: 4").recipe.calls.contains(.infer(.oldPolicy)))
        #expect(try !job("").recipe.calls.contains(.infer(.oldPolicy)))
    }
}
