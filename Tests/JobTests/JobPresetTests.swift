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
        #expect(dr.settings.algorithm == .grpo)
        #expect(dr.settings.lossType == .drGRPO)
        #expect(dr.settings.scaleRewards == .none)
        #expect(dr.settings.numGenerations == 8)  // sizes stay TRL's
        #expect(
            dr.notices.contains { $0.contains("loss_type: dr_grpo, scale_rewards: none") && $0.contains("2503.20783") })
        let dapo = try job("algorithm: dapo")
        #expect(dapo.settings.epsilonHigh == 0.28)
        #expect(dapo.settings.dynamicSampling)
        #expect(dapo.settings.dynamicSamplingMetric == "accuracy_reward")
        let gspo = try job("algorithm: gspo")
        #expect(gspo.settings.importanceSamplingLevel == .sequence)
        #expect(gspo.settings.epsilon == 3e-4)
        #expect(try job("algorithm: cispo").settings.epsilonHigh == 5)
    }

    @Test func theJobsOwnKeysWinWhereverTheyStand() throws {
        #expect(try job("epsilon_high: 0.3\nalgorithm: dapo").settings.epsilonHigh == 0.3)
        #expect(try job("algorithm: dapo", ["epsilon_high=0.4"]).settings.epsilonHigh == 0.4)
        let plain = try job("algorithm: dapo", ["algorithm=grpo"])
        #expect(plain.settings.epsilonHigh == nil)
        #expect(!plain.settings.dynamicSampling)
    }

    @Test func aPaperBringsItsSizesAndItsMethod() throws {
        let math = try job("preset: deepseek_math\nper_device_train_batch_size: 64")
        #expect(math.settings.numGenerations == 64)
        #expect(math.settings.beta == 0.04)
        #expect(try job("preset: remax").settings.algorithm == .remax)
        let release = try job("preset: remax_release\ngamma: 0.95")
        #expect(release.settings.remaxKL == .oneStep && release.settings.remaxRewardClip == 5)
        #expect(release.settings.discount == 0.95 && release.settings.remaxCompatibility == .release)
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
        #expect(again.settings == first.settings)
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
        #expect(named.settings.dynamicSamplingMetric == "accuracy_reward")
    }

    @Test func recipesFollowTheSettings() throws {
        #expect(try job("bypass_old_log_probs: true").recipe.calls.contains(.infer(.sampler)))
        #expect(try job("replay_buffer_size: 4").recipe.calls.contains(.infer(.oldPolicy)))
        #expect(try !job("").recipe.calls.contains(.infer(.oldPolicy)))
    }
}
