/// LaTeX, markdown and Unicode mathematics rewritten as plain ASCII bytes that a small parser can read.
///
///     \frac{1}{2} → ⟨1|2⟩    1{,}000 → 1,000    \text{ cm} → cm    \sqrt{3} → sqrt(3)    x^{2} → x^(2)    − → -
///     \le, \leq, ≤ → <=    \ge, \geq, ≥ → >=    \ne, \neq, != → ≠    \cup → ∪    \cap → ∩    \pm → ±
///
/// A fraction keeps marks of its own, so that `1\frac{1}{2}` is still a mixed number and no product; so does the end of
/// a row, `\\`.
struct PlainMath {
    static let fractionOpens: UInt8 = 1
    static let fractionBar: UInt8 = 2
    static let fractionCloses: UInt8 = 3
    static let pi: UInt8 = 4
    static let degree: UInt8 = 5
    static let rowEnd: UInt8 = 6

    private let source: ArraySlice<UInt8>
    private var at: Int
    private var out: [UInt8] = []
    private let depth: Int
    /// Deeper nesting than this is no answer that anyone writes; what lies deeper is left out.
    private static let depthLimit = 8

    static func bytes(of text: String) -> [UInt8] { bytes(of: ArraySlice(text.utf8)) }

    static func bytes(of source: ArraySlice<UInt8>) -> [UInt8] { translated(source, depth: 0) }

    /// The marks of fractions as parentheses and a slash, that of a row's end as a semicolon, for people.
    static func readable(_ plain: ArraySlice<UInt8>) -> [UInt8] {
        plain.map { byte in
            switch byte {
            case fractionOpens: UInt8(ascii: "(")
            case fractionBar: UInt8(ascii: "/")
            case fractionCloses: UInt8(ascii: ")")
            case rowEnd: UInt8(ascii: ";")
            default: byte
            }
        }
    }

    private static func translated(_ source: ArraySlice<UInt8>, depth: Int) -> [UInt8] {
        guard depth < depthLimit else { return [] }
        var reader = PlainMath(source: source, at: source.startIndex, depth: depth)
        reader.out.reserveCapacity(source.count)
        while reader.at < source.endIndex { reader.step() }
        return reader.out
    }

    private init(source: ArraySlice<UInt8>, at: Int, depth: Int) {
        self.source = source
        self.at = at
        self.depth = depth
    }

    private func byte(_ offset: Int = 0) -> UInt8? {
        let index = at + offset
        return index >= source.startIndex && index < source.endIndex ? source[index] : nil
    }

    private mutating func step() {
        let current = source[at]
        switch current {
        case UInt8(ascii: "\\"): command()
        case UInt8(ascii: "$"):
            // "-$5" keeps its sign next to the number.
            if out.last != UInt8(ascii: "-") { out.append(UInt8(ascii: " ")) }
            at += 1
        case UInt8(ascii: "{"):
            if byte(1) == UInt8(ascii: ","), byte(2) == UInt8(ascii: "}") {  // 1{,}000
                out.append(UInt8(ascii: ","))
                at += 3
            } else {
                at += 1
            }
        case UInt8(ascii: "}"): at += 1
        case UInt8(ascii: "^"): exponent()
        case UInt8(ascii: "*") where byte(1) == UInt8(ascii: "*"): doubleStar()
        case UInt8(ascii: "!") where byte(1) == UInt8(ascii: "="): bangEquals()
        case 0x80...: wideCharacter()
        case 0..<32: newOrControl(current)
        default:
            out.append(current)
            at += 1
        }
    }

    private mutating func newOrControl(_ current: UInt8) {
        out.append(current == UInt8(ascii: "\n") ? current : UInt8(ascii: " "))
        at += 1
    }

    /// `^{…}` and `^x`; `^\circ` is a degree sign.
    private mutating func exponent() {
        at += 1
        guard byte() == UInt8(ascii: "{") || byte() == UInt8(ascii: "\\") else {
            out.append(UInt8(ascii: "^"))
            return
        }
        let power = Self.translated(argument(), depth: depth + 1)
        if power == [Self.degree] {
            out.append(Self.degree)
        } else {
            out += [UInt8(ascii: "^"), UInt8(ascii: "(")] + power + [UInt8(ascii: ")")]
        }
    }

    /// `2**3` and `2 ** 3` are powers; any other `**` is markdown.
    private mutating func doubleStar() {
        let before = byte(-1) ?? UInt8(ascii: "\n")
        let after = byte(2) ?? UInt8(ascii: "\n")
        let isTight = (before.isDigit || before == UInt8(ascii: ")")) && (after.isDigit || after == UInt8(ascii: "("))
        let isLoose = before == UInt8(ascii: " ") && after == UInt8(ascii: " ")
        if isTight || isLoose { out.append(UInt8(ascii: "^")) }
        at += 2
    }

    /// `x != 2` says "not equal"; in `5!=120` stands a factorial.
    private mutating func bangEquals() {
        let before = out.last ?? UInt8(ascii: " ")
        if before.isDigit || before == UInt8(ascii: ")") {
            out.append(UInt8(ascii: "!"))
            at += 1
        } else {
            out += Array("≠".utf8)
            at += 2
        }
    }

    /// Reads one argument of a command: a group in braces, a command, or one character.
    private mutating func argument() -> ArraySlice<UInt8> {
        while byte() == UInt8(ascii: " ") { at += 1 }
        guard let first = byte() else { return [] }
        let start = at
        if first == UInt8(ascii: "{") {
            let end = source.closingBrace(of: at) ?? source.endIndex
            at = min(end + 1, source.endIndex)
            return source[(start + 1)..<end]
        }
        at += 1
        if first == UInt8(ascii: "\\") {
            while let next = byte(), next.isLetter { at += 1 }
        }
        return source[start..<at]
    }

    private mutating func command() {
        at += 1
        guard let first = byte() else { return }
        guard first.isLetter else {
            at += 1
            symbolCommand(first)
            return
        }
        let start = at
        while let next = byte(), next.isLetter { at += 1 }
        wordCommand(String(decoding: source[start..<at], as: UTF8.self))
    }

    private mutating func symbolCommand(_ symbol: UInt8) {
        switch symbol {
        case UInt8(ascii: "!"): break
        case UInt8(ascii: "%"), UInt8(ascii: "{"), UInt8(ascii: "}"), UInt8(ascii: "#"), UInt8(ascii: "&"),
            UInt8(ascii: "_"):
            out.append(symbol)
        case UInt8(ascii: "$"):
            if out.last != UInt8(ascii: "-") { out.append(UInt8(ascii: " ")) }
        case UInt8(ascii: "\\") where byte().map { !"()[]".utf8.contains($0) } ?? true:  // "\\(" is an escaped "\("
            out.append(Self.rowEnd)
        default: out.append(UInt8(ascii: " "))  // spaces, \( \) \[ \]
        }
    }

    private mutating func wordCommand(_ name: String) {
        switch name {
        case "frac", "dfrac", "tfrac", "cfrac": fraction()
        case "sqrt": root()
        case "text", "textbf", "textit", "textrm", "mathrm", "mathbf", "mathit", "mbox", "operatorname", "boxed",
            "fbox":
            let content = Self.translated(argument(), depth: depth + 1)
            out += [UInt8(ascii: " ")] + content + [UInt8(ascii: " ")]
        case "cdot", "times", "ast": out.append(UInt8(ascii: "*"))
        case "div": out.append(UInt8(ascii: "/"))
        case "pi": out.append(Self.pi)
        case "circ", "degree": out.append(Self.degree)
        case "approx", "equiv", "in": out.append(UInt8(ascii: "="))
        case "le", "leq", "leqslant": out += Array("<=".utf8)
        case "ge", "geq", "geqslant": out += Array(">=".utf8)
        case "lt": out.append(UInt8(ascii: "<"))
        case "gt": out.append(UInt8(ascii: ">"))
        case "ne", "neq": out += Array("≠".utf8)
        case "cup": out += Array("∪".utf8)
        case "cap": out += Array("∩".utf8)
        case "pm": out += Array("±".utf8)
        case "infty": infinity()
        case "left", "right", "big", "Big", "bigl", "bigr", "Bigl", "Bigr", "displaystyle", "limits": break
        case "quad", "qquad", "newline", "implies", "therefore", "Rightarrow", "rightarrow", "to":
            out.append(UInt8(ascii: " "))
        default: out += Array("\\\(name)".utf8)
        }
    }

    /// ∞, and +∞ where the sign joins it to nothing.
    private mutating func infinity() {
        let before = out.dropLast().last { !$0.isSpace } ?? UInt8(ascii: "(")
        if out.last == UInt8(ascii: "+"), "([,=".utf8.contains(before) { out.removeLast() }
        out += Array("∞".utf8)
    }

    private mutating func fraction() {
        let top = Self.translated(argument(), depth: depth + 1)
        let bottom = Self.translated(argument(), depth: depth + 1)
        out += [Self.fractionOpens] + top + [Self.fractionBar] + bottom + [Self.fractionCloses]
    }

    /// `\sqrt{a}` and `\sqrt[n]{a}` = a^(1/n).
    private mutating func root() {
        guard byte() == UInt8(ascii: "["), let end = source[at...].firstIndex(of: UInt8(ascii: "]")) else {
            out += Array("sqrt(".utf8) + Self.translated(argument(), depth: depth + 1) + [UInt8(ascii: ")")]
            return
        }
        let degree = Self.translated(source[(at + 1)..<end], depth: depth + 1)
        at = end + 1
        let radicand = Self.translated(argument(), depth: depth + 1)
        out += Array("((".utf8) + radicand + Array(")^(1/(".utf8) + degree + Array(")))".utf8)
    }

    private mutating func wideCharacter() {
        let length = source[at] >= 0xF0 ? 4 : source[at] >= 0xE0 ? 3 : 2
        let end = min(at + length, source.endIndex)
        let character = source[at..<end]
        guard !character.elementsEqual("∞".utf8) else {
            infinity()
            at = end
            return
        }
        out += Self.ascii[String(decoding: character, as: UTF8.self)] ?? Array(character)
        at = end
    }

    /// Characters with a plain spelling.
    private static let ascii: [String: [UInt8]] = {
        let spellings: [String: String] = [
            "−": "-", "–": "-", "‐": "-", "‑": "-", "×": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "⁄": "/",
            "∕": "/",
            "²": "^2", "³": "^3", "√": "sqrt", "≈": "=", "∈": "=", "’": "'", "“": "\"", "”": "\"", "％": "%", "，": ",",
            "．": ".", "：": ":", "≤": "<=", "⩽": "<=", "≥": ">=", "⩾": ">=",
            "\u{A0}": " ", "\u{2009}": " ", "\u{202F}": " ", "\u{2002}": " ", "\u{2003}": " ", "\u{3000}": " ",
            "€": " ", "£": " ", "¥": " ", "₹": " ",
        ]
        let fractions: [String: (String, String)] = [
            "½": ("1", "2"), "⅓": ("1", "3"), "⅔": ("2", "3"), "¼": ("1", "4"), "¾": ("3", "4"), "⅕": ("1", "5"),
            "⅛": ("1", "8"), "⅜": ("3", "8"), "⅝": ("5", "8"), "⅞": ("7", "8"),
        ]
        var bytes = spellings.mapValues { Array($0.utf8) }
        for (character, (top, bottom)) in fractions {
            bytes[character] =
                [fractionOpens] + Array(top.utf8) + [fractionBar] + Array(bottom.utf8) + [fractionCloses]
        }
        bytes["π"] = [pi]
        bytes["°"] = [degree]
        return bytes
    }()
}

extension UInt8 {
    var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }
    /// ASCII letters, and any byte of a letter beyond ASCII.
    var isLetter: Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self | 0x20) || self >= 0x80 }
    var isSpace: Bool { self == UInt8(ascii: " ") || self == UInt8(ascii: "\n") }
}

extension ArraySlice<UInt8> {
    /// Where the group that opens at `start` closes; escaped braces do not count.
    func closingBrace(of start: Int) -> Int? {
        var depth = 0
        var index = start
        while index < endIndex {
            switch self[index] {
            case UInt8(ascii: "\\"): index += 1
            case UInt8(ascii: "{"): depth += 1
            case UInt8(ascii: "}"):
                depth -= 1
                if depth == 0 { return index }
            default: break
            }
            index += 1
        }
        return nil
    }
}
