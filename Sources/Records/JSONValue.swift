/// A JSON value: what a column of a prompt row holds, and what a reward may attach to a score.
///
/// Objects keep no order of their keys. A number is a `Double`, except for a whole number too long for one: ``number`` and
/// ``integer`` read both.
public enum JSONValue: Sendable {
    case null
    case bool(Bool)
    case number(Double)
    /// A whole number written as one, from 2^53 on in size, where not every whole number is a `Double`.
    case integer(Int128)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// The number held, or read from a string such as `"42"`; `nil` for anything else. The nearest one from 2^53 on.
    public var number: Double? {
        if case .string(let text) = self { Double(text) } else { double }
    }

    /// The whole number held, or read from a string such as `"42"`, to the digit; `nil` for anything else.
    public var integer: Int? {
        switch self {
        case .integer(let value): Int(exactly: value)
        case .string(let text): Int(text) ?? Double(text).flatMap(Int.init(exactly:))
        default: double.flatMap(Int.init(exactly:))
        }
    }

    /// The number held, the nearest one from 2^53 on; `nil` for anything else, a string included.
    package var double: Double? {
        switch self {
        case .number(let value): value
        case .integer(let value): Double(value)
        default: nil
        }
    }

    /// The text held; a number or a truth value is written out; `nil` for null, arrays and objects.
    public var text: String? {
        switch self {
        case .string(let text): text
        case .number(let value): JSONValue.written(value)
        case .integer(let value): String(value)
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
        value == value.rounded() && abs(value) < 0x1p53 ? String(Int64(value)) : String(value)
    }
}

extension JSONValue: Hashable {
    /// Numbers are equal when their values are, however they were written.
    public static func == (left: Self, right: Self) -> Bool {
        switch (left, right) {
        case (.null, .null): true
        case (.bool(let a), .bool(let b)): a == b
        case (.number(let a), .number(let b)): a == b
        case (.integer(let a), .integer(let b)): a == b
        case (.number(let a), .integer(let b)), (.integer(let b), .number(let a)): Int128(exactly: a) == b
        case (.string(let a), .string(let b)): a == b
        case (.array(let a), .array(let b)): a == b
        case (.object(let a), .object(let b)): a == b
        default: false
        }
    }

    public func hash(into hasher: inout Hasher) {
        switch self {
        case .null: hasher.combine(0)
        case .bool(let value): hasher.combine(value)
        case .number, .integer: hasher.combine(double)
        case .string(let value): hasher.combine(value)
        case .array(let value): hasher.combine(value)
        case .object(let value): hasher.combine(value)
        }
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
            let whole = abs(value) < 0x1p53 ? nil : try? container.decode(Int128.self)  // as above
            self = whole.map(Self.integer) ?? .number(value)
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
        case .integer(let value): try container.encode(value)
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
