package import Foundation
internal import JSON
internal import Methods
internal import Models
package import Planning
internal import Records
internal import Runs
internal import Tensors

/// What `plumbline plan` looks for: a plan of a job's calls on a cluster.
package struct PlanMaking {
    /// Where the calls come from.
    package enum Source {
        /// A job file.
        case job(URL)
        /// A method's name, as `algorithm:` spells it, or a file that ends in `.json` with a graph.
        case graph(String)
    }

    private let graph: DataflowGraph
    private let models: [String: ModelShape]
    private let job: ResolvedJob?
    /// Ranks that may share a layer of the job where it is trained, and where it is sampled from.
    private let shards: JobSizes.Shards

    /// - Parameters:
    ///   - models: `role=folder`, a name in the Hugging Face cache, or a published shape's name; roles beside actor,
    ///     critic and reference are reward or cost models. A job has its own where none is given.
    ///   - overrides: `key=value` of the job.
    ///   - promptTokens: Of a prompt; `nil` for the longest of the job's prompt set, for 512 without a job.
    /// - Throws: ``JobError``, `ModelError` or `SettingsError` naming the key or file.
    package init(source: Source, models: [String], overrides: [String], promptTokens: Int?) throws {
        var shapes = try Self.shapes(models)
        if case .graph(let name) = source, name.hasSuffix(".json") {
            (graph, job, shards) = (try Self.graph(URL(filePath: name)), nil, .whole)
        } else {
            let (job, folder) = try Self.job(source, overrides)
            let rewards = shapes.keys.filter { !["actor", "critic", "reference"].contains($0) }.sorted()
            var settings = job.graphSettings(rewardModels: rewards, promptTokens: promptTokens ?? 512)
            if case .job = source {
                guard job.staleness.generationRanks == 0 else {
                    throw JobError(
                        place: "generation_ranks",
                        message: "is \(job.staleness.generationRanks); a plan puts every call on all ranks, expected 0")
                }
                guard job.model.residency != .keep else {
                    throw JobError(
                        place: "residency",
                        message: "is keep; the calls of a plan drop what a phase no longer needs, expected release")
                }
                let own = try JobSizes(job, folder: folder, promptTokens: promptTokens)
                settings = job.graphSettings(
                    rewardModels: rewards.isEmpty ? nil : rewards, promptTokens: own.promptTokens,
                    newTokens: own.newTokens, optimizers: shapes["actor"] == nil ? own.optimizers : [:])
                shapes.merge(own.shapes) { given, _ in given }
                (self.job, shards) = (job, own.shards)
            } else {
                (self.job, shards) = (nil, .whole)
            }
            graph = DataflowGraph(job.recipe, settings)
            if shapes["reference"] == nil { shapes["reference"] = shapes["actor"] }
            if shapes["critic"] == nil { shapes["critic"] = shapes["actor"]?.withValues() }
        }
        for role in graph.roles where shapes[role] == nil {
            throw JobError(
                place: "--models", message: "there is no model of the role \(role); add \(role)=FOLDER")
        }
        let roles = graph.roles
        self.models = shapes.filter { roles.contains($0.key) }
    }

    /// Searches on a cluster.
    ///
    /// - Parameter profile: What it costs; sizes and the cluster's rates without.
    /// - Throws: `PlanError` where nothing fits.
    package func run(
        on cluster: Cluster, profile: CostProfile? = nil, seed: UInt64, proposals: Int, int8: Bool
    ) throws(PlanError) -> SearchResult {
        var options = PlanSearch.Options()
        options.proposals = proposals
        if cluster.devices == 1 { options.layouts = Self.layoutsOfOneDevice }
        if int8 { options.layouts[.generate, default: []].append(.int8) }
        return try PlanSearch(
            cluster, models: models, graph: graph, costs: PlanListing.costs(cluster, profile), options: options
        ).run(seed: seed)
    }

    /// On one device only layouts, what leaves the device and micro-batches are to be chosen.
    private static let layoutsOfOneDevice: [CallSpec.Kind: [WeightLayout]] = [
        .generate: [.bf16, .fp32Master], .infer: [.bf16, .fp32Master], .train: [.bf16WithMaster, .fp32Master],
    ]

    /// The job's model, threads, prompts and completions, for who measures them.
    package var measured: (model: String, threads: Int, promptTokens: Int, completionTokens: Int)? {
        guard let job, let work = graph.trainingCall(ofRole: "actor")?.work else { return nil }
        return (job.model.path, threads(ofRanks: 1), max(1, work.promptTokens), max(1, work.newTokens))
    }

    /// Threads of one of so many processes of the job.
    private func threads(ofRanks ranks: Int) -> Int {
        job?.model.threads
            ?? ModelSource.usualThreads(weights: models["actor"]?.parameterCount ?? .max, processes: ranks)
    }

    /// What is to be said of a profile whose times are of other threads than those the job's run has; `nil` where they
    /// are the same. One of all processors stands for processes that share them, too.
    ///
    /// - Parameter ranks: Processes of the plan.
    package func notice(of profile: CostProfile, ranks: Int) -> String? {
        let own = threads(ofRanks: ranks)
        guard ![own, threads(ofRanks: 1)].contains(profile.threads) else { return nil }
        return
            "the profile was measured with \(profile.threads) thread\(profile.threads == 1 ? "" : "s"), and a process of "
            + "this job has \(own): its times are not the run's; measure with plumbline profile --threads \(own)"
            + (job?.isGiven("threads") ?? false ? "" : ", or set threads in the job")
    }

    /// The plans that `train` carries out of the job on the machine of a profile, the best first. What the job's keys
    /// say is kept.
    ///
    /// - Parameters:
    ///   - ranks: Processes; `nil` tries 1, 2, 4, … up to the processors.
    ///   - int8: Whether sampling may read int8 weights where the job does not say what it reads.
    /// - Throws: ``JobError`` for a number of ranks or an element type that no plan has, `PlanError` where none fits.
    package func localPlans(
        profile: CostProfile, ranks: Int?, int8: Bool
    ) throws -> [LocalPlans.Candidate] {
        guard let job, let work = graph.trainingCall(ofRole: "actor")?.work else {
            throw JobError(place: "plan", message: "a plan to run is that of a job; expected --job")
        }
        guard job.model.dtype != .float64 else {
            throw JobError(place: "dtype", message: "dtype is float64, which no plan has a layout for")
        }
        let asked = ranks.map { [$0] } ?? Array(sequence(first: 1) { $0 * 2 <= profile.cores ? $0 * 2 : nil })
        for count in asked where count.nonzeroBitCount != 1 {
            throw JobError(place: "-n", message: "\(count) ranks; a plan has 1, 2, 4, … of them on one machine")
        }
        var counts = asked
        for (key, sizes) in [
            (TensorParallelism.trainingKey, shards.training), (TensorParallelism.generationKey, shards.generation),
        ] {
            counts = counts.filter { count in sizes.contains { count.isMultiple(of: $0) } }
            guard counts.isEmpty else { continue }
            let ranks = asked.map(String.init).joined(separator: ", ")
            throw JobError(place: key, message: "is \(sizes[0]), which divides none of \(ranks) ranks")
        }
        var choices = choices(job, work, int8: int8)
        var candidates = try self.candidates(choices, profile, ranks: counts)
        // A file is slower than memory: it is for what does not fit.
        if !candidates.contains(where: \.fits), !job.isGiven("offload_optimizer"), job.model.device == .cpu {
            choices.offloads = [true]
            candidates += try self.candidates(choices, profile, ranks: counts)
        }
        let sorted = LocalPlans.sorted(candidates)
        guard let best = sorted.first, best.fits else {
            let least = candidates.map(\.predictedBytes).min() ?? 0
            throw PlanError([
                .init(
                    .memory, nil,
                    "the smallest of \(candidates.count) plans needs \(least) bytes of a rank; the machine has "
                        + "\(profile.memoryBytes), of which 95 % may be taken")
            ])
        }
        return sorted
    }

    private func candidates(
        _ choices: LocalPlans.Choices, _ profile: CostProfile, ranks counts: [Int]
    ) throws -> [LocalPlans.Candidate] {
        let plans = LocalPlans(graph, models: models, choices: choices)
        var candidates: [LocalPlans.Candidate] = []
        var refused: PlanError?
        for count in counts {
            let cluster = profile.cluster(ranks: count)
            do throws(PlanError) {
                candidates += try plans.candidates(on: cluster, costs: ProfiledCosts(profile, cluster))
            } catch {
                refused = refused ?? error
            }
        }
        if candidates.isEmpty, let refused { throw refused }
        return candidates
    }

    private func choices(_ job: ResolvedJob, _ work: CallSpec.Work, int8: Bool) -> LocalPlans.Choices {
        let isHalf = job.model.dtype == .bfloat16
        var layouts: [WeightLayout] = [.fp32Packed, .fp32Master] + (int8 ? [.int8] : [])
        if job.isGiven("generation_layout") || job.model.base != .whole {
            layouts =
                switch job.model.generationLayout {
                case .shared: [.fp32Master]
                case .packed: [.fp32Packed]
                case .int8: [.int8]
                }
        }
        return LocalPlans.Choices(
            generation: isHalf ? [.bf16] : layouts, training: isHalf ? .bf16WithMaster : .fp32Master,
            sequencesOfPass: job.isGiven("max_tokens_per_micro_batch")
                ? PlacementSettings.sequences(of: work, maxTokens: job.maxTokensPerMicroBatch) : nil,
            // A pair is never cut.
            leastSequences: job.plan.pairs != nil ? 2 : 1, rows: job.concurrentCompletions,
            shards: shards.training, generationShards: shards.generation,
            offloads: [job.optimizerOffload.folder != nil], forwardCacheBytes: job.forwardCacheBytes,
            processBytes: MemoryEstimate.process)
    }

    // MARK: Reading

    private static func bytes(_ url: URL) throws(JobError) -> [UInt8] {
        do throws(RunError) {
            return try PosixFile.contents(of: url, atMost: 1 << 26)
        } catch {
            throw JobError(place: url.path, message: "\(error)")
        }
    }

    private static func section(_ url: URL) throws -> PlanSection {
        let bytes = try bytes(url)
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: bytes)
        } catch {
            throw JobError(place: url.path, message: "\(error)")
        }
        return try PlanSection(value, file: url.lastPathComponent)
    }

    /// A cluster's description, as `cluster` of a plan has it.
    package static func cluster(_ url: URL) throws -> Cluster {
        var section = try section(url)
        return try Cluster(reading: &section)
    }

    private static func graph(_ url: URL) throws -> DataflowGraph {
        var section = try section(url)
        return try DataflowGraph(reading: &section)
    }

    /// A profile's file.
    package static func profile(_ url: URL) throws -> CostProfile {
        do {
            return try CostProfile(parsing: bytes(url), file: url.lastPathComponent)
        } catch let error as JSONError {
            throw JobError(place: url.path, message: "\(error)")
        }
    }

    /// A plan's file.
    package static func plan(_ url: URL) throws -> ExecutionPlan {
        do {
            return try ExecutionPlan(parsing: bytes(url), file: url.lastPathComponent)
        } catch let error as JSONError {
            throw JobError(place: url.path, message: "\(error)")
        }
    }

    private static func job(_ source: Source, _ overrides: [String]) throws -> (ResolvedJob, folder: URL) {
        switch source {
        case .job(let url):
            // The plan that it names may be the one to be made.
            let file = try JobFile(url: url, overrides: overrides + ["placement=null"])
            return (try ResolvedJob(file), file.folder)
        case .graph(let name):
            let catalogue = MethodCatalogueNames.all
            guard catalogue.contains(name) else {
                let near = nearestNames(to: name, among: catalogue)
                throw JobError(
                    place: "--graph",
                    message: "no method '\(name)'; "
                        + (near.isEmpty
                            ? "known are \(catalogue.joined(separator: ", "))" : "did you mean '\(near[0])'?"))
            }
            let folder = URL(filePath: FileManager.default.currentDirectoryPath)
            let keys = "algorithm: \(name)\nmodel_name_or_path: model\ndataset_name: prompts.jsonl\noutput_dir: run\n"
            let needsReward = MethodCatalogueNames.needsRewards(name)
            let file = try JobFile(
                text: keys + (needsReward ? "reward_funcs: accuracy_reward\n" : ""), name: "--graph \(name)",
                folder: folder, overrides: overrides)
            return (try ResolvedJob(file), folder)
        }
    }

    private static func shapes(_ models: [String]) throws -> [String: ModelShape] {
        var shapes: [String: ModelShape] = [:]
        for entry in models.flatMap({ $0.split(separator: ",").map(String.init) }) {
            let parts = entry.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2 else {
                throw JobError(
                    place: "--models",
                    message: "found '\(entry)'; expected ROLE=FOLDER, such as actor=Qwen/Qwen2.5-0.5B")
            }
            var shape = try shape(of: parts[1])
            if !["actor", "reference"].contains(parts[0]) { shape = shape.withValues() }
            guard shapes.updateValue(shape, forKey: parts[0]) == nil else {
                throw JobError(place: "--models", message: "the role \(parts[0]) is given twice")
            }
        }
        return shapes
    }

    static func shape(of name: String) throws -> ModelShape {
        if let shape = ModelShape.published[name] { return shape }
        return ModelShape(try ModelFolder.readConfiguration(HuggingFaceCache.folder(of: name)))
    }
}
