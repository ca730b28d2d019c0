/// A number as its text spells it, so that `1.0`, `1e-06` and 39 digits come out as they went in.
public struct JSONNumber: Sendable {
    /// As JSON spells it.
    public let text: String

    /// - Parameter text: A number in JSON's grammar, neither beyond `Double` nor, if whole, beyond `Int128`.
    init(checked text: String) { self.text = text }

    /// A whole number, to the digit.
    public init(_ value: some BinaryInteger) { text = String(value) }

    /// The shortest text that reads back as the same number, whole numbers below 2^53 without a point; `nil` for what
    /// is not finite.
    public init?(_ value: Double) {
        guard value.isFinite else { return nil }
        let isWhole = abs(value) < 0x1p53 && value == value.rounded() && !(value == 0 && value.sign == .minus)
        text = isWhole ? String(Int64(value)) : String(value)
    }

    /// ``init(_:)`` with a point or an exponent always: `1.0`. Strict readers refuse a whole number where they expect a
    /// fraction.
    public init?(fraction value: Double) {
        guard value.isFinite else { return nil }
        text = String(value)
    }

    /// As Python's `json.dumps` writes a `float`, which is no JSON where the number is not finite.
    package init(python value: Double) {
        if value.isFinite {
            // Swift has an exponent from 2^53 on, Python from 1e16 on; between them every number is whole.
            let isPlain = abs(value) >= 0x1p53 && abs(value) < 1e16
            text = isPlain ? "\(Int64(value)).0" : String(value)
        } else {
            text = value.isNaN ? "NaN" : value < 0 ? "-Infinity" : "Infinity"
        }
    }

    /// The nearest `Double`.
    public var double: Double { Double(text) ?? .nan }

    /// The number when it is whole and fits.
    public var int: Int? {
        if let whole = Int(text) { return whole }
        return isWrittenWhole ? nil : Int(exactly: double)
    }

    /// The number when it is whole and fits 128 bits.
    public var int128: Int128? {
        if let whole = Int128(text) { return whole }
        return isWrittenWhole ? nil : Int128(exactly: double)
    }

    /// Whether it is written without fraction and exponent, which is what Python reads as an `int`.
    public var isWrittenWhole: Bool { !text.utf8.contains { $0 == 0x2e || $0 | 0x20 == 0x65 } }
}

extension JSONNumber: Hashable {
    /// Equal when their values are, to the digit where both are whole.
    public static func == (left: Self, right: Self) -> Bool {
        if left.text == right.text { return true }
        let (a, b) = (left.int128, right.int128)
        return a == nil && b == nil ? left.double == right.double : a == b
    }

    public func hash(into hasher: inout Hasher) { hasher.combine(double) }
}
