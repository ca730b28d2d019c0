package import Foundation
package import JSON

/// What the `config.json` of a sequence classifier says: `LlamaForSequenceClassification` and the like of the other families.
package struct ClassifierConfiguration: Sendable, Equatable {
    /// The transformer below the head. It counts as tied: a classifier has no language-model head.
    package let trunk: ModelConfiguration
    /// Names of the labels in order (`id2label`); `nil` when the file names none.
    package let labels: [String]?

    /// Reads the members of a `config.json`.
    ///
    /// - Throws: ``ModelError/configuration(path:problems:)`` when `architectures` names no sequence classifier of a known family,
    ///   or with everything that is wrong with the transformer.
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
        try reader.throwIfAny(path: path)
        let asLanguageModel: [String: JSONValue] = [
            "architectures": .array([.string(family.architecture)]), "tie_word_embeddings": .bool(true),
        ]
        trunk = try ModelConfiguration(members: members.merging(asLanguageModel) { $1 }, path: path)
    }

    /// Reads the `config.json` of a folder.
    ///
    /// - Throws: As ``init(members:path:)``; ``ModelError/file(path:message:)`` when there is none or it is no JSON.
    package init(folder: URL) throws(ModelError) {
        let file = folder.appending(path: ModelFolder.configurationFile)
        let path = file.path(percentEncoded: false)
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
