#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

extension JSONValue {
    /// Reads a whole text.
    ///
    /// - Parameters:
    ///   - firstLine: The line number errors count from, for a text that is a line of a larger file.
    ///   - limits: What the text may cost.
    /// - Throws: ``JSONError`` with line and column. Strict: no comments, no trailing commas, no `NaN`, no key twice in
    ///   an object, valid UTF-8. A byte order mark before the value is skipped.
    public init(
        parsing bytes: some Sequence<UInt8>, firstLine: Int = 1, limits: JSONLimits = JSONLimits()
    ) throws(JSONError) {
        func parse(_ buffer: UnsafeBufferPointer<UInt8>) -> Result<JSONValue, JSONError> {
            var parser = JSONParser(bytes: buffer, firstLine: firstLine, limits: limits)
            return Result { () throws(JSONError) in try parser.document() }
        }
        self = try (bytes.withContiguousStorageIfAvailable(parse) ?? Array(bytes).withUnsafeBufferPointer(parse)).get()
    }

    /// Reads a whole text; see ``init(parsing:firstLine:limits:)``.
    public init(parsing text: String, limits: JSONLimits = JSONLimits()) throws(JSONError) {
        try self.init(parsing: text.utf8, limits: limits)
    }
}

/// Reads one JSON text (RFC 8259) from bytes. Positions never leave `bytes`.
struct JSONParser {
    let bytes: UnsafeBufferPointer<UInt8>
    private let firstLine: Int
    private let limits: JSONLimits
    private(set) var position = 0
    private var depth = 0
    private var values = 0

    init(bytes: UnsafeBufferPointer<UInt8>, firstLine: Int, limits: JSONLimits) {
        self.bytes = bytes
        self.firstLine = firstLine
        self.limits = limits
    }

    mutating func document() throws(JSONError) -> JSONValue {
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { position = 3 }
        let result = try value()
        skipSpace()
        guard position == bytes.count else { throw failure("found \(found()) after the end of the value") }
        return result
    }

    private var byte: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0a, 0x0d, 0x09: position += 1
            default: return
            }
        }
    }

    private mutating func value() throws(JSONError) -> JSONValue {
        skipSpace()
        guard let byte else { throw failure("found the end where a value should stand") }
        values += 1
        guard values <= limits.values else { throw failure("more than \(limits.values) values in one text") }
        switch byte {
        case UInt8(ascii: "{"):
            try descend()
            defer { depth -= 1 }
            return try object()
        case UInt8(ascii: "["):
            try descend()
            defer { depth -= 1 }
            return try array()
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: throw failure("found \(found()) where a value should stand\(hint())")
        }
    }

    /// Goes behind an opening bracket.
    private mutating func descend() throws(JSONError) {
        guard depth < limits.depth else { throw failure("nested more than \(limits.depth) levels deep") }
        depth += 1
        position += 1
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
        let count = text.utf8CodeUnitCount
        guard position + count <= bytes.count, memcmp(bytes.baseAddress! + position, text.utf8Start, count) == 0 else {
            throw failure("found \(found()) where a value should stand")
        }
        position += count
        return value
    }

    private mutating func array() throws(JSONError) -> JSONValue {
        var elements: [JSONValue] = []
        skipSpace()
        if byte == UInt8(ascii: "]") {
            position += 1
            return .array([])
        }
        while true {
            elements.append(try value())
            skipSpace()
            switch byte {
            case UInt8(ascii: ","): position += 1
            case UInt8(ascii: "]"):
                position += 1
                return .array(elements)
            default: throw failure("found \(found()) where , or ] should stand")
            }
        }
    }

    private mutating func object() throws(JSONError) -> JSONValue {
        var members: [JSONValue.Member] = []
        var keys: Set<Spelling> = []  // used once there are many, so that a hostile object costs no quadratic time
        skipSpace()
        if byte == UInt8(ascii: "}") {
            position += 1
            return .object([])
        }
        while true {
            skipSpace()
            guard byte == UInt8(ascii: "\"") else {
                throw failure("found \(found()) where a key in quotes should stand")
            }
            let start = position
            let key = try string()
            if members.count == 16 { keys = Set(members.map { Spelling(text: $0.key) }) }
            let isTaken =
                members.count < 16
                ? members.contains { $0.key.isSpelled(key) } : !keys.insert(Spelling(text: key)).inserted
            guard !isTaken else { throw failure("the key \"\(key)\" stands twice in one object", at: start) }
            skipSpace()
            guard byte == UInt8(ascii: ":") else { throw failure("found \(found()) where : should stand") }
            position += 1
            members.append(.init(key, try value()))
            skipSpace()
            switch byte {
            case UInt8(ascii: ","): position += 1
            case UInt8(ascii: "}"):
                position += 1
                return .object(members)
            default: throw failure("found \(found()) where , or } should stand")
            }
        }
    }

    /// A key told from others byte by byte.
    private struct Spelling: Hashable {
        let text: String

        static func == (left: Self, right: Self) -> Bool { left.text.isSpelled(right.text) }
        func hash(into hasher: inout Hasher) {
            var text = text
            text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        }
    }

    private mutating func number() throws(JSONError) -> JSONNumber {
        let start = position
        if byte == UInt8(ascii: "-") { position += 1 }
        let digitsStart = position
        try skipDigits()
        let digits = position - digitsStart
        guard digits == 1 || bytes[digitsStart] != 0x30 else {
            throw failure("a number may not begin with 0", at: digitsStart)
        }
        let isWhole = byte != UInt8(ascii: ".") && byte != UInt8(ascii: "e") && byte != UInt8(ascii: "E")
        try skipFractionAndExponent()
        let text = String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self)
        // 38 digits always fit.
        guard !isWhole || digits <= 38 || Int128(text) != nil else {
            throw failure(
                "the whole number \(text.prefix(40)) has \(digits) digits, more than fit; write it as a text", at: start
            )
        }
        guard isWhole || Double(text)?.isFinite == true else {
            throw failure("the number \(text.prefix(40)) is too large for a 64-bit float", at: start)
        }
        return JSONNumber(checked: text)
    }

    private mutating func skipFractionAndExponent() throws(JSONError) {
        if byte == UInt8(ascii: ".") {
            position += 1
            try skipDigits()
        }
        if byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E") {
            position += 1
            if byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") { position += 1 }
            try skipDigits()
        }
    }

    private mutating func skipDigits() throws(JSONError) {
        guard let first = byte, first &- 0x30 < 10 else {
            throw failure("found \(found()) where a digit should stand")
        }
        while let digit = byte, digit &- 0x30 < 10 { position += 1 }
    }
}

// MARK: - Texts

extension JSONParser {
    private mutating func string() throws(JSONError) -> String {
        position += 1
        let start = position
        skipPlain()
        switch byte {
        case UInt8(ascii: "\""):
            let text = try validated(UnsafeBufferPointer(rebasing: bytes[start..<position]), from: start)
            position += 1
            return text
        case UInt8(ascii: "\\"): return try stringWithEscapes(from: start)
        case .some: throw failure("a text may not hold \(found()) as it is; write it as an escape such as \\n")
        case nil: throw failure("the text has no closing quote", at: start - 1)
        }
    }

    /// Goes to the next quote, backslash or control character, eight bytes at a time while there are eight.
    private mutating func skipPlain() {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let highs = ones << 7
        /// The high bit of every byte below 0x80 that is 0; bytes above it may show one too many, never one too few.
        func zeros(_ word: UInt64) -> UInt64 { (word &- ones) & ~word & highs }
        while position + 8 <= bytes.count {
            let word = UnsafeRawPointer(bytes.baseAddress! + position).loadUnaligned(as: UInt64.self).littleEndian
            let controls = (word &- ones &* 0x20) & ~word & highs
            let stops = controls | zeros(word ^ ones &* 0x22) | zeros(word ^ ones &* 0x5c)
            guard stops == 0 else {
                position += stops.trailingZeroBitCount / 8
                return
            }
            position += 8
        }
        while position < bytes.count, case let byte = bytes[position], byte >= 0x20, byte != 0x22, byte != 0x5c {
            position += 1
        }
    }

    private mutating func stringWithEscapes(from start: Int) throws(JSONError) -> String {
        var text = Array(bytes[start..<position])
        while let next = byte {
            switch next {
            case UInt8(ascii: "\""):
                let result = try text.withUnsafeBufferPointer { buffer throws(JSONError) in
                    try validated(buffer, from: start)
                }
                position += 1
                return result
            case UInt8(ascii: "\\"): try escape(into: &text)
            case 0..<0x20: throw failure("a text may not hold \(found()) as it is; write it as an escape such as \\n")
            default:
                let plain = position
                skipPlain()
                text.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[plain..<position]))
            }
        }
        throw failure("the text has no closing quote", at: start - 1)
    }

    private mutating func escape(into text: inout [UInt8]) throws(JSONError) {
        let start = position
        position += 1
        guard let letter = byte else { throw failure("the text has no closing quote", at: start) }
        position += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(letter)
        case UInt8(ascii: "n"): text.append(0x0a)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "r"): text.append(0x0d)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0c)
        case UInt8(ascii: "u"): text.append(contentsOf: UTF8.encode(try escapedScalar(from: start))!)
        default: throw failure("\\\(Character(Unicode.Scalar(letter))) is no escape JSON knows", at: start)
        }
    }

    /// The scalar behind `\uXXXX`, or behind the two halves of a surrogate pair.
    private mutating func escapedScalar(from start: Int) throws(JSONError) -> Unicode.Scalar {
        let high = try hexadecimalUnit(from: start)
        if let scalar = Unicode.Scalar(high) { return scalar }
        if high < 0xdc00, byte == UInt8(ascii: "\\"), position + 1 < bytes.count,
            bytes[position + 1] == UInt8(ascii: "u")
        {
            position += 2
            let low = try hexadecimalUnit(from: start)
            if (0xdc00..<0xe000).contains(low),
                let scalar = Unicode.Scalar(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
            {
                return scalar
            }
        }
        throw failure("\\u\(String(high, radix: 16)) is half of a surrogate pair without its other half", at: start)
    }

    private mutating func hexadecimalUnit(from start: Int) throws(JSONError) -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard let byte, byte < 0x80, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw failure("\\u needs four hexadecimal digits", at: start)
            }
            unit = unit << 4 | UInt32(digit)
            position += 1
        }
        return unit
    }

    private func validated(_ text: UnsafeBufferPointer<UInt8>, from start: Int) throws(JSONError) -> String {
        guard let string = String(validating: text, as: UTF8.self) else {
            throw failure("the text is not valid UTF-8; save the file as UTF-8", at: start - 1)
        }
        return string
    }
}

// MARK: - Errors

extension JSONParser {
    private func failure(_ message: String, at offset: Int? = nil) -> JSONError {
        let end = min(offset ?? position, bytes.count)
        var line = firstLine
        var column = 1
        for byte in bytes[..<end] {
            if byte == 0x0a {
                line += 1
                column = 1
            } else if byte & 0xc0 != 0x80 {
                column += 1
            }
        }
        return JSONError(line: line, column: column, message: message)
    }

    private func found() -> String {
        guard let byte else { return "the end" }
        switch byte {
        case 0x0a, 0x0d: return "a line break"
        case 0x09: return "a tab"
        case 0..<0x20, 0x7f: return "the control character \(byte)"
        case 0x20..<0x7f: return "\"\(Character(Unicode.Scalar(byte)))\""
        default:
            let head = String(decoding: bytes[position..<min(position + 4, bytes.count)], as: UTF8.self)
            return "\"\(head.prefix(1))\""
        }
    }

    /// A word on the non-JSON spellings that other tools write.
    private func hint() -> String {
        let head = String(decoding: bytes[position..<min(position + 9, bytes.count)], as: UTF8.self)
        if head.hasPrefix("NaN") || head.hasPrefix("Infinity") { return "; JSON has no NaN or Infinity, write null" }
        if head.hasPrefix("True") || head.hasPrefix("False") || head.hasPrefix("None") {
            return "; JSON spells true, false and null in lower case"
        }
        if head.hasPrefix("'") { return "; JSON texts stand in double quotes" }
        return ""
    }
}
