import GGUF

/// The tokens of a GGUF file by id, with what each of them is.
struct GGUFTokens {
    let tokens: [String]
    let kinds: [GGUFTokenizer.Kind]
    private let metadata: GGUFMetadata

    /// - Throws: ``TokenizerError`` or `GGUFError` when the lists are missing or of different lengths.
    init(_ metadata: GGUFMetadata) throws {
        typealias Key = GGUFTokenizer.Key
        self.metadata = metadata
        guard let tokens = try metadata.strings(Key.tokens), !tokens.isEmpty else {
            throw TokenizerError(
                file: metadata.path, key: Key.tokens, found: metadata[Key.tokens]?.kind ?? "nothing",
                expected: "the texts of the tokens; a file without them holds no whole model")
        }
        guard tokens.count <= TokenizerDefinition.idLimit else {
            throw TokenizerError(
                file: metadata.path, key: Key.tokens, found: "\(tokens.count) tokens",
                expected: "at most \(TokenizerDefinition.idLimit)")
        }
        self.tokens = tokens
        guard let numbers = try metadata.integers(Key.kinds) else {
            kinds = [GGUFTokenizer.Kind](repeating: .normal, count: tokens.count)
            return
        }
        guard numbers.count == tokens.count else {
            throw TokenizerError(
                file: metadata.path, key: Key.kinds, found: "\(numbers.count) types",
                expected: "one for each of the \(tokens.count) tokens")
        }
        var kinds: [GGUFTokenizer.Kind] = []
        kinds.reserveCapacity(numbers.count)
        for (id, number) in numbers.enumerated() {
            guard let kind = GGUFTokenizer.Kind(rawValue: number) else {
                throw TokenizerError(
                    file: metadata.path, key: "\(Key.kinds)[\(id)]", found: "\(number)", expected: "a type from 1 to 6")
            }
            kinds.append(kind)
        }
        self.kinds = kinds
    }

    /// What stands in for the text of an id that no token has: the embedding has a row more than the tokenizer.
    static func padding(_ id: Int) -> String { "[PAD\(id)]" }

    /// The vocabulary: all but what only fills it up.
    var members: [(text: String, id: Int)] {
        tokens.enumerated().filter { kinds[$0] != .unused || $1 != Self.padding($0) }.map { ($1, $0) }
    }

    /// What is found in a text before it is split: control tokens, which decoding may leave out, and those a user
    /// defined.
    var added: [AddedToken] {
        tokens.indices.compactMap { id in
            switch kinds[id] {
            case .control, .unknown: AddedToken(content: tokens[id], id: id, isSpecial: true)
            case .userDefined: AddedToken(content: tokens[id], id: id)
            case .normal, .unused, .byte: nil
            }
        }
    }

    /// The token a key names; `nil` when the file names none, also by the number that some tools write for none.
    func id(_ key: String) throws -> Int? {
        guard let id = try metadata.integer(key), id != Int(UInt32.max), id != -1 else { return nil }
        guard tokens.indices.contains(id) else {
            throw TokenizerError(
                file: metadata.path, key: key, found: "\(id)", expected: "an id from 0 to \(tokens.count - 1)")
        }
        return id
    }
}
