internal import Foundation
internal import GGUF
internal import Models
internal import Runs
internal import Tensors
internal import Tokenization

/// `plumbline convert`: a model from a Hugging Face folder to a GGUF file or back, or into another type of the same
/// form.
package struct ModelConversion: Sendable {
    private let source: URL
    private let output: URL
    private let type: GGUFTensorType
    private let writesGGUF: Bool
    private let name: String

    /// - Parameters:
    ///   - model: A folder, a GGUF file, or a name in the Hugging Face cache.
    ///   - output: A file that ends in `.gguf`, or a folder.
    ///   - type: What the weights are stored in; `nil` for f16 in a GGUF file, f32 in a folder.
    ///   - name: What the GGUF file calls the model; `nil` takes the name of its folder or file.
    ///   - overwrites: Whether a model that is there already is replaced.
    /// - Throws: ``JobError`` for a type that is not written, or an output that is there already.
    package init(model: String, output: String, type: String?, name: String?, overwrites: Bool) throws {
        source = try HuggingFaceCache.folder(of: model)
        guard try AdapterFolder(source) == nil else {
            throw JobError(
                place: model, message: "is an adapter; make a whole model of it and its base first, with --merge")
        }
        self.output = URL(filePath: output)
        writesGGUF = output.lowercased().hasSuffix(".gguf")
        let known: [GGUFTensorType] = writesGGUF ? GGUFTensorType.written : [.f32, .f16, .bf16]
        let asked = type ?? (writesGGUF ? "f16" : "f32")
        guard let type = GGUFTensorType(name: asked), known.contains(type) else {
            throw JobError(
                place: "--type",
                message: "'\(asked)' is none of \(known.map { $0.name.lowercased() }.joined(separator: ", "))"
                    + (writesGGUF ? "" : ", the types of a folder"))
        }
        self.type = type
        self.name = name ?? source.deletingPathExtension().lastPathComponent
        guard overwrites || !Self.holdsModel(self.output) else {
            throw JobError(
                place: output, message: "there is a model already; name another place, or give --overwrite")
        }
        guard source.resolvedPath != self.output.resolvedPath else {
            throw JobError(place: output, message: "is the model that is read; name another place")
        }
    }

    private static func holdsModel(_ url: URL) -> Bool {
        let files = FileManager.default
        guard files.fileExists(atPath: url.path) else { return false }
        guard let held = try? files.contentsOfDirectory(atPath: url.path) else { return true }
        return held.contains { $0 == "config.json" || $0.hasSuffix(".safetensors") }
    }

    /// Converts, and says in a line each what was written and what the new form cannot say.
    @TensorActor package func run() throws -> [String] {
        let configuration = try ModelFolder.readConfiguration(source)
        guard try ModelFolder.hasTokenizer(source) else {
            throw JobError(
                place: source.path, message: "no tokenizer.json; a converted model has its tokenizer with it")
        }
        let tokenizer = try Tokenizer(folder: source)
        return try writesGGUF ? writeFile(configuration, tokenizer) : writeFolder(configuration, tokenizer)
    }

    @TensorActor private func writeFile(_ configuration: ModelConfiguration, _ tokenizer: Tokenizer) throws -> [String]
    {
        let ends = try ModelFolder.endTokenIDs(source).sorted()
        let vocabulary = try GGUFVocabulary(tokenizer, rows: configuration.vocabularySize, endIDs: ends)
        guard tokenizer.vocabularySize <= configuration.vocabularySize else {
            throw JobError(
                place: source.path,
                message: "the tokenizer has \(tokenizer.vocabularySize) ids, the model's embedding "
                    + "\(configuration.vocabularySize) rows; they do not belong together")
        }
        let saving = try GGUFSaving(
            configuration, name: name, type: type, tokenizer: vocabulary.entries, path: source.path)
        let weights = try ModelFolder.checkedWeights(source, configuration)
        try FileOperations.system.createFolder(output.deletingLastPathComponent())
        try saving.write(weights, to: output)
        return [line(configuration, bytes: saving.byteCount)]
            + (vocabulary.notices + saving.notices).map { "note: \($0)" }
    }

    @TensorActor private func writeFolder(_ configuration: ModelConfiguration, _ tokenizer: Tokenizer) throws
        -> [String]
    {
        let element: ElementType = type == .f32 ? .float32 : type == .f16 ? .float16 : .bfloat16
        try ModelFolder.save(
            ModelFolder.checkedWeights(source, configuration), of: configuration, from: source, to: output,
            elementType: element, generation: ModelFolder.readGenerationConfiguration(source))
        try tokenizer.save(to: output)
        return [line(configuration, bytes: configuration.parameterCount * element.byteCount)]
    }

    private func line(_ configuration: ModelConfiguration, bytes: Int) -> String {
        let millions = String(format: "%.2f", Double(configuration.parameterCount) / 1e6)
        let megabytes = String(format: "%.1f", Double(bytes) / 1e6)
        return
            "\(output.path): \(configuration.family.rawValue), \(millions) M parameters as \(type.name), "
            + "\(megabytes) MB"
    }
}
