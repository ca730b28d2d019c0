internal import Algorithms
internal import Records

/// `soft_thinking:`, how `soft_grpo` thinks in mixtures of words; eval and generate take the same by flags. Defaults are those of SofT-GRPO's
/// experiments (arXiv:2511.06411v2).
package struct JobSoftThinking: Sendable, Equatable {
    package init() {}

    package var noise = JobSoftNoise.gumbel
    package var topK = 5
    package var topP = 0.95
    package var minP = 0.0
    /// `nil` takes the job's own.
    package var temperature: Double?
    package var gumbelTemperature = 0.1
    package var noiseFactor = 1.0
    package var dirichletAlpha = 1.0
    package var gaussianSigma = 0.05
    package var thinkEnd = "</think>"
    package var coldStopEntropy = 0.0
    package var coldStopSteps = 256
    /// `nil` takes what `compat` does.
    package var divergence: JobSoftDivergence?
    package var compat = JobCompatibility.none
}

/// `soft_thinking.noise:`.
package enum JobSoftNoise: String, JobChoice {
    case none, gumbel, dirichlet, gaussian
    case embeddingGaussian = "embedding_gaussian"
}

/// `soft_thinking.kl:`.
package enum JobSoftDivergence: String, JobChoice {
    case analytic, sampled
}

extension JobSoftThinking {
    private var followsRelease: Bool { compat == .release }

    /// The noise with its parameters.
    func softNoise() throws(SettingsError) -> SoftNoise {
        switch noise {
        case .none: .none
        case .gumbel:
            .gumbel(
                try GumbelNoise(
                    scale: noiseFactor, temperature: gumbelTemperature, followsRelease: followsRelease))
        case .dirichlet:
            .dirichlet(try DirichletNoise(concentration: dirichletAlpha, followsRelease: followsRelease))
        case .gaussian: .gaussian(try GaussianNoise(deviation: gaussianSigma, followsRelease: followsRelease))
        case .embeddingGaussian: .embedding(try EmbeddingNoise(deviation: gaussianSigma))
        }
    }

    /// What the rollout engine needs.
    ///
    /// - Parameters:
    ///   - temperature: The job's own, for where the section has none.
    ///   - encode: A text's token ids.
    /// - Throws: `SettingsError`, also where the think-end text has no token.
    func settings(
        temperature: Double, encode: (String) -> [Int]
    ) throws(SettingsError) -> SoftThinkingSettings {
        guard let thinkEndTokenID = encode(thinkEnd).last else {
            throw SettingsError(
                section: "soft_thinking",
                problems: [
                    .init(setting: "think_end", found: "'\(thinkEnd)'", expected: "a text of at least one token")
                ])
        }
        return try SoftThinkingSettings(
            noise: softNoise(),
            support: SoftSupport(topK: topK, topP: topP, minP: minP, keepsAllSlots: followsRelease),
            temperature: self.temperature ?? temperature, thinkEndTokenID: thinkEndTokenID,
            coldStop: coldStopEntropy > 0
                ? .init(entropyNats: coldStopEntropy, steps: coldStopSteps) : nil)
    }

    /// The loss over soft steps around a surrogate.
    ///
    /// - Parameter temperature: The job's own, for where the section has none.
    func lossSettings(
        _ surrogate: GRPOSettings, temperature: Double
    ) throws(SettingsError) -> SofTGRPOSettings {
        try SofTGRPOSettings(
            surrogate: surrogate, noise: softNoise(), temperature: self.temperature ?? temperature,
            divergence: divergence ?? (followsRelease ? .sampled : .analytic) == .analytic ? .analytic : .sampled,
            detachesInputs: followsRelease)
    }
}
