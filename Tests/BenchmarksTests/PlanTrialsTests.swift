import Benchmarks
import Foundation
import Job
import Planning
import Testing

@Suite("Which plans are run, and what they are said to have taken")
struct PlanTrialsTests {
    private static let shape = ModelShape(
        layers: 2, hiddenSize: 32, intermediateSize: 96, heads: 2, keyValueHeads: 2, vocabularySize: 257)

    private func candidate(
        _ layout: WeightLayout, passes: Int, rows: Int, seconds: Double, fits: Bool = true, together: Int = 1
    ) -> LocalPlans.Candidate {
        let cluster = Cluster(
            nodes: 1, devicesPerNode: 1, memoryBytes: passes << 20 + rows, intraGBps: Double(together),
            interGBps: 1, hbmGBps: 1, peakTFLOPs: layout == .int8 ? 2 : 1)
        let plan = ExecutionPlan(
            cluster: cluster, models: ["actor": Self.shape], graph: DataflowGraph(name: "none", calls: []),
            assignments: [:])
        return LocalPlans.Candidate(
            plan: plan, nanoseconds: Int(seconds * 1e9), peakBytes: 1, fits: fits, generation: layout,
            sequencesOfPass: passes, rows: rows, generationShards: together)
    }

    /// Of plans that sample alone and of those that sample together the corners; of one of each, that one.
    @Test func thoseThatSampleTogetherAreAKindOfTheirOwn() {
        let all = [1, 1, 1, 2].enumerated().map { index, together in
            candidate(.fp32Packed, passes: 1, rows: 8 + index % 3 * 8, seconds: Double(index + 1), together: together)
        }
        let chosen = PlanTrials.chosen(among: all, best: 1)
        #expect(chosen.map { [$0.rows!, $0.generationShards] } == [[8, 1], [24, 1], [8, 2]])
    }

    /// Two layouts with passes of 1, 2, 4 and 8, 16, 32 rows, in the order of their seconds; what does not fit is left out.
    @Test func theBestAndTheCornersAreRun() {
        var all: [LocalPlans.Candidate] = []
        for layout in [WeightLayout.fp32Packed, .int8] {
            for passes in [1, 2, 4] {
                for rows in [8, 16, 32] {
                    all.append(candidate(layout, passes: passes, rows: rows, seconds: Double(all.count + 1)))
                }
            }
        }
        all.append(candidate(.fp32Packed, passes: 8, rows: 64, seconds: 90, fits: false))
        let chosen = PlanTrials.chosen(among: all, best: 2)
        let corners = [1, 4].flatMap { passes in [8, 32].map { [passes, $0] } }
        let first = chosen.filter { $0.generation == .fp32Packed }.map { [$0.sequencesOfPass, $0.rows!] }
        #expect(first == [[1, 8], [1, 16], [1, 32], [4, 8], [4, 32]])
        #expect(chosen.filter { $0.generation == .int8 }.map { [$0.sequencesOfPass, $0.rows!] } == corners)
        #expect(PlanTrials.chosen(among: all, best: 100).count == 18)
        // Three steps after one that warms up, and five seconds of each process: 4·(1 + 2) + 2·5.
        let trials = PlanTrials(job: URL(filePath: "job.yaml"), overrides: [], steps: 3)
        #expect(trials.seconds(of: Array(all.prefix(2))) == 22)
    }

    /// A folder's name may have in it what YAML reads as its own.
    @Test func aRunsPathsAreTakenAsTheyAre() throws {
        let folder = URL(filePath: "/tmp/a: #1, [two] {three}")
        let words = PlanTrials.overrides(
            plan: folder.appending(path: "plan.json"), output: folder.appending(path: "run"), steps: 3)
        func job(_ words: [String]) throws -> ResolvedJob {
            let text = "model_name_or_path: m\ndataset_name: d\nreward_funcs: accuracy_reward\n"
            return try ResolvedJob(
                JobFile(text: text, name: "job.yaml", folder: URL(filePath: "/jobs"), overrides: words))
        }
        let placed = #expect(throws: JobError.self) { try job(words) }
        #expect("\(placed!)".contains("cannot read /tmp/a: #1, [two] {three}/plan.json"), "\(placed!)")
        let alone = try job(words.filter { !$0.hasPrefix("placement=") })
        #expect(alone.run.outputDirectory == "/tmp/a: #1, [two] {three}/run" && alone.data.maxSteps == 4)
    }

    /// The first step warms up; of 2, 4 and 3 seconds the median is 3. Peaks are those of all phases and steps.
    @Test func aRunsMetricsSayWhatItTook() throws {
        let lines = [
            #"{"step": 1, "step_time": 9, "memory/training_peak_gb": 0.5, "completions/mean_length": 1}"#,
            #"{"step": 2, "step_time": 2, "memory/generating_peak_gb": 0.25, "completions/mean_length": 4}"#,
            #"{"step": 3, "step_time": 4, "completions/mean_length": 8}"#,
            #"{"eval_reward": 1}"#, #"{"step": 4, "step_time": 3, "completions/mean_length": 6}"#,
        ]
        let found = try PlanTrials.measured(lines.joined(separator: "\n"), 8)
        #expect(found == .init(seconds: 3, peakBytes: 500_000_000, fullness: 0.75))
        let bare = try PlanTrials.measured(#"{"step_time": 9}"# + "\n" + #"{"step_time": 2}"#, 8)
        #expect(bare == .init(seconds: 2, peakBytes: nil, fullness: nil))
        #expect(throws: JobError.self) { _ = try PlanTrials.measured(lines[0], 8) }
    }
}
