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

    /// `str.count(mark)`: how often it stands here without overlap.
    func occurrences(of mark: String) -> Int {
        let (bytes, mark) = (Array(utf8), Array(mark.utf8))
        guard !mark.isEmpty else { return unicodeScalars.count + 1 }
        var (count, start) = (0, 0)
        while let position = bytes.firstPosition(of: mark, from: start) {
            (count, start) = (count + 1, position + mark.count)
        }
        return count
    }

    /// `str.split(mark, limit)`; a negative limit is none.
    func pieces(separatedBy mark: String, atMost limit: Int) -> [String] {
        let bytes = Array(utf8)
        let mark = Array(mark.utf8)
        guard !mark.isEmpty else { return [self] }
        var pieces: [String] = []
        var start = 0
        while limit < 0 || pieces.count < limit, let position = bytes.firstPosition(of: mark, from: start) {
            pieces.append(String(decoding: bytes[start..<position], as: UTF8.self))
            start = position + mark.count
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

    /// `str.splitlines(keepends)`.
    func lines(keepingEnds keepsEnds: Bool = false) -> [String] {
        var lines: [String] = []
        var line: [Unicode.Scalar] = []
        var previous: Unicode.Scalar?
        for scalar in unicodeScalars {
            switch scalar.value {
            case 0x0A where previous == "\r":
                if keepsEnds, let last = lines.popLast() { lines.append(String(last.unicodeScalars + [scalar])) }
            case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029:
                lines.append(String(keepsEnds ? line + [scalar] : line))
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

/// Texts that are made of many, their length known before they are made.
extension JinjaRenderer {
    func joined(_ line: Int, _ parts: [String], separator: String) throws -> String {
        try countStep(line, parts.count >> 3)
        try countText(
            line, parts.reduce(0) { $0 + $1.utf8.count } + separator.utf8.count * max(0, parts.count - 1))
        return parts.joined(separator: separator)
    }

    /// `str.replace(old, new, limit)`; a negative limit is none.
    func replaced(_ line: Int, _ text: String, _ old: String, by new: String, atMost limit: Int) throws -> String {
        let all = text.occurrences(of: old)
        let count = limit < 0 ? all : min(limit, all)
        try countStep(line, count >> 3)
        try countText(line, text.utf8.count + count * max(0, new.utf8.count - old.utf8.count))
        return text.replaced(old, by: new, atMost: limit)
    }
}
