import Foundation
import Job
import Models
import Planning
import RolloutEngine
import TestSupport
import Testing

@Suite("placement: in a job")
struct PlacementTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private static let shape = ModelShape(
        layers: 2, hiddenSize: 32, intermediateSize: 96, heads: 2, keyValueHeads: 2, vocabularySize: 257, output: .tied)

    private static let lines = [
        "model_name_or_path: m", "dataset_name: p", "output_dir: o", "reward_funcs: accuracy_reward",
        "num_generations: 4", "per_device_train_batch_size: 16", "max_completion_length: 8",
    ]

    private func job(_ lines: [String] = [], _ overrides: [String] = []) throws -> ResolvedJob {
        let names = Set(lines.map { $0.prefix { $0 != ":" } })
        let kept = Self.lines.filter { !names.contains($0.prefix { $0 != ":" }) }
        return try ResolvedJob(
            JobFile(
                text: (kept + lines).joined(separator: "\n"), name: "job.yaml", folder: folder.url,
                overrides: overrides, workingFolder: folder.url))
    }

    /// The plan of a job with 16 completions of 8 tokens behind prompts of 6, written as `plan.json`.
    private func plan(
        _ lines: [String] = [], ranks: Int = 1, layout: WeightLayout = .int8, train: WeightLayout = .fp32Master,
        passes: Int = 4, rows: Int = 2, change: (inout ExecutionPlan) -> Void = { _ in }
    ) throws -> ExecutionPlan {
        let job = try job(lines)
        let graph = DataflowGraph(job.recipe, job.graphSettings(promptTokens: 6))
        let cluster = Cluster(
            nodes: 1, devicesPerNode: ranks, memoryBytes: 1 << 30, intraGBps: 1, interGBps: 1, hbmGBps: 1,
            peakTFLOPs: 1)
        var assignments: [String: Assignment] = [:]
        for call in graph.calls where call.kind != .host {
            let isHalf = train == .bf16WithMaster
            assignments[call.name] = Assignment(
                mesh: Mesh(all: cluster), strategy: Strategy(1, 1, ranks),
                layout: call.kind == .generate ? layout : call.kind == .train ? train : isHalf ? .bf16 : .fp32Master,
                microBatches: call.kind == .generate ? rows : passes,
                after: call.kind == .generate ? [.dropKV, .dropWeights] : call.kind == .train ? [.dropGradients] : [])
        }
        var plan = ExecutionPlan(
            cluster: cluster, models: ["actor": Self.shape, "reference": Self.shape], graph: graph,
            assignments: assignments)
        plan.models = plan.models.filter { graph.roles.contains($0.key) }
        change(&plan)
        _ = try folder.file("plan.json", Array(plan.json.indented.utf8))
        return plan
    }

    /// 16 completions in four passes are four a pass: 4·8 tokens and one prompt of 6. Sampled in two pieces: 8 rows.
    @Test func thePlanDecidesTheKeys() throws {
        let plan = try plan()
        let job = try job(["placement: plan.json"])
        #expect(job.placement?.planHash == plan.planHash)
        #expect(job["dtype"] == "float32" && job["generation_layout"] == "int8")
        #expect(job["max_tokens_per_micro_batch"] == "38" && job["max_concurrent_completions"] == "8")
        #expect(job.maxTokensPerMicroBatch == 38 && job.concurrentCompletions == 8)
        // So many rows whatever they take; of a job that does not say how many, up to the usual bytes.
        #expect(BatchLimits(job) == BatchLimits(rows: 8, cacheBytes: .max))
        #expect(try BatchLimits(self.job()) == BatchLimits(rows: 2 * 16))
        #expect(job.model.generationLayout == .int8)
        // As for the key itself: another policy samples.
        #expect(job["importance_sampling_correction"] == "token_truncate")
        #expect(try self.job()["placement"] == "null")
    }

    @Test(arguments: [
        (WeightLayout.fp32Packed, WeightLayout.fp32Master, "packed", "float32"),
        (.fp32Master, .fp32Master, "shared", "float32"), (.bf16, .bf16WithMaster, "shared", "bfloat16"),
    ])
    func layoutsAreTheJobsWords(_ sample: WeightLayout, _ train: WeightLayout, _ layout: String, _ type: String) throws
    {
        _ = try plan(layout: sample, train: train)
        let job = try job(["placement: plan.json"])
        #expect(job["generation_layout"] == layout && job["dtype"] == type)
    }

    @Test func aResolvedJobReadsAsItself() throws {
        _ = try plan()
        let job = try job(["placement: plan.json"])
        let again = try ResolvedJob(JobFile(text: job.yaml, name: "config.yaml", folder: folder.url))
        #expect(again.yaml == job.yaml && again.placement?.planHash == job.placement?.planHash)
    }

    /// Two processes: 8 completions a rank in two passes of four.
    @Test func ranksHaveTheirShare() throws {
        _ = try plan(ranks: 2, passes: 2)
        let job = try job(["placement: plan.json"])
        #expect(job.maxTokensPerMicroBatch == 38)
        try job.require(ranks: 2)
        let error = #expect(throws: JobError.self) { try job.require(ranks: 1) }
        #expect("\(error!)".contains("plan.json is for 2 processes, and the run has 1"))
        #expect("\(error!)".contains("type plumbline launch -n 2 train JOB"))
        #expect("\(error!)".contains("plumbline plan --job JOB -n 1"))
        _ = try plan()
        let alone = try self.job(["placement: plan.json"])
        try alone.require(ranks: 1)
        let several = #expect(throws: JobError.self) { try alone.require(ranks: 2) }
        #expect("\(several!)".contains("type plumbline train JOB"))
        try self.job().require(ranks: 7)
    }

    /// What the plan cuts where it trains is the key's number, and no other.
    @Test func theTrainingCallsShardsAreTheKey() throws {
        _ = try plan(ranks: 2, passes: 2) { plan in
            plan.models["actor"]?.vocabularySize = 256
            plan.assignments["actor_train"]?.strategy = Strategy(1, 2, 1)
            plan.assignments["actor_train"]?.microBatches = 4
        }
        let job = try job(["placement: plan.json"])
        #expect(job["tensor_parallel_size"] == "2" && job.tensorParallelism.size == 2)
        #expect(job.maxTokensPerMicroBatch == 38)
        try job.require(ranks: 2)
        let error = #expect(throws: JobError.self) {
            try self.job(["placement: plan.json", "tensor_parallel_size: 1"])
        }
        #expect("\(error!)".contains("tensor_parallel_size is 1, and plan.json says tp 2 of actor_train"), "\(error!)")
    }

    @Test func momentsInAFileAreTheKey() throws {
        _ = try plan { $0.assignments["actor_train"]?.after = [.dropGradients, .offloadOptimizer] }
        let job = try job(["placement: plan.json"])
        #expect(job["offload_optimizer"] == "true" && job.optimizerOffload.folder?.relativePath == "o")
        let error = #expect(throws: JobError.self) {
            try self.job(["placement: plan.json", "offload_optimizer: false"])
        }
        #expect(
            "\(error!)".contains(
                "plan.json says after with offloadOptimizer of actor_train, which is offload_optimizer"),
            "\(error!)")
        _ = try plan()
        #expect(try self.job(["placement: plan.json"])["offload_optimizer"] == "false")
        #expect(throws: JobError.self) { try self.job(["placement: plan.json", "offload_optimizer: true"]) }
    }

    /// So it is where it samples, from whole weights and from shards; 16 rows of one replica in two pieces are 8.
    @Test(arguments: [false, true]) func theSamplingCallsShardsAreTheirKey(_ trainsShards: Bool) throws {
        _ = try plan(ranks: 2, layout: .fp32Packed, passes: 2) { plan in
            plan.models["actor"]?.vocabularySize = 256
            plan.assignments["actor_gen"]?.strategy = Strategy(1, 2, 1)
            if trainsShards {
                plan.assignments["actor_train"]?.strategy = Strategy(1, 2, 1)
                plan.assignments["actor_train"]?.microBatches = 4
            }
        }
        let job = try job(["placement: plan.json"])
        #expect(job["generation_tensor_parallel_size"] == "2" && job.tensorParallelism.generationSize == 2)
        #expect(job.tensorParallelism.size == (trainsShards ? 2 : 1) && job.concurrentCompletions == 8)
        let error = #expect(throws: JobError.self) {
            try self.job(["placement: plan.json", "generation_tensor_parallel_size: 1"])
        }
        #expect(
            "\(error!)".contains("generation_tensor_parallel_size is 1, and plan.json says tp 2 of actor_gen"),
            "\(error!)")
    }

    @Test(arguments: [
        ("generation_layout: shared", ["generation_layout is shared", "the layout int8 of actor_gen", "int8"]),
        ("dtype: bfloat16", ["dtype is bfloat16", "the layout fp32Master of actor_train", "dtype float32"]),
        (
            "max_tokens_per_micro_batch: 1000",
            ["max_tokens_per_micro_batch is 1000", "microbatches 4 of actor_train", "38 tokens a pass"]
        ),
        (
            "max_concurrent_completions: 16",
            ["max_concurrent_completions is 16", "microbatches 2 of actor_gen", "8 rows at once"]
        ),
        ("num_generations: 8", ["completionsPerPrompt 4, the job 8"]),
        ("per_device_train_batch_size: 32", ["actor_gen has sequences 16, the job 32"]),
        ("max_completion_length: 9", ["actor_gen has newTokens 8, the job 9"]),
        ("num_iterations: 2", ["actor_train has miniBatches 1, the job 2"]),
        ("beta: 0.1", ["it has no call ref_inf"]),
        ("residency: keep", ["residency is keep, and the calls of", "leave residency or placement out"]),
    ])
    func aKeyThatSaysOtherwiseIsRefused(_ line: String, _ words: [String]) throws {
        _ = try plan()
        let error = #expect(throws: JobError.self) { try job(["placement: plan.json", line]) }
        #expect("\(error!)".contains("job.yaml line"), "\(error!)")
        for word in words + ["plan.json"] { #expect("\(error!)".contains(word), "\(word) in \(error!)") }
    }

    /// What cuts passes and rows the same way says nothing else.
    @Test(arguments: [
        "generation_layout: int8", "dtype: float32", "max_tokens_per_micro_batch: 40",
        "max_concurrent_completions: 10", "residency: release_always",
    ])
    func aKeyThatSaysTheSameIsTaken(_ line: String) throws {
        _ = try plan()
        #expect(try job(["placement: plan.json", line]).placement != nil)
    }

    /// 16 rows in five pieces are 4 each, of which there are four: the job gives no key that could be to blame.
    @Test func piecesThatAreNoneAreThePlansFault() throws {
        _ = try plan(rows: 5)
        let error = #expect(throws: JobError.self) { try job(["placement: plan.json"]) }
        #expect("\(error!)".contains("plan.json: train calls.actor_gen: microbatches is 5; expected 4"), "\(error!)")
        #expect(!"\(error!)".contains("max_concurrent_completions"))
    }

    @Test func aPlanThatIsNoneIsRefused() throws {
        func error(_ path: String = "plan.json") throws -> String {
            let error = #expect(throws: JobError.self) { try job(["placement: \(path)"]) }
            return "\(error!)"
        }
        #expect(try error("none.json").contains("none.json"))
        _ = try folder.file("plan.json", Array("{}".utf8))
        #expect(try error().contains("cluster is missing"))
        _ = try plan { $0.assignments["actor_gen"]?.after = [] }
        #expect(try error().contains("plan.json: train calls.actor_gen: after lacks dropKV"))
        _ = try plan { $0.assignments["actor_gen"]?.strategy = Strategy(1, 2, 1) }
        #expect(try error().contains("V2 calls.actor_gen"))
    }

    /// The path is the job file's, typed on the command line the working folder's.
    @Test func pathsCountAsThoseOfPrompts() throws {
        _ = try plan()
        let job = try ResolvedJob(
            JobFile(
                text: Self.lines.joined(separator: "\n"), name: "job.yaml", folder: URL(filePath: "/jobs"),
                overrides: ["placement=plan.json"], workingFolder: folder.url))
        #expect(job.placement != nil)
    }
}
