import ArgumentParser
import Benchmarks
import Foundation
import Job
import Planning
import Runs

struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Find the fastest placement of a job's calls, on this machine or on a cluster.",
        discussion: """
            On this machine it tries every plan of the job that train can carry out; the best one becomes the job's
            placement. The times of calls come from a profile, or from a quick measurement if none is given:

                plumbline plan --job job.yaml --profile profile.json -o plan.json
                plumbline train job.yaml placement=plan.json

            --measure runs the best of these plans and the corners of the choice for a few steps each, and compares them
            with the predictions.

            On a cluster it only searches; nothing runs. The numbers are estimates: they rank plans, but their seconds
            drift from one cluster to the next.
            """)

    @Option(
        help:
            "A JSON file with the cluster: nodes, devicesPerNode, memoryBytes, intraGBps, interGBps, hbmGBps, peakTFLOPs."
    )
    var cluster: String?
    @Option(help: "The job whose calls are placed.") var job: String?
    @Option(help: "Instead of a job: a method, such as ppo or grpo, or a graph.json.") var graph: String?
    @Option(help: "Times of calls, as plumbline profile wrote them.") var profile: String?
    @Option(name: [.customShort("n"), .long], help: "Processes on this machine; by default 1, 2, 4, … are compared.")
    var ranks: Int?
    @Option(
        parsing: .upToNextOption,
        help:
            "ROLE=FOLDER for actor, critic, reference and each reward model; also names like llama-2-7b, without weights."
    )
    var models: [String] = []
    @Option(help: "Tokens of a prompt; by default the longest of the job's prompt set.") var promptTokens: Int?
    @Option(help: "Seeds the search: same seed, same plan.") var seed: UInt64 = 0
    @Option(help: "Search moves after the starting plans and their descent.") var proposals = 1500
    @Flag(help: "Let generation read int8 weights; its rollouts then need an importance correction.") var int8 = false
    @Flag(help: "Run plans on this machine and compare them with the predictions.") var measure = false
    @Option(help: "With --measure: measured steps per plan, after one warm-up.") var steps = 3
    @Option(help: "With --measure: how many of the best plans to run, besides the corners.") var best = 8
    @Option(help: "With --measure: how long the runs may take.") var minutes = 10.0
    @Option(name: [.short, .long], help: "Where to write the plan.") var output: String?
    @Flag(help: "Print one JSON object.") var json = false
    @Argument(
        parsing: .allUnrecognized,
        help: ArgumentHelp("Overrides of the job: key=value, --key value or --key=value.", valueName: "overrides"))
    var words: [String] = []

    func validate() throws {
        guard (job == nil) != (graph == nil) else { throw ValidationError("expected either --job or --graph") }
        guard cluster != nil || graph == nil else { throw ValidationError("--graph needs --cluster") }
        if let first = words.first, graph?.hasSuffix(".json") == true {
            throw ValidationError("'\(first)' is no option, and a graph.json has no keys to override")
        }
        guard cluster == nil || ranks == nil else {
            throw ValidationError("--ranks is for this machine; --cluster has its own devices")
        }
        if let ranks, !(1...1024).contains(ranks) { throw ValidationError("--ranks \(ranks): between 1 and 1024") }
        guard (0...10_000_000).contains(proposals) else {
            throw ValidationError("--proposals \(proposals): between 0 and 10000000")
        }
        guard !measure || cluster == nil else {
            throw ValidationError("--measure is for this machine; leave --cluster out")
        }
        guard (1...10_000).contains(steps), (1...10_000).contains(best), minutes > 0, minutes <= 1e6 else {
            throw ValidationError("--steps and --best: between 1 and 10000; --minutes: above 0, at most 1e6")
        }
        if let promptTokens, !(1...10_000_000).contains(promptTokens) {
            throw ValidationError("--prompt-tokens \(promptTokens): between 1 and 10000000")
        }
    }

    private var overrides: [String] { JobWords(words, takesJob: false).overrides }

    func run() async throws {
        try CommandOutputs.check([("--output", output)], reading: [job, graph, cluster, profile])
        let source: PlanMaking.Source = job.map { .job(URL(filePath: $0)) } ?? .graph(graph ?? "")
        let making = try PlanMaking(
            source: source, models: models, overrides: overrides, promptTokens: promptTokens)
        let read = try profile.map { try PlanMaking.profile(URL(filePath: $0)) }
        guard let cluster else {
            let costs: CostProfile
            if let read { costs = read } else { costs = try await measured(for: making) }
            let candidates = try making.localPlans(profile: costs, ranks: ranks, int8: int8)
            let notice = making.notice(of: costs, ranks: candidates[0].plan.cluster.devices)
            if let notice { Terminal.progress("note: \(notice)") }
            try write(candidates[0].plan)
            if measure {
                let measurement = try measured(candidates)
                return try json ? Terminal.exact(measurement.json.serialized) : Terminal.result(measurement.text)
            }
            let listing = LocalPlanListing(candidates)
            return try json ? Terminal.exact(listing.json.serialized) : Terminal.result(listing.text)
        }
        let clock = ContinuousClock()
        let start = clock.now
        let found = try making.run(
            on: PlanMaking.cluster(URL(filePath: cluster)), profile: read, seed: seed, proposals: proposals, int8: int8)
        Terminal.progress(String(format: "searched for %.1f s", (clock.now - start) / .seconds(1)))
        let listing = try PlanListing(found.plan, iterations: 5, profile: read)
        try write(found.plan)
        if json {
            try Terminal.exact(listing.json.serialized)
        } else {
            try Terminal.result(listing.text + "\n" + found.line)
        }
    }

    private func write(_ plan: ExecutionPlan) throws {
        guard let output else { return }
        try FileOperations.system.writeOutput(Array(plan.json.indented.utf8), to: URL(filePath: output))
    }

    /// Runs the best and the corners.
    private func measured(_ candidates: [LocalPlans.Candidate]) throws -> PlanMeasurement {
        let trials = PlanTrials(job: URL(filePath: job ?? ""), overrides: overrides, steps: steps)
        let chosen = PlanTrials.chosen(among: candidates, best: best)
        let expected = trials.seconds(of: chosen) / 60
        let words = String(
            format: "running %d plans for %d steps each takes about %.1f minutes by the estimator", chosen.count,
            steps + 1, expected)
        guard expected <= minutes else {
            throw ValidationError(
                "\(words); allow it with --minutes \(Int(expected.rounded(.up))), or run fewer with --best, -n "
                    + "or keys set in the job")
        }
        Terminal.progress(words)
        let rows = try trials.run(chosen, seconds: minutes * 60) { Terminal.progress($0) }
        return PlanMeasurement(rows, of: candidates.count { $0.fits })
    }

    /// A profile in a hurry, of the job's own model and lengths.
    private func measured(for making: PlanMaking) async throws -> CostProfile {
        guard let measured = making.measured else { throw ValidationError("a plan for this machine needs --job") }
        Terminal.progress("no --profile: measuring this machine quickly; plumbline profile is more exact")
        return try await CostProfiling(
            model: measured.model, threads: measured.threads, isQuick: true,
            promptTokens: min(measured.promptTokens, 256),
            completionTokens: min(measured.completionTokens, 64)
        ).run()
    }
}

struct Simulate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Simulate a plan: time per iteration, what lies where, a timeline.")

    @Argument(help: "A plan.json.") var plan: String
    @Option(help: "Times of calls, as plumbline profile wrote them; else the cluster's rates decide.")
    var profile: String?
    @Option(help: "Iterations; the mean is over those after the second.") var iterations = 5
    @Option(help: "Write a timeline for chrome://tracing or Perfetto.") var timeline: String?
    @Flag(help: "Print one JSON object.") var json = false

    func validate() throws {
        guard (1...1000).contains(iterations) else {
            throw ValidationError("--iterations \(iterations): between 1 and 1000")
        }
    }

    func run() throws {
        try CommandOutputs.check([("--timeline", timeline)], reading: [plan, profile])
        let read = try profile.map { try PlanMaking.profile(URL(filePath: $0)) }
        let listing = try PlanListing(
            PlanMaking.plan(URL(filePath: plan)), iterations: iterations, profile: read)
        if let timeline {
            try FileOperations.system.writeOutput(
                Array((listing.trace.serialized + "\n").utf8), to: URL(filePath: timeline))
        }
        try json ? Terminal.exact(listing.json.serialized) : Terminal.result(listing.text)
    }
}
