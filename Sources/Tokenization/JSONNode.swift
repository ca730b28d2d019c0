import JSON

extension JSONValue {
    /// A few words for an error message.
    var summary: String {
        switch self {
        case .array(let items): "an array of \(items.count)"
        case .object(let members): "an object of \(members.count)"
        case .string(let text): JSONValue.string(String(text.prefix(80))).serialized
        default: serialized
        }
    }
}

/// A value together with the file and path it stands at, so that every complaint can name both.
struct JSONNode: Sendable {
    let value: JSONValue
    let file: String
    let path: String

    /// Reads a file.
    init(_ bytes: some Sequence<UInt8>, file: String) throws(TokenizerError) {
        do throws(JSONError) {
            self.init(value: try JSONValue(parsing: bytes), file: file, path: "")
        } catch {
            throw TokenizerError(file: file, error)
        }
    }

    init(value: JSONValue, file: String, path: String) {
        self.value = value
        self.file = file
        self.path = path
    }

    func error(expected: String) -> TokenizerError {
        TokenizerError(file: file, key: path, found: value.summary, expected: expected)
    }

    var isNull: Bool { if case .null = value { true } else { false } }

    /// The member `key`; nil when it is absent or null.
    func optional(_ key: String) throws(TokenizerError) -> JSONNode? {
        guard let value = try object()[key], value != .null else { return nil }
        return child(key, value)
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

    func members() throws(TokenizerError) -> [JSONValue.Member] { try object().members ?? [] }

    private func object() throws(TokenizerError) -> JSONValue {
        guard case .object = value else { throw error(expected: "an object") }
        return value
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
        guard let whole = value.int, range.contains(whole) else {
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
        for member in try members() where !known.contains(member.key) {
            let (key, value) = (member.key, member.value)
            throw TokenizerError(
                file: file, key: path.isEmpty ? key : "\(path).\(key)", found: value.summary,
                expected: "no such key; known are \(known.joined(separator: ", "))")
        }
    }

    private func child(_ key: String, _ value: JSONValue) -> JSONNode {
        JSONNode(value: value, file: file, path: path.isEmpty ? key : "\(path).\(key)")
    }
}
