/// One answer, read as far as it can be: a quantity, a list, an expression with variables, an equation, or just its
/// words.
struct MathAnswer {
    /// The answer in plain bytes: lower case, no spaces, no dressing.
    let words: [UInt8]
    /// A number with an optional unit.
    let quantity: Quantity?
    /// The parts of `(1, 2)`, `{1, 2}`, `1, 2` or `1 or 2`.
    let list: List?
    /// An expression with single-letter variables, sampled at fixed points.
    let samples: [Double]?
    /// Whether it is an equation that answers as a whole, as `x^2 + y^2 = 25` does and `x = 5` does not.
    let isEquation: Bool
    /// Of any equation that can be read, the differences of its sides at those points.
    private let differences: [Double]?
    /// The sides of such an equation, left and right; none of a chain.
    private let sides: [MathAnswer]
    private let tellsValue: Bool

    struct List {
        enum Bracket: Equatable { case round, square, halfOpen, halfClosed, set, bare }
        let items: [MathAnswer]
        let bracket: Bracket
    }

    /// Longer texts are no answer; they are compared as words only.
    private static let lengthLimit = 600

    init(_ text: String) { self.init(plain: PlainMath.bytes(of: text)) }

    /// From running text, where the `!` behind a number ends the sentence.
    init(sentence plain: [UInt8]) {
        let end = plain.lastIndex { !Self.dressing.contains($0) }.map { $0 + 1 } ?? 0
        self.init(plain: Array(plain[..<end]))
    }

    init(plain: [UInt8], depth: Int = 0) {
        let bare = Self.unwrapped(Self.undressed(plain))
        let equation = Equation(bare)
        let side = equation?.value ?? bare
        isEquation = equation != nil && equation?.value == nil
        differences = equation?.differences
        sides = depth < 3 ? (equation?.sides ?? []).map { MathAnswer(plain: $0, depth: depth + 1) } : []
        tellsValue = equation?.tellsValue == true
        words = Self.words(of: side)
        guard side.count <= Self.lengthLimit, !isEquation else {
            (quantity, list, samples) = (nil, nil, nil)
            return
        }
        // The comma of `(1,234)` parts two coordinates, that of `1,234` thousands.
        quantity = Self.isTuple(side) ? nil : Quantity(side)
        list = quantity == nil && depth < 3 ? Self.list(of: side, or: bare, depth: depth) : nil
        samples = quantity == nil && list == nil && words.count > 1 ? Self.samples(of: side) : nil
    }

    /// Whether it is more than words: a number, a list of such, or an expression.
    var isComputed: Bool {
        if quantity != nil || list != nil { return true }
        if isEquation { return differences != nil }
        let signs = Set("+-*/^!0123456789".utf8).union([PlainMath.fractionOpens, PlainMath.pi])
        return samples != nil && words.contains(where: signs.contains)
    }

    /// One spelling for answers that are sure to mean the same: numbers as fractions (a percentage apart from the
    /// number it may stand for), lists item by item, everything else in its plain words.
    var spelling: String {
        if let quantity, let exact = quantity.number.exact { return exact.text + (quantity.isPercent ? "%" : "") }
        if let quantity { return "\(quantity.number.value)" }
        if let list { return "\(list.bracket) " + list.items.map(\.spelling).joined(separator: ", ") }
        return String(decoding: PlainMath.readable(words[...]), as: UTF8.self)
    }

    /// As it is to be compared with `reference`: an equation as the value it tells, unless an equation was asked for.
    func read(for reference: MathAnswer) -> MathAnswer {
        tellsValue && !reference.isEquation ? sides.last ?? self : self
    }

    /// Whether it means the same as `reference`. Equations do when their differences are proportional; one that gives a
    /// name a number is met by that number only, and never by the equation that was to be solved.
    func means(_ reference: MathAnswer) -> Bool {
        if read(for: reference).isSame(as: reference) { return true }
        guard reference.quantity == nil, let differences, let second = reference.differences else { return false }
        return Equation.areProportional(differences, second)
    }

    private func isSame(as other: MathAnswer) -> Bool {
        guard isEquation == other.isEquation else { return false }
        if !sides.isEmpty, sides.count == other.sides.count {
            return zip(sides, other.sides).allSatisfy { $0.isSame(as: $1) }
        }
        if quantity != nil || other.quantity != nil {
            guard let quantity, let second = other.quantity else { return false }
            return quantity.means(second)
        }
        if let list, let second = other.list { return Self.sameItems(list, second) }
        if let samples, let second = other.samples { return Self.close(samples, second) }
        return !words.isEmpty && words == other.words
    }

    // MARK: Reading

    private static let dressing = Set(" \n*`_\"'.,;:!?".utf8).union([PlainMath.rowEnd])

    /// Without spaces, markdown marks and punctuation around it.
    static func undressed(_ plain: [UInt8]) -> [UInt8] {
        var range = plain[...]
        while let last = range.last, dressing.contains(last) {
            let end = range.lastIndex { $0 != UInt8(ascii: "!") }.map { $0 + 1 } ?? range.startIndex
            if end < range.endIndex, hasFactorial(range[..<end]) { break }
            range = end < range.endIndex ? range[..<end] : range.dropLast()
        }
        while let first = range.first, dressing.contains(first) {
            // ".5" is a number, "-" before it belongs to it.
            if first == UInt8(ascii: "."), range.dropFirst().first?.isDigit == true { break }
            range.removeFirst()
        }
        return Array(range)
    }

    /// Whether a `!` behind it is part of the answer, as behind a number, a bracket or one small letter: `5!`, `n!`.
    private static func hasFactorial(_ base: ArraySlice<UInt8>) -> Bool {
        guard let last = base.last else { return false }
        if last.isDigit || last == UInt8(ascii: ")") { return true }
        return (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(last) && base.dropLast().last?.isLetter != true
    }

    /// `(x = 5)` without its brackets.
    private static func unwrapped(_ bare: [UInt8]) -> [UInt8] {
        let (inner, bracket) = unbracketed(bare)
        let isOne = bracket == .round && inner.contains(UInt8(ascii: "=")) && !inner.contains(UInt8(ascii: ","))
        return isOne ? undressed(Array(inner)) : bare
    }

    /// Letters in lower case; a choice in brackets, `(B)`, loses them.
    private static func words(of side: [UInt8]) -> [UInt8] {
        var kept = side.filter { !$0.isSpace }.map { $0 < 0x80 && $0.isLetter ? $0 | 0x20 : $0 }
        if kept.count == 3, kept[0] == UInt8(ascii: "("), kept[2] == UInt8(ascii: ")"), kept[1].isLetter {
            kept = [kept[1]]
        }
        return kept
    }

    private static func list(of side: [UInt8], or bare: [UInt8], depth: Int) -> List? {
        let whole = side.count == bare.count ? side : bare.contains(UInt8(ascii: ",")) ? side : bare
        let (inner, bracket) = unbracketed(whole)
        let parts = split(inner)
        guard parts.count >= 2, parts.count <= 32 else { return nil }
        let items = parts.map { MathAnswer(plain: $0, depth: depth + 1) }
        // "no, never" and "add 40 and 2" are sentences: a list holds something to compute with, and no phrases.
        let isPhrase = zip(items, parts).map { item, part in
            !item.isComputed && undressed(part).contains(where: \.isSpace)
        }
        guard items.allSatisfy({ !$0.words.isEmpty }), items.contains(where: \.isComputed), !isPhrase.contains(true)
        else { return nil }
        return List(items: items, bracket: bracket)
    }

    static func unbracketed(_ side: [UInt8]) -> (inner: ArraySlice<UInt8>, bracket: List.Bracket) {
        guard side.count >= 2, let first = side.first, let last = side.last else { return (side[...], .bare) }
        let bracket: List.Bracket? =
            switch (first, last) {
            case (UInt8(ascii: "("), UInt8(ascii: ")")): .round
            case (UInt8(ascii: "["), UInt8(ascii: "]")): .square
            case (UInt8(ascii: "["), UInt8(ascii: ")")): .halfOpen
            case (UInt8(ascii: "("), UInt8(ascii: "]")): .halfClosed
            case (UInt8(ascii: "{"), UInt8(ascii: "}")): .set
            default: nil
            }
        guard let bracket, depthNeverZero(side) else { return (side[...], .bare) }
        return (side[1..<(side.count - 1)], bracket)
    }

    /// `(1, 2)`: round brackets around all of it, and a comma between them.
    private static func isTuple(_ side: [UInt8]) -> Bool {
        let (inner, bracket) = unbracketed(side)
        return bracket == .round && inner.contains(UInt8(ascii: ",")) && split(inner).count > 1
    }

    /// Whether the first bracket closes only at the end: not so in `(1,2),(3,4)`.
    private static func depthNeverZero(_ side: [UInt8]) -> Bool {
        var depth = 0
        for (index, byte) in side.enumerated() {
            depth += byte.bracketStep
            if depth == 0, index < side.count - 1 { return false }
        }
        return depth == 0
    }

    /// Parts between `,`, `;`, `or` and `and` outside brackets.
    static func split(_ inner: ArraySlice<UInt8>) -> [[UInt8]] {
        var parts: [[UInt8]] = [[]]
        var depth = 0
        var index = inner.startIndex
        while index < inner.endIndex {
            let byte = inner[index]
            depth += byte.bracketStep
            let rest = inner[index...]
            let word = depth > 0 ? nil : [" or ", " and "].first { rest.starts(with: $0.utf8) }
            if let word {
                parts.append([])
                index += word.utf8.count - 1  // the space behind may open the next word
            } else if depth == 0, byte == UInt8(ascii: ",") || byte == UInt8(ascii: ";") {
                parts.append([])
                index += 1
            } else {
                parts[parts.count - 1].append(byte)
                index += 1
            }
        }
        // "1, 2, and 3" leaves an empty part between the comma and the word.
        let isBlank = { (part: [UInt8]) in part.allSatisfy(\.isSpace) }
        return parts.enumerated().filter { !isBlank($0.element) || $0.offset == parts.count - 1 }.map(\.element)
    }

    /// The values of an expression with variables: equal values mean equal everywhere, for expressions a person would
    /// write.
    static func samples(of side: [UInt8]) -> [Double]? { side.contains(where: \.isLetter) ? values(of: side) : nil }

    /// The expression's value at three points of irrational coordinates.
    static func values(of side: [UInt8]) -> [Double]? {
        guard !hasWord(side) else { return nil }
        var values: [Double] = []
        for point in 0..<3 {
            var reader = ExpressionReader(side) { letter in
                let slot = Double(letter) - 64 + Double(point) * 0.618_033_988_75
                return 0.3 + (slot * 0.754_877_666).truncatingRemainder(dividingBy: 1) * 2
            }
            guard let value = reader.sum(), side[reader.at...].allSatisfy(\.isSpace) else { return nil }
            values.append(value.value)
        }
        return values
    }

    /// Whether more than two letters stand together, sqrt aside.
    private static func hasWord(_ side: [UInt8]) -> Bool {
        var run = 0
        var index = 0
        while index < side.count {
            if side[index...].starts(with: "sqrt".utf8) {
                index += 4
                run = 0
                continue
            }
            run = side[index].isLetter ? run + 1 : 0
            if run > 2 { return true }
            index += 1
        }
        return false
    }

    // MARK: Comparing

    static func close(_ left: [Double], _ right: [Double]) -> Bool {
        zip(left, right).allSatisfy { abs($0 - $1) <= 1e-9 * max(1, abs($0), abs($1)) }
    }

    private static func sameItems(_ left: List, _ right: List) -> Bool {
        guard left.items.count == right.items.count else { return false }
        let isUnordered = [left, right].allSatisfy { $0.bracket == .set || $0.bracket == .bare }
        guard isUnordered || left.bracket == right.bracket || left.bracket == .bare || right.bracket == .bare else {
            return false
        }
        guard isUnordered else { return zip(left.items, right.items).allSatisfy { $0.means($1) } }
        var rest = right.items
        for item in left.items {
            guard let match = rest.firstIndex(where: { item.means($0) }) else { return false }
            rest.remove(at: match)
        }
        return true
    }
}

extension UInt8 {
    /// +1 for an opening bracket, −1 for a closing one.
    var bracketStep: Int {
        switch self {
        case UInt8(ascii: "("), UInt8(ascii: "["), UInt8(ascii: "{"), PlainMath.fractionOpens: 1
        case UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}"), PlainMath.fractionCloses: -1
        default: 0
        }
    }
}
