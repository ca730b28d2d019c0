package import Foundation
package import Models
package import Placement
internal import Records
package import Tensors
package import Tokenization

/// A model folder that a job names, its tokenizer and what it says of itself; the weights are not read yet.
package struct ModelSource: Sendable {
    package let folder: URL
    /// With adapters, those of ``trained``, where the job trains some.
    package let configuration: ModelConfiguration
    /// Which of the weights the job trains.
    let trained: TrainedWeights
    /// What the matrices under adapters are kept as.
    let base: WeightStorage
    /// What the name means where it is an adapter and its base.
    let adapter: AdapterFolder?
    /// Where the base of adapters is found again: a name in the Hugging Face cache, or a folder.
    package let baseName: String
    package let tokenizer: Tokenizer
    package let template: ChatTemplateRenderer
    private let reading: PromptReading
    /// Where weights are loaded to.
    package let device: Device
    /// Sampling one of these ends a completion.
    package let stopTokenIDs: Set<Int>

    /// - Parameters:
    ///   - name: A folder, or a name in the Hugging Face cache.
    ///   - reading: How prompts are read.
    ///   - trained: Which of the weights are trained, by a job.
    ///   - base: What the matrices under adapters are kept as.
    ///   - device: Where weights are loaded to.
    /// - Throws: `ModelError`, `TokenizerError` or ``JobError`` naming the file and what would be right.
    package init(
        _ name: String, _ reading: PromptReading = PromptReading(), trained: TrainedWeights = .all,
        base: WeightStorage = .whole, device: Device = .cpu
    ) throws {
        do { try TensorEngine.require(device) } catch { throw JobError(place: "device", message: "\(error)") }
        self.device = device
        folder = try HuggingFaceCache.folder(of: name)
        adapter = try AdapterFolder(folder)
        let given = adapter?.baseName ?? name
        let isPath = FileManager.default.fileExists(atPath: (given as NSString).expandingTildeInPath)
        baseName = isPath ? (adapter?.base ?? folder).standardizedFileURL.path : given
        self.trained = trained
        self.base = base
        configuration = try trained.adapted(ModelFolder.readConfiguration(folder), adapter)
        tokenizer = try Tokenizer(folder: ModelFolder.tokenizerFolder(of: folder))
        self.reading = reading
        template = try ChatTemplateRenderer(tokenizer: tokenizer, variables: reading.templateVariables)
        var ends = try ModelFolder.endTokenIDs(folder)
        if let end = tokenizer.endOfTextID { ends.insert(end) }
        stopTokenIDs = ends
        guard tokenizer.vocabularySize <= configuration.vocabularySize else {
            throw JobError(
                place: folder.path,
                message:
                    "the tokenizer has \(tokenizer.vocabularySize) ids, the model's embedding "
                    + "\(configuration.vocabularySize) "
                    + "rows; they do not belong together")
        }
        guard !ends.isEmpty else {
            throw JobError(
                place: folder.path,
                message: "neither generation_config.json, config.json nor the tokenizer names an end-of-text token; "
                    + "no completion could end")
        }
    }

    /// A model to be measured: as a whole, or with adapters of a rank on every projection.
    ///
    /// - Parameter base: What the matrices under adapters are kept as.
    package init(_ name: String, adapterRank: Int?, base: WeightStorage = .whole) throws {
        let adapters = adapterRank.map { LoRAConfiguration(rank: $0, alpha: 2 * Double($0), targets: .allLinear) }
        try self.init(name, trained: adapters.map { .adapters($0) } ?? .all, base: base)
    }

    /// What a run without heads trains from here, in float32.
    @TensorActor package func trainingStart() throws -> ParameterSet {
        try PolicyStart(self, weights: folder, heads: nil, criticHeads: nil, .float32, seed: 0).parameters
    }

    /// The encoder of this model's prompts.
    ///
    /// - Parameter maxLength: Tokens a demonstration may have; by default as many as the model's context.
    package func encoder(maxPromptLength: Int, maxLength: Int? = nil) -> PromptEncoder {
        PromptEncoder(
            tokenizer: tokenizer, template: template, maxPromptLength: maxPromptLength,
            maxLength: min(maxLength ?? .max, configuration.contextLength), reading: reading,
            stopTokenIDs: stopTokenIDs)
    }

    /// The most tokens a prompt may have beside a completion.
    package func promptLimit(asked: Int?, completion: Int) throws(JobError) -> Int {
        let room = configuration.contextLength - completion
        guard room >= 1 else {
            throw JobError(
                place: folder.path,
                message: "max_completion_length \(completion) leaves no room for a prompt in the model's context of "
                    + "\(configuration.contextLength) tokens")
        }
        guard let asked else { return room }
        guard asked <= room else {
            throw JobError(
                place: folder.path,
                message:
                    "max_prompt_length \(asked) + max_completion_length \(completion) exceed the model's context of "
                    + "\(configuration.contextLength) tokens")
        }
        return asked
    }

    /// The longest completion a command allows where it was not asked: 512 tokens, or half of a small model's context.
    var usualCompletionLength: Int { min(512, max(1, configuration.contextLength / 2)) }

    /// Sets the threads of the tensor engine: as asked, or the usual ones.
    ///
    /// - Returns: the threads in use.
    @TensorActor func useThreads(_ asked: Int?, processes: Int = 1) throws -> Int {
        let weights = configuration.parameterBytes(.float32) / 4
        try TensorEngine.setThreadCount(asked ?? Self.usualThreads(weights: weights, processes: processes))
        return TensorEngine.threadCount
    }

    /// The machine's cores, shared by its processes, or one for a model of so few weights that sharing its products out
    /// takes longer than they do.
    static func usualThreads(weights: Int, processes: Int = 1) -> Int {
        weights < 2_000_000 ? 1 : max(1, ProcessInfo.processInfo.activeProcessorCount / processes)
    }

    /// Whether adapters are trained.
    var isAdapted: Bool { configuration.adapters != nil }
    /// The folder of the weights that adapters go with.
    var baseFolder: URL { adapter?.base ?? folder }
    /// The published names of the model's own parameters that are trained.
    var trainedNames: [String] { trained.names(in: configuration) }

    /// Which weights are trained, in words; nothing where all are.
    var trainedLines: [String] {
        let all = configuration.parameterCount
        func share(_ count: Int) -> String {
            "\(count) of \(all + configuration.adapterCount) parameters are trained"
        }
        switch trained {
        case .all: return []
        case .matching, .half:
            let own = trained.shapes(in: configuration)
            return [share(own.reduce(0) { $0 + $1.count }) + ": \(own.count) tensors, from \(trainedNames[0])"]
        case .adapters(let asked):
            let own = configuration.adapters ?? asked
            var lines = [
                share(configuration.adapterCount) + ": adapters of rank \(own.rank), scaled by \(own.scale)"
                    + (adapter == nil || own == asked
                        ? ""
                        : "; those of \(folder.lastPathComponent) continue as they are, whatever lora_r, lora_alpha, "
                            + "use_rslora and lora_target_modules say")
            ]
            if let saved = adapter?.adapters.dropout, saved != 0, saved != own.dropout {
                lines.append(
                    "note: \(folder.lastPathComponent) has lora_dropout \(saved); the job's \(own.dropout) is "
                        + "used. lora_dropout=\(saved) keeps the old one")
            }
            return lines
        }
    }

    /// Reads the weights, with what adapters add where the name means some.
    ///
    /// - Parameter storage: What the matrices are kept as.
    @TensorActor func load(_ type: JobElementType, as storage: WeightStorage = .whole) throws -> Transformer {
        try ModelFolder.load(folder, elementType: type.elementType, device: device, storage: storage)
    }

    /// The files whose pages can stand for the weights where nobody writes them; `nil` where there are none.
    func mappable(_ type: JobElementType) throws -> TensorFolder? {
        device == .cpu ? try ModelFolder.mappable(folder, elementType: type.elementType) : nil
    }

    /// Reads weights that nobody writes, over the pages of their files where these can stand for them.
    @TensorActor func loadFrozen(_ type: JobElementType) throws -> FrozenWeights {
        guard let files = try mappable(type) else {
            return FrozenWeights(ParameterSet(frozen: try load(type).parametersByName))
        }
        return FrozenWeights(
            ParameterSet(frozen: try ModelFolder.load(folder, over: files).parametersByName), files: files)
    }
}

/// The weights of a role that nobody trains.
struct FrozenWeights {
    let parameters: ParameterSet
    /// Whose pages they are; `nil` where they have memory of their own.
    let files: TensorFolder?

    init(_ parameters: ParameterSet, files: TensorFolder? = nil) { (self.parameters, self.files) = (parameters, files) }
}

extension TrainedWeights {
    /// The configuration with the adapters that are trained; the named adapter's own, if it is one.
    ///
    /// - Throws: ``JobError`` for targets or a pattern that match nothing.
    func adapted(
        _ base: ModelConfiguration, _ adapter: AdapterFolder?
    ) throws(JobError) -> ModelConfiguration {
        switch self {
        case .all, .half: return base
        case .matching(let pattern):
            guard names(in: base).isEmpty else { return base }
            throw JobError(
                place: "trainable",
                message: "'\(pattern)' is found in no parameter's name, such as "
                    + (base.parameterShapes.dropFirst().first?.name ?? ""))
        case .adapters(let adapters):
            // What is dropped is the job's to say: it is no property of the adapter's numbers.
            let own = adapter?.adapters.with(dropout: adapters.dropout) ?? adapters
            do throws(ModelError) { return try base.adapted(by: own) } catch {
                throw JobError(place: "lora_target_modules", message: "\(error)")
            }
        }
    }

    /// The published names of the parameters that are trained themselves.
    func names(in configuration: ModelConfiguration) -> [String] {
        let names = configuration.parameterShapes.map(\.name)
        switch self {
        case .all: return names
        case .adapters: return []
        case .half(let stage, let seed): return configuration.randomHalf(stage: stage, seed: seed)
        case .matching(let pattern):
            guard let expression = try? Regex(pattern) else { return [] }  // the job was refused for it
            return names.filter { $0.firstMatch(of: expression) != nil }
        }
    }

    /// The tensors that are trained: those of adapters, or the model's own or some of them.
    func shapes(in configuration: ModelConfiguration) -> [ParameterShape] {
        guard configuration.adapters == nil else { return configuration.adapterShapes }
        let names = Set(names(in: configuration))
        return configuration.parameterShapes.filter { names.contains($0.name) }
    }
}
