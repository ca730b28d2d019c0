extension JobFields {
    /// The sections whose members are keys of their own, `section.member`.
    static let sections: Set<String> = ["soft_thinking"]

    static let softThinking: [JobField] = [
        JobField(
            "soft_thinking.noise", \.softThinking.noise,
            "What soft_grpo draws at a thinking step, which feeds Σ y_i E[i] back: gumbel, y = softmax((log p + noise_factor ε) / gumbel_temperature) (SofT-GRPO, arXiv:2511.06411); dirichlet, y ~ Dir(dirichlet_alpha p); gaussian, p + N(0, σ²) normalized; embedding_gaussian, noise on the mixture (arXiv:2509.19170). none draws nothing and cannot be trained."
        ),
        JobField(
            "soft_thinking.top_k", \.softThinking.topK, in: 1...1_024,
            "K, the most words a thinking step mixes: the likeliest ones, renormalized."),
        JobField(
            "soft_thinking.top_p", \.softThinking.topP, .share,
            "Keeps of the K words those before which less than this mass stands. Unlike top_p it is part of the density: the recorded words are conditioned on. The paper saw 1.0 collapse."
        ),
        JobField(
            "soft_thinking.min_p", \.softThinking.minP, .fraction,
            "Drops of the K words those below this share of the likeliest one's probability."),
        JobField(
            "soft_thinking.temperature", \.softThinking.temperature, .positive,
            "Divides the logits while thinking, in sampling and scoring alike; the job's temperature unless set."),
        JobField(
            "soft_thinking.gumbel_temperature", \.softThinking.gumbelTemperature, .positive,
            "τ_g: near 0 the mixture is one drawn word, large it is nearly even. The paper saw 0.25 collapse."),
        JobField(
            "soft_thinking.noise_factor", \.softThinking.noiseFactor, .positive,
            "s, what Gumbel noise is multiplied by; log f = −ζ − e^(−ζ) with ζ = (g − log p) / s."),
        JobField(
            "soft_thinking.dirichlet_alpha", \.softThinking.dirichletAlpha, .positive,
            "α of Dir(α p): the larger, the closer the mixture stays to the probabilities."),
        JobField(
            "soft_thinking.gaussian_sigma", \.softThinking.gaussianSigma, .positive,
            "σ of gaussian (on probabilities) and embedding_gaussian (on each dimension of the mixture)."),
        JobField(
            "soft_thinking.think_end", \.softThinking.thinkEnd,
            "The text that ends thinking; the last of its tokens is looked for. A step led by that word is that word, and the answer follows in words, sampled with temperature, top_p and top_k."
        ),
        JobField(
            "soft_thinking.cold_stop_entropy", \.softThinking.coldStopEntropy, .notNegative,
            "Nats of the policy's entropy below which a thinking step counts as sure; 0 is off (cold stop, arXiv:2505.15778)."
        ),
        JobField(
            "soft_thinking.cold_stop_steps", \.softThinking.coldStopSteps, in: 1...1_000_000,
            "Sure steps in a row after which the think-end token is set."),
        JobField(
            "soft_thinking.kl", \.softThinking.divergence,
            "KL to the reference at thinking steps: analytic, the densities' own in closed form (Gumbel: Σ e^(−D) − 1 + D); sampled, kl_estimator on the step's log-densities. analytic unless compat is release."
        ),
        JobField(
            "soft_thinking.compat", \.softThinking.compat,
            "release scores and draws as the published SofT-GRPO code: mean over components above a threshold instead of the sum, clamped noise, log(p + 1e-6) over all K words, inputs without gradient, sampled KL. none follows the paper."
        ),
    ].map { $0.only([.softGRPO]) }
}
