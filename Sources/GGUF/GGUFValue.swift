/// A value of a GGUF file's metadata.
package enum GGUFValue: Sendable, Equatable {
    /// An integer of any of the file's eight widths.
    case integer(Int)
    case float(Float)
    case double(Double)
    case bool(Bool)
    case string(String)
    case strings([String])
    case integers([Int])
    case floats([Float])
    /// An array of anything else: truth values, doubles, arrays.
    case list([GGUFValue])

    /// What messages call it.
    package var kind: String {
        switch self {
        case .integer(let value): "\(value)"
        case .float(let value): "\(value)"
        case .double(let value): "\(value)"
        case .bool(let value): "\(value)"
        case .string(let text): "\"\(text.prefix(80))\""
        case .strings(let elements): "an array of \(elements.count) texts"
        case .integers(let elements): "an array of \(elements.count) whole numbers"
        case .floats(let elements): "an array of \(elements.count) numbers"
        case .list(let elements): "an array of \(elements.count)"
        }
    }
}

/// What is wrong with a GGUF file, in the terms of whoever supplied it.
package struct GGUFError: Error, Sendable, Equatable, CustomStringConvertible {
    package let path: String
    /// What was found, where, and what would be right.
    package let message: String

    package init(path: String, message: String) {
        self.path = path
        self.message = message
    }

    package var description: String { "\(path): \(message)" }
}

/// The metadata of a GGUF file: keys with typed values.
package struct GGUFMetadata: Sendable {
    /// The file, for messages.
    package let path: String
    private let values: [String: GGUFValue]

    package init(path: String, values: [String: GGUFValue]) {
        self.path = path
        self.values = values
    }

    /// Every key, sorted.
    package var keys: [String] { values.keys.sorted() }

    /// The value under a key, whatever it is.
    package subscript(key: String) -> GGUFValue? { values[key] }

    /// The text under a key; `nil` when the file has no such key.
    ///
    /// - Throws: ``GGUFError`` for a value of another kind, as do the ones below.
    package func string(_ key: String) throws(GGUFError) -> String? {
        try read(key, "a text") { if case .string(let text) = $0 { text } else { nil } }
    }

    package func integer(_ key: String) throws(GGUFError) -> Int? {
        try read(key, "a whole number") { if case .integer(let value) = $0 { value } else { nil } }
    }

    package func bool(_ key: String) throws(GGUFError) -> Bool? {
        try read(key, "true or false") { if case .bool(let value) = $0 { value } else { nil } }
    }

    /// A number, as the shortest decimal that reads back as it: a file's float32 `1e-05` is 0.00001 and not
    /// 0.00000999999974.
    package func number(_ key: String) throws(GGUFError) -> Double? {
        try read(key, "a number") { value in
            switch value {
            case .float(let value): Double("\(value)")
            case .double(let value): value
            case .integer(let value): Double(value)
            default: nil
            }
        }
    }

    package func strings(_ key: String) throws(GGUFError) -> [String]? {
        try read(key, "an array of texts") { if case .strings(let elements) = $0 { elements } else { nil } }
    }

    package func integers(_ key: String) throws(GGUFError) -> [Int]? {
        try read(key, "an array of whole numbers") { if case .integers(let elements) = $0 { elements } else { nil } }
    }

    package func floats(_ key: String) throws(GGUFError) -> [Float]? {
        try read(key, "an array of numbers") { if case .floats(let elements) = $0 { elements } else { nil } }
    }

    private func read<Value>(
        _ key: String, _ expected: String, _ value: (GGUFValue) -> Value?
    ) throws(GGUFError) -> Value? {
        guard let found = values[key] else { return nil }
        guard let value = value(found) else {
            throw GGUFError(path: path, message: "\(key) is \(found.kind); expected \(expected)")
        }
        return value
    }
}
