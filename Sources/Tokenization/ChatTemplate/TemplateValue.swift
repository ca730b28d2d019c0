/// A value handed to a chat template: what JSON can say, with the order of members kept.
package enum TemplateValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int)
    case double(Double)
    case string(String)
    case array([TemplateValue])
    case object([TemplateMember])
}

extension TemplateValue {
    /// Reads JSON, members in their order; a number without fraction and exponent is an integer.
    ///
    /// - Parameter file: the name an error gives to the text.
    package init(json: some Sequence<UInt8>, file: String) throws(TokenizerError) {
        self.init(try JSONReader.read(Array(json), file: file).value)
    }

    init(_ value: JSONValue) {
        switch value {
        case .null: self = .null
        case .bool(let flag): self = .bool(flag)
        case .integer(let number): self = .integer(number)
        case .number(let number): self = .double(number)
        case .string(let text): self = .string(text)
        case .array(let items): self = .array(items.map(TemplateValue.init))
        case .object(let members): self = .object(members.map { TemplateMember($0.key, TemplateValue($0.value)) })
        }
    }
}

/// One member of a ``TemplateValue/object(_:)``.
package struct TemplateMember: Sendable, Equatable {
    package let key: String
    package let value: TemplateValue

    package init(_ key: String, _ value: TemplateValue) {
        self.key = key
        self.value = value
    }
}

/// One message of a chat, as its prompt row wrote it.
package struct ChatMessage: Sendable, Equatable {
    /// `role`, `content` and whatever else the template reads, such as `tool_calls`, in the order of the row.
    package let members: [TemplateMember]

    package init(role: String, content: String) {
        members = [TemplateMember("role", .string(role)), TemplateMember("content", .string(content))]
    }

    package init(members: [TemplateMember]) { self.members = members }
}
