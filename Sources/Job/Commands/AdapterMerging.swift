internal import Foundation
internal import Models
internal import Records
internal import Tensors
internal import Tokenization

/// `plumbline convert --merge`: an adapter and its base as one whole model.
package struct AdapterMerging: Sendable {
    private let adapter: AdapterFolder
    private let output: URL
    private let type: ElementType

    /// - Parameters:
    ///   - model: An adapter's folder, or a name in the Hugging Face cache.
    ///   - output: The folder to make.
    ///   - type: What the weights are stored in, as ``ModelConversion``; `nil` for f32.
    ///   - overwrites: Whether a model that the folder holds is replaced.
    /// - Throws: ``JobError`` for a model that is no adapter, a folder that holds one, or a type that is none.
    package init(model: String, output: String, type: String?, overwrites: Bool) throws {
        let known: [String: ElementType] = ["f32": .float32, "f16": .float16, "bf16": .bfloat16]
        guard let type = known[type ?? "f32"] else {
            throw JobError(
                place: "--type", message: "'\(type ?? "")' is none of f32, f16 and bf16, the types of a folder")
        }
        guard !output.lowercased().hasSuffix(".gguf") else {
            throw JobError(
                place: "--output", message: "--merge makes a folder; name one, and convert that to \(output) next")
        }
        guard let adapter = try AdapterFolder(HuggingFaceCache.folder(of: model)) else {
            throw JobError(place: model, message: "there is no adapter_config.json: it is a whole model already")
        }
        (self.adapter, self.type) = (adapter, type)
        self.output = URL(filePath: output)
        guard self.output.standardizedFileURL != adapter.base.standardizedFileURL else {
            throw JobError(place: "--output", message: "\(output) is the adapter's base; name another folder")
        }
        let path = self.output.path(percentEncoded: false)
        let held =
            FileManager.default.fileExists(atPath: path)
            ? try FileManager.default.contentsOfDirectory(atPath: path) : []
        if let file = held.sorted().first(where: { $0.hasSuffix("config.json") || $0.hasSuffix(".safetensors") }),
            !overwrites
        {
            throw JobError(
                place: output, message: "there is a model already (\(file)); name another folder, or give --overwrite")
        }
    }

    /// Writes weights, configuration and tokenizer, and says in one line what they are.
    @TensorActor
    package func run() throws -> String {
        let folder = adapter.folder
        if adapter.isClassifier {
            try SequenceClassifier.merge(adapter, to: output, elementType: type)
        } else {
            let configuration = try ModelFolder.readConfiguration(folder)
            try ModelFolder.save(
                ModelFolder.checkedWeights(folder, configuration), of: configuration, from: folder, to: output,
                elementType: type, generation: ModelFolder.readGenerationConfiguration(folder))
        }
        let texts = try ModelFolder.tokenizerFolder(of: folder)
        if FileManager.default.fileExists(atPath: texts.appending(path: "tokenizer.json").path(percentEncoded: false)) {
            try Tokenizer(folder: texts).save(to: output)
        }
        return "\(output.relativePath): \(adapter.baseName) with the adapters of \(folder.lastPathComponent)"
    }
}
