/// Reads one JSON document (RFC 8259) from bytes. Depth is bounded, and every complaint names line and column.
struct JSONReader {
    private static let deepest = 64
    private static let digits = UInt8(ascii: "0")...UInt8(ascii: "9")

    private let bytes: [UInt8]
    private let file: String
    private var position = 0

    static func read(_ bytes: [UInt8], file: String) throws(TokenizerError) -> JSONNode {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw TokenizerError(file: file, found: "bytes that are not UTF-8", expected: "JSON in UTF-8")
        }
        var reader = JSONReader(bytes: bytes, file: file)
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { reader.position = 3 }
        let value = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.position == bytes.count else { throw reader.error(expected: "the end of the file") }
        return JSONNode(value: value, file: file, path: "")
    }

    private init(bytes: [UInt8], file: String) {
        self.bytes = bytes
        self.file = file
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private func error(expected: String) -> TokenizerError {
        let before = bytes[..<min(position, bytes.count)]
        let line = before.count { $0 == UInt8(ascii: "\n") } + 1
        let column = before.reversed().prefix { $0 != UInt8(ascii: "\n") }.count + 1
        let found = current.map { $0 < 0x80 ? "\"\(Unicode.Scalar($0))\"" : "byte \($0)" } ?? "the end of the file"
        return TokenizerError(file: file, key: "line \(line), column \(column)", found: found, expected: expected)
    }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    private mutating func value(depth: Int) throws(TokenizerError) -> JSONValue {
        skipSpace()
        guard depth < Self.deepest else { throw error(expected: "at most \(Self.deepest) levels of nesting") }
        switch current {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case let byte? where byte == UInt8(ascii: "-") || Self.digits.contains(byte): return try number()
        default: throw error(expected: "a JSON value")
        }
    }

    private mutating func word(_ text: String, _ value: JSONValue) throws(TokenizerError) -> JSONValue {
        guard bytes[position...].starts(with: text.utf8) else { throw error(expected: text) }
        position += text.utf8.count
        return value
    }

    private mutating func take(_ byte: Unicode.Scalar) throws(TokenizerError) {
        guard current == UInt8(ascii: byte) else { throw error(expected: "\"\(byte)\"") }
        position += 1
    }

    private mutating func object(depth: Int) throws(TokenizerError) -> JSONValue {
        var members: [(key: String, value: JSONValue)] = []
        try take("{")
        skipSpace()
        if current == UInt8(ascii: "}") {
            position += 1
            return .object(members)
        }
        while true {
            skipSpace()
            guard current == UInt8(ascii: "\"") else { throw error(expected: "a key in quotes") }
            let key = try string()
            skipSpace()
            try take(":")
            members.append((key, try value(depth: depth + 1)))
            skipSpace()
            if current == UInt8(ascii: ",") {
                position += 1
                continue
            }
            guard current == UInt8(ascii: "}") else { throw error(expected: "\",\" or \"}\"") }
            position += 1
            return .object(members)
        }
    }

    private mutating func array(depth: Int) throws(TokenizerError) -> JSONValue {
        var items: [JSONValue] = []
        try take("[")
        skipSpace()
        if current == UInt8(ascii: "]") {
            position += 1
            return .array(items)
        }
        while true {
            items.append(try value(depth: depth + 1))
            skipSpace()
            if current == UInt8(ascii: ",") {
                position += 1
                continue
            }
            guard current == UInt8(ascii: "]") else { throw error(expected: "\",\" or \"]\"") }
            position += 1
            return .array(items)
        }
    }

    private mutating func number() throws(TokenizerError) -> JSONValue {
        let start = position
        while let byte = current, Self.isNumeric(byte) { position += 1 }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        let digits = text.drop { $0 == "-" }
        let startsWell =
            digits.first?.isNumber == true && !(digits.hasPrefix("0") && digits.dropFirst().first?.isNumber == true)
        guard startsWell, text.last != ".", let number = Double(text), number.isFinite else {
            position = start
            throw error(expected: "a number")
        }
        if text.utf8.allSatisfy({ Self.digits.contains($0) || $0 == UInt8(ascii: "-") }), let whole = Int(text) {
            return .integer(whole)
        }
        return .number(number)
    }

    private static func isNumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."),
            UInt8(ascii: "e"), UInt8(ascii: "E"):
            true
        default: false
        }
    }

    private mutating func string() throws(TokenizerError) -> String {
        try take("\"")
        var start = position
        var text = ""
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                let tail = String(decoding: bytes[start..<position], as: UTF8.self)
                position += 1
                return text.isEmpty ? tail : text + tail
            case UInt8(ascii: "\\"):
                text += String(decoding: bytes[start..<position], as: UTF8.self)
                position += 1
                text.unicodeScalars.append(try escape())
                start = position
            case 0..<0x20: throw error(expected: "control characters written as escapes")
            default: position += 1
            }
        }
        throw error(expected: "a closing quote")
    }

    private mutating func escape() throws(TokenizerError) -> Unicode.Scalar {
        guard let byte = current else { throw error(expected: "an escape") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return try unicodeEscape()
        default:
            position -= 1
            throw error(expected: "one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u")
        }
    }

    private mutating func unicodeEscape() throws(TokenizerError) -> Unicode.Scalar {
        let unit = try fourDigits()
        if let scalar = Unicode.Scalar(unit) { return scalar }
        guard unit < 0xDC00, bytes[position...].starts(with: [UInt8(ascii: "\\"), UInt8(ascii: "u")]) else {
            throw error(expected: "a surrogate pair, not half of one")
        }
        position += 2
        let low = try fourDigits()
        guard (0xDC00..<0xE000).contains(low),
            let scalar = Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00))
        else { throw error(expected: "a surrogate pair, not half of one") }
        return scalar
    }

    private mutating func fourDigits() throws(TokenizerError) -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = current, byte < 0x80, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw error(expected: "four hexadecimal digits")
            }
            unit = unit << 4 | UInt32(digit)
            position += 1
        }
        return unit
    }
}
