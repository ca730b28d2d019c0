import JSON

/// A token matched in the text itself, before any splitting.
package struct AddedToken: Sendable, Equatable {
    /// Its text, as the tokenizer file writes it.
    package let content: String
    /// Its id in the vocabulary.
    package let id: Int
    /// Left out when decoding skips special tokens.
    package let isSpecial: Bool
    /// Matches only where no word character stands beside it.
    package let isSingleWord: Bool
    /// Takes the white space before it.
    package let stripsLeft: Bool
    /// Takes the white space after it.
    package let stripsRight: Bool
    /// Looked for after normalization, by its own normalized text.
    package let isNormalized: Bool

    package init(
        content: String, id: Int, isSpecial: Bool = false, isSingleWord: Bool = false, stripsLeft: Bool = false,
        stripsRight: Bool = false, isNormalized: Bool = false
    ) {
        self.content = content
        self.id = id
        self.isSpecial = isSpecial
        self.isSingleWord = isSingleWord
        self.stripsLeft = stripsLeft
        self.stripsRight = stripsRight
        self.isNormalized = isNormalized
    }

    /// The same under an id, and special or not.
    func with(id: Int, isSpecial: Bool) -> AddedToken {
        AddedToken(
            content: content, id: id, isSpecial: isSpecial, isSingleWord: isSingleWord, stripsLeft: stripsLeft,
            stripsRight: stripsRight, isNormalized: isNormalized)
    }

    /// As `tokenizer.json` writes it.
    var json: JSONValue {
        .object([
            "id": .number(id), "content": .string(content), "single_word": .bool(isSingleWord),
            "lstrip": .bool(stripsLeft), "rstrip": .bool(stripsRight), "normalized": .bool(isNormalized),
            "special": .bool(isSpecial),
        ])
    }

    init(_ node: JSONNode, idLimit: Int) throws(TokenizerError) {
        try node.requireKeys(["id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"])
        self.init(
            content: try node.required("content").string(),
            id: try node.required("id").integer(in: 0...idLimit - 1),
            isSpecial: try node.bool("special", default: false),
            isSingleWord: try node.bool("single_word", default: false),
            stripsLeft: try node.bool("lstrip", default: false),
            stripsRight: try node.bool("rstrip", default: false),
            isNormalized: try node.bool("normalized", default: true))
    }
}

/// Finds added tokens in a text: at each position the longest, from left to right.
struct AddedTokenMatcher: Sendable {
    /// A stretch of text between added tokens, or one of them.
    enum Part: Equatable {
        case text(Range<Int>)
        case token(Int)
    }

    private var tokens: [AddedToken] = []
    private var roots = [Int32](repeating: 0, count: 256)
    private var edges: [UInt64: Int32] = [:]
    /// Index of the token that ends at a node, or -1; node 0 is unused.
    private var tokenAt: [Int32] = [-1]

    var isEmpty: Bool { tokens.isEmpty }

    /// - Parameter patterns: what to look for; of two equal ones the first counts, an empty one is left out.
    init(_ patterns: [(token: AddedToken, text: [UInt8])]) {
        for (token, text) in patterns where !text.isEmpty { insert(token, text) }
    }

    private mutating func insert(_ token: AddedToken, _ text: [UInt8]) {
        if roots[Int(text[0])] == 0 { roots[Int(text[0])] = newNode() }
        var node = roots[Int(text[0])]
        for byte in text.dropFirst() {
            let edge = UInt64(node) << 8 | UInt64(byte)
            if let next = edges[edge] {
                node = next
            } else {
                node = newNode()
                edges[edge] = node
            }
        }
        if tokenAt[Int(node)] < 0 {
            tokenAt[Int(node)] = Int32(tokens.count)
            tokens.append(token)
        }
    }

    private mutating func newNode() -> Int32 {
        tokenAt.append(-1)
        return Int32(tokenAt.count - 1)
    }

    private func longest(in bytes: [UInt8], at start: Int) -> (token: AddedToken, end: Int)? {
        var node = roots[Int(bytes[start])]
        guard node != 0 else { return nil }
        var found: (Int32, Int)?
        var index = start + 1
        while true {
            if tokenAt[Int(node)] >= 0 { found = (tokenAt[Int(node)], index) }
            guard index < bytes.count, let next = edges[UInt64(node) << 8 | UInt64(bytes[index])] else { break }
            node = next
            index += 1
        }
        return found.map { (tokens[Int($0.0)], $0.1) }
    }

    /// A text in which none of the tokens is found any more: `mark` stands behind the first scalar of each.
    ///
    /// A token of a single scalar has no inside to stand in, and stays.
    func marked(_ bytes: [UInt8], with mark: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        var isStart = false
        for index in bytes.indices {
            let isContinuation = bytes[index] & 0b1100_0000 == 0b1000_0000
            if isStart, !isContinuation {
                result += mark
                isStart = false
            }
            result.append(bytes[index])
            isStart = isStart || longest(in: bytes, at: index) != nil
        }
        return result
    }

    /// Cuts a text into added tokens and what stands between them.
    func parts(of bytes: [UInt8]) -> [Part] {
        guard !isEmpty else { return [.text(0..<bytes.count)] }
        var parts: [Part] = []
        var copied = 0
        var index = 0
        while index < bytes.count {
            guard let (token, matchEnd) = longest(in: bytes, at: index) else {
                index += 1
                continue
            }
            let matchStart = index
            index = matchEnd
            if token.isSingleWord, touchesWord(bytes, matchStart, matchEnd) { continue }
            let start = token.stripsLeft ? max(bytes.startOfSpaces(before: matchStart), copied) : matchStart
            let end = token.stripsRight ? bytes.endOfSpaces(from: matchEnd) : matchEnd
            if copied < start { parts.append(.text(copied..<start)) }
            parts.append(.token(token.id))
            copied = end
        }
        if copied < bytes.count { parts.append(.text(copied..<bytes.count)) }
        return parts
    }

    private func touchesWord(_ bytes: [UInt8], _ start: Int, _ end: Int) -> Bool {
        func isWord(_ index: Int) -> Bool {
            UnicodeClasses.shared[scalar(in: bytes, at: index).point].contains(.word)
        }
        return (start > 0 && isWord(bytes.startOfScalar(before: start))) || (end < bytes.count && isWord(end))
    }
}
