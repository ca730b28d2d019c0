internal import Foundation

/// The noise of soft thinking: none, or one with a density (``SoftDensity``).
package enum SoftNoise: Sendable, Equatable {
    /// The input is the mixture of the probabilities themselves; deterministic, and nothing that a policy gradient
    /// could learn from.
    case none
    case gumbel(GumbelNoise)
    case dirichlet(DirichletNoise)
    case gaussian(GaussianNoise)
    case embedding(EmbeddingNoise)

    /// `nil` without noise.
    package var density: (any SoftDensity)? {
        switch self {
        case .none: nil
        case .gumbel(let noise): noise
        case .dirichlet(let noise): noise
        case .gaussian(let noise): noise
        case .embedding(let noise): noise
        }
    }

    /// Whether the values are an embedding, and not one number a word.
    package var perturbsEmbedding: Bool { if case .embedding = self { true } else { false } }

    /// The weights of the words in the step's input: without noise the support's probabilities, which the values then
    /// are the logarithms of. Empty where the values are the input itself.
    package func weights(_ values: [Float]) -> [Float] {
        density?.weights(values) ?? SoftSupport.softmax(values.map(Double.init)).map(Float.init)
    }
}

/// How a policy thinks in mixtures of tokens before it answers in tokens.
///
/// Every completion begins thinking. A step whose leading word is `thinkEndTokenID` ends the thinking: that word itself
/// is the next input, and the answer is sampled as usual. A leading stop token ends the completion. Both steps are
/// drawn and scored like the steps before them, and the word that a cold stop sets is no action; with noise that
/// follows the release all three are scored as words, over the whole vocabulary.
package struct SoftThinkingSettings: Sendable, Equatable {
    /// Ends the thinking when the policy has been sure for too long ("cold stop", arXiv:2505.15778).
    package struct ColdStop: Sendable, Equatable {
        /// Nats below which a step counts as sure.
        package let entropyNats: Double
        /// Sure steps in a row after which the think-end token is set.
        package let steps: Int

        package init(entropyNats: Double = 0.01, steps: Int = 256) {
            self.entropyNats = entropyNats
            self.steps = steps
        }
    }

    package let noise: SoftNoise
    package let support: SoftSupport
    /// τ, by which logits are divided while thinking.
    package let temperature: Double
    /// The last token of the text that ends thinking.
    package let thinkEndTokenID: Int
    package let coldStop: ColdStop?

    package init(
        noise: SoftNoise, support: SoftSupport, temperature: Double = 1, thinkEndTokenID: Int, coldStop: ColdStop? = nil
    ) {
        self.noise = noise
        self.support = support
        self.temperature = temperature
        self.thinkEndTokenID = thinkEndTokenID
        self.coldStop = coldStop
    }
}
