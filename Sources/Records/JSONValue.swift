/// A JSON value: what a column of a prompt row holds, and what a reward may attach to a score.
///
/// Objects keep no order of their keys. Numbers are `Double`, as in most JSON readers; integers up to 2^53 are exact.
public enum JSONValue: Sendable, Equatable, Hashable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// The number held, or read from a string such as `"42"`; `nil` for anything else.
    public var number: Double? {
        switch self {
        case .number(let value): value
        case .string(let text): Double(text)
        default: nil
        }
    }

    /// The text held; a number or a truth value is written out; `nil` for null, arrays and objects.
    public var text: String? {
        switch self {
        case .string(let text): text
        case .number(let value): JSONValue.written(value)
        case .bool(let value): value ? "true" : "false"
        default: nil
        }
    }

    /// The elements of an array; `nil` for anything else.
    public var elements: [JSONValue]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    /// The member of an object under `key`; `nil` when there is none or this is no object.
    public subscript(key: String) -> JSONValue? {
        if case .object(let members) = self { members[key] } else { nil }
    }

    /// A number as people write it: whole numbers without a fraction.
    static func written(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    }
}

extension JSONValue: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {  // tries the next form: a mismatch is no failure here
            self = .bool(value)
        } else if let value = try? container.decode(Double.self) {  // as above
            self = .number(value)
        } else if let value = try? container.decode(String.self) {  // as above
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {  // as above
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .number(let value): try Self.encode(value, in: &container)
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }

    private static func encode(_ value: Double, in container: inout some SingleValueEncodingContainer) throws {
        if !value.isFinite {
            try container.encodeNil()  // JSON has no such number
        } else if let whole = Int64(exactly: value) {
            try container.encode(whole)
        } else {
            try container.encode(value)
        }
    }
}
