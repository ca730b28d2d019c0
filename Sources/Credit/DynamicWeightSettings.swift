package import Records

/// Weights that follow what the run shows: `dynamic_weights:`.
package struct DynamicWeightSettings: Sendable, Equatable {
    package enum Method: String, SettingsChoice { case hypervolume, gradient }

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

    package var isGuided: Bool { methods.contains(.hypervolume) }
    package var comparesGradients: Bool { methods.contains(.gradient) }

    package init(reading job: inout SettingsReader) {
        methods = job.read(
            "dynamic_weights.method", default: [],
            "hypervolume: advantages are multiplied by 0.5 + 1.5·tanh(gain of the evaluations' Pareto front); needs eval_steps. gradient: w ← w·exp(s·⟨g_k, Σ g⟩), normalized, on the gradients of the rewards' own advantages, a backward pass more for each reward. Both may be listed (arXiv:2509.11452)."
        )
        target = job.read(
            "dynamic_weights.target", default: .advantage,
            "What hypervolume multiplies: advantage, after normalization; reward, as published, which a deviation of a group or a batch divides out again: without effect for grpo with scale_rewards, reinforce_pp and ppo."
        )
        minimized = job.read(
            "dynamic_weights.minimize", default: [String](),
            "hypervolume: the rewards of which less is better, by name.")
        spans = job.read(
            "dynamic_weights.spans", default: [Double](),
            SettingsBound("above 0") { $0.allSatisfy { $0 > 0 } },
            "hypervolume: what each reward's distance from the first evaluation is divided by, one a reward in their order; by default that evaluation's own size, 1 where it is 0."
        )
        stepSize = job.read(
            "dynamic_weights.step_size", default: 0.1, .above(0),
            "gradient: s at the peak of the learning rate; it follows the schedule.")
        temperature = job.read(
            "dynamic_weights.temperature", optional: nil, .above(0),
            "gradient: τ of the paper, s = learning rate/τ, in place of step_size.")
        floor = job.read(
            "dynamic_weights.min_weight", default: 1e-4, .from(0, below: 0.2),
            "gradient: no weight falls below this; from 0 none comes back.")
        let (guided, compares) = (methods.contains(.hypervolume), methods.contains(.gradient))
        job.ignore(
            "dynamic_weights.target", "dynamic_weights.minimize", "dynamic_weights.spans", when: !guided)
        job.ignore("dynamic_weights.step_size", when: !compares || temperature != nil)
        job.ignore("dynamic_weights.temperature", "dynamic_weights.min_weight", when: !compares)
        if Set(methods).count != methods.count {
            job.refuse("dynamic_weights.method", "dynamic_weights.method names a method twice")
        }
    }
}
