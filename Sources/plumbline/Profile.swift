import ArgumentParser
import Benchmarks
import Foundation
import Job
import Planning
import Runs

struct Profile: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Time the parts of a job's calls on this machine, for plan and simulate.",
        discussion: """
            Sampling with each generation layout, passes and steps with float32 and bfloat16, each optimizer:

                plumbline profile --model MODEL -o profile.json
                plumbline plan --job job.yaml --profile profile.json -o plan.json
            """)

    @Option(help: "A model folder, or a name in the Hugging Face cache; init-model makes one of any shape.")
    var model: String
    @Option(help: "Threads per operation; all cores by default.") var threads: Int?
    @Option(help: "Tokens per prompt.") var promptTokens = 128
    @Option(help: "Tokens per completion that is learned from.") var completionTokens = 64
    @Option(help: "About how long it may take.") var seconds = 100.0
    @Flag(help: "One round of the smallest sizes: seconds, for a first look.") var quick = false
    @Option(name: [.short, .long], help: "Where to write the profile; standard output unless set.") var output: String?

    func validate() throws {
        if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads \(threads): from 1 to 1024") }
        guard seconds > 0, seconds <= 1e6 else { throw ValidationError("--seconds \(seconds): above 0, at most 1e6") }
    }

    func run() async throws {
        try CommandOutputs.check([("--output", output)], reading: [model])
        let profile = try await CostProfiling(
            model: model, threads: threads, isQuick: quick, seconds: seconds, promptTokens: promptTokens,
            completionTokens: completionTokens
        ).run { Terminal.progress($0) }
        guard let output else { return try Terminal.exact(profile.json.indented) }
        do {
            try FileOperations.system.writeOutput(Array(profile.json.indented.utf8), to: URL(filePath: output))
        } catch {
            try Terminal.exact(profile.json.indented)  // what was measured is not lost
            throw error
        }
    }
}
