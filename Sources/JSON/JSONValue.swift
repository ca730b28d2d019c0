/// A JSON value (RFC 8259) as it was written: members keep their order, numbers their spelling, texts their bytes.
///
/// What files are read into and written from, what a column of a prompt row holds, and what a reward may attach to a
/// score.
///
/// ``number``, ``integer`` and ``text`` read a value as rewards want it, a number in quotes included; ``double``,
/// ``int``, ``string`` and ``bool`` give what is there and nothing else.
public enum JSONValue: Sendable {
    case null
    case bool(Bool)
    case number(JSONNumber)
    case string(String)
    case array([JSONValue])
    case object([Member])

    /// One key of an object with its value.
    public struct Member: Sendable, Hashable {
        public var key: String
        public var value: JSONValue

        public init(_ key: String, _ value: JSONValue) {
            self.key = key
            self.value = value
        }
    }
}

// MARK: - Making one

extension JSONValue {
    /// An object from keys and values in order.
    public static func object(_ members: KeyValuePairs<String, JSONValue>) -> JSONValue {
        .object(members.map { Member($0.key, $0.value) })
    }

    /// An object from a dictionary, in the order of its keys.
    public static func object(sorting members: [String: JSONValue]) -> JSONValue {
        .object(members.sorted { $0.key < $1.key }.map { Member($0.key, $0.value) })
    }

    /// A number; null for what is not finite, which JSON cannot say.
    public static func number(_ value: Double) -> JSONValue { JSONNumber(value).map(JSONValue.number) ?? .null }

    /// A number with a point or an exponent always, such as `1.0`; null for what is not finite.
    public static func fraction(_ value: Double) -> JSONValue {
        JSONNumber(fraction: value).map(JSONValue.number) ?? .null
    }

    /// A whole number, to the digit.
    public static func number(_ value: some BinaryInteger) -> JSONValue { .number(JSONNumber(value)) }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByFloatLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(floatLiteral value: Double) { self = .number(value) }
    public init(integerLiteral value: Int) { self = .number(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
}

// MARK: - What is there

extension JSONValue {
    /// The number held, the nearest `Double`; `nil` for anything else, a text included.
    public var double: Double? { if case .number(let number) = self { number.double } else { nil } }

    /// The number held, when it is whole and fits; `nil` for anything else, a text included.
    public var int: Int? { if case .number(let number) = self { number.int } else { nil } }

    /// The text held; `nil` for anything else.
    public var string: String? { if case .string(let text) = self { text } else { nil } }

    /// The truth value held; `nil` for anything else.
    public var bool: Bool? { if case .bool(let flag) = self { flag } else { nil } }

    /// The elements of an array; `nil` for anything else.
    public var elements: [JSONValue]? { if case .array(let elements) = self { elements } else { nil } }

    /// The members of an object, in order; `nil` for anything else.
    public var members: [Member]? { if case .object(let members) = self { members } else { nil } }

    /// The members of an object by their keys; `nil` for anything else.
    public var dictionary: [String: JSONValue]? { members.map { Dictionary($0.map { ($0.key, $0.value) }) { $1 } } }

    /// The member of an object under `key`; `nil` when there is none or this is no object.
    public subscript(key: String) -> JSONValue? { members?.first { $0.key.isSpelled(key) }?.value }

    /// What messages call the value: `a text`, `a number`, `null` ...
    public var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a truth value"
        case .number: "a number"
        case .string: "a text"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

// MARK: - As rewards read it

extension JSONValue {
    /// The number held, or read from a text such as `"42"`, the nearest `Double`; `nil` for anything else.
    public var number: Double? { if case .string(let text) = self { Double(text) } else { double } }

    /// The whole number held, or read from a text such as `"42"`, to the digit; `nil` for anything else.
    public var integer: Int? {
        if case .string(let text) = self { Int(text) ?? Double(text).flatMap(Int.init(exactly:)) } else { int }
    }

    /// The text held; a number is written out (`4.0` as `4`), and a truth value; `nil` for null, arrays and objects.
    public var text: String? {
        switch self {
        case .string(let text): text
        case .number(let number): number.isWrittenWhole ? number.text : JSONNumber(number.double)?.text
        case .bool(let value): value ? "true" : "false"
        default: nil
        }
    }
}

// MARK: - Equality

extension JSONValue: Hashable {
    /// Numbers are equal when their values are, however they were written; objects when they have equal members, in
    /// whatever order.
    public static func == (left: Self, right: Self) -> Bool {
        switch (left, right) {
        case (.null, .null): true
        case (.bool(let a), .bool(let b)): a == b
        case (.number(let a), .number(let b)): a == b
        case (.string(let a), .string(let b)): a == b
        case (.array(let a), .array(let b)): a == b
        case (.object(let a), .object(let b)):
            a.count == b.count && (zip(a, b).allSatisfy { $0 == $1 } || Set(a) == Set(b))
        default: false
        }
    }

    public func hash(into hasher: inout Hasher) {
        switch self {
        case .null: hasher.combine(0)
        case .bool(let value): hasher.combine(value)
        case .number(let value): hasher.combine(value)
        case .string(let value): hasher.combine(value)
        case .array(let value): hasher.combine(value)
        case .object(let value): hasher.combine(Set(value))
        }
    }
}

extension String {
    /// Whether two texts are the same bytes. `==` also takes an `é` of one scalar for one of two, and a vocabulary
    /// holds both.
    func isSpelled(_ other: String) -> Bool { self == other && utf8.elementsEqual(other.utf8) }
}
