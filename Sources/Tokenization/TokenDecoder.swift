/// How the texts of tokens become text again. One value holds what has been read and what is still held back, so
/// that decoding whole and decoding token by token are the same code.
struct TokenDecoder: Sendable {
    enum Step: Sendable, Equatable {
        case byteLevel
        case replace([UInt8], with: [UInt8])
        case byteFallback
        case fuse
        case stripStart([UInt8], atMost: Int)
        case metaspace(replacement: [UInt8], dropsFirst: Bool)
    }

    static let supported = "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, Sequence, null"

    /// No decoder: tokens stand beside each other with a space between.
    private let joinsWithSpaces: Bool
    private let steps: [Step]

    init(_ node: JSONNode?) throws(TokenizerError) {
        joinsWithSpaces = node == nil
        var steps: [Step] = []
        if let node {
            try Self.read(node, into: &steps)
            let growth = steps.reduce(1.0) { growth, step in
                guard case .replace(let pattern, let content) = step else { return growth }
                return growth * max(1, Double(content.count) / Double(pattern.count))
            }
            guard steps.count <= 64, growth <= 256 else {
                throw node.error(expected: "at most 64 steps that make a text at most 256 times as long")
            }
        }
        self.steps = steps
    }

    private static func read(_ node: JSONNode, into steps: inout [Step]) throws(TokenizerError) {
        let type = try node.required("type")
        switch try type.string() {
        case "ByteLevel":
            try node.requireKeys(["type", "add_prefix_space", "trim_offsets", "use_regex"])
            for key in ["add_prefix_space", "trim_offsets", "use_regex"] { _ = try node.bool(key, default: true) }
            steps.append(.byteLevel)
        case "Replace":
            let (pattern, content) = try node.replacement()
            steps.append(.replace(pattern, with: content))
        case "ByteFallback": steps.append(.byteFallback)
        case "Fuse": steps.append(.fuse)
        case "Strip": steps.append(try strip(node))
        case "Metaspace":
            try node.requireKeys(["type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"])
            let dropsFirst = try node.prependScheme() != .never
            steps.append(.metaspace(replacement: try node.metaspaceReplacement(), dropsFirst: dropsFirst))
        case "Sequence":
            try node.requireKeys(["type", "decoders"])
            for item in try node.required("decoders").items() { try read(item, into: &steps) }
        default: throw type.error(expected: "one of \(supported)")
        }
        let ends = steps.dropLast().contains(.byteLevel)
        guard !ends else { throw type.error(expected: "nothing after ByteLevel, which ends a sequence") }
        guard steps.count(where: { $0 == .fuse }) < 2, steps.count(where: { $0 == .byteFallback }) < 2 else {
            throw type.error(expected: "each of Fuse and ByteFallback once")
        }
    }

    private static func strip(_ node: JSONNode) throws(TokenizerError) -> Step {
        try node.requireKeys(["type", "content", "start", "stop"])
        let content = try node.required("content")
        guard try content.string().unicodeScalars.count == 1 else { throw content.error(expected: "one character") }
        _ = try node.required("stop").integer(in: 0...0)
        let atMost = try node.required("start").integer(in: 0...1 << 20)
        return .stripStart(Array(try content.string().utf8), atMost: atMost)
    }

    /// Where a decoding stands between two tokens.
    struct State: Sendable {
        fileprivate var isFirst = true
        /// Bytes of `<0x..>` tokens in a row, not yet known to be text.
        fileprivate var fallback: [UInt8] = []
        /// What each step after `Fuse` may still strip; nil once something else was seen.
        fileprivate var stripsLeft: [Int: Int] = [:]
        fileprivate var repair = UTF8Repair()
    }

    /// Reads one token and returns the text that is now certain, as UTF-8.
    func feed(_ token: String, _ state: inout State) -> [UInt8] {
        var output: [UInt8] = []
        if joinsWithSpaces, !state.isFirst { output = [UInt8(ascii: " ")] }
        run(Array(token.utf8), from: 0, fused: false, &state, &output)
        state.isFirst = false
        return output
    }

    /// The text that was held back; a character cut short becomes U+FFFD.
    func finish(_ state: inout State) -> [UInt8] {
        var output: [UInt8] = []
        if let step = steps.firstIndex(of: .byteFallback) { flushFallback(from: step, &state, &output) }
        output += state.repair.finish()
        state = State()
        return output
    }

    private func run(_ token: [UInt8], from first: Int, fused: Bool, _ state: inout State, _ output: inout [UInt8]) {
        var token = token
        var fused = fused
        for index in first..<steps.count {
            switch steps[index] {
            case .byteLevel:
                output += state.repair.feed(ByteAlphabet.bytes(of: String(decoding: token, as: UTF8.self)) ?? token)
                return
            case .replace(let pattern, let content): token = token.replacing(pattern, with: content)
            case .byteFallback:
                if let byte = Self.fallbackByte(token) {
                    state.fallback.append(byte)
                    return
                }
                flushFallback(from: index, &state, &output)
            case .fuse: fused = true
            case .stripStart(let mark, let atMost):
                var left = fused ? state.stripsLeft[index] ?? atMost : atMost
                var start = 0
                while left > 0, token.starts(mark, at: start) {
                    start += mark.count
                    left -= 1
                }
                if start < token.count { left = 0 }
                token.removeFirst(start)
                if fused { state.stripsLeft[index] = left }
            case .metaspace(let replacement, let dropsFirst):
                token = token.replacing(replacement, with: state.isFirst && dropsFirst ? [] : [UInt8(ascii: " ")])
            }
        }
        output += token
    }

    /// Gives the held bytes to the steps behind: as text when they are, else one U+FFFD for each.
    private func flushFallback(from index: Int, _ state: inout State, _ output: inout [UInt8]) {
        guard !state.fallback.isEmpty else { return }
        let bytes = state.fallback
        state.fallback = []
        if String(validating: bytes, as: UTF8.self) != nil {
            run(bytes, from: index + 1, fused: false, &state, &output)
        } else {
            for _ in bytes { run(UTF8Repair.replacement, from: index + 1, fused: false, &state, &output) }
        }
    }

    private static func fallbackByte(_ token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: "<0x".utf8), token[5] == UInt8(ascii: ">") else { return nil }
        return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
    }
}

/// Turns a stream of bytes into valid UTF-8, holding an unfinished character back and replacing each ill-formed
/// stretch by U+FFFD (Unicode 15, section 3.9, "substitution of maximal subparts").
struct UTF8Repair: Sendable {
    static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

    private var held: [UInt8] = []
    private var wanted = 0

    mutating func feed(_ bytes: [UInt8]) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count)
        for byte in bytes { feed(byte, &output) }
        return output
    }

    mutating func finish() -> [UInt8] {
        defer { held = [] }
        return held.isEmpty ? [] : Self.replacement
    }

    private mutating func feed(_ byte: UInt8, _ output: inout [UInt8]) {
        if !held.isEmpty {
            if Self.continues(held, byte) {
                held.append(byte)
                if held.count == wanted {
                    output += held
                    held = []
                }
                return
            }
            output += Self.replacement
            held = []
        }
        switch byte {
        case ..<0x80: output.append(byte)
        case 0xC2...0xDF: hold(byte, wanted: 2)
        case 0xE0...0xEF: hold(byte, wanted: 3)
        case 0xF0...0xF4: hold(byte, wanted: 4)
        default: output += Self.replacement
        }
    }

    private mutating func hold(_ byte: UInt8, wanted count: Int) {
        held = [byte]
        wanted = count
    }

    /// Whether `byte` may follow; the second byte's range keeps out overlong forms, surrogates and beyond U+10FFFF.
    private static func continues(_ held: [UInt8], _ byte: UInt8) -> Bool {
        guard held.count == 1 else { return (0x80...0xBF).contains(byte) }
        switch held[0] {
        case 0xE0: return (0xA0...0xBF).contains(byte)
        case 0xED: return (0x80...0x9F).contains(byte)
        case 0xF0: return (0x90...0xBF).contains(byte)
        case 0xF4: return (0x80...0x8F).contains(byte)
        default: return (0x80...0xBF).contains(byte)
        }
    }
}
