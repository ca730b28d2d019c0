import Algorithms
import ArgumentParser
import Records

/// Options that let completions think in mixtures of tokens before they answer, shared by generate and eval.
struct SoftThinkingOptions: ParsableArguments {
    @Option(
        help:
            "Think in mixtures of tokens first, with this noise: none, gumbel, dirichlet, gaussian or embedding_gaussian."
    )
    var softThinking: String?
    @Option(help: help("top_k", "Most tokens per mixture")) var softTopK: Int?
    @Option(help: help("top_p", "Keep the smallest set of those with this mass")) var softTopP: Double?
    @Option(help: help("min_p", "Drop those below this share of the likeliest")) var softMinP: Double?
    @Option(help: "Divides the logits while thinking; --temperature unless given.") var softTemperature: Double?
    @Option(help: help("gumbel_temperature", "Temperature of the Gumbel softmax")) var gumbelTemperature: Double?
    @Option(help: help("noise_factor", "Factor on Gumbel noise")) var noiseFactor: Double?
    @Option(help: help("dirichlet_alpha", "Concentration of Dirichlet noise")) var dirichletAlpha: Double?
    @Option(help: help("gaussian_sigma", "Deviation of Gaussian noise")) var gaussianSigma: Double?
    @Option(help: help("think_end", "The text that ends thinking")) var thinkEnd: String?
    @Option(help: help("cold_stop_entropy", "Entropy in nats below which a thinking step is sure, 0 is off"))
    var coldStopEntropy: Double?
    @Option(help: help("cold_stop_steps", "Sure steps in a row that end thinking")) var coldStopSteps: Int?

    /// Says what a setting is unless given.
    private static func help(_ key: String, _ text: String) -> ArgumentHelp {
        var record = SettingsReader("")
        _ = SoftThinking(reading: &record)
        return "\(text); \(record.entries.first { $0.key == "soft_thinking.\(key)" }?.value ?? "") unless given."
    }

    /// What was given, by the keys of a job file.
    var flags: [SettingsNode.Member] {
        [
            .flag("soft_thinking.noise", softThinking, "--soft-thinking"),
            .flag("soft_thinking.top_k", softTopK, "--soft-top-k"),
            .flag("soft_thinking.top_p", softTopP, "--soft-top-p"),
            .flag("soft_thinking.min_p", softMinP, "--soft-min-p"),
            .flag("soft_thinking.temperature", softTemperature, "--soft-temperature"),
            .flag("soft_thinking.gumbel_temperature", gumbelTemperature, "--gumbel-temperature"),
            .flag("soft_thinking.noise_factor", noiseFactor, "--noise-factor"),
            .flag("soft_thinking.dirichlet_alpha", dirichletAlpha, "--dirichlet-alpha"),
            .flag("soft_thinking.gaussian_sigma", gaussianSigma, "--gaussian-sigma"),
            .flag("soft_thinking.think_end", thinkEnd, "--think-end"),
            .flag("soft_thinking.cold_stop_entropy", coldStopEntropy, "--cold-stop-entropy"),
            .flag("soft_thinking.cold_stop_steps", coldStopSteps, "--cold-stop-steps"),
        ].compactMap(\.self)
    }
}

extension SettingsNode.Member {
    /// A setting that a flag gives; `nil` where it does not.
    static func flag(_ key: String, _ value: (some CustomStringConvertible)?, _ name: String) -> Self? {
        value.map { Self(key, SettingsNode(.scalar($0.description, isQuoted: true), place: name)) }
    }
}
