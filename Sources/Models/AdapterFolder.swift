package import Foundation
import JSON
internal import Runs
package import Tensors

/// An adapter in PEFT's form: `adapter_config.json` and `adapter_model.safetensors`, made for a base model in another
/// folder.
///
/// It counts as a model wherever one is named: ``ModelFolder`` reads the base it names and adds the adapters to it.
package struct AdapterFolder: Sendable {
    package let folder: URL
    /// The base as the file names it: a folder, from the working directory or from the adapter's, or a name in the
    /// Hugging Face cache.
    package let baseName: String
    package let base: URL
    package let adapters: LoRAConfiguration
    /// Whether it adapts a sequence classifier, whose score head it brings along.
    package let isClassifier: Bool

    static let configurationFile = "adapter_config.json"
    static let weightsFile = "adapter_model.safetensors"
    /// What peft puts before the names of a model's tensors.
    static let prefix = "base_model.model."

    private var weightsURL: URL { folder.appending(path: Self.weightsFile) }

    /// Reads `adapter_config.json`; `nil` for a folder that has none.
    ///
    /// - Throws: ``ModelError/configuration(path:problems:)`` naming what is not built,
    ///   ``ModelError/file(path:message:)`` for a base that is not there.
    package init?(_ folder: URL) throws(ModelError) {
        let file = folder.appending(path: Self.configurationFile)
        let path = file.path(percentEncoded: false)
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        let read = try AdapterConfigurationFile(
            ConfigurationText.members(of: ModelFolder.text(of: file), path: path), path)
        self.folder = folder
        (adapters, isClassifier) = (read.adapters, read.isClassifier)
        let beside = Self.besideIt(read.baseName, folder)
        baseName = beside.map { $0.path(percentEncoded: false) } ?? read.baseName
        do throws(ModelError) {
            if let beside { base = beside } else { base = try HuggingFaceCache.folder(of: read.baseName) }
        } catch {
            throw .file(path: path, message: "base_model_name_or_path: \(error)")
        }
        guard
            !FileManager.default.fileExists(
                atPath: base.appending(path: Self.configurationFile).path(percentEncoded: false))
        else {
            throw .file(
                path: path,
                message: "its base, \(read.baseName), is an adapter itself; make a whole model of that first: "
                    + "plumbline convert --merge")
        }
    }

    /// Reads A and B of every adapter, by name.
    ///
    /// - Parameter configuration: The base's, adapted by ``adapters``.
    /// - Throws: ``ModelError/weights(path:problems:)`` for tensors that are missing, unknown, or of a shape that the
    ///   base does not have.
    package func tensors(
        for configuration: ModelConfiguration, elementType: ElementType = .float32, device: Device = .cpu
    ) throws -> [String: Tensor] {
        let file = try open()
        var found: [String: [Int]] = [:]
        for name in file.names where !(isClassifier && name == Self.prefix + SequenceClassifier.headName) {
            found[Self.ownName(name)] = file.shape(of: name)
        }
        let path = "\(weightsURL.path(percentEncoded: false)) on \(baseName)"
        let problems = ModelConfiguration.problems(in: found, expecting: configuration.adapterShapes)
        guard problems.isEmpty else { throw ModelError.weights(path: path, problems: problems) }
        var tensors: [String: Tensor] = [:]
        for name in found.keys {
            let tensor = try file.tensor(named: Self.prefix + name)
            guard tensor.elementType.isFloatingPoint, try tensor.allFinite() else {
                throw ModelError.file(
                    path: path, message: "\(name) holds \(tensor.elementType), or numbers that are not finite")
            }
            tensors[name] = try tensor.to(elementType).to(device)
        }
        return tensors
    }

    /// The score head that the adapter of a classifier brings along, `[labels, hidden]`; `nil` for a language model's.
    ///
    /// - Parameter labels: How many it must have; any number for `nil`.
    /// - Throws: ``ModelError/weights(path:problems:)`` for another number.
    package func head(of labels: Int? = nil) throws -> Tensor? {
        guard isClassifier else { return nil }
        let head = try open().tensor(named: Self.prefix + SequenceClassifier.headName)
        if let labels, head.shape.first != labels {
            let expected = [labels, head.shape.last ?? 0]
            throw ModelError.weights(
                path: weightsURL.path(percentEncoded: false),
                problems: [.shape(name: SequenceClassifier.headName, found: head.shape, expected: expected)])
        }
        return head
    }

    private func open() throws -> TensorFile {
        guard ModelFolder.has(Self.weightsFile, in: folder) else {
            throw ModelError.file(
                path: folder.path(percentEncoded: false),
                message: "no \(Self.weightsFile)"
                    + (ModelFolder.has("adapter_model.bin", in: folder)
                        ? "; adapter_model.bin is a pickle, which is never read: save the adapter as safetensors" : ""))
        }
        return try TensorFile(url: weightsURL)
    }

    /// A relative path that leads nowhere from the working directory, but from the adapter's folder.
    private static func besideIt(_ name: String, _ folder: URL) -> URL? {
        guard !name.hasPrefix("/"), !name.hasPrefix("~"), !HuggingFaceCache.isFolder(name) else { return nil }
        let beside = folder.appending(path: name, directoryHint: .isDirectory).standardizedFileURL
        return HuggingFaceCache.isFolder(beside.path(percentEncoded: false)) ? beside : nil
    }

    private static func ownName(_ name: String) -> String {
        name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : name
    }
}

extension ModelFolder {
    /// Where a model's `config.json`, weights and, unless it has one of its own, tokenizer are: the base's folder for
    /// an adapter, else the folder itself.
    package static func baseFolder(of folder: URL) throws(ModelError) -> URL {
        try AdapterFolder(folder)?.base ?? folder
    }

    /// Where a model's tokenizer is: in its folder, or in its base's where an adapter has none.
    package static func tokenizerFolder(of folder: URL) throws(ModelError) -> URL {
        let isThere = FileManager.default.fileExists(
            atPath: folder.appending(path: "tokenizer.json").path(percentEncoded: false))
        return isThere ? folder : try baseFolder(of: folder)
    }
}

extension Transformer {
    /// The transformer below the head of a language model.
    package var withoutHead: Transformer {
        get throws {
            let configuration = try configuration.withoutHead
            return try Transformer(
                configuration: configuration, parameters: parametersByName.filter { $0.key != ParameterName.head })
        }
    }

    /// A model with what adapters add in its matrices: memory of its own for these, the others shared.
    ///
    /// - Parameters:
    ///   - adapters: A and B by name.
    ///   - configuration: This model's, adapted.
    func merged(with adapters: [String: Tensor], _ configuration: ModelConfiguration) throws -> Transformer {
        let own = parametersByName
        let all = own.merging(adapters) { $1 }
        let sums = try configuration.lowRankUpdates.map { ($0.weight, try $0.merged(in: all)) }
        return try Transformer(configuration: self.configuration, parameters: own.merging(sums) { $1 })
    }
}
