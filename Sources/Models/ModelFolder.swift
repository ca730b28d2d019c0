package import Foundation
internal import JSON
internal import Runs
package import Tensors

/// Reads models from Hugging Face folders, and from GGUF files, which stand for one wherever a folder is named.
package enum ModelFolder {
    /// Names of the files beside the weights.
    static let configurationFile = "config.json"
    static let generationFile = "generation_config.json"

    /// Reads `config.json`, of an adapter that of its base; see ``AdapterFolder``.
    ///
    /// - Throws: ``ModelError/configuration(path:problems:)`` with all its problems, ``ModelError/file(path:message:)``
    ///   when there is none or it is no JSON.
    package static func readConfiguration(_ folder: URL) throws(ModelError) -> ModelConfiguration {
        let folder = try baseFolder(of: folder)
        if let file = try gguf(folder) { return try GGUFConfiguration(file).read() }
        let file = folder.appending(path: configurationFile)
        return try ModelConfiguration(json: text(of: file), path: file.path(percentEncoded: false))
    }

    /// Reads `generation_config.json`, of an adapter that of its base; `nil` when the folder has none.
    package static func readGenerationConfiguration(_ folder: URL) throws(ModelError) -> GenerationConfiguration? {
        let file = try baseFolder(of: folder).appending(path: generationFile)
        let path = file.path(percentEncoded: false)
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        return try GenerationConfiguration(
            members: ConfigurationText.members(of: text(of: file), path: path), path: path)
    }

    /// The ids that end a completion: those of `generation_config.json`, else those of `config.json`, as far as the model
    /// can sample them. Empty when neither says.
    ///
    /// - Throws: ``ModelError/configuration(path:problems:)`` where it can sample none of them, as reading either file
    ///   does.
    package static func endTokenIDs(_ folder: URL) throws(ModelError) -> Set<Int> {
        let configuration = try readConfiguration(folder)
        let stated = try readGenerationConfiguration(folder)?.endTokenIDs
        let ids = stated ?? configuration.endTokenIDs
        let sampled = Set(ids.filter { $0 < configuration.vocabularySize })
        guard sampled.isEmpty, let strange = ids.first else { return sampled }
        let base = try baseFolder(of: folder)
        let file = try isGGUF(base) ? base : base.appending(path: stated == nil ? configurationFile : generationFile)
        throw .configuration(
            path: file.path(percentEncoded: false),
            problems: [
                .init(
                    setting: "eos_token_id", found: "\(strange)",
                    expected: "ids below \(configuration.vocabularySize), the vocabulary's size")
            ])
    }

    /// Reads a model: `config.json` and `model.safetensors` or its shards; of an adapter its base, with what the
    /// adapters add in the matrices. One tensor after the other is read, converted and packed, so that nothing is held
    /// twice.
    ///
    /// `lm_head.weight` may be present though the head is tied, when it is the embedding, and rotary frequencies of old
    /// files are passed over.
    ///
    /// - Parameters:
    ///   - elementType: What the parameters are held in; files of float32, bfloat16, float16 or float64 are converted.
    ///   - storage: What its matrices are kept as.
    /// - Throws: ``ModelError/weights(path:problems:)`` listing all tensors that are missing, unknown or of another
    ///   shape, other cases of ``ModelError``, or ``TensorError`` for a damaged file.
    package static func load(
        _ folder: URL, elementType: ElementType = .float32, device: Device = .cpu, storage: WeightStorage = .whole
    ) throws -> Transformer {
        let configuration = try readConfiguration(folder)
        // What adapters add is worked out in float32 at least, as a run does it.
        let weights = try checkedWeights(
            folder, configuration, sums: elementType == .float64 ? .float64 : .float32)
        var parameters: [String: Tensor] = [:]
        for expected in configuration.parameterShapes {
            let tensor = try weights.tensor(named: expected.name)
            try requireFinite(tensor, expected.name, folder)
            guard let form = storage.form(of: expected) else {
                parameters[expected.name] = try tensor.to(elementType).to(device)
                continue
            }
            let packed = try PackedMatrix(tensor.to(.float32), as: form)
            parameters[expected.name] = packed.elements
            parameters[PackedMatrix.scalesName(of: expected.name)] = packed.scales
        }
        return try Transformer(configuration: configuration, parameters: parameters)
    }

    static func requireFinite(_ tensor: Tensor, _ name: String, _ folder: URL) throws {
        guard try tensor.allFinite() else {
            throw ModelError.file(
                path: folder.path(percentEncoded: false),
                message: "\(name) holds NaN or infinity; the weights come from a run that broke, take an "
                    + "earlier checkpoint")
        }
    }

    /// The files of a folder whose pages can stand for its parameters in memory; `nil` where these must be made of them:
    /// an adapter's, a GGUF file, another element type, elements that are not aligned. Reads headers alone, and a head
    /// beside a tied embedding.
    ///
    /// - Throws: As ``load(_:elementType:device:)``.
    package static func mappable(_ folder: URL, elementType: ElementType) throws -> TensorFolder? {
        guard try AdapterFolder(folder) == nil, try !isGGUF(folder) else { return nil }
        let configuration = try readConfiguration(folder)
        let files = try checkedFiles(folder, configuration)
        let canMap = configuration.parameterShapes.allSatisfy {
            files.typeName(of: $0.name) == elementType.name && files.canMap($0.name)
        }
        return canMap ? files : nil
    }

    /// Reads a model over the pages of its files, which nothing may write.
    ///
    /// - Parameter files: As ``mappable(_:elementType:)`` gave them.
    /// - Throws: As ``load(_:elementType:device:)``.
    package static func load(_ folder: URL, over files: TensorFolder) throws -> Transformer {
        let configuration = try readConfiguration(folder)
        var parameters: [String: Tensor] = [:]
        for expected in configuration.parameterShapes {
            let tensor = try files.mappedTensor(named: expected.name)
            try requireFinite(tensor, expected.name, folder)
            files.dropPages()
            parameters[expected.name] = tensor
        }
        return try Transformer(configuration: configuration, parameters: parameters)
    }

    /// Whether a folder has a file of this name.
    static func has(_ name: String, in folder: URL) -> Bool {
        FileManager.default.fileExists(atPath: folder.appending(path: name).path(percentEncoded: false))
    }

    /// Opens the weights of a folder; their absence is said with what would be right.
    static func openWeights(_ folder: URL) throws -> TensorFolder {
        if !has(TensorFolder.singleFile, in: folder), !has(TensorFolder.indexFile, in: folder) {
            let pickle = ["pytorch_model.bin", "pytorch_model.bin.index.json"].first { has($0, in: folder) }
            throw ModelError.file(
                path: folder.path(percentEncoded: false),
                message: "no weights: neither \(TensorFolder.singleFile) nor \(TensorFolder.indexFile); "
                    + (pickle.map { "\($0) is a pickle, which is never read: save the model as safetensors" }
                        ?? "download the whole model (hf download NAME --local-dir FOLDER), or make a fresh one with "
                        + "plumbline init-model"))
        }
        return try TensorFolder(url: folder)
    }

    /// The weights of a folder, checked against a configuration.
    static func checkedFiles(_ folder: URL, _ configuration: ModelConfiguration) throws -> TensorFolder {
        let files = try openWeights(folder)
        try check(files, configuration, path: folder.path(percentEncoded: false))
        // A head that is trained by itself is another model than the embedding in its place.
        let isOther =
            configuration.tiesEmbeddings && files.shape(of: ParameterName.head) != nil
            && !files.areEqual(ParameterName.head, ParameterName.embedding)
        guard !isOther else {
            throw ModelError.configuration(
                path: folder.appending(path: configurationFile).path(percentEncoded: false),
                problems: [
                    .init(
                        setting: "tie_word_embeddings",
                        found: "true beside an \(ParameterName.head) that is not \(ParameterName.embedding)",
                        expected: "false, or weights without \(ParameterName.head) if the head is to be the embedding")
                ])
        }
        return files
    }

    static func check(
        _ weights: any ModelWeights, _ configuration: ModelConfiguration, path: String
    ) throws(ModelError) {
        var found: [String: [Int]] = [:]
        for name in weights.names where !ParameterName.isDerived(name) { found[name] = weights.shape(of: name) }
        if configuration.tiesEmbeddings { found[ParameterName.head] = nil }
        let problems = configuration.problems(in: found)
        guard problems.isEmpty else { throw .weights(path: path, problems: problems) }
        try requireReadable(found.keys.sorted(), of: weights, path: path)
    }

    /// Refuses tensors of an element type that weights do not have.
    static func requireReadable(_ names: [String], of weights: any ModelWeights, path: String) throws(ModelError) {
        let readable: [ElementType] = [.float32, .bfloat16, .float16, .float64]
        for name in names {
            let type = weights.typeName(of: name) ?? "nothing"
            guard !readable.contains(where: { $0.name == type }) else { continue }
            throw .file(
                path: path,
                message: "\(name) holds \(type); expected \(readable.map(\.name).joined(separator: ", ")) "
                    + "(quantised models are not built: take the unquantised one)")
        }
    }

    /// The text of a file of the folder.
    static func text(of file: URL) throws(ModelError) -> String {
        guard FileManager.default.fileExists(atPath: file.path(percentEncoded: false)) else {
            throw .file(
                path: file.path(percentEncoded: false),
                message: "no such file; a model's folder has config.json, model.safetensors (or its shards) and "
                    + "tokenizer.json"
                    + (ggufFiles(in: file.deletingLastPathComponent()).first.map { "; to use \($0), name that file" }
                        ?? "")
            )
        }
        let bytes: [UInt8]
        do throws(RunError) {
            bytes = try PosixFile.contents(of: file, atMost: 1 << 24)
        } catch {
            throw .file(path: file.path(percentEncoded: false), message: "cannot be read: \(error)")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw .file(path: file.path(percentEncoded: false), message: "is no UTF-8 text")
        }
        return text
    }
}
