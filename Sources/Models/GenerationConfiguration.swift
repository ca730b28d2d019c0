package import JSON

/// What a model folder's `generation_config.json` says; only the ids that end a completion have an effect here, the rest
/// is written back.
package struct GenerationConfiguration: Sendable, Equatable {
    package let members: [String: JSONValue]
    /// Ids that end a completion; `nil` when the file does not say.
    package let endTokenIDs: [Int]?

    /// - Throws: ``ModelError/configuration(path:problems:)`` when a token id is none.
    package init(members: [String: JSONValue], path: String = "generation_config.json") throws(ModelError) {
        var reader = ConfigurationReader(members)
        self.members = members
        endTokenIDs = members["eos_token_id"] == nil ? nil : reader.tokenIDs("eos_token_id", absent: [])
        for name in ["bos_token_id", "pad_token_id"] { _ = reader.tokenIDs(name, absent: []) }
        try reader.throwIfAny(path: path)
    }

    /// What transformers would write for a model that has no such file.
    package init(for configuration: ModelConfiguration) {
        func ids(_ ids: [Int]) -> JSONValue {
            ids.count == 1 ? .number(ids[0]) : .array(ids.map { .number($0) })
        }
        let begin = configuration.beginTokenID.map { [$0] } ?? []
        let padding = configuration.paddingTokenID.map { [$0] } ?? []
        let stated = [("bos_token_id", begin), ("eos_token_id", configuration.endTokenIDs), ("pad_token_id", padding)]
        members = Dictionary(uniqueKeysWithValues: stated.filter { !$0.1.isEmpty }.map { ($0.0, ids($0.1)) })
            .merging(["_from_model_config": .bool(true)]) { $1 }
        endTokenIDs = configuration.endTokenIDs
    }

    /// The text of the file, keys sorted.
    package var json: String { ConfigurationText.text(members) }
}
