/// A fraction of 128-bit whole numbers in lowest terms; an operation that does not fit gives `nil`.
struct Rational: Equatable, Hashable {
    let numerator: Int128
    /// Above 0.
    let denominator: Int128

    init(_ whole: Int128) {
        numerator = whole
        denominator = 1
    }

    /// `nil` for a denominator of 0 and for the one number whose negative does not fit.
    init?(_ numerator: Int128, over denominator: Int128) {
        guard denominator != 0, numerator != .min, denominator != .min else { return nil }
        let divisor = Self.greatestCommonDivisor(abs(numerator), abs(denominator))
        let sign: Int128 = denominator < 0 ? -1 : 1
        self.numerator = sign * numerator / divisor
        self.denominator = sign * denominator / divisor
    }

    var value: Double { Double(numerator) / Double(denominator) }
    /// `3` or `3/4`: one spelling for one number.
    var text: String { isWhole ? "\(numerator)" : "\(numerator)/\(denominator)" }
    var isWhole: Bool { denominator == 1 }

    /// Whether the decimal expansion ends: the denominator has no prime factor but 2 and 5.
    var isFiniteDecimal: Bool {
        var rest = denominator
        while rest % 2 == 0 { rest /= 2 }
        while rest % 5 == 0 { rest /= 5 }
        return rest == 1
    }

    func adding(_ other: Self) -> Self? {
        guard let left = product(numerator, other.denominator), let right = product(other.numerator, denominator),
            let bottom = product(denominator, other.denominator)
        else { return nil }
        let (sum, overflows) = left.addingReportingOverflow(right)
        return overflows ? nil : Self(sum, over: bottom)
    }

    func multiplied(by other: Self) -> Self? {
        guard let top = product(numerator, other.numerator), let bottom = product(denominator, other.denominator)
        else { return nil }
        return Self(top, over: bottom)
    }

    func divided(by other: Self) -> Self? {
        Self(other.denominator, over: other.numerator).flatMap { multiplied(by: $0) }
    }

    var negated: Self? { Self(-numerator, over: denominator) }

    func raised(to exponent: Int) -> Self? {
        guard abs(exponent) <= 400 else { return nil }
        var result: Self? = Self(1)
        for _ in 0..<abs(exponent) { result = result?.multiplied(by: self) }
        return exponent < 0 ? result.flatMap { Self(1).divided(by: $0) } : result
    }

    private func product(_ left: Int128, _ right: Int128) -> Int128? {
        let (result, overflows) = left.multipliedReportingOverflow(by: right)
        return overflows ? nil : result
    }

    private static func greatestCommonDivisor(_ left: Int128, _ right: Int128) -> Int128 {
        var (left, right) = (left, right)
        while right != 0 { (left, right) = (right, left % right) }
        return left
    }
}
