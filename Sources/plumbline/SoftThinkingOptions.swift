import ArgumentParser
import Job

extension JobSoftNoise: ExpressibleByArgument {}

/// Options that let completions think in mixtures of words before they answer, shared by generate and eval.
struct SoftThinkingOptions: ParsableArguments {
    private static let defaults = JobSoftThinking()

    @Option(
        help:
            "Think in mixtures of words first, with this noise: none, gumbel, dirichlet, gaussian or embedding_gaussian."
    )
    var softThinking: JobSoftNoise?
    @Option(help: "Most words of a mixture.") var softTopK = defaults.topK
    @Option(help: "Keep of those the smallest set with this mass.") var softTopP = defaults.topP
    @Option(help: "Drop of those the ones below this share of the likeliest.") var softMinP = defaults.minP
    @Option(help: "Divides the logits while thinking; --temperature unless given.") var softTemperature: Double?
    @Option(help: "Temperature of the Gumbel softmax.") var gumbelTemperature = defaults.gumbelTemperature
    @Option(help: "What Gumbel noise is multiplied by.") var noiseFactor = defaults.noiseFactor
    @Option(help: "Concentration of Dirichlet noise.") var dirichletAlpha = defaults.dirichletAlpha
    @Option(help: "Deviation of Gaussian noise.") var gaussianSigma = defaults.gaussianSigma
    @Option(help: "The text that ends thinking.") var thinkEnd = defaults.thinkEnd
    @Option(help: "Nats of entropy below which a thinking step counts as sure; 0 is off.") var coldStopEntropy =
        defaults.coldStopEntropy
    @Option(help: "Sure steps in a row that end the thinking.") var coldStopSteps = defaults.coldStopSteps

    /// `nil` without --soft-thinking.
    var request: JobSoftThinking? {
        guard let softThinking else { return nil }
        var request = JobSoftThinking()
        request.noise = softThinking
        (request.topK, request.topP, request.minP) = (softTopK, softTopP, softMinP)
        (request.temperature, request.gumbelTemperature) = (softTemperature, gumbelTemperature)
        (request.noiseFactor, request.dirichletAlpha, request.gaussianSigma) = (
            noiseFactor, dirichletAlpha, gaussianSigma
        )
        (request.thinkEnd, request.coldStopEntropy, request.coldStopSteps) = (thinkEnd, coldStopEntropy, coldStopSteps)
        return request
    }
}
