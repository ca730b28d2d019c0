import Foundation

/// The value of an answer: exact while it is a fraction that fits, and always as a Double.
struct RealNumber: Equatable {
    var exact: Rational?
    var value: Double
    /// How many digits stand behind the point, when the number is written as one decimal.
    var decimals: Int?

    init(_ exact: Rational, decimals: Int? = nil) {
        self.exact = exact
        value = exact.value
        self.decimals = decimals
    }

    init(_ value: Double) { self.value = value }

    /// Exact when both sides are and the result fits; `nil` when it is no finite number.
    private init?(_ exact: Rational?, or value: Double) {
        guard value.isFinite else { return nil }
        self.exact = exact
        self.value = exact?.value ?? value
    }

    func adding(_ other: Self) -> Self? {
        Self(both(other) { $0.adding($1) }, or: value + other.value)
    }

    func multiplied(by other: Self) -> Self? {
        Self(both(other) { $0.multiplied(by: $1) }, or: value * other.value)
    }

    func divided(by other: Self) -> Self? {
        other.value == 0 ? nil : Self(both(other) { $0.divided(by: $1) }, or: value / other.value)
    }

    func raised(to power: Self) -> Self? {
        let whole = power.exact.flatMap { $0.isWhole ? Int(exactly: $0.numerator) : nil }
        let exactPower = whole.flatMap { exponent in exact.flatMap { $0.raised(to: exponent) } }
        return Self(exactPower, or: pow(value, power.value))
    }

    var squareRoot: Self? {
        guard value >= 0 else { return nil }
        let root = value.squareRoot()
        // The root of a square is exact: sqrt(9) is 3.
        if let exact, let whole = Int128(exactly: root.rounded()),
            exact == Rational(whole).multiplied(by: Rational(whole))
        {
            return Self(Rational(whole))
        }
        return Self(nil, or: root)
    }

    /// `n!`, exact up to 33!; Γ(x + 1) for what is no fraction, such as the samples of a variable.
    var factorial: Self? {
        guard let exact else { return value > -1 ? Self(nil, or: tgamma(value + 1)) : nil }
        guard exact.isWhole, decimals == nil, (0...170).contains(exact.numerator) else { return nil }
        var product: Rational? = Rational(1)
        for factor in 0..<exact.numerator { product = product?.multiplied(by: Rational(factor + 1)) }
        return Self(product, or: tgamma(value + 1))
    }

    var negated: Self {
        var result = Self(-value)
        result.exact = exact?.negated
        result.decimals = decimals
        return result
    }

    private func both(_ other: Self, _ operation: (Rational, Rational) -> Rational?) -> Rational? {
        guard let exact, let second = other.exact else { return nil }
        return operation(exact, second)
    }

    /// Whether two written numbers mean the same.
    ///
    /// Exact numbers must be equal; with a root or π in it, to 1 part in 10⁹. A decimal with four or more digits behind
    /// the point also equals the endless number it is the rounding of: 0.3333 is 1/3, 0.33 is not.
    func means(_ other: Self) -> Bool {
        if let exact, let second = other.exact, exact == second { return true }
        if exact == nil || other.exact == nil {
            let scale = max(abs(value), abs(other.value))
            if abs(value - other.value) <= 1e-9 * scale { return true }
        }
        return isRounding(of: other) || other.isRounding(of: self)
    }

    private func isRounding(of other: Self) -> Bool {
        guard let decimals, (4...12).contains(decimals), other.decimals == nil else { return false }
        if let exact = other.exact, exact.isFiniteDecimal { return false }
        let unit = pow(10, Double(decimals))
        return (other.value * unit).rounded() == (value * unit).rounded()
    }
}
