/// A JSON value with the members of its objects in the order of the text.
///
/// What files of a run are written from, and what lines of prompt files are read into. A number is a `Double`, except for a
/// whole number too long for one.
package enum JSON: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(Double)
    /// A whole number from 2^53 on in size, where not every whole number is a `Double`; see ``whole(_:)``.
    case integer(Int128)
    case string(String)
    case array([JSON])
    case object([Member])

    /// One key of an object with its value.
    package struct Member: Sendable, Equatable {
        package var key: String
        package var value: JSON

        package init(_ key: String, _ value: JSON) {
            self.key = key
            self.value = value
        }
    }

    /// Reads a whole text.
    ///
    /// - Parameter firstLine: The line number errors count from, for a text that is a line of a larger file.
    /// - Throws: ``JSONError`` with line and column. Strict: no comments, no trailing commas, no `NaN`, no key twice in an
    ///   object, valid UTF-8, at most 256 levels deep.
    package init(parsing bytes: [UInt8], firstLine: Int = 1) throws(JSONError) {
        var failure: JSONError?
        let value: JSON? = bytes.withUnsafeBufferPointer { buffer in
            var parser = JSONParser(bytes: buffer, firstLine: firstLine)
            do throws(JSONError) {
                return try parser.document()
            } catch {
                failure = error
                return nil
            }
        }
        guard let value else { throw failure ?? JSONError(line: firstLine, column: 1, message: "cannot be read") }
        self = value
    }

    package init(parsing text: String) throws(JSONError) { try self.init(parsing: Array(text.utf8)) }

    /// An object from keys and values in order.
    package static func object(_ members: KeyValuePairs<String, JSON>) -> JSON {
        .object(members.map { Member($0.key, $0.value) })
    }

    package static func number(_ value: Int) -> JSON { .whole(Int128(value)) }

    /// A whole number, to the digit.
    package static func whole(_ value: Int128) -> JSON {
        value.magnitude < 1 << 53 ? .number(Double(value)) : .integer(value)
    }

    /// The member of an object under `key`; `nil` when there is none or this is no object.
    package subscript(key: String) -> JSON? { members?.first { $0.key == key }?.value }

    package var members: [Member]? { if case .object(let members) = self { members } else { nil } }
    package var elements: [JSON]? { if case .array(let elements) = self { elements } else { nil } }
    package var text: String? { if case .string(let text) = self { text } else { nil } }
    /// The number, the nearest one from 2^53 on.
    package var double: Double? {
        switch self {
        case .number(let value): value
        case .integer(let value): Double(value)
        default: nil
        }
    }
    /// The number when it is whole and fits.
    package var integer: Int? {
        if case .integer(let value) = self { Int(exactly: value) } else { double.flatMap { Int(exactly: $0) } }
    }

    /// What messages call the value: `a text`, `a number`, `null` ...
    package var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a truth value"
        case .number, .integer: "a number"
        case .string: "a text"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByFloatLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(floatLiteral value: Double) { self = .number(value) }
    package init(integerLiteral value: Int) { self = .number(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(arrayLiteral elements: JSON...) { self = .array(elements) }
}

/// Where and why a text is no JSON.
package struct JSONError: Error, Equatable, CustomStringConvertible {
    /// From 1.
    package let line: Int
    /// In characters (Unicode scalars) of the line, from 1.
    package let column: Int
    package let message: String

    package init(line: Int, column: Int, message: String) {
        self.line = line
        self.column = column
        self.message = message
    }

    package var description: String { "line \(line), column \(column): \(message)" }
}
