import ArgumentParser
import Foundation
import Job
import Planning
import Runs

struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Look for the fastest placement of a job's calls on a cluster; nothing runs.",
        discussion: "The numbers are an estimator's: it ranks plans, its seconds drift from one cluster to the next.")

    @Option(
        help:
            "A JSON file with the cluster: nodes, devicesPerNode, memoryBytes, intraGBps, interGBps, hbmGBps, peakTFLOPs."
    )
    var cluster: String
    @Option(help: "The job whose calls are placed.") var job: String?
    @Option(help: "Instead of a job: a method, such as ppo or grpo, or a graph.json.") var graph: String?
    @Option(
        parsing: .upToNextOption,
        help:
            "ROLE=FOLDER for actor, critic, reference and each reward model; also llama-2-7b and its like, without weights."
    )
    var models: [String] = []
    @Option(help: "Tokens of a prompt.") var promptTokens = 512
    @Option(help: "Addresses the search's draws: same seed, same plan.") var seed: UInt64 = 0
    @Option(help: "Moves of the search behind its seeds and their descent.") var proposals = 1500
    @Flag(help: "Let generation read int8 weights, whose rollouts then need an importance correction.") var int8 = false
    @Option(name: [.short, .long], help: "Where the plan goes.") var output: String?
    @Flag(help: "Print one JSON object.") var json = false
    @Argument(help: "Overrides of the job, key=value.") var overrides: [String] = []

    func validate() throws {
        guard (job == nil) != (graph == nil) else { throw ValidationError("expected either --job or --graph") }
        guard (0...10_000_000).contains(proposals) else {
            throw ValidationError("--proposals \(proposals): between 0 and 10000000")
        }
        guard (1...10_000_000).contains(promptTokens) else {
            throw ValidationError("--prompt-tokens \(promptTokens): between 1 and 10000000")
        }
    }

    func run() throws {
        let source: PlanMaking.Source = job.map { .job(URL(filePath: $0)) } ?? .graph(graph ?? "")
        let making = try PlanMaking(
            cluster: URL(filePath: cluster), source: source, models: models, overrides: overrides,
            promptTokens: promptTokens)
        let found = try making.run(seed: seed, proposals: proposals, int8: int8)
        let listing = try PlanListing(found.plan, iterations: 5)
        if let output {
            try FileOperations.system.writeOutput(Array(found.plan.json.indented.utf8), to: URL(filePath: output))
        }
        if json {
            try Terminal.exact(listing.json.serialized)
        } else {
            try Terminal.result(listing.text + "\n" + found.line)
        }
    }
}

struct Simulate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a plan on paper: what an iteration takes, what lies where, a timeline.")

    @Argument(help: "A plan.json.") var plan: String
    @Option(help: "Iterations; the mean is over those behind the second.") var iterations = 5
    @Option(help: "Write a timeline for chrome://tracing or Perfetto.") var timeline: String?
    @Flag(help: "Print one JSON object.") var json = false

    func validate() throws {
        guard (1...1000).contains(iterations) else {
            throw ValidationError("--iterations \(iterations): between 1 and 1000")
        }
    }

    func run() throws {
        let listing = try PlanListing(PlanMaking.plan(URL(filePath: plan)), iterations: iterations)
        if let timeline {
            try FileOperations.system.writeOutput(
                Array((listing.trace.serialized + "\n").utf8), to: URL(filePath: timeline))
        }
        try json ? Terminal.exact(listing.json.serialized) : Terminal.result(listing.text)
    }
}
