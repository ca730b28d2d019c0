/// A JSON document as it was written: members keep their order, and keys are told apart byte by byte.
///
/// Foundation's reader folds keys that Unicode calls equivalent (an `é` of one scalar or of two), and a vocabulary
/// holds both.
enum JSONValue: Sendable {
    case null
    case bool(Bool)
    /// Written without fraction and exponent.
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([(key: String, value: JSONValue)])

    /// A few words for an error message.
    var summary: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): "\"\(value.prefix(80))\""
        case .array(let items): "an array of \(items.count)"
        case .object(let members): "an object of \(members.count)"
        }
    }
}

/// A value together with the file and path it stands at, so that every complaint can name its place.
struct JSONNode: Sendable {
    let value: JSONValue
    let file: String
    let path: String

    func error(expected: String) -> TokenizerError {
        TokenizerError(file: file, key: path, found: value.summary, expected: expected)
    }

    var isNull: Bool { if case .null = value { true } else { false } }

    /// The member `key`; nil when it is absent or null.
    func optional(_ key: String) throws(TokenizerError) -> JSONNode? {
        for (name, value) in try members() where name.utf8.elementsEqual(key.utf8) {
            if case .null = value { return nil }
            return child(key, value)
        }
        return nil
    }

    /// The member `key`, which must be there.
    ///
    /// - Parameter expected: What the member is, for the message when it is absent or null.
    func required(_ key: String, expected: String = "a value") throws(TokenizerError) -> JSONNode {
        guard let node = try optional(key) else {
            throw TokenizerError(
                file: file, key: path.isEmpty ? key : "\(path).\(key)", found: "nothing", expected: expected)
        }
        return node
    }

    func members() throws(TokenizerError) -> [(key: String, value: JSONValue)] {
        guard case .object(let members) = value else { throw error(expected: "an object") }
        return members
    }

    func items() throws(TokenizerError) -> [JSONNode] {
        guard case .array(let items) = value else { throw error(expected: "an array") }
        return items.enumerated().map { JSONNode(value: $1, file: file, path: "\(path)[\($0)]") }
    }

    func string() throws(TokenizerError) -> String {
        guard case .string(let text) = value else { throw error(expected: "a string") }
        return text
    }

    func bool() throws(TokenizerError) -> Bool {
        guard case .bool(let flag) = value else { throw error(expected: "true or false") }
        return flag
    }

    func integer(in range: ClosedRange<Int>) throws(TokenizerError) -> Int {
        guard case .integer(let whole) = value, range.contains(whole) else {
            throw error(expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return whole
    }

    func bool(_ key: String, default fallback: Bool) throws(TokenizerError) -> Bool {
        guard let node = try optional(key) else { return fallback }
        return try node.bool()
    }

    /// Refuses a member that is not in `known`, so that a setting we would ignore is never ignored silently.
    func requireKeys(_ known: [String]) throws(TokenizerError) {
        for (key, value) in try members() where !known.contains(key) {
            throw TokenizerError(
                file: file, key: path.isEmpty ? key : "\(path).\(key)", found: value.summary,
                expected: "no such key; known are \(known.joined(separator: ", "))")
        }
    }

    private func child(_ key: String, _ value: JSONValue) -> JSONNode {
        JSONNode(value: value, file: file, path: path.isEmpty ? key : "\(path).\(key)")
    }
}
