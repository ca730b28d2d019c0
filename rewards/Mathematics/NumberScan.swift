/// Finds numbers in running text.
enum NumberScan {
    /// The last number of a text in ``PlainMath``'s bytes, with its sign and a fraction behind it (`-3/4`, `1⟨1|2⟩`).
    ///
    /// Digits inside words (`H2O`, `x2`), exponents of letters (`x^2`, `12 cm^2`), ordinals (`3rd`) and times (`3:30`)
    /// are no numbers, nor is a minus between two numbers a sign. Scripts that put no space before a number (`共有18个`)
    /// do not make a word of it.
    static func lastNumber(in plain: [UInt8]) -> Range<Int>? {
        var last: Range<Int>?
        var at = 0
        while at < plain.count {
            guard startsNumber(plain, at) else {
                at += 1
                continue
            }
            let end = self.end(of: plain, from: at)
            guard end > at else {
                at += 1
                continue
            }
            if isWhole(plain, end) { last = withSign(plain, at)..<end }
            at = skipWord(plain, end)
        }
        return last
    }

    private static func startsNumber(_ plain: [UInt8], _ at: Int) -> Bool {
        let isPoint = plain[at] == UInt8(ascii: ".") && at + 1 < plain.count && plain[at + 1].isDigit
        guard plain[at] == PlainMath.fractionOpens || plain[at].isDigit || isPoint else { return false }
        // `x_2` is a name; `_18_` and `__18__` are numbers with emphasis.
        guard let before = plain[..<at].lastIndex(where: { $0 != UInt8(ascii: "_") }) else { return true }
        return !plain[before].isDigit && !isWordLetter(plain, endingAt: before)
            && !isExponentOfLetter(plain, behind: before)
    }

    /// Whether what stands behind `end` is the exponent of a unit or a variable: `cm^2`, `cm ^2`, `x^(10)`.
    private static func isExponentOfLetter(_ plain: [UInt8], behind end: Int) -> Bool {
        var at = plain[end] == UInt8(ascii: "(") ? end - 1 : end
        guard at >= 0, plain[at] == UInt8(ascii: "^") else { return false }
        at -= 1
        while at >= 0, plain[at] == UInt8(ascii: " ") { at -= 1 }
        return at >= 0 && isWordLetter(plain, endingAt: at)
    }

    /// Whether the character whose last byte stands at `end` is a letter of an alphabet with capitals: Latin, Greek,
    /// Cyrillic. An ideograph, kana, Hangul, a currency sign or an arrow is none.
    private static func isWordLetter(_ plain: [UInt8], endingAt end: Int) -> Bool {
        var end = end
        while end >= 0, plain[end] >= 0x80 {
            // A character takes four bytes at most, and all but the first begin with the bits 10.
            let start = (max(end - 3, 0)...end).last { plain[$0] & 0xC0 != 0x80 } ?? end
            let scalar = String(decoding: plain[start...end], as: UTF8.self).unicodeScalars.first
            guard let scalar, scalar.properties.generalCategory == .nonspacingMark else {
                return scalar?.properties.isCased == true
            }
            end = start - 1  // an accent: its letter stands before it
        }
        return end >= 0 && plain[end].isLetter
    }

    /// The end of the number that starts here: of `7`, `7/8`, `7 1/2`, `⟨7|8⟩`.
    private static func end(of plain: [UInt8], from at: Int) -> Int {
        if plain[at] == PlainMath.fractionOpens { return closing(plain, at) }
        var reader = ExpressionReader(plain, at: at)
        guard reader.number() != nil else { return at }
        var end = reader.at
        if end < plain.count, plain[end] == PlainMath.fractionOpens { return closing(plain, end) }
        // "1 1/2" and "3/4": whole numbers only, so that dates and paths stay what they are.
        for lead in [" ", ""] {
            var look = end
            guard plain[look...].starts(with: lead.utf8) else { continue }
            look += lead.utf8.count
            if let fraction = fractionEnd(plain, from: lead.isEmpty ? at : look) {
                end = fraction
                break
            }
        }
        return end
    }

    /// The end of `digits/digits` not followed by a further `/digits`.
    private static func fractionEnd(_ plain: [UInt8], from start: Int) -> Int? {
        var at = start
        let top = digits(plain, &at)
        guard top, at < plain.count, plain[at] == UInt8(ascii: "/") else { return nil }
        at += 1
        guard digits(plain, &at) else { return nil }
        if at + 1 < plain.count, plain[at] == UInt8(ascii: "/"), plain[at + 1].isDigit { return nil }
        return at
    }

    private static func digits(_ plain: [UInt8], _ at: inout Int) -> Bool {
        let start = at
        while at < plain.count, plain[at].isDigit { at += 1 }
        return at > start
    }

    private static func closing(_ plain: [UInt8], _ open: Int) -> Int {
        var depth = 0
        for index in open..<plain.count {
            if plain[index] == PlainMath.fractionOpens { depth += 1 }
            if plain[index] == PlainMath.fractionCloses {
                depth -= 1
                if depth == 0 { return index + 1 }
            }
        }
        return open
    }

    /// Not an ordinal and not a time of day.
    private static func isWhole(_ plain: [UInt8], _ end: Int) -> Bool {
        guard end + 1 < plain.count else { return true }
        let next = String(decoding: plain[end...(end + 1)], as: UTF8.self).lowercased()
        if ["st", "nd", "rd", "th"].contains(next), end + 2 >= plain.count || !plain[end + 2].isLetter { return false }
        return !(plain[end] == UInt8(ascii: ":") && plain[end + 1].isDigit)
    }

    /// Past a time's second half, so that the 30 of `3:30` does not start anew.
    private static func skipWord(_ plain: [UInt8], _ end: Int) -> Int {
        var at = end
        while at + 1 < plain.count, plain[at] == UInt8(ascii: ":"), plain[at + 1].isDigit {
            at += 1
            while at < plain.count, plain[at].isDigit { at += 1 }
        }
        return max(at, end)
    }

    /// The start of the number with its minus, when that is a sign and no operator.
    private static func withSign(_ plain: [UInt8], _ at: Int) -> Int {
        guard at > 0, plain[at - 1] == UInt8(ascii: "-") else { return at }
        var before = at - 2
        if before >= 0, plain[before] == UInt8(ascii: "-") || isWordLetter(plain, endingAt: before) { return at }
        while before >= 0, plain[before] == UInt8(ascii: " ") { before -= 1 }
        guard before >= 0 else { return at - 1 }
        let isOperand =
            plain[before].isDigit || plain[before] == UInt8(ascii: ")") || plain[before] == PlainMath.fractionCloses
        return isOperand ? at : at - 1
    }
}
