package import Foundation
package import JSON

/// What the `config.json` of a sequence classifier says: `LlamaForSequenceClassification` and the like of the other
/// families.
package struct ClassifierConfiguration: Sendable, Equatable {
    /// The transformer below the head. It counts as tied: a classifier has no language-model head.
    package let trunk: ModelConfiguration
    /// Names of the labels in order (`id2label`); `nil` when the file names none.
    package let labels: [String]?
    /// Whether the classifier was trained here, on texts that end with the token that ends a completion
    /// (`plumbline_add_eos`).
    package let expectsEndToken: Bool

    /// Reads the members of a `config.json`.
    ///
    /// - Throws: ``ModelError/configuration(path:problems:)`` when `architectures` names no sequence classifier of a
    ///   known family, or with everything that is wrong with the transformer.
    package init(members: [String: JSONValue], path: String = "config.json") throws(ModelError) {
        var reader = ConfigurationReader(members)
        let names = members["architectures"]?.elements?.compactMap(\.text) ?? []
        guard let family = ModelFamily.allCases.first(where: { names == [$0.classifierArchitecture] }) else {
            let known = ModelFamily.allCases.map(\.classifierArchitecture).joined(separator: ", ")
            reader.note(
                "architectures", members["architectures"] ?? .string("missing"),
                "a sequence classifier, one of \(known)")
            throw reader.failure(path: path)
        }
        labels = reader.labels()
        expectsEndToken = members["plumbline_add_eos"] == .bool(true)
        try reader.throwIfAny(path: path)
        let asLanguageModel: [String: JSONValue] = [
            "architectures": .array([.string(family.architecture)]), "tie_word_embeddings": .bool(true),
        ]
        trunk = try ModelConfiguration(members: members.merging(asLanguageModel) { $1 }, path: path)
    }

    /// The `config.json` of a classifier on a trunk.
    static func json(of trunk: ModelConfiguration, labels: [String], expectsEndToken: Bool = true) -> String {
        var members = trunk.members
        members["architectures"] = .array([.string(trunk.family.classifierArchitecture)])
        members["id2label"] = .object(
            sorting: Dictionary(uniqueKeysWithValues: labels.enumerated().map { ("\($0)", JSONValue.string($1)) }))
        // Of labels with one name, which transformers takes too, the last has it.
        members["label2id"] = .object(
            sorting: Dictionary(labels.enumerated().map { ($1, JSONValue.number($0)) }) { _, last in last })
        members["tie_word_embeddings"] = .bool(false)
        members["plumbline_add_eos"] = .bool(expectsEndToken)
        return ConfigurationText.text(members)
    }

    /// Reads the `config.json` of a folder. An adapter may have none: then it is its base's, a language model's,
    /// without labels.
    ///
    /// - Throws: As ``init(members:path:)``; ``ModelError/file(path:message:)`` when there is none or it is no JSON.
    package init(folder: URL) throws(ModelError) {
        guard try ModelFolder.gguf(folder) == nil else {
            throw .file(
                path: folder.path(percentEncoded: false),
                message: "is a GGUF file, which holds a language model; expected the folder of a sequence classifier")
        }
        let file = folder.appending(path: ModelFolder.configurationFile)
        let path = file.path(percentEncoded: false)
        if let adapter = try AdapterFolder(folder), adapter.isClassifier,
            !FileManager.default.fileExists(atPath: path)
        {
            let base = adapter.base.appending(path: ModelFolder.configurationFile)
            let text = try ModelFolder.text(of: base)
            let members = try ConfigurationText.members(of: text, path: base.path(percentEncoded: false))
            // A language model's as that of the classifier that peft makes of it: its own labels, if any, are not the
            // adapter's.
            let family = ModelFamily.allCases.first { members["architectures"] == .array([.string($0.architecture)]) }
            let isModel: [String: JSONValue] =
                family.map { ["architectures": .array([.string($0.classifierArchitecture)]), "id2label": .null] } ?? [:]
            try self.init(members: members.merging(isModel) { $1 }, path: base.path(percentEncoded: false))
            return
        }
        try self.init(members: ConfigurationText.members(of: ModelFolder.text(of: file), path: path), path: path)
    }
}

extension ModelFamily {
    /// The class name of the family's sequence classifiers.
    var classifierArchitecture: String { architecture.replacing("ForCausalLM", with: "ForSequenceClassification") }
}

extension ConfigurationReader {
    /// `id2label` as a list: its keys are the numbers from 0.
    fileprivate mutating func labels() -> [String]? {
        guard let value = value("id2label") else { return nil }
        let names = (0..<(value.members ?? []).count).map { value["\($0)"]?.text }
        guard !names.isEmpty, names.allSatisfy({ $0 != nil }) else {
            note("id2label", value, "an object that maps \"0\", \"1\", … to names")
            return nil
        }
        return names.compactMap(\.self)
    }
}
