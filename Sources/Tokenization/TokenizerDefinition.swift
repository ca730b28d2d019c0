/// A `tokenizer.json`, read and checked.
struct TokenizerDefinition: Sendable {
    /// Ids lie below this: a table by id stays small whatever a file says.
    static let idLimit = 1 << 22

    let normalizer: Normalizer
    let preTokenizer: PreTokenizer
    let postProcessor: PostProcessor
    let decoder: TokenDecoder
    let model: BytePairModel
    private(set) var addedTokens: [AddedToken]
    /// Id to token text; nil where the ids have a gap.
    private(set) var tokens: [String?]
    private(set) var ids: [TokenText: Int]

    init(_ root: JSONNode) throws(TokenizerError) {
        // `truncation` and `padding` are the settings of whoever saved the file, not part of the vocabulary.
        try root.requireKeys([
            "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
            "decoder", "model",
        ])
        normalizer = try Normalizer(try root.optional("normalizer"))
        preTokenizer = try PreTokenizer(try root.optional("pre_tokenizer"))
        decoder = try TokenDecoder(try root.optional("decoder"))
        let modelNode = try root.required("model", expected: "a model of type \"BPE\" with vocab and merges")
        let vocabulary = try Vocabulary(modelNode.required("vocab", expected: "an object of token texts and ids"))
        model = try ModelReader(node: modelNode, vocabulary: vocabulary, usesBytes: preTokenizer.usesByteAlphabet)
            .read()
        let added = try Self.readAddedTokens(try root.optional("added_tokens"), vocabulary)
        addedTokens = added
        var tokens = vocabulary.tokens
        var ids = vocabulary.ids
        for token in added {
            while tokens.count <= token.id { tokens.append(nil) }
            tokens[token.id] = token.content
            ids[TokenText(token.content)] = token.id
        }
        self.tokens = tokens
        self.ids = ids
        postProcessor = try PostProcessor(try root.optional("post_processor"), idLimit: max(tokens.count, 1))
    }

    private static func readAddedTokens(
        _ node: JSONNode?, _ vocabulary: Vocabulary
    ) throws(TokenizerError) -> [AddedToken] {
        guard let node else { return [] }
        var tokens: [AddedToken] = []
        var contents: [TokenText: Int] = [:]
        var owners: [Int: String] = [:]
        // The library gives new tokens the ids behind the vocabulary, in their order, whatever the file says.
        var next = vocabulary.ids.count
        for item in try node.items() {
            let token = try AddedToken(item, idLimit: idLimit)
            guard !token.content.isEmpty else { throw item.error(expected: "a content that is not empty") }
            let known = vocabulary.ids[TokenText(token.content)]
            if let known, known != token.id {
                throw TokenizerError(
                    file: item.file, key: "\(item.path).id", found: "\(token.id)",
                    expected: "\(known), the id of \"\(token.content)\" in the vocabulary")
            }
            if known == nil, token.id < vocabulary.tokens.count, let other = vocabulary.tokens[token.id] {
                throw TokenizerError(
                    file: item.file, key: "\(item.path).id", found: "\(token.id) for \"\(token.content)\"",
                    expected: "an id that is free; this one is \"\(other)\"")
            }
            guard contents.updateValue(token.id, forKey: TokenText(token.content)) == nil,
                owners.updateValue(token.content, forKey: token.id) == nil
            else { throw item.error(expected: "a content and an id that no other added token has") }
            if known == nil {
                guard token.id == next else {
                    throw TokenizerError(
                        file: item.file, key: "\(item.path).id", found: "\(token.id) for \"\(token.content)\"",
                        expected: "\(next), which the tokenizers library gives it as it is not in the vocabulary")
                }
                next += 1
            }
            tokens.append(token)
        }
        return tokens
    }
}

// What the other files of a folder say.
extension TokenizerDefinition {
    /// Takes in what is said of the tokens beside `tokenizer.json`, as `transformers` does: how those are looked for that
    /// are found before a text is split, and which more of the vocabulary are, as they have a role or are special.
    ///
    /// - Throws: ``TokenizerError`` for a token that is not there: it would get an id that no model was trained with.
    mutating func take(_ stated: StatedTokens) throws(TokenizerError) {
        var places = Dictionary(uniqueKeysWithValues: addedTokens.enumerated().map { ($1.id, $0) })
        let named = Set(stated.roles.values.map { TokenText($0.content) })
        for (id, token) in stated.added ?? [] {
            let text = TokenText(token.content)
            let next = ids.count
            if ids[text] == nil, id == next, !tokens.indices.contains(id) || tokens[id] == nil {
                while tokens.count <= id { tokens.append(nil) }
                tokens[id] = token.content
                ids[text] = id
            }
            guard let own = ids[text] else {
                throw token.error(
                    expected: "a token of \(TokenizerFiles.tokenizer), or a new one with the id that follows, \(next)")
            }
            set(token.added(at: own), isNamed: named.contains(text), &places)
        }
        if stated.added == nil {
            for token in addedTokens where named.contains(TokenText(token.content)) {
                set(token, isNamed: true, &places)
            }
        }
        for (role, token) in stated.roles.sorted(by: { $0.key < $1.key }) where !token.content.isEmpty {
            // A key of a model's own says nothing to most versions of `transformers`.
            if ids[TokenText(token.content)] == nil, !StatedToken.roles.contains(role) { continue }
            try add(token, isNamed: true, &places)
        }
        for token in stated.others where !token.content.isEmpty { try add(token, isNamed: false, &places) }
    }

    /// Has a token found before a text is split, if it is not already.
    private mutating func add(
        _ token: StatedToken, isNamed: Bool, _ places: inout [Int: Int]
    ) throws(TokenizerError) {
        guard let id = ids[TokenText(token.content)] else {
            throw token.error(expected: "a token of \(TokenizerFiles.tokenizer)")
        }
        if places[id] == nil { set(token.added(at: id), isNamed: isNamed, &places) }
    }

    /// - Parameter isNamed: Whether the token has a role, and is special therefore. One that was special stays it.
    private mutating func set(_ token: AddedToken, isNamed: Bool, _ places: inout [Int: Int]) {
        guard let place = places[token.id] else {
            places[token.id] = addedTokens.count
            addedTokens.append(token.with(id: token.id, isSpecial: token.isSpecial || isNamed))
            return
        }
        let isSpecial = token.isSpecial || isNamed || addedTokens[place].isSpecial
        addedTokens[place] = token.with(id: token.id, isSpecial: isSpecial)
    }
}

/// The `vocab` of a model: token text to id, both ways.
struct Vocabulary: Sendable {
    private(set) var ids: [TokenText: Int] = [:]
    private(set) var tokens: [String?] = []

    init(_ node: JSONNode) throws(TokenizerError) {
        let members = try node.members()
        ids.reserveCapacity(members.count)
        tokens.reserveCapacity(members.count)
        let range = 0...TokenizerDefinition.idLimit - 1
        for member in members {
            let (text, value) = (member.key, member.value)
            guard let id = value.int, range.contains(id) else {
                throw TokenizerError(
                    file: node.file, key: "\(node.path)[\"\(text)\"]", found: value.summary,
                    expected: "an id from 0 to \(range.upperBound)")
            }
            while tokens.count <= id { tokens.append(nil) }
            guard ids.updateValue(id, forKey: TokenText(text)) == nil, tokens[id] == nil else {
                throw TokenizerError(
                    file: node.file, key: "\(node.path)[\"\(text)\"]", found: "the token or its id \(id) a second time",
                    expected: "each token and each id once")
            }
            tokens[id] = text
        }
    }

    func id(_ text: String) -> Int32? { ids[TokenText(text)].map { Int32($0) } }
}
