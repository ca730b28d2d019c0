package import Records

/// Weights that follow what the run shows: `dynamic_weights:`.
package struct DynamicWeightSettings: Sendable, Equatable {
    package enum Method: String, SettingsChoice { case hypervolume, gradient, recap }

    /// Empty for none.
    package let methods: [Method]
    package let target: HypervolumeWeighting.Target
    /// Rewards of which less is better, by name.
    package let minimized: [String]
    /// One a reward; empty for the references' own.
    package let spans: [Double]
    package let stepSize: Double
    package let temperature: Double?
    package let floor: Double
    /// W of RECAP.
    package let window: Int
    /// The largest score of each reward; empty for the rewards' own ranges.
    package let ceilings: [Double]
    /// `nil` imitates nothing.
    package let replay: GeneralReplay?

    package var isGuided: Bool { methods.contains(.hypervolume) }
    package var comparesGradients: Bool { methods.contains(.gradient) }
    package var balances: Bool { methods.contains(.recap) }

    package init(reading job: inout SettingsReader) {
        methods = job.read(
            "dynamic_weights.method", default: [],
            "hypervolume: multiplies advantages by 0.5 + 1.5·tanh(gain of the evaluations' Pareto front); needs eval_steps, and a method that learns by their size, so not best_of_k or srft. gradient: w ← w·exp(s·⟨g_k, Σ g⟩), normalized, on the gradients of each reward's own advantages, one more backward pass per reward (both arXiv:2509.11452). recap: λ_k = K·softmax((m/m̃ + s/(m + m̃))/T) on each objective's loss (of a reward: ceiling − mean score), so that weight goes to what still moves (arXiv:2510.21978); only for rewards where more is better, so no weight below 0. hypervolume may be combined with either of the others."
        )
        target = job.read(
            "dynamic_weights.target", default: .advantage,
            "What hypervolume multiplies. advantage: after normalization. reward: as published, but dividing by a group or batch deviation undoes it, so it has no effect for grpo with scale_rewards, reinforce_pp and ppo. A gradient longer than max_grad_norm is clipped to the same step either way."
        )
        minimized = job.read(
            "dynamic_weights.minimize", default: [String](),
            "hypervolume: names of the rewards where less is better.")
        spans = job.read(
            "dynamic_weights.spans", default: [Double](),
            SettingsBound("above 0") { $0.allSatisfy { $0 > 0 } },
            "hypervolume: a divisor per reward, in their order, for its distance from the first evaluation; by default the size of that evaluation, or 1 where it is 0."
        )
        stepSize = job.read(
            "dynamic_weights.step_size", default: 0.1, .above(0),
            "gradient: s at the peak of the learning rate; it follows the schedule.")
        temperature = job.read(
            "dynamic_weights.temperature", optional: nil, .above(0),
            "gradient: the paper's τ, s = learning rate/τ, instead of step_size. recap: T, 5 unless set; the smaller, the further weights move."
        )
        floor = job.read(
            "dynamic_weights.min_weight", default: 1e-4, .from(0, below: 0.2),
            "gradient: no weight falls below this; at 0 none recovers.")
        window = job.read(
            "dynamic_weights.window", default: 10, .from(1, to: 100_000),
            "recap: W; the mean of the last W steps is compared with that of the W before. Weights stay fixed for the first 2W steps."
        )
        ceilings = job.read(
            "dynamic_weights.ceilings", default: [Double](),
            SettingsBound("that are finite") { $0.allSatisfy(\.isFinite) },
            "recap: the largest score of each reward, in their order; by default what the rewards declare."
        )
        replay = GeneralReplay(reading: &job, isUsed: methods.contains(.recap))
        let (guided, compares, balances) = (
            methods.contains(.hypervolume), methods.contains(.gradient), methods.contains(.recap)
        )
        job.ignore(
            "dynamic_weights.target", "dynamic_weights.minimize", "dynamic_weights.spans", when: !guided)
        job.ignore("dynamic_weights.step_size", when: !compares || temperature != nil)
        job.ignore("dynamic_weights.temperature", when: !compares && !balances)
        job.ignore("dynamic_weights.min_weight", when: !compares)
        job.ignore("dynamic_weights.window", "dynamic_weights.ceilings", when: !balances)
        if compares, balances {
            job.refuse(
                "dynamic_weights.method",
                "dynamic_weights.method has gradient and recap, which both set the weights of the rewards; a weight has one owner. Allowed: \(RewardControl.stacks)"
            )
        }
        if Set(methods).count != methods.count {
            job.refuse("dynamic_weights.method", "dynamic_weights.method names a method twice")
        }
    }
}

/// General rows that are imitated beside what is rewarded, so that they are not forgotten: RECAP's replay.
package struct GeneralReplay: Sendable, Equatable {
    /// A prompt file or folder whose rows have completions, relative to the job file.
    package let path: String
    /// Which file of the folder.
    package let split: String
    /// Rows of a step; `nil` for as many as it has prompts.
    package let rows: Int?
    /// What their loss counts beside the rewards', before λ.
    package let weight: Double

    /// `nil` where nothing is imitated.
    package init?(reading job: inout SettingsReader, isUsed: Bool) {
        let path: String? = job.read(
            "dynamic_weights.replay", optional: nil,
            "recap: a file or folder of general rows with completions, imitated alongside the rewards so that the model does not forget them; one more objective. Without it, only rewards are weighted."
        )
        split = job.read(
            "dynamic_weights.replay_split", default: "train", "recap: which file of the replay folder is read.")
        rows = job.read(
            "dynamic_weights.replay_rows", optional: nil, .from(1, to: 1_000_000),
            "recap: rows imitated per step; by default as many as prompts.")
        weight = job.read(
            "dynamic_weights.replay_weight", default: 1.0, .above(0),
            "recap: weight of their mean cross-entropy per token beside the rewards' losses, before λ.")
        job.ignore("dynamic_weights.replay", when: !isUsed)
        guard let path, isUsed else {
            job.ignore("dynamic_weights.replay_split", "dynamic_weights.replay_rows", "dynamic_weights.replay_weight")
            return nil
        }
        self.path = path
    }
}
