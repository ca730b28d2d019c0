import JSON

/// What went wrong with a tokenizer's files, ids or training, in the terms of the person who supplied them.
package struct TokenizerError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file or call at fault, such as `tokenizer.json` or `decode`.
    package let file: String
    /// Where in it, such as `model.merges[17]` or `line 3, column 9`; empty when it is the file as a whole.
    package let key: String
    /// What was there.
    package let found: String
    /// What would be right.
    package let expected: String

    package init(file: String, key: String = "", found: String, expected: String) {
        self.file = file
        self.key = key
        self.found = found
        self.expected = expected
    }

    /// A file that is no JSON.
    init(file: String, _ error: JSONError) {
        self.init(file: file, key: error.position, found: error.message, expected: Self.json)
    }

    private static let json = "JSON"

    /// The same error with its file's whole path, when the file is so far named without a folder.
    func placed(at path: (String) -> String) -> TokenizerError {
        guard !file.contains("/"), file.contains(".") else { return self }
        return TokenizerError(file: path(file), key: key, found: found, expected: expected)
    }

    package var description: String {
        let location = key.isEmpty ? file : "\(file): \(key)"
        return expected == Self.json ? "\(location): \(found)" : "\(location): found \(found); expected \(expected)"
    }
}
