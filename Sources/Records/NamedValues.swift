package import JSON

/// A line of a section whose names are the user's own: a renaming of `column_map:`, a variable of
/// `chat_template_kwargs:`.
package struct NamedValue: Sendable, Equatable {
    package var name: String
    package var value: JSONValue

    package init(name: String, value: JSONValue) {
        self.name = name
        self.value = value
    }
}

/// A section of names and plain values.
package struct NamedValues: SettingsValue {
    package var values: [NamedValue]

    package init(values: [NamedValue] = []) { self.values = values }

    package static var expectation: String { "a section of 'name: value' lines" }

    package static func read(_ node: SettingsNode) -> NamedValues? {
        switch node.content {
        case .null: NamedValues()
        case .map(let members): NamedValues(values: members.map { NamedValue(name: $0.key, value: $0.node.json) })
        case .scalar, .list: nil
        }
    }

    package var yaml: String { "{" + values.map { "\($0.name.yaml): \($0.value.yaml)" }.joined(separator: ", ") + "}" }
}
