import ArgumentParser
import Job

struct LogProbs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logprobs",
        abstract: "Log-prob of every token of given texts or token ids, for comparison with another library.")

    @Option(help: ModelArgument.help) var model: String
    @Option(help: "Lines of {\"token_ids\": […]} or {\"prompt\": …, \"completion\": …}; - reads standard input.")
    var input: String
    @Option(help: "float32, bfloat16 or float64.") var dtype = "float32"
    @Flag(help: "JSON Lines out (the default and only form).") var json = false

    func run() async throws {
        let listing = try await LogProbabilityListing(model: model, dtype: dtype)
        try await listing.run(input) { try Terminal.exact($0) }
    }
}
