import JSON

/// A value while a template is rendered, with Python's meaning of truth, equality and text.
enum JinjaValue {
    /// A name or member that is not there, with its name for the error message.
    case undefined(String)
    case null
    case bool(Bool)
    case integer(Int)
    case double(Double)
    case string(String)
    case list([JinjaValue], isTuple: Bool = false)
    case object([(key: String, value: JinjaValue)])
    case namespace(JinjaNamespace)
    case loop(JinjaLoop)
    case function(JinjaFunction)

    /// A number without fraction and exponent is an integer; one too long for that its text, which prints as Python
    /// would print it.
    init(_ value: JSONValue) {
        switch value {
        case .null: self = .null
        case .bool(let flag): self = .bool(flag)
        case .number(let number) where number.isWrittenWhole:
            self = number.int.map(Self.integer) ?? .string(number.text)
        case .number(let number): self = .double(number.double)
        case .string(let text): self = .string(text)
        case .array(let items): self = .list(items.map { JinjaValue($0) })
        case .object(let members): self = .object(members.map { ($0.key, JinjaValue($0.value)) })
        }
    }

    /// The value as JSON; `nil` when it is none, or holds something that is none.
    var json: JSONValue? {
        switch self {
        case .null: return .null
        case .bool(let flag): return .bool(flag)
        case .integer(let number): return .number(number)
        case .double(let number): return .number(JSONNumber(python: number))
        case .string(let text): return .string(text)
        case .list(let items, _):
            let parts = items.compactMap(\.json)
            return parts.count == items.count ? .array(parts) : nil
        case .object(let members):
            let parts = members.compactMap { member in member.value.json.map { JSONValue.Member(member.key, $0) } }
            return parts.count == members.count ? .object(parts) : nil
        case .undefined, .namespace, .loop, .function: return nil
        }
    }

    var typeName: String {
        switch self {
        case .undefined(let name): "undefined \"\(name)\""
        case .null: "none"
        case .bool: "a boolean"
        case .integer: "an integer"
        case .double: "a float"
        case .string: "a string"
        case .list(_, let isTuple): isTuple ? "a tuple" : "a list"
        case .object: "a mapping"
        case .namespace: "a namespace"
        case .loop: "the loop"
        case .function: "a function"
        }
    }

    var isTrue: Bool {
        switch self {
        case .undefined, .null: false
        case .bool(let flag): flag
        case .integer(let number): number != 0
        case .double(let number): number != 0
        case .string(let text): !text.isEmpty
        case .list(let items, _): !items.isEmpty
        case .object(let members): !members.isEmpty
        case .namespace, .loop, .function: true
        }
    }

    /// A number, a boolean counting as 0 or 1.
    var number: Double? {
        switch self {
        case .bool(let flag): flag ? 1 : 0
        case .integer(let number): Double(number)
        case .double(let number): number
        default: nil
        }
    }

    var whole: Int? {
        switch self {
        case .bool(let flag): flag ? 1 : 0
        case .integer(let number): number
        default: nil
        }
    }

    var text: String? { if case .string(let text) = self { text } else { nil } }

    func member(_ key: String) -> JinjaValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key.utf8.elementsEqual(key.utf8) }?.value
    }

    func isEqual(to other: JinjaValue) -> Bool {
        if let left = whole, let right = other.whole { return left == right }
        if let left = number, let right = other.number { return left == right }
        switch (self, other) {
        case (.undefined, .undefined), (.null, .null): return true
        case (.string(let left), .string(let right)): return left.utf8.elementsEqual(right.utf8)
        case (.list(let left, let isTuple), .list(let right, let otherIsTuple)):
            return isTuple == otherIsTuple && left.count == right.count
                && zip(left, right).allSatisfy { $0.isEqual(to: $1) }
        case (.object(let left), .object(let right)):
            return left.count == right.count
                && left.allSatisfy { member in other.member(member.key)?.isEqual(to: member.value) ?? false }
        case (.namespace(let left), .namespace(let right)): return left === right
        default: return false
        }
    }

    /// As `{{ value }}` prints it: Python's `str`.
    var printed: String {
        switch self {
        case .undefined: ""
        case .string(let text): text
        default: represented
        }
    }

    /// Python's `repr`.
    var represented: String {
        switch self {
        case .undefined: "Undefined"
        case .null: "None"
        case .bool(let flag): flag ? "True" : "False"
        case .integer(let number): "\(number)"
        case .double(let number): Self.represented(number)
        case .string(let text): Self.represented(text)
        case .list(let items, let isTuple):
            isTuple
                ? "(" + items.map(\.represented).joined(separator: ", ") + (items.count == 1 ? ",)" : ")")
                : "[" + items.map(\.represented).joined(separator: ", ") + "]"
        case .object(let members):
            "{" + members.map { "\(Self.represented($0.key)): \($0.value.represented)" }.joined(separator: ", ") + "}"
        case .namespace, .loop, .function: "<\(typeName)>"
        }
    }

    static func represented(_ number: Double) -> String {
        if number.isNaN { return "nan" }
        if number.isInfinite { return number < 0 ? "-inf" : "inf" }
        return JSONNumber(python: number).text
    }

    private static func represented(_ text: String) -> String {
        let quote: Unicode.Scalar =
            text.unicodeScalars.contains("'") && !text.unicodeScalars.contains("\"") ? "\"" : "'"
        var result = String.UnicodeScalarView([quote])
        for scalar in text.unicodeScalars {
            switch scalar {
            case quote, "\\": result += ["\\", scalar]
            case "\n": result += ["\\", "n"]
            case "\r": result += ["\\", "r"]
            case "\t": result += ["\\", "t"]
            case "\u{0}"..<" ", "\u{7F}"..."\u{A0}", "\u{AD}": result += "\\x\(padded(scalar.value, 2))".unicodeScalars
            default: result.append(scalar)
            }
        }
        result.append(quote)
        return String(result)
    }

    /// A code in hexadecimal with at least `width` digits.
    static func padded(_ code: UInt32, _ width: Int) -> String {
        let digits = String(code, radix: 16)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}

/// What `namespace()` makes: members that a loop may set from inside.
final class JinjaNamespace {
    var members: [(key: String, value: JinjaValue)]

    init(_ members: [(key: String, value: JinjaValue)]) { self.members = members }

    func letGo() { members = [] }

    func set(_ key: String, _ value: JinjaValue) {
        if let index = members.firstIndex(where: { $0.key == key }) {
            members[index].value = value
        } else {
            members.append((key, value))
        }
    }
}

/// The `loop` of a `for`.
final class JinjaLoop {
    private(set) var items: [JinjaValue]
    var index = 0

    init(items: [JinjaValue]) { self.items = items }

    func letGo() { items = [] }

    func member(_ name: String) -> JinjaValue {
        switch name {
        case "index": .integer(index + 1)
        case "index0": .integer(index)
        case "revindex": .integer(items.count - index)
        case "revindex0": .integer(items.count - index - 1)
        case "first": .bool(index == 0)
        case "last": .bool(index == items.count - 1)
        case "length": .integer(items.count)
        // Jinja counts recursion of one loop here, not loops inside each other, and recursion is not built.
        case "depth": .integer(1)
        case "depth0": .integer(0)
        case "previtem": index > 0 ? items[index - 1] : .undefined("loop.previtem")
        case "nextitem": index + 1 < items.count ? items[index + 1] : .undefined("loop.nextitem")
        case "cycle": .function(.cycle(self))
        default: .undefined("loop.\(name)")
        }
    }
}

/// What a template can call.
indirect enum JinjaFunction {
    case builtin(String)
    case macro(JinjaMacro, JinjaScope)
    case method(JinjaValue, String)
    case cycle(JinjaLoop)
}

/// Names of one block, and the blocks around it.
final class JinjaScope {
    var values: [String: JinjaValue] = [:]
    let parent: JinjaScope?

    init(parent: JinjaScope?) { self.parent = parent }

    func letGo() { values = [:] }

    func find(_ name: String) -> JinjaValue? {
        var scope: JinjaScope? = self
        while let here = scope {
            if let value = here.values[name] { return value }
            scope = here.parent
        }
        return nil
    }
}
