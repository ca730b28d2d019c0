/// Named sets of values. A key that the job gives itself always wins over its preset.
enum JobPresets {
    /// One name: the method it belongs to and the values, as YAML, that it sets.
    struct Preset: Sendable {
        let algorithm: JobAlgorithm
        let values: [(key: String, yaml: String)]
        /// Where the values are from.
        let source: String
    }

    /// What `algorithm:` takes beside the methods: variants of grpo by their mathematics alone; sizes and rates stay TRL's.
    static let variants: [String: Preset] = [
        "dr_grpo": Preset(
            algorithm: .grpo, values: [("loss_type", "dr_grpo"), ("scale_rewards", "none")], source: "arXiv:2503.20783"),
        "dapo": Preset(
            algorithm: .grpo,
            values: [
                ("loss_type", "dapo"), ("epsilon", "0.2"), ("epsilon_high", "0.28"), ("dynamic_sampling", "true"),
            ],
            source: "arXiv:2503.14476; its overlong punishment is a reward, soft_overlong_punishment"),
        "gspo": Preset(
            algorithm: .grpo,
            values: [
                ("importance_sampling_level", "sequence"), ("loss_type", "grpo"), ("epsilon", "3e-4"),
                ("epsilon_high", "4e-4"),
            ], source: "arXiv:2507.18071v2"),
        "cispo": Preset(
            algorithm: .grpo, values: [("loss_type", "cispo"), ("scale_rewards", "batch"), ("epsilon_high", "5.0")],
            source: "arXiv:2506.13585"),
    ]

    /// What `preset:` takes: a paper's settings with its sizes.
    static let papers: [String: Preset] = [
        "deepseek_math": Preset(
            algorithm: .grpo,
            values: [
                ("loss_type", "grpo"), ("beta", "0.04"), ("kl_estimator", "k3"), ("use_bias_correction_kl", "false"),
                ("num_generations", "64"), ("max_completion_length", "1024"), ("learning_rate", "1e-6"),
            ], source: "GRPO, arXiv:2402.03300"),
        "deepseek_r1": Preset(
            algorithm: .grpo,
            values: [
                ("loss_type", "grpo"), ("epsilon", "10"), ("beta", "0.001"), ("kl_estimator", "k3"),
                ("use_bias_correction_kl", "false"), ("num_generations", "16"),
            ], source: "arXiv:2501.12948, as TRL's notes give it"),
        "dr_grpo": sized("dr_grpo", [("num_generations", "8"), ("max_completion_length", "3000")]),
        "dapo": sized("dapo", [("num_generations", "16")]),
        "gspo": sized("gspo", [("steps_per_generation", "4")]),
        "cispo": sized("cispo", []),
        "lite_ppo": Preset(
            algorithm: .grpo, values: [("scale_rewards", "batch"), ("loss_type", "dapo"), ("num_generations", "8")],
            source: "arXiv:2508.08221"),
        "remax": Preset(
            algorithm: .remax,
            values: [
                ("beta", "0.05"), ("learning_rate", "1e-6"), ("lr_scheduler_type", "cosine"), ("weight_decay", "0.1"),
                ("num_train_epochs", "1"), ("max_completion_length", "256"),
            ], source: "arXiv:2310.10505, the 7B script"),
        "remax_release": Preset(
            algorithm: .remax,
            values: [
                ("beta", "0.05"), ("remax_kl", "one_step"), ("remax_reward_clip", "5"), ("gamma", "0.99"),
                ("remax_compat", "release"), ("top_p", "0.9"), ("learning_rate", "1e-6"),
                ("lr_scheduler_type", "cosine"), ("weight_decay", "0.1"), ("num_train_epochs", "1"),
                ("max_completion_length", "256"),
            ], source: "ReMax as its authors' code runs it, where that departs from arXiv:2310.10505"),
        "reinforce_pp": Preset(
            algorithm: .reinforcePlusPlus, values: [("learning_rate", "1e-6"), ("epsilon", "0.2")],
            source: "arXiv:2501.03262"),
    ]

    private static func sized(_ variant: String, _ sizes: [(key: String, yaml: String)]) -> Preset {
        guard let preset = variants[variant] else { preconditionFailure("no variant is named \(variant)") }
        return Preset(algorithm: preset.algorithm, values: preset.values + sizes, source: preset.source)
    }
}

extension JobFile {
    /// Takes `algorithm:` when it names a variant, and `preset:`. Returns the preset to fill in once all keys are read.
    ///
    /// - Returns: `nil` when the key is neither.
    func preset(_ key: String, _ node: JobNode) throws(JobProblem) -> JobPresets.Preset? {
        guard case .scalar(let name, _) = node.content else { return nil }
        if key == "algorithm" { return JobPresets.variants[name] }
        guard key == "preset" else { return nil }
        guard let preset = JobPresets.papers[name] else {
            throw node.problem(
                "preset is '\(name)'; expected one of \(JobPresets.papers.keys.sorted().joined(separator: ", "))")
        }
        return preset
    }

    /// Sets what the preset says and the file does not, and notes it.
    mutating func fill(in preset: JobPresets.Preset, named name: String) throws(JobProblem) {
        var taken: [String] = []
        for (key, yaml) in preset.values where places[key] == nil {
            guard let field = JobFields.byName[key] else { preconditionFailure("a preset sets \(key)") }
            try field.read(JobNode(.scalar(yaml, isQuoted: false), place: name), &settings)
            taken.append("\(key): \(yaml)")
        }
        notices.append(
            "\(name) is algorithm: \(preset.algorithm.rawValue) with \(taken.joined(separator: ", ")) (\(preset.source))"
        )
    }
}
