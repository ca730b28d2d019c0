internal import Algorithms
internal import Credit
internal import PolicyUpdater
package import Records

/// On-policy distillation (GKD, Agarwal et al. 2024, arXiv:2306.13649): the policy samples, a teacher says at every
/// token what it would have written (``Algorithms/Distillation``); with rewards beside it where the job has some.
package struct DistillMethod: Method {
    package static let name = "distill"
    package static let title =
        "On-policy distillation from a teacher (arXiv:2306.13649), with TRL's GKD names: by default reverse KL over the whole vocabulary on the policy's own completions"
    package static let defaults = MethodDefaults(batches: .init(), needsRewards: false)
    package static let presets = [
        Preset(
            "gkd", [("beta", "0.5"), ("lmbda", "0.5"), ("temperature", "0.9")], source: "TRL's GKD trainer")
    ]

    package let plan: MethodPlan

    package init(reading job: inout SettingsReader, _ shared: SharedSettings) {
        let teacher: String = job.read(
            "teacher_model_name_or_path", required: "name the teacher's folder", standIn: "",
            meaning:
                "The model to learn from: a folder, a GGUF file, or a name in the Hugging Face cache, with the policy's tokenizer. It is read and never trained."
        )
        let hasRewards = !(shared.rewards?.names.isEmpty ?? true)
        let loss = DistillationSettings(reading: &job, hasRewards: hasRewards)
        let weight = job.read(
            "distill.reward_weight", default: 1.0, .atLeast(0),
            "Weight of the rewards' advantages, after their own weights and multipliers, beside the teacher. Without reward_funcs, only the teacher counts."
        )
        job.ignore("distill.reward_weight", when: !hasRewards)
        let lambda = job.read(
            "lmbda", default: 1.0, .from(0, to: 1),
            "Share of steps on the policy's own completions (TRL's name; there a probability, here an even spread). The others take demonstrations, or with seq_kd the teacher's completions."
        )
        let takesTeachers = job.read(
            "seq_kd", default: false,
            "Whether steps not on the policy's own completions take completions sampled from the teacher instead of demonstrations."
        )
        let demonstrations = DemonstrationSettings(reading: &job, mayHaveOwnOrder: true)
        let learning = RolloutLearning(
            reading: &job, shared, of: Self.name, kl: nil, hasRatio: loss.usesAdvantages, streams: .scaled,
            demonstrates: lambda < 1)
        let baseline = GroupBaselineSettings(reading: &job, penalty: nil, hasKLInLoss: false)
        if hasRewards, shared.batches.generations < 2 {
            job.refuse(
                "num_generations",
                "num_generations is \(shared.batches.generations); rewards are compared within a group, expected at least 2"
            )
        }
        if baseline.aggregation == .normalizeThenSum {
            job.refuse(
                "multi_objective_aggregation",
                "multi_objective_aggregation is normalize_then_sum; expected sum_then_normalize")
        }
        job.ignore("scale_rewards", when: !hasRewards)
        var plan = learning.plan(
            loss,
            credit: TeacherCredit(
                rewards: learning.rewards,
                baseline: hasRewards
                    ? GroupBaseline(rewards: learning.rewards, settings: baseline, overlong: learning.overlong) : nil,
                rewardWeight: weight,
                teacher: loss.form == .sampled
                    ? KLToGo(coefficient: 1, estimator: .k1, reach: .oneStep) : nil, overlong: learning.overlong))
        if loss.form == .sampled {
            let index = plan.recipe.calls.count - 2  // before the credit
            if !shared.samplerIsExact, !plan.recipe.calls.contains(.infer(.oldPolicy)) {
                plan.recipe.calls.insert(.infer(.oldPolicy), at: index)
            }
            plan.recipe.calls.insert(.infer(.reference), at: plan.recipe.calls.count - 2)
        }
        plan.reference = .init(model: teacher)
        if lambda < 1 {
            plan.recipe.interlude = .init(share: 1 - lambda, calls: [.demonstrate, .train])
            plan.parts.append(
                PartPlan(
                    loss.onDemonstrations, on: .demonstrations,
                    temperature: shared.sampling.distribution.temperature, name: "off_policy"))
            plan.demonstrations = takesTeachers ? nil : demonstrations
            plan.teacherWrites = takesTeachers
            if loss.form == .sampled {
                job.refuse(
                    "lmbda",
                    "lmbda is \(lambda); completions of others have no sampled estimate, expected 1 with distill.form sampled"
                )
            }
        } else {
            job.ignore("seq_kd")
        }
        job.ignore(
            "demonstrations.path", "demonstrations.split", "demonstrations.order", "demonstrations.per_step",
            "demonstrations.missing", when: lambda == 1 || takesTeachers)
        self.plan = plan
    }
}
