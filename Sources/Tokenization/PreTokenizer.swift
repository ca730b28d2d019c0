/// Text on its way to the model: bytes, and the pieces they are cut into so far.
struct SplitText {
    var bytes: [UInt8]
    var pieces: [Range<Int>]
    /// Whether the first piece stands at the very start of the text given to `encode`.
    let startsText: Bool
}

/// How normalized text is cut into the pieces that merges never cross.
indirect enum PreTokenizer: Sendable {
    enum PrependScheme: String, Sendable, CaseIterable {
        case first, always, never
    }

    case none
    case byteLevel(addsPrefixSpace: Bool, splits: Bool)
    case split(SplitPattern)
    case digits(individually: Bool)
    case metaspace(replacement: [UInt8], prepends: PrependScheme, splits: Bool)
    case sequence([PreTokenizer])

    static let supported = "ByteLevel, Split, Digits, Metaspace, Sequence, null"

    init(_ node: JSONNode?) throws(TokenizerError) {
        guard let node else {
            self = .none
            return
        }
        let type = try node.required("type")
        switch try type.string() {
        case "ByteLevel":
            try node.requireKeys(["type", "add_prefix_space", "trim_offsets", "use_regex"])
            _ = try node.bool("trim_offsets", default: true)
            self = .byteLevel(
                addsPrefixSpace: try node.bool("add_prefix_space", default: true),
                splits: try node.bool("use_regex", default: true))
        case "Split": self = try Self.split(node)
        case "Digits":
            try node.requireKeys(["type", "individual_digits"])
            self = .digits(individually: try node.bool("individual_digits", default: false))
        case "Metaspace": self = try Self.metaspace(node)
        case "Sequence":
            try node.requireKeys(["type", "pretokenizers"])
            var parts: [PreTokenizer] = []
            let items = try node.required("pretokenizers").items()
            guard items.count <= 64 else { throw node.error(expected: "at most 64 steps") }
            for item in items {
                if parts.contains(where: \.isByteLevel) {
                    throw item.error(expected: "nothing after ByteLevel, which ends a sequence")
                }
                parts.append(try PreTokenizer(item))
            }
            self = .sequence(parts)
        default: throw type.error(expected: "one of \(Self.supported)")
        }
    }

    private static func split(_ node: JSONNode) throws(TokenizerError) -> PreTokenizer {
        try node.requireKeys(["type", "pattern", "behavior", "invert"])
        let patternNode = try node.required("pattern")
        let known = SplitPattern.allCases.map { "\($0): \($0.expression)" }.joined(separator: "  ")
        guard let expression = try patternNode.optional("Regex") else {
            throw patternNode.error(expected: "a {\"Regex\": …} with one of  \(known)")
        }
        let text = try expression.string()
        guard let pattern = SplitPattern(rawValue: text) else {
            throw TokenizerError(
                file: expression.file, key: expression.path, found: text,
                expected: "a known split pattern, one of  \(known)")
        }
        let behavior = try node.required("behavior")
        let inverts = try node.bool("invert", default: false)
        // The patterns cover the text, so keeping the matches and removing what lies between come to the same.
        guard try behavior.string() == (inverts ? "Removed" : "Isolated") else {
            throw behavior.error(expected: "\"Isolated\", or \"Removed\" with invert true")
        }
        return .split(pattern)
    }

    private static func metaspace(_ node: JSONNode) throws(TokenizerError) -> PreTokenizer {
        try node.requireKeys(["type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"])
        let replacement = try node.metaspaceReplacement()
        let prepends = try node.prependScheme()
        return .metaspace(replacement: replacement, prepends: prepends, splits: try node.bool("split", default: true))
    }

    private var isByteLevel: Bool {
        switch self {
        case .byteLevel: true
        case .sequence(let parts): parts.contains(where: \.isByteLevel)
        default: false
        }
    }

    /// Whether a `ByteLevel` puts a space before a text, and whether it is the only step; `nil` without one.
    var byteLevelPrefix: (adds: Bool, isAlone: Bool)? {
        switch self {
        case .byteLevel(let adds, _): (adds, true)
        case .sequence(let parts): parts.lazy.compactMap(\.byteLevelPrefix).first.map { ($0.adds, false) }
        case .none, .split, .digits, .metaspace: nil
        }
    }

    /// Whether the vocabulary is written in the byte alphabet.
    var usesByteAlphabet: Bool { isByteLevel }

    func apply(to text: inout SplitText) {
        switch self {
        case .none: break
        case .byteLevel(let addsPrefixSpace, let splits):
            if addsPrefixSpace { text.prepend([UInt8(ascii: " ")], unless: [UInt8(ascii: " ")], onlyFirst: false) }
            if splits { Self.split(&text, by: .gpt2) }
        case .split(let pattern): Self.split(&text, by: pattern)
        case .digits(let individually): Self.splitDigits(&text, individually: individually)
        case .metaspace(let replacement, let prepends, let splits):
            text.replaceSpaces(with: replacement)
            switch prepends {
            case .always: text.prepend(replacement, unless: replacement, onlyFirst: false)
            case .first: if text.startsText { text.prepend(replacement, unless: replacement, onlyFirst: true) }
            case .never: break
            }
            if splits { Self.splitBefore(replacement, &text) }
        case .sequence(let parts): for part in parts { part.apply(to: &text) }
        }
    }

    private static func split(_ text: inout SplitText, by pattern: SplitPattern) {
        var pieces: [Range<Int>] = []
        pieces.reserveCapacity(text.bytes.count / 4 + 1)
        for piece in text.pieces { pattern.split(text.bytes, piece, into: &pieces) }
        text.pieces = pieces
    }

    private static func splitDigits(_ text: inout SplitText, individually: Bool) {
        let classes = UnicodeClasses.shared
        var pieces: [Range<Int>] = []
        for piece in text.pieces {
            var start = piece.lowerBound
            var wasDigit = false
            var index = start
            while index < piece.upperBound {
                let (point, width) = scalar(in: text.bytes, at: index)
                let isDigit = classes[point].contains(.digit)
                if index > start, isDigit != wasDigit || (isDigit && individually) {
                    pieces.append(start..<index)
                    start = index
                }
                wasDigit = isDigit
                index += width
            }
            if start < piece.upperBound { pieces.append(start..<piece.upperBound) }
        }
        text.pieces = pieces
    }

    /// Each `mark` starts a piece of its own and takes what follows it.
    private static func splitBefore(_ mark: [UInt8], _ text: inout SplitText) {
        var pieces: [Range<Int>] = []
        for piece in text.pieces {
            var start = piece.lowerBound
            var index = start
            while index < piece.upperBound {
                if index > start, text.bytes[index] == mark[0], text.bytes.starts(mark, at: index) {
                    pieces.append(start..<index)
                    start = index
                }
                index += 1
            }
            if start < piece.upperBound { pieces.append(start..<piece.upperBound) }
        }
        text.pieces = pieces
    }
}

extension SplitText {
    /// Puts `start` before each piece (or the first one only) that does not begin with `mark`.
    mutating func prepend(_ start: [UInt8], unless mark: [UInt8], onlyFirst: Bool) {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count + start.count * pieces.count)
        var moved: [Range<Int>] = []
        for (index, piece) in pieces.enumerated() {
            let begin = result.count
            if !(onlyFirst && index > 0), !piece.isEmpty, !bytes.starts(mark, at: piece.lowerBound) { result += start }
            result += bytes[piece]
            moved.append(begin..<result.count)
        }
        bytes = result
        pieces = moved
    }

    mutating func replaceSpaces(with mark: [UInt8]) {
        guard bytes.contains(UInt8(ascii: " ")) else { return }
        var result: [UInt8] = []
        var moved: [Range<Int>] = []
        for piece in pieces {
            let begin = result.count
            for byte in bytes[piece] {
                if byte == UInt8(ascii: " ") { result += mark } else { result.append(byte) }
            }
            moved.append(begin..<result.count)
        }
        bytes = result
        pieces = moved
    }
}

extension JSONNode {
    /// The character that stands for a space in a `Metaspace`.
    func metaspaceReplacement() throws(TokenizerError) -> [UInt8] {
        let node = try required("replacement")
        let text = try node.string()
        guard text.unicodeScalars.count == 1 else { throw node.error(expected: "one character, such as \"▁\"") }
        return Array(text.utf8)
    }

    /// When a `Metaspace` puts its character first; older files say it with `add_prefix_space`.
    func prependScheme() throws(TokenizerError) -> PreTokenizer.PrependScheme {
        guard let node = try optional("prepend_scheme") else {
            return try bool("add_prefix_space", default: true) ? .always : .never
        }
        guard let scheme = PreTokenizer.PrependScheme(rawValue: try node.string()) else {
            throw node.error(expected: "first, always or never")
        }
        return scheme
    }
}
