/// Reads arithmetic from the bytes of ``PlainMath`` by recursive descent and stops where it no longer is arithmetic.
///
///     sum = product (("+" | "-") product)*        product = power (("*" | "/" | nothing) power)*
///     power = ("-" | "+") power | primary "!"? ("^" power)?
///     primary = number | mixed | fraction | "(" sum ")" | sqrt | π | variable
///
/// Bounded: at most 48 levels deep, numbers of at most 400 digits.
struct ExpressionReader {
    let bytes: [UInt8]
    private(set) var at = 0
    private var depth = 0
    /// The value of each single-letter variable; without it a letter ends the arithmetic.
    private let variables: ((UInt8) -> Double)?

    init(_ bytes: [UInt8], at start: Int = 0, variables: ((UInt8) -> Double)? = nil) {
        self.bytes = bytes
        at = start
        self.variables = variables
    }

    private func byte(_ offset: Int = 0) -> UInt8? { at + offset < bytes.count ? bytes[at + offset] : nil }

    private mutating func skipSpaces() {
        while let next = byte(), next.isSpace { at += 1 }
    }

    private mutating func take(_ wanted: UInt8) -> Bool {
        let start = at
        skipSpaces()
        guard byte() == wanted else {
            at = start
            return false
        }
        at += 1
        return true
    }

    private mutating func take(word: String) -> Bool {
        guard bytes[at...].starts(with: word.utf8) else { return false }
        at += word.utf8.count
        return true
    }

    /// A sum, product, power or number from here on; `nil` (and nothing consumed) when there is none.
    mutating func sum() -> RealNumber? {
        guard depth < 48 else { return nil }
        depth += 1
        defer { depth -= 1 }
        guard var total = product() else { return nil }
        while true {
            let start = at
            let sign = take(UInt8(ascii: "+")) ? 1 : take(UInt8(ascii: "-")) ? -1 : 0
            guard sign != 0, let term = product(), let next = total.adding(sign < 0 ? term.negated : term) else {
                at = start
                return total
            }
            total = next
        }
    }

    private mutating func product() -> RealNumber? {
        guard var total = power() else { return nil }
        while true {
            let start = at
            let next: RealNumber? =
                if take(UInt8(ascii: "*")) {
                    power().flatMap { total.multiplied(by: $0) }
                } else if take(UInt8(ascii: "/")) {
                    power().flatMap { total.divided(by: $0) }
                } else if isProductWithoutSign {
                    power().flatMap { total.multiplied(by: $0) }
                } else {
                    nil
                }
            guard let next else {
                at = start
                return total
            }
            total = next
        }
    }

    /// `2π`, `3(4+5)`, `2sqrt(3)`, `3!7!`, and with variables `2x` and `x y`.
    private var isProductWithoutSign: Bool {
        var look = at
        while look < bytes.count, bytes[look] == UInt8(ascii: " ") { look += 1 }
        guard look < bytes.count else { return false }
        let next = bytes[look]
        if next == UInt8(ascii: "(") || next == PlainMath.pi || next == PlainMath.fractionOpens { return true }
        if bytes[look...].starts(with: "sqrt".utf8) { return true }
        if next.isDigit, at > 0, bytes[at - 1] == UInt8(ascii: "!") { return true }
        return variables != nil && next.isLetter
    }

    private mutating func power() -> RealNumber? {
        let start = at
        guard depth < 48 else { return nil }
        depth += 1
        defer { depth -= 1 }
        if take(UInt8(ascii: "-")) {
            if let value = power() { return value.negated }
            at = start
            return nil
        }
        if take(UInt8(ascii: "+")) {
            if let value = power() { return value }
            at = start
            return nil
        }
        guard let base = primary().map({ factorial(of: $0) }) else {
            at = start
            return nil
        }
        let end = at
        if take(UInt8(ascii: "^")), let exponent = power(), let value = base.raised(to: exponent) { return value }
        at = end
        return base
    }

    /// With the `!` behind it taken, where there is one: `5!`, `(n-1)!`; what `5!!` means is left open.
    private mutating func factorial(of base: RealNumber) -> RealNumber {
        guard byte() == UInt8(ascii: "!"), byte(1) != UInt8(ascii: "!"), let product = base.factorial else {
            return base
        }
        at += 1
        return product
    }

    private mutating func primary() -> RealNumber? {
        let start = at
        skipSpaces()
        guard let first = byte() else { return nil }
        let value: RealNumber? =
            switch first {
            case UInt8(ascii: "("): closed(by: UInt8(ascii: ")"))
            case PlainMath.fractionOpens: fraction()
            case PlainMath.pi: constant(.pi)
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."): mixedNumber()
            case UInt8(ascii: "s") where take(word: "sqrt"): primary().flatMap(\.squareRoot)
            case _ where first.isLetter: variable(first)
            default: nil
            }
        if value == nil { at = start }
        return value
    }

    private mutating func closed(by closing: UInt8) -> RealNumber? {
        at += 1
        guard let value = sum(), take(closing) else { return nil }
        return value
    }

    private mutating func fraction() -> RealNumber? {
        at += 1
        guard let top = sum(), take(PlainMath.fractionBar), let bottom = sum(), take(PlainMath.fractionCloses) else {
            return nil
        }
        return top.divided(by: bottom)
    }

    private mutating func constant(_ value: Double) -> RealNumber? {
        at += 1
        return RealNumber(value)
    }

    /// One letter that is not part of a word.
    private mutating func variable(_ letter: UInt8) -> RealNumber? {
        guard let variables, letter < 0x80 else { return nil }
        at += 1
        return RealNumber(variables(letter))
    }

    /// A number, or one with a proper fraction behind it: `1 1/2`, `1⟨1|2⟩`.
    private mutating func mixedNumber() -> RealNumber? {
        guard let whole = number() else { return nil }
        guard whole.exact?.isWhole == true, whole.decimals == nil else { return whole }
        let end = at
        if byte() == UInt8(ascii: " ") { at += 1 }
        let hasSpace = at > end
        if byte() == PlainMath.fractionOpens, let part = fraction(), isProper(part) { return whole.adding(part) }
        if hasSpace {
            at = end + 1
            if let top = number(), top.decimals == nil, byte() == UInt8(ascii: "/") {
                at += 1
                if let bottom = number(), bottom.decimals == nil, let part = top.divided(by: bottom), isProper(part) {
                    return whole.adding(part)
                }
            }
        }
        at = end
        return whole
    }

    private func isProper(_ part: RealNumber) -> Bool { part.exact != nil && part.value > 0 && part.value < 1 }

    /// Digits with thousands separators, a point, an exponent: `1,234.50`, `12 000`, `.5`, `3e8`; `0,100` are two.
    mutating func number() -> RealNumber? {
        var digits: [UInt8] = []
        var decimals: Int?
        while let next = byte(), next.isDigit {
            digits.append(next)
            at += 1
        }
        if (1...3).contains(digits.count), digits[0] != UInt8(ascii: "0") {
            takeGroups(UInt8(ascii: ","), &digits)
            if digits.count <= 3 { takeGroups(UInt8(ascii: " "), &digits) }
        }
        if byte() == UInt8(ascii: "."), let next = byte(1), next.isDigit {
            at += 1
            let start = digits.count
            while let next = byte(), next.isDigit {
                digits.append(next)
                at += 1
            }
            decimals = digits.count - start
        }
        guard !digits.isEmpty, digits.count <= 400 else { return nil }
        return Self.value(digits, decimals: decimals, exponent: exponent())
    }

    /// Groups of exactly three digits behind a separator.
    private mutating func takeGroups(_ separator: UInt8, _ digits: inout [UInt8]) {
        while byte() == separator, let a = byte(1), let b = byte(2), let c = byte(3), a.isDigit, b.isDigit, c.isDigit,
            byte(4)?.isDigit != true, separator != UInt8(ascii: " ") || byte(4) != UInt8(ascii: "/")
        {
            digits += [a, b, c]
            at += 4
        }
    }

    private mutating func exponent() -> Int {
        guard let mark = byte(), mark | 0x20 == UInt8(ascii: "e") else { return 0 }
        let isNegative = byte(1) == UInt8(ascii: "-")
        let skip = isNegative || byte(1) == UInt8(ascii: "+") ? 2 : 1
        var look = at + skip
        var value = 0
        while look < bytes.count, bytes[look].isDigit, value < 1000 {
            value = value * 10 + Int(bytes[look] - UInt8(ascii: "0"))
            look += 1
        }
        guard look > at + skip else { return 0 }
        at = look
        return isNegative ? -value : value
    }

    private static func value(_ digits: [UInt8], decimals: Int?, exponent: Int) -> RealNumber? {
        let shift = exponent - (decimals ?? 0)
        var whole: Int128? = 0
        for digit in digits {
            guard let (ten, overflows) = whole?.multipliedReportingOverflow(by: 10), !overflows else {
                whole = nil
                break
            }
            let (sum, spills) = ten.addingReportingOverflow(Int128(digit - UInt8(ascii: "0")))
            whole = spills ? nil : sum
        }
        let scale = Rational(10).raised(to: shift)
        guard let whole else { return nil }  // more digits than can be told apart: compared as words
        if let scale, let exact = Rational(whole).multiplied(by: scale) { return RealNumber(exact, decimals: decimals) }
        guard let value = Double("\(String(decoding: digits, as: UTF8.self))e\(shift)"), value.isFinite else {
            return nil
        }
        return RealNumber(value)
    }
}
