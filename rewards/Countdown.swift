public import Records
public import RewardInterface

/// 1 when the completion is an arithmetic expression that uses each of the prompt's numbers exactly once and makes the
/// target, 0 otherwise.
///
/// Columns: `numbers` (whole numbers) and `target`. The expression may use `+ - * /` and parentheses; it stands alone,
/// or in the last `<answer>…</answer>` or `\boxed{…}`, and may end with `= target`. Computed in fractions, without
/// rounding.
public struct Countdown: AnswerReading {
    public static let name = "countdown"
    public static let range = 0.0...1.0
    public static let isDeterministic = true

    public init(reading settings: inout SettingsReader) throws(RewardError) {}

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        let numbers = try prompt.integers("numbers")
        let target = try prompt.integer("target")
        var expression = Arithmetic(Self.expression(in: completion.text))
        guard let value = expression.value() else { return .value(0, note: expression.problem) }
        guard expression.numbers.sorted() == numbers.map({ Int128($0) }).sorted() else {
            return .value(0, note: "does not use each number exactly once")
        }
        return .value(value == Rational(Int128(target)) ? 1 : 0, note: value.isWhole ? "\(value.numerator)" : nil)
    }

    /// The expression itself without spaces: two that make the same number may not both use the numbers right.
    public func answer(in completion: Completion, for prompt: Prompt) throws(RewardError) -> String? {
        let bytes = Self.expression(in: completion.text)
        var expression = Arithmetic(bytes)
        guard expression.value() != nil else { return nil }
        return String(decoding: PlainMath.readable(bytes.filter { !$0.isSpace }[...]), as: UTF8.self)
    }

    /// The part of the text that is the answer, in plain bytes, without `= …` behind it.
    private static func expression(in text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        var part = bytes[...]
        if let opening = bytes.lastRange(of: Array("<answer>".utf8), where: { _ in true }) {
            part = bytes[opening.upperBound...]
            if let closing = part.lastRange(of: Array("</answer>".utf8), where: { _ in true }) {
                part = part[..<closing.lowerBound]
            }
        } else if let marked = FinalAnswer.marked(in: bytes) {
            part = ArraySlice((marked.answer?.text ?? "").utf8)
        }
        let plain = PlainMath.bytes(of: part)
        return Array(plain.split(separator: UInt8(ascii: "="), maxSplits: 1).first ?? [])
    }
}

/// An expression of whole numbers, `+ - * /` and parentheses, and nothing else.
struct Arithmetic {
    private let bytes: [UInt8]
    private var at = 0
    private var depth = 0
    /// The numbers used, in order.
    private(set) var numbers: [Int128] = []
    /// Why there is no value.
    private(set) var problem = ""

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The value of all of the text; `nil` when it is no such expression, divides by zero or leaves 128 bits.
    mutating func value() -> Rational? {
        guard let value = sum() else {
            if problem.isEmpty { problem = "no arithmetic expression" }
            return nil
        }
        skipSpaces()
        guard at == bytes.count else {
            problem = "no arithmetic expression: '\(String(decoding: bytes[at...].prefix(20), as: UTF8.self))'"
            return nil
        }
        return value
    }

    private mutating func skipSpaces() {
        while at < bytes.count, bytes[at].isSpace { at += 1 }
    }

    private mutating func take(_ choices: String) -> UInt8? {
        skipSpaces()
        guard at < bytes.count, choices.utf8.contains(bytes[at]) else { return nil }
        at += 1
        return bytes[at - 1]
    }

    private mutating func sum() -> Rational? {
        var total = product()
        while total != nil, let sign = take("+-") {
            guard let next = product() else { return nil }
            total = sign == UInt8(ascii: "+") ? total?.adding(next) : next.negated.flatMap { total?.adding($0) }
        }
        return total
    }

    private mutating func product() -> Rational? {
        var total = factor()
        while total != nil, let sign = take("*/") {
            guard let next = factor() else { return nil }
            if sign == UInt8(ascii: "/"), next == Rational(0) { problem = "divides by zero" }
            total = sign == UInt8(ascii: "*") ? total?.multiplied(by: next) : total?.divided(by: next)
        }
        return total
    }

    private mutating func factor() -> Rational? {
        depth += 1
        defer { depth -= 1 }
        guard depth <= 64 else {
            problem = "nested too deep"
            return nil
        }
        if take("-") != nil { return factor()?.negated }
        if take("(") != nil {
            guard let value = sum(), take(")") != nil else { return nil }
            return value
        }
        var value: Int128?
        while at < bytes.count, bytes[at].isDigit, (value ?? 0) < 1_000_000_000_000_000 {
            value = (value ?? 0) * 10 + Int128(bytes[at] - UInt8(ascii: "0"))
            at += 1
        }
        guard let value else { return nil }
        numbers.append(value)
        return Rational(value)
    }
}
