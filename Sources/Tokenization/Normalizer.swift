/// What happens to text before it is split.
indirect enum Normalizer: Sendable {
    case none
    case form(UnicodeForm)
    case prepend([UInt8])
    case replace([UInt8], with: [UInt8])
    case strip(left: Bool, right: Bool)
    case sequence([Normalizer])

    static let supported = "NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip, Sequence, null"

    init(_ node: JSONNode?) throws(TokenizerError) {
        guard let node else {
            self = .none
            return
        }
        let type = try node.required("type")
        switch try type.string() {
        case "NFC", "NFD", "NFKC", "NFKD":
            try node.requireKeys(["type"])
            guard let form = UnicodeForm(rawValue: try type.string()) else {
                throw type.error(expected: Self.supported)
            }
            self = .form(form)
        case "Prepend":
            try node.requireKeys(["type", "prepend"])
            self = .prepend(Array(try node.required("prepend").string().utf8))
        case "Replace":
            self = try Self.replacement(node)
        case "Strip":
            try node.requireKeys(["type", "strip_left", "strip_right"])
            self = .strip(
                left: try node.required("strip_left").bool(), right: try node.required("strip_right").bool())
        case "Sequence":
            try node.requireKeys(["type", "normalizers"])
            var parts: [Normalizer] = []
            for item in try node.required("normalizers").items() { parts.append(try Normalizer(item)) }
            self = .sequence(parts)
        default: throw type.error(expected: "one of \(Self.supported)")
        }
        let growth = self.growth
        guard growth.steps <= Self.mostSteps, growth.factor <= Self.largestGrowth, growth.added <= 4096 else {
            throw node.error(
                expected:
                    "at most \(Self.mostSteps) steps that make a text at most \(Int(Self.largestGrowth)) times as long")
        }
    }

    private static let mostSteps = 64
    private static let largestGrowth = 256.0

    /// The most that the bytes of a text can become: `factor` times as many, and `added` more.
    private var growth: (steps: Int, factor: Double, added: Double) {
        switch self {
        case .none, .strip: (1, 1, 0)
        // U+0390 has two bytes and six decomposed; the one code point U+FDFA stands for 33.
        case .form(let form): (1, form == .nfc || form == .nfd ? 4 : 12, 0)
        case .prepend(let start): (1, 1, Double(start.count))
        case .replace(let pattern, let content): (1, max(1, Double(content.count) / Double(pattern.count)), 0)
        case .sequence(let parts):
            parts.reduce(into: (steps: 1, factor: 1.0, added: 0.0)) { sum, part in
                let next = part.growth
                sum.steps += next.steps
                sum.added = sum.added * next.factor + next.added
                sum.factor *= next.factor
            }
        }
    }

    private static func replacement(_ node: JSONNode) throws(TokenizerError) -> Normalizer {
        let (pattern, content) = try node.replacement()
        return .replace(pattern, with: content)
    }

    /// The text after this step. Valid UTF-8 in, valid UTF-8 out.
    func normalized(_ bytes: [UInt8]) -> [UInt8] {
        switch self {
        case .none: bytes
        case .form(let form): form.normalized(bytes)
        case .prepend(let start): bytes.isEmpty ? bytes : start + bytes
        case .replace(let pattern, let content): bytes.replacing(pattern, with: content)
        case .strip(let left, let right): Self.stripped(bytes, left: left, right: right)
        case .sequence(let parts): parts.reduce(bytes) { $1.normalized($0) }
        }
    }

    private static func stripped(_ bytes: [UInt8], left: Bool, right: Bool) -> [UInt8] {
        let start = left ? bytes.endOfSpaces(from: 0) : 0
        let end = right ? bytes.startOfSpaces(before: bytes.count) : bytes.count
        return start < end ? Array(bytes[start..<end]) : []
    }
}

extension JSONNode {
    /// The `pattern` and `content` of a `Replace`, a plain string for another.
    func replacement() throws(TokenizerError) -> (pattern: [UInt8], content: [UInt8]) {
        try requireKeys(["type", "pattern", "content"])
        let pattern = try required("pattern")
        if let expression = try pattern.optional("Regex") {
            throw expression.error(
                expected: "a {\"String\": …} pattern; Replace with a regular expression is not built")
        }
        try pattern.requireKeys(["String"])
        let text = try pattern.required("String").string()
        guard !text.isEmpty else { throw pattern.error(expected: "a string that is not empty") }
        return (Array(text.utf8), Array(try required("content").string().utf8))
    }
}

extension [UInt8] {
    /// Every occurrence of `pattern`, left to right without overlap, replaced.
    func replacing(_ pattern: [UInt8], with content: [UInt8]) -> [UInt8] {
        guard let first = pattern.first else { return self }
        var result: [UInt8] = []
        result.reserveCapacity(count)
        var index = 0
        while index < count {
            if self[index] == first, starts(pattern, at: index) {
                result += content
                index += pattern.count
            } else {
                result.append(self[index])
                index += 1
            }
        }
        return result
    }

    /// Whether `pattern` stands at `index`.
    func starts(_ pattern: [UInt8], at index: Int) -> Bool {
        guard index + pattern.count <= count else { return false }
        for offset in 0..<pattern.count where self[index + offset] != pattern[offset] { return false }
        return true
    }

    /// Where the white space that starts at `start` ends.
    func endOfSpaces(from start: Int) -> Int {
        var index = start
        while index < count {
            let (point, width) = scalar(in: self, at: index)
            guard UnicodeClasses.shared[point].contains(.space) else { break }
            index += width
        }
        return index
    }

    /// Where the white space that ends at `end` starts.
    func startOfSpaces(before end: Int) -> Int {
        var index = end
        while index > 0 {
            let previous = startOfScalar(before: index)
            guard UnicodeClasses.shared[scalar(in: self, at: previous).point].contains(.space) else { break }
            index = previous
        }
        return index
    }

    /// Where the character that ends at `end` starts; `end` is above 0.
    func startOfScalar(before end: Int) -> Int {
        var index = end - 1
        while index > 0, self[index] & 0xC0 == 0x80 { index -= 1 }
        return index
    }
}
