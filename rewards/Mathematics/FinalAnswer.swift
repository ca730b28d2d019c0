/// The answer a text ends with, and where it was found.
///
/// In this order: the last marker of the text, which is a `\boxed{…}` or a line `#### …` that holds an answer; then the
/// last formula (`$…$`, `\(…\)`, `\[…\]`) when no number follows it; then the last number. An answer that is mentioned
/// earlier does not count.
struct FinalAnswer {
    enum Origin: String {
        case box = "\\boxed"
        case hashes = "####"
        case formula
        case number = "last number"
    }

    let answer: MathAnswer
    let origin: Origin
    /// As it stands in the text, for notes.
    let text: String

    /// `nil` when the text ends with no answer: it holds no number, or its last box is empty or never closed.
    static func find(in text: String) -> FinalAnswer? {
        let bytes = Array(text.utf8)
        if let marked = marked(in: bytes) { return marked.answer }
        if let formula = lastFormula(in: bytes) { return formula }
        return lastNumber(in: bytes)
    }

    /// Whether the text has a marker, and what it holds. For answers in words, where a last number means nothing.
    static func marked(in bytes: [UInt8]) -> (answer: FinalAnswer?, Void)? {
        let box = lastBox(in: bytes)
        if let hashes = lastHashes(in: bytes), hashes.start > box?.start ?? -1 {
            return (FinalAnswer(bytes[hashes.content], .hashes), ())
        }
        guard let box else { return nil }
        return (box.content.flatMap { FinalAnswer(bytes[$0], .box) }, ())
    }

    private init?(_ bytes: ArraySlice<UInt8>, _ origin: Origin) {
        self.init(plain: PlainMath.bytes(of: bytes), text: String(decoding: bytes, as: UTF8.self), origin)
    }

    private init?(plain: [UInt8], text: String, _ origin: Origin) {
        let answer = origin == .hashes ? MathAnswer(sentence: plain) : MathAnswer(plain: plain)
        guard !answer.words.isEmpty else { return nil }
        self.answer = answer
        self.origin = origin
        self.text = text
    }

    // MARK: Markers

    private static func lastBox(in bytes: [UInt8]) -> (start: Int, content: Range<Int>?)? {
        let found = ["\\boxed", "\\fbox"].compactMap { word in
            bytes.lastRange(of: Array(word.utf8), where: { end in opensGroup(bytes, end) })
        }
        guard let word = found.max(by: { $0.lowerBound < $1.lowerBound }) else { return nil }
        guard let open = bytes[word.upperBound...].firstIndex(of: UInt8(ascii: "{")),
            let close = bytes[...].closingBrace(of: open)
        else { return (word.lowerBound, nil) }
        return (word.lowerBound, (open + 1)..<close)
    }

    /// Whether a brace follows, with nothing but spaces before it.
    private static func opensGroup(_ bytes: [UInt8], _ end: Int) -> Bool {
        bytes[end...].first { $0 != UInt8(ascii: " ") } == UInt8(ascii: "{")
    }

    /// The last `####` whose line is an answer: in markdown the same sign opens a heading.
    private static func lastHashes(in bytes: [UInt8]) -> (start: Int, content: Range<Int>)? {
        let sign = Array("####".utf8)
        var end = bytes.count
        while let last = bytes[..<end].lastRange(of: sign, where: { _ in true }) {
            // The last and the first of a line, not each: a line of nothing but signs would take its square in time.
            let start = bytes[..<last.lowerBound].lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
            let stop = bytes[last.upperBound...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
            let first = (start...last.lowerBound).first { bytes[$0..<($0 + sign.count)].elementsEqual(sign) }
            for index in Set([last.lowerBound, first ?? last.lowerBound]).sorted(by: >) {
                let content = (index + sign.count)..<stop
                let answer = MathAnswer(sentence: PlainMath.bytes(of: bytes[content]))
                if answer.isComputed || answer.words.count == 1 { return (index, content) }
            }
            end = start
        }
        return nil
    }

    // MARK: Without a marker

    private static func lastFormula(in bytes: [UInt8]) -> FinalAnswer? {
        guard let last = lastFormulaRange(in: bytes), let found = FinalAnswer(bytes[last], .formula),
            found.answer.isComputed
        else { return nil }
        return found
    }

    /// What stands between the signs of the last formula, when no number follows it.
    private static func lastFormulaRange(in bytes: [UInt8]) -> Range<Int>? {
        let lastDigit = bytes.lastIndex(where: \.isDigit) ?? -1
        let pairs: [(opens: String, closes: String)] = [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")]
        let formulas = pairs.compactMap { pair -> Range<Int>? in
            guard let end = bytes.lastRange(of: Array(pair.closes.utf8), where: { _ in true })?.lowerBound,
                let start = bytes[..<end].lastRange(of: Array(pair.opens.utf8), where: { _ in true })?.upperBound
            else { return nil }
            return start..<end
        }
        let last = formulas.filter { !$0.isEmpty }.max(by: { $0.upperBound < $1.upperBound })
        return last.flatMap { $0.upperBound > lastDigit ? $0 : nil }
    }

    /// The last formula when no number follows it, whatever it says: for answers such as `x \leq 5`.
    static func lastFormulaOfAnyKind(in bytes: [UInt8]) -> FinalAnswer? {
        lastFormulaRange(in: bytes).flatMap { FinalAnswer(bytes[$0], .formula) }
    }

    private static func lastNumber(in bytes: [UInt8]) -> FinalAnswer? {
        let plain = PlainMath.bytes(of: bytes[...])
        guard let range = NumberScan.lastNumber(in: plain) else { return nil }
        let suffixEnd = min(plain.count, range.upperBound + 12)
        // "%", "percent" and "million" belong to the number; a unit behind it does not have to be understood.
        let tail = String(decoding: plain[range.upperBound..<suffixEnd], as: UTF8.self)
        let word = tail.drop { $0 == " " }.prefix { $0.isLetter || $0 == "%" }
        let isPart = ["%", "percent", "thousand", "million", "billion", "trillion"].contains(word.lowercased())
        let suffix = isPart ? " \(word)" : ""
        let number = plain[range] + Array(suffix.utf8)
        let text = String(decoding: PlainMath.readable(number), as: UTF8.self)
        return FinalAnswer(plain: Array(number), text: text, .number)
    }
}

// MARK: Worked solutions

extension FinalAnswer {
    /// The answer that a solution in words ends with: `Add 40 and 2 and you have 42`, `…, so there are $42$ of them.`
    ///
    /// `nil` for what is rather an answer itself, though a number may stand at its end: `x < -1`, `3 : 4 : 5`,
    /// `March 5, 2021`, `2 hours 30 minutes`, `all real numbers except 3`. Of many words nobody makes an answer.
    static func end(ofSolution text: String) -> FinalAnswer? {
        let prose = prose(of: text)
        let words = words(of: prose)
        if words.count > 25 { return find(in: text) }
        guard words.count >= 4 || words.contains("answer"), !prose.contains(where: { "\\<>≤≥|".contains($0) }),
            !hasRatio(prose)
        else { return nil }
        let bytes = Array(text.utf8)
        if let range = lastFormulaRange(in: bytes) {
            guard endsAnswer(PlainMath.bytes(of: bytes[range.upperBound...])) else { return nil }
            return lastFormula(in: bytes)
        }
        let plain = PlainMath.bytes(of: text)
        if words.contains("answer"), let only = NumberScan.lastNumber(in: plain),
            !plain[..<only.lowerBound].contains(where: \.isDigit)
        {
            return lastNumber(in: bytes)  // "The answer is 42 apples in total."
        }
        guard let range = NumberScan.lastNumber(in: plain), endsAnswer(Array(plain[range.upperBound...])) else {
            return nil
        }
        let before = String(decoding: plain[..<range.lowerBound], as: UTF8.self).split { $0.isWhitespace }.last ?? ""
        return bounds.contains(before.lowercased()) ? nil : lastNumber(in: bytes)
    }

    /// Words that make the number behind them a part of what is said, and not its result.
    private static let bounds: Set = [
        "except", "than", "least", "most", "below", "above", "under", "over", "not", "by", "mod", "modulo", "base",
        "and", "or",
    ]

    /// The words of two letters and more in `prose`, in lower case.
    private static func words(of prose: String) -> [String] {
        prose.lowercased().split { $0.isWhitespace }
            .map { word in String(word.filter { !".,;:!?\"'()*_".contains($0) }) }
            .filter { $0.count > 1 && $0.allSatisfy(\.isLetter) }
    }

    /// `text` without its formulas. What stands between two amounts of dollars is none.
    private static func prose(of text: String) -> String {
        var marked = text.replacing("\\$", with: "")
        for sign in ["$$", "\\(", "\\)", "\\[", "\\]"] { marked = marked.replacing(sign, with: "$") }
        let pieces = marked.split(separator: "$", omittingEmptySubsequences: false)
        var prose = ""
        var canBeFormula = false
        for (index, piece) in pieces.enumerated() {
            if canBeFormula, index < pieces.count - 1, words(of: String(piece)).isEmpty {
                canBeFormula = false
            } else {
                prose += piece + " "
                canBeFormula = true
            }
        }
        return prose
    }

    /// Whether a colon stands between two numbers, as in `3:4`, `3 : 4` and `5:30`, but not in `Step 1: 40`.
    private static func hasRatio(_ prose: String) -> Bool {
        let bytes = Array(prose.utf8)
        return bytes.indices.contains { index in
            guard bytes[index] == UInt8(ascii: ":") else { return false }
            let before = bytes[..<index].suffix(2)
            let after = bytes[(index + 1)...].prefix(2)
            if before.last?.isDigit == true, after.first?.isDigit == true { return true }
            return before.first?.isDigit == true && before.last?.isSpace == true && after.first?.isSpace == true
                && after.last?.isDigit == true
        }
    }

    /// Whether nothing but punctuation and a unit stands behind a number: `.`, `apples!`, `dollars per day`.
    private static func endsAnswer(_ plain: [UInt8]) -> Bool {
        let rest = String(decoding: MathAnswer.undressed(plain), as: UTF8.self)
        let words = rest.split(separator: " ")
        let isUnit =
            words.count <= 1 || words.count == 2 && ["square", "cubic", "sq"].contains(words[0])
            || words.count == 3 && words[1] == "per"
        return isUnit && Quantity.Suffix(" " + rest) != nil
    }
}

extension RandomAccessCollection<UInt8> where Index == Int {
    /// The last occurrence of `needle` whose end fulfils `condition`.
    func lastRange(of needle: [UInt8], where condition: (Int) -> Bool) -> Range<Int>? {
        guard let first = needle.first, count >= needle.count else { return nil }
        var start = endIndex - needle.count
        while start >= startIndex {
            if self[start] == first, self[start..<(start + needle.count)].elementsEqual(needle),
                condition(start + needle.count)
            {
                return start..<(start + needle.count)
            }
            start -= 1
        }
        return nil
    }
}
