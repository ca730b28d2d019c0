package import Records

/// `soft_thinking:`, how a policy thinks in mixtures of tokens before it answers, as a job or a command line says it.
/// The defaults are those of SofT-GRPO's experiments (arXiv:2511.06411v2).
package struct SoftThinking: Sendable, Equatable {
    /// `soft_thinking.noise:`.
    private enum Noise: String, SettingsChoice {
        case none, gumbel, dirichlet, gaussian
        case embeddingGaussian = "embedding_gaussian"
    }

    package let noise: SoftNoise
    package let support: SoftSupport
    /// `nil` takes the temperature of the answer.
    package let temperature: Double?
    /// The text that ends thinking.
    package let thinkEnd: String
    package let coldStop: SoftThinkingSettings.ColdStop?
    package let divergence: SofTGRPOSettings.Divergence
    /// Whether everything is done as the published code does it.
    package let followsRelease: Bool

    package init(reading job: inout SettingsReader) {
        let kind = job.read(
            "soft_thinking.noise", default: Noise.gumbel,
            "How y is drawn at a thinking step, which feeds Σ y_i E[i] back: gumbel, y = softmax((log p + noise_factor ε) / gumbel_temperature) (SofT-GRPO, arXiv:2511.06411); dirichlet, y ~ Dir(dirichlet_alpha p); gaussian, p + N(0, σ²) normalized; embedding_gaussian, noise on the mixture (arXiv:2509.19170). none draws nothing and cannot be trained."
        )
        let topK = job.read(
            "soft_thinking.top_k", default: 5, .from(1, to: 1024),
            "K, the most tokens a thinking step mixes: the likeliest ones, renormalized (arXiv:2511.06411).")
        let topP = job.read(
            "soft_thinking.top_p", default: 0.95, .above(0, atMost: 1),
            "Keeps those of the K tokens whose likelier ones sum to less than this. Unlike top_p, it is part of the density, which is conditioned on the recorded tokens. The paper saw collapse at 1.0 (arXiv:2511.06411)."
        )
        let minP = job.read(
            "soft_thinking.min_p", default: 0.0, .from(0, to: 1),
            "Drops those of the K tokens below this share of the likeliest one's probability (arXiv:2511.06411).")
        temperature = job.read(
            "soft_thinking.temperature", optional: nil, .above(0),
            "Divides the logits while thinking, in sampling and scoring alike; the job's temperature unless set (arXiv:2511.06411)."
        )
        let gumbelTemperature = job.read(
            "soft_thinking.gumbel_temperature", default: 0.1, .above(0),
            "τ_g: near 0 the mixture is one drawn token, if large nearly even. The paper saw collapse at 0.25 (arXiv:2511.06411)."
        )
        let noiseFactor = job.read(
            "soft_thinking.noise_factor", default: 1.0, .from(1e-6, to: 1e6),
            "s, the factor on Gumbel noise; log f = −ζ − e^(−ζ) with ζ = (g − log p) / s (arXiv:2511.06411).")
        let alpha = job.read(
            "soft_thinking.dirichlet_alpha", default: 1.0, .above(0),
            "α of Dir(α p): the larger, the closer the mixture stays to the probabilities (arXiv:2511.06411).")
        let sigma = job.read(
            "soft_thinking.gaussian_sigma", default: 0.05, .above(0),
            "σ of gaussian (on probabilities) and embedding_gaussian (on each dimension of the mixture) (arXiv:2511.06411)."
        )
        thinkEnd = job.read(
            "soft_thinking.think_end", default: "</think>",
            "The text that ends thinking, recognized by its last token. The answer after it is sampled with temperature, top_p and top_k (arXiv:2511.06411)."
        )
        let sureNats = job.read(
            "soft_thinking.cold_stop_entropy", default: 0.0, .atLeast(0),
            "A thinking step is sure below this policy entropy, in nats; 0 is off (cold stop, arXiv:2505.15778)."
        )
        let sureSteps = job.read(
            "soft_thinking.cold_stop_steps", default: 256, .from(1, to: 1_000_000),
            "Sure steps in a row after which the think-end token is forced (arXiv:2511.06411).")
        coldStop = sureNats > 0 ? .init(entropyNats: sureNats, steps: sureSteps) : nil
        let kl: SofTGRPOSettings.Divergence? = job.read(
            "soft_thinking.kl", optional: nil,
            "KL to the reference at thinking steps: analytic, the densities' closed form (Gumbel: Σ e^(−D) − 1 + D); sampled, kl_estimator on the step's log-densities. analytic unless compat is release (arXiv:2511.06411)."
        )
        let compatibility: ReleaseCompatibility = job.read(
            "soft_thinking.compat", default: .none,
            "release scores and draws like the published SofT-GRPO code: mean over components above a threshold instead of the sum, clamped noise, log(p + 1e-6) over all K tokens, inputs without gradient, sampled KL. none follows the paper (arXiv:2511.06411)."
        )
        followsRelease = compatibility == .release
        divergence = kl ?? (followsRelease ? .sampled : .analytic)
        support = SoftSupport(topK: topK, topP: topP, minP: minP, keepsAllSlots: followsRelease)
        noise =
            switch kind {
            case .none: .none
            case .gumbel:
                .gumbel(
                    GumbelNoise(scale: noiseFactor, temperature: gumbelTemperature, followsRelease: followsRelease))
            case .dirichlet: .dirichlet(DirichletNoise(concentration: alpha, followsRelease: followsRelease))
            case .gaussian: .gaussian(GaussianNoise(deviation: sigma, followsRelease: followsRelease))
            case .embeddingGaussian: .embedding(EmbeddingNoise(deviation: sigma))
            }
        job.ignore("soft_thinking.gumbel_temperature", "soft_thinking.noise_factor", when: kind != .gumbel)
        job.ignore("soft_thinking.dirichlet_alpha", when: kind != .dirichlet)
        job.ignore("soft_thinking.gaussian_sigma", when: kind != .gaussian && kind != .embeddingGaussian)
        job.ignore("soft_thinking.cold_stop_steps", when: coldStop == nil)
        job.check(kind != .gaussian || sigma <= 1, "soft_thinking.gaussian_sigma", "at most 1, as probabilities are")
        if followsRelease, kind == .embeddingGaussian {
            job.refuse(
                "soft_thinking.compat",
                "soft_thinking.compat is release; the published code has no embedding_gaussian, expected none")
        }
        if thinkEnd.isEmpty {
            job.refuse(
                "soft_thinking.think_end", "soft_thinking.think_end is empty; no completion could end its thinking")
        }
    }

    /// What the rollout engine needs.
    ///
    /// - Parameters:
    ///   - temperature: Of the answer, for where the section has none.
    ///   - encode: A text's token ids.
    /// - Throws: `SettingsError` where the think-end text has no token.
    package func settings(
        temperature: Double, encode: (String) -> [Int]
    ) throws(SettingsError) -> SoftThinkingSettings {
        guard let thinkEndTokenID = encode(thinkEnd).last else {
            throw SettingsError(
                place: "soft_thinking.think_end",
                message: "'\(thinkEnd)' has no token in this model; expected a text of at least one token")
        }
        return SoftThinkingSettings(
            noise: noise, support: support, temperature: self.temperature ?? temperature,
            thinkEndTokenID: thinkEndTokenID, coldStop: coldStop)
    }
}
