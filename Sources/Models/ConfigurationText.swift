import JSON

/// The JSON files of a model folder, as transformers writes them: keys sorted, two spaces.
///
/// A number is written back as it was spelled: `1.0` stays `1.0`, because strict readers refuse a whole number where
/// they expect a fraction.
enum ConfigurationText {
    /// The members of a JSON object.
    static func members(of text: String, path: String) throws(ModelError) -> [String: JSONValue] {
        let value: JSONValue
        do {
            value = try JSONValue(parsing: text)
        } catch {
            throw .file(path: path, message: "no valid JSON: \(error)")
        }
        guard let members = value.dictionary else {
            throw .file(path: path, message: "expected a JSON object, found \(value.kind)")
        }
        return members
    }

    /// The members as text, ending in a line break.
    static func text(_ members: [String: JSONValue]) -> String {
        JSONValue.object(sorting: members).serialized(.sorted) + "\n"
    }
}
