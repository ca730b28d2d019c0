/// Python's text operations, code point by code point.
extension String {
    init(_ scalars: some Sequence<Unicode.Scalar>) {
        var view = UnicodeScalarView()
        view.append(contentsOf: scalars)
        self.init(view)
    }

    /// `str.strip`: white space, or the given characters.
    func stripped(_ characters: String?, left: Bool, right: Bool) -> String {
        let set = characters.map { Set($0.unicodeScalars) }
        func isStripped(_ scalar: Unicode.Scalar) -> Bool { set?.contains(scalar) ?? JinjaLexer.isSpace(scalar) }
        var rest = Array(unicodeScalars)[...]
        if left { rest = rest.drop(while: isStripped) }
        if right { while let last = rest.last, isStripped(last) { rest.removeLast() } }
        return String(rest)
    }

    /// `str.split(mark, limit)`; a negative limit is none.
    func pieces(separatedBy mark: String, atMost limit: Int) -> [String] {
        let bytes = Array(utf8)
        let mark = Array(mark.utf8)
        guard !mark.isEmpty else { return [self] }
        var pieces: [String] = []
        var start = 0
        while limit < 0 || pieces.count < limit, let place = bytes.firstPlace(of: mark, from: start) {
            pieces.append(String(decoding: bytes[start..<place], as: UTF8.self))
            start = place + mark.count
        }
        pieces.append(String(decoding: bytes[start...], as: UTF8.self))
        return pieces
    }

    /// `str.split()`: words between white space; behind the limit the rest as it is.
    func words(atMost limit: Int) -> [String] {
        var words: [String] = []
        var rest = Array(unicodeScalars)[...].drop(while: JinjaLexer.isSpace)
        while !rest.isEmpty {
            if limit >= 0, words.count == limit {
                words.append(String(rest))
                break
            }
            let word = rest.prefix { !JinjaLexer.isSpace($0) }
            words.append(String(word))
            rest = rest.dropFirst(word.count).drop(while: JinjaLexer.isSpace)
        }
        return words
    }

    /// `str.splitlines()`.
    func lines() -> [String] {
        var lines: [String] = []
        var line: [Unicode.Scalar] = []
        var previous: Unicode.Scalar?
        for scalar in unicodeScalars {
            switch scalar.value {
            case 0x0A where previous == "\r": break
            case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029:
                lines.append(String(line))
                line = []
            default: line.append(scalar)
            }
            previous = scalar
        }
        if !line.isEmpty { lines.append(String(line)) }
        return lines
    }

    /// `str.replace(old, new, limit)`; a negative limit is none.
    func replaced(_ old: String, by new: String, atMost limit: Int) -> String {
        guard old.isEmpty else { return pieces(separatedBy: old, atMost: limit).joined(separator: new) }
        // Python puts the new text before each character and at the end.
        var result = ""
        var count = 0
        for scalar in unicodeScalars {
            if limit < 0 || count < limit { result += new }
            count += 1
            result.unicodeScalars.append(scalar)
        }
        return limit < 0 || count < limit ? result + new : result
    }

    /// `str.capitalize`: the first character in title case, the rest in lower case.
    func capitalizedFirst() -> String {
        guard let first = unicodeScalars.first else { return self }
        return first.properties.titlecaseMapping + String(unicodeScalars.dropFirst()).lowercased()
    }

    /// `str.title`: each run of cased characters capitalized.
    func titled() -> String {
        var result = ""
        var isInside = false
        for scalar in unicodeScalars {
            result += isInside ? scalar.properties.lowercaseMapping : scalar.properties.titlecaseMapping
            isInside = scalar.properties.isCased
        }
        return result
    }

    /// Jinja's `title` filter: words begin after white space, `-` and opening brackets only.
    func titledWords() -> String {
        var result = ""
        var isInside = false
        for scalar in unicodeScalars {
            let divides = "-({[<".unicodeScalars.contains(scalar) || JinjaLexer.isSpace(scalar)
            result += isInside ? scalar.properties.lowercaseMapping : scalar.properties.uppercaseMapping
            isInside = !divides
        }
        return result
    }
}

/// `json.dumps` as `transformers` sets the `tojson` filter: no escapes for characters beyond ASCII.
struct JinjaJSON {
    var indent: Int?
    var itemSeparator: String
    var keySeparator = ": "
    var sortsKeys = false

    func text(of value: JinjaValue, depth: Int = 0) -> String? {
        switch value {
        case .null: return "null"
        case .bool(let flag): return flag ? "true" : "false"
        case .integer, .double:
            let text = value.represented
            return ["nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"][text] ?? text
        case .string(let text): return Self.quoted(text)
        case .list(let items, _):
            var parts: [String] = []
            for item in items {
                guard let part = text(of: item, depth: depth + 1) else { return nil }
                parts.append(part)
            }
            return wrapped(parts, "[", "]", depth)
        case .object(let members):
            let ordered =
                sortsKeys
                ? members.sorted { $0.key.unicodeScalars.lexicographicallyPrecedes($1.key.unicodeScalars) } : members
            var parts: [String] = []
            for (key, value) in ordered {
                guard let part = text(of: value, depth: depth + 1) else { return nil }
                parts.append(Self.quoted(key) + keySeparator + part)
            }
            return wrapped(parts, "{", "}", depth)
        case .undefined, .namespace, .loop, .function: return nil
        }
    }

    private func wrapped(_ parts: [String], _ open: String, _ close: String, _ depth: Int) -> String {
        guard let indent, !parts.isEmpty else { return open + parts.joined(separator: itemSeparator) + close }
        let inner = "\n" + String(repeating: " ", count: indent * (depth + 1))
        return open + inner + parts.joined(separator: itemSeparator + inner) + "\n"
            + String(repeating: " ", count: indent * depth) + close
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\u{8}": result += "\\b"
            case "\u{c}": result += "\\f"
            case "\u{0}"..<" ": result += "\\u" + JinjaValue.padded(scalar.value, 4)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
