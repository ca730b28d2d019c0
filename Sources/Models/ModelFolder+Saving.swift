package import Foundation
import JSON
internal import Runs
package import Tensors

extension ModelFolder {
    /// Above this many bytes of weights, more than one file is written, as transformers does.
    package static let usualShardBytes = 5_000_000_000

    /// Writes a model as a Hugging Face folder: `config.json`, `generation_config.json` and the weights.
    ///
    /// Each file is written under another name, flushed, and renamed; weights of another save in the same folder are
    /// removed. To make the whole folder appear at once, write into a folder of ``AtomicFolder`` or a checkpoint. The
    /// bytes depend on the model alone.
    ///
    /// - Parameters:
    ///   - parameters: By Hugging Face name, each of the configuration's once; leaves that require a gradient are fine.
    ///   - folder: Made when missing.
    ///   - elementType: What the weights are stored in; the `torch_dtype` of `config.json` says the same.
    ///   - generation: What `generation_config.json` is to say; `nil` writes the configuration's own token ids.
    ///   - shardBytes: Most bytes of tensors in one file, unless a single tensor is larger.
    ///   - labels: Of a sequence classifier, whose parameters have its head beside those of the trunk; `nil` for a
    ///     language model.
    ///   - expectsEndToken: Whether that was trained on texts that end with the end-of-text token.
    /// - Throws: ``ModelError`` when parameters and configuration differ, `RunError` or ``TensorError`` when the disk
    ///   refuses.
    package static func save(
        configuration: ModelConfiguration, parameters: [String: Tensor], to folder: URL,
        elementType: ElementType = .float32, generation: GenerationConfiguration? = nil,
        shardBytes: Int = usualShardBytes, labels: [String]? = nil, expectsEndToken: Bool = true
    ) throws {
        try save(
            configuration, parameters.mapValues(\.shape), to: folder, elementType, generation: generation,
            shardBytes: shardBytes, labels: labels, expectsEndToken: expectsEndToken
        ) { parameters.required($0) }
    }

    /// As ``save(configuration:parameters:to:elementType:generation:shardBytes:labels:expectsEndToken:)``. Other work of the
    /// tensor thread has its turn between two tensors, and while a file is flushed: a rank that saves answers the others.
    @TensorActor
    package static func saveInTurns(
        configuration: ModelConfiguration, parameters: [String: Tensor], to folder: URL,
        elementType: ElementType = .float32, generation: GenerationConfiguration? = nil, labels: [String]? = nil
    ) async throws {
        let saving = try saving(
            configuration, parameters.mapValues(\.shape), to: folder, elementType, generation: generation,
            labels: labels)
        for shard in saving.shards {
            try await writeInTurns(shard.file, shard.tensors, elementType, in: folder) { parameters.required($0) }
        }
        try saving.finish()
    }

    /// As ``save(configuration:parameters:to:elementType:generation:shardBytes:labels:expectsEndToken:)``, of weights that
    /// are read one after the other: no more than one tensor is in memory.
    ///
    /// - Parameters:
    ///   - weights: As ``checkedWeights(_:_:sums:)`` gives them for the configuration.
    ///   - source: Where they come from, for messages.
    /// - Throws: ``ModelError/file(path:message:)`` for numbers that are not finite, too.
    package static func save(
        _ weights: any ModelWeights, of configuration: ModelConfiguration, from source: URL, to folder: URL,
        elementType: ElementType = .float32, generation: GenerationConfiguration? = nil
    ) throws {
        let shapes = configuration.parameterShapes.map { ($0.name, $0.shape) }
        try save(
            configuration, Dictionary(uniqueKeysWithValues: shapes), to: folder, elementType, generation: generation
        ) { name in
            let tensor = try weights.tensor(named: name)
            try requireFinite(tensor, name, source)
            return tensor
        }
    }

    /// The same for a classifier, of which `head` is in memory.
    static func save(
        _ weights: any ModelWeights, _ trunk: ModelConfiguration, head: Tensor, _ classifier: ClassifierConfiguration,
        from source: URL, to folder: URL, elementType: ElementType
    ) throws {
        var shapes = Dictionary(uniqueKeysWithValues: trunk.parameterShapes.map { ($0.name, $0.shape) })
        shapes[SequenceClassifier.headName] = head.shape
        try save(
            trunk, shapes, to: folder, elementType, generation: nil,
            labels: classifier.labels ?? (0..<head.shape[0]).map { "LABEL_\($0)" },
            expectsEndToken: classifier.expectsEndToken
        ) { name in
            let tensor = try name == SequenceClassifier.headName ? head : weights.tensor(named: name)
            try requireFinite(tensor, name, source)
            return tensor
        }
    }

    /// - Parameters:
    ///   - found: The shapes of all tensors there are, by name.
    ///   - tensor: Gives each of them once, when it is written.
    private static func save(
        _ configuration: ModelConfiguration, _ found: [String: [Int]], to folder: URL, _ elementType: ElementType,
        generation: GenerationConfiguration?, shardBytes: Int = usualShardBytes, labels: [String]? = nil,
        expectsEndToken: Bool = true, tensor: (String) throws -> Tensor
    ) throws {
        let saving = try saving(
            configuration, found, to: folder, elementType, generation: generation, shardBytes: shardBytes,
            labels: labels, expectsEndToken: expectsEndToken)
        for shard in saving.shards {
            try write(shard.file, shard.tensors, elementType, in: folder, tensor: tensor)
        }
        try saving.finish()
    }

    /// A model that is about to be written: its files of weights, and then everything else.
    private struct Saving {
        let shards: [Shard]
        let finish: () throws -> Void
    }

    /// Checks what is to be written, and makes the folder.
    ///
    /// - Parameter found: The shapes of all tensors there are, by name.
    private static func saving(
        _ configuration: ModelConfiguration, _ found: [String: [Int]], to folder: URL, _ elementType: ElementType,
        generation: GenerationConfiguration?, shardBytes: Int = usualShardBytes, labels: [String]? = nil,
        expectsEndToken: Bool = true
    ) throws -> Saving {
        let path = folder.path(percentEncoded: false)
        var model = found
        let head = labels.map {
            ParameterShape(
                name: SequenceClassifier.headName, shape: [$0.count, configuration.hiddenSize], role: .weight)
        }
        var problems: [ModelError.WeightProblem] = []
        if let head {
            let shape = model.removeValue(forKey: head.name)
            if shape != head.shape {
                problems.append(
                    shape.map { .shape(name: head.name, found: $0, expected: head.shape) }
                        ?? .missing(name: head.name, shape: head.shape))
            }
        }
        problems += configuration.problems(in: model)
        guard problems.isEmpty else { throw ModelError.weights(path: path, problems: problems) }
        guard let typeName = configurationName(of: elementType) else {
            throw ModelError.file(path: path, message: "weights cannot be stored as \(elementType)")
        }
        try FileOperations.system.createFolder(folder)
        let shards = shards(
            of: configuration.parameterShapes + [head].compactMap(\.self), elementType, limit: shardBytes)
        return Saving(shards: shards) {
            if shards.count > 1 {
                // The one file of an earlier save would be read instead of them.
                try FileOperations.system.remove(folder.appending(path: TensorFolder.singleFile))
                try write(index(of: shards, elementType), TensorFolder.indexFile, in: folder)
            }
            // Last, for weights that cannot be read to the end leave nothing that looks like a model.
            let key = configuration.members["dtype"] == nil ? "torch_dtype" : "dtype"
            let stated = try configuration.with([key: .string(typeName)])
            if let labels {
                try write(
                    ClassifierConfiguration.json(of: stated, labels: labels, expectsEndToken: expectsEndToken),
                    configurationFile, in: folder)
            } else {
                try write(stated.json, configurationFile, in: folder)
                try write((generation ?? GenerationConfiguration(for: configuration)).json, generationFile, in: folder)
            }
            try removeOtherWeights(
                than: Set(shards.map(\.file) + (shards.count > 1 ? [TensorFolder.indexFile] : [])), in: folder)
        }
    }

    /// As ``save(configuration:parameters:to:elementType:generation:shardBytes:labels:expectsEndToken:)`` for a model.
    package static func save(
        _ model: Transformer, to folder: URL, elementType: ElementType = .float32,
        generation: GenerationConfiguration? = nil, shardBytes: Int = usualShardBytes
    ) throws {
        try save(
            configuration: model.configuration, parameters: model.parametersByName, to: folder,
            elementType: elementType, generation: generation, shardBytes: shardBytes)
    }

    private struct Shard {
        var file: String
        var tensors: [ParameterShape]
    }

    /// Fills one file after another in the order of the parameters.
    private static func shards(of parameters: [ParameterShape], _ type: ElementType, limit: Int) -> [Shard] {
        var parts: [[ParameterShape]] = [[]]
        var bytes = 0
        for parameter in parameters {
            let size = parameter.count * type.byteCount
            if bytes + size > limit, bytes > 0 {
                parts.append([])
                bytes = 0
            }
            parts[parts.count - 1].append(parameter)
            bytes += size
        }
        guard parts.count > 1 else { return [Shard(file: TensorFolder.singleFile, tensors: parts[0])] }
        func number(_ value: Int) -> String { String(String(100_000 + value).dropFirst()) }
        return parts.enumerated().map { index, tensors in
            Shard(
                file: "model-\(number(index + 1))-of-\(number(parts.count)).safetensors", tensors: tensors)
        }
    }

    /// Writes one file of tensors.
    ///
    /// - Parameters:
    ///   - prefix: What their names begin with in the file.
    ///   - tensor: A tensor by its parameter's name.
    static func write(
        _ file: String, _ tensors: [ParameterShape], _ type: ElementType, in folder: URL, prefix: String = "",
        tensor: (String) throws -> Tensor
    ) throws {
        let partial = folder.appending(path: ".\(file).partial")
        do {
            try RunError.fromWritingTensors {
                let writer = try TensorFileWriter(
                    url: partial, announcing: tensors.map { .init(name: prefix + $0.name, type: type, shape: $0.shape) }
                )
                for parameter in tensors {
                    try writer.write(tensor(parameter.name), named: prefix + parameter.name)
                }
                try writer.finish()
            }
            try FileOperations.system.rename(partial, folder.appending(path: file))
        } catch {
            do { try FileOperations.system.remove(partial) } catch { /* the first failure is the one to report */  }
            throw error
        }
    }

    /// As ``write(_:_:_:in:prefix:tensor:)``, letting other work through.
    @TensorActor
    private static func writeInTurns(
        _ file: String, _ tensors: [ParameterShape], _ type: ElementType, in folder: URL, tensor: (String) -> Tensor
    ) async throws {
        let partial = folder.appending(path: ".\(file).partial")
        do {
            try await RunError.fromWritingTensors {
                let writer = try TensorFileWriter(
                    url: partial, announcing: tensors.map { .init(name: $0.name, type: type, shape: $0.shape) })
                for parameter in tensors {
                    try writer.write(tensor(parameter.name), named: parameter.name)
                    await Task.yield()
                }
                try await writer.flush()
                try writer.finish()
            }
            try FileOperations.system.rename(partial, folder.appending(path: file))
        } catch {
            do { try FileOperations.system.remove(partial) } catch { /* the first failure is the one to report */  }
            throw error
        }
    }

    private static func index(of shards: [Shard], _ type: ElementType) -> String {
        let bytes = shards.reduce(0) { $0 + $1.tensors.reduce(0) { $0 + $1.count * type.byteCount } }
        let files = shards.flatMap { shard in shard.tensors.map { ($0.name, JSONValue.string(shard.file)) } }
        return ConfigurationText.text([
            "metadata": .object(["total_size": .number(bytes)]),
            "weight_map": .object(sorting: Dictionary(uniqueKeysWithValues: files)),
        ])
    }

    /// Weights that an earlier save left are of another model, and an adapter would win over those written now.
    private static func removeOtherWeights(than kept: Set<String>, in folder: URL) throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: folder.path(percentEncoded: false)) {
            let isWeights =
                name == TensorFolder.singleFile || name == TensorFolder.indexFile
                || (name.hasPrefix("model-") && name.hasSuffix(".safetensors"))
                || name == AdapterFolder.configurationFile || name == AdapterFolder.weightsFile
            guard isWeights, !kept.contains(name) else { continue }
            try FileOperations.system.remove(folder.appending(path: name))
        }
    }

    static func write(_ text: String, _ name: String, in folder: URL) throws(RunError) {
        try FileOperations.system.replaceFile(folder.appending(path: name), with: Array(text.utf8))
    }

    /// How `config.json` spells an element type.
    private static func configurationName(of type: ElementType) -> String? {
        switch type {
        case .float32: "float32"
        case .float64: "float64"
        case .bfloat16: "bfloat16"
        case .float16: "float16"
        case .int64, .int32, .uint8, .bool: nil
        }
    }
}
