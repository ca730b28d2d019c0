package import Foundation
import GGUF
internal import JSON
package import Tensors

// A GGUF file stands for a folder wherever a model is named; these functions tell them apart.
extension ModelFolder {
    /// Opens the GGUF file; `nil` when the path leads to anything else.
    static func gguf(_ url: URL) throws(ModelError) -> GGUFFile? {
        try ModelError.reading { () throws(GGUFError) in try GGUFFile.isOne(url) ? GGUFFile(url: url) : nil }
    }

    /// Whether the path leads to a GGUF file.
    static func isGGUF(_ url: URL) throws(ModelError) -> Bool {
        try ModelError.reading { () throws(GGUFError) in try GGUFFile.isOne(url) }
    }

    /// Opens the weights of a folder or a GGUF file, whose names and shapes are not checked yet.
    ///
    /// - Throws: ``ModelError``, saying what would be right, or ``TensorError`` for a damaged file.
    package static func weights(_ folder: URL) throws -> any ModelWeights {
        guard let file = try gguf(folder) else { return try openWeights(folder) }
        return GGUFWeights(file, try GGUFConfiguration(file).read())
    }

    /// As ``weights(_:)``, with names, shapes and element types checked against a configuration; of an adapter its base's,
    /// with what the adapters add in the matrices.
    ///
    /// - Parameter sums: The type in which that is worked out, and those matrices are read.
    package static func checkedWeights(
        _ folder: URL, _ configuration: ModelConfiguration, sums: ElementType = .float32
    ) throws -> any ModelWeights {
        if let adapter = try AdapterFolder(folder) {
            return try MergedWeights(checkedWeights(adapter.base, configuration), adapter, configuration, in: sums)
        }
        guard try isGGUF(folder) else { return try checkedFiles(folder, configuration) }
        let weights = try weights(folder)
        try check(weights, configuration, path: folder.path(percentEncoded: false))
        return weights
    }

    /// What a GGUF file is, in one line; `nil` for a folder.
    package static func summary(ofGGUF url: URL) throws(ModelError) -> String? {
        guard let file = try gguf(url) else { return nil }
        let types = Dictionary(grouping: file.tensors, by: \.type).mapValues(\.count)
        let counts = types.sorted { $0.value > $1.value }.map { "\($0.value) \($0.key.name)" }
        return "GGUF file of \(file.tensors.count) tensors (\(counts.joined(separator: ", "))), read as float32; "
            + "saved models are Hugging Face folders"
    }

    /// The text that says what a model is: its `config.json`, or what a GGUF file states of it in the same form.
    package static func configurationText(_ folder: URL) throws(ModelError) -> String {
        guard let file = try gguf(folder) else { return try text(of: folder.appending(path: configurationFile)) }
        return try GGUFConfiguration(file).read().json
    }

    /// Whether a model's folder or file holds a tokenizer.
    ///
    /// - Throws: ``ModelError`` for a file that cannot be read.
    package static func hasTokenizer(_ folder: URL) throws(ModelError) -> Bool {
        if try isGGUF(folder) { return true }
        return FileManager.default.fileExists(atPath: folder.appending(path: "tokenizer.json").path)
    }

    /// The GGUF files of a folder, of a model in parts the first alone.
    static func ggufFiles(in folder: URL) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path(percentEncoded: false))) ?? []
        return names.filter { name in
            name.lowercased().hasSuffix(".gguf") && (GGUFPartName(name).map { $0.number == 1 } ?? true)
        }.sorted()
    }
}
