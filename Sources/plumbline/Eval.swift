import ArgumentParser
import Job
import Records

struct Eval: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Score a policy on a prompt set; change nothing.")

    @Option(help: "Folder with config.json and safetensors files, or a name in the Hugging Face cache.") var model:
        String
    @Option(parsing: .upToNextOption, help: "Prompt files or folders (their eval.jsonl).") var prompts: [String]
    @Option(parsing: .upToNextOption, help: "Rewards, as in reward_funcs.") var rewards: [String]
    @Option(help: "Completions behind each prompt's mean.") var samples = 1
    @Option(name: .short, help: "The k of pass@k and maj@k, comma-separated; at most --samples.") var k = "1"
    @Option(help: "Use only the first rows of each set.") var limit: Int?
    @Option(help: "Write every completion with its scores to this file.") var completions: String?
    @Option(help: "Write the result to this file as JSON.") var output: String?
    @Option(help: "Write the tables to this file as markdown.") var markdown: String?
    @Option(help: "Write tables, plots and every completion to this file as one HTML page.") var html: String?
    @Option(help: "Another model, or a result written by --output, to compare with prompt by prompt.") var compare:
        String?
    @OptionGroup var sampling: SamplingOptions
    @Flag(help: "Print one JSON object.") var json = false

    func validate() throws {
        guard (1...4096).contains(samples) else { throw ValidationError("--samples \(samples): between 1 and 4096") }
        let ks = k.split(separator: ",").map { Int($0.trimmingCharacters(in: .whitespaces)) }
        guard ks.allSatisfy({ $0.map { (1...samples).contains($0) } ?? false }) else {
            throw ValidationError("-k \(k): whole numbers from 1 to --samples (\(samples)), comma-separated")
        }
    }

    func run() async throws {
        let stop = StopSignal()
        let signals = StopOnSignal(stop)
        defer { signals.end() }
        let evaluation = PolicyEvaluation(
            prompts: prompts, rewards: rewards, samples: samples,
            ks: k.split(separator: ",").compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }, limit: limit,
            sampling: sampling.request, completionsFile: completions)
        let report = try await evaluation.run(model: model, compareWith: compare, stop: stop)
        if let output { try report.write(to: output) }
        if let markdown { try report.writeMarkdown(to: markdown) }
        if let html { try report.writeHTML(to: html) }
        Terminal.result(json ? report.json : report.text)
    }
}
