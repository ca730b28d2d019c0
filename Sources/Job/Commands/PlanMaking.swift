package import Foundation
internal import JSON
package import Models
package import Planning
internal import Records
internal import Runs

/// What `plumbline plan` looks for: a plan of a job's calls on a cluster.
package struct PlanMaking {
    /// Where the calls come from.
    package enum Source {
        /// A job file.
        case job(URL)
        /// A method's name, as `algorithm:` spells it, or a file that ends in `.json` with a graph.
        case graph(String)
    }

    private let cluster: Cluster
    private let graph: DataflowGraph
    private let models: [String: ModelShape]

    /// - Parameters:
    ///   - cluster: A file with the description of a cluster.
    ///   - models: `role=folder`, a name in the Hugging Face cache, or a published shape's name; roles beside actor,
    ///     critic and reference are reward or cost models.
    ///   - overrides: `key=value` of the job.
    ///   - promptTokens: Of a prompt; the job says how many are sampled.
    /// - Throws: ``JobError``, `ModelError` or `SettingsError` naming the key or file.
    package init(
        cluster: URL, source: Source, models: [String], overrides: [String], promptTokens: Int
    ) throws {
        self.cluster = try Self.cluster(cluster)
        var shapes = try Self.shapes(models)
        if case .graph(let name) = source, name.hasSuffix(".json") {
            graph = try Self.graph(URL(filePath: name))
        } else {
            let job = try Self.job(source, overrides)
            let rewards = shapes.keys.filter { !["actor", "critic", "reference"].contains($0) }.sorted()
            graph = DataflowGraph(job.recipe, job.graphSettings(rewardModels: rewards, promptTokens: promptTokens))
            if shapes["actor"] == nil, case .job = source {
                shapes["actor"] = try Self.shape(of: job.model.path)
            }
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

    /// Searches.
    ///
    /// - Throws: `PlanError` where nothing fits.
    package func run(seed: UInt64, proposals: Int, int8: Bool) throws(PlanError) -> SearchResult {
        var options = PlanSearch.Options()
        options.proposals = proposals
        if cluster.devices == 1 { options.layouts = Self.layoutsOfOneDevice }
        if int8 { options.layouts[.generate, default: []].append(.int8) }
        return try PlanSearch(
            cluster, models: models, graph: graph, costs: AnalyticCosts(cluster), options: options
        ).run(seed: seed)
    }

    /// On one device only layouts, what leaves the device and micro-batches are to be chosen.
    private static let layoutsOfOneDevice: [CallSpec.Kind: [WeightLayout]] = [
        .generate: [.bf16, .fp32Master], .infer: [.bf16], .train: [.bf16WithMaster, .fp32Master],
    ]

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

    /// A plan's file.
    package static func plan(_ url: URL) throws -> ExecutionPlan {
        do {
            return try ExecutionPlan(parsing: bytes(url), file: url.lastPathComponent)
        } catch let error as JSONError {
            throw JobError(place: url.path, message: "\(error)")
        }
    }

    private static func job(_ source: Source, _ overrides: [String]) throws -> ResolvedJob {
        switch source {
        case .job(let url): return try ResolvedJob(JobFile(url: url, overrides: overrides))
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
            return try ResolvedJob(file)
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

    private static func shape(of name: String) throws -> ModelShape {
        if let shape = ModelShape.published[name] { return shape }
        return ModelShape(try ModelFolder.readConfiguration(HuggingFaceCache.folder(of: name)))
    }
}

extension ModelShape {
    /// The shape that a configuration states.
    package init(_ configuration: ModelConfiguration) {
        self.init(
            layers: configuration.layers, hiddenSize: configuration.hiddenSize,
            intermediateSize: configuration.intermediateSize, heads: configuration.heads,
            keyValueHeads: configuration.keyValueHeads, headSize: configuration.headSize,
            vocabularySize: configuration.vocabularySize, output: configuration.tiesEmbeddings ? .tied : .head,
            normalizesQueriesAndKeys: configuration.normalizesQueriesAndKeys)
        if configuration.biases.queryKeyValue { biases.insert(.queryKeyValue) }
        if configuration.biases.attentionOutput { biases.insert(.attentionOutput) }
        if configuration.biases.feedForward { biases.insert(.feedForward) }
    }
}
