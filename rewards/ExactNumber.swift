public import Records
public import RewardInterface

/// 1 when the last number in the completion equals the prompt's answer exactly, 0 otherwise.
///
/// The answer is the number in column `answer` (setting `column` names another). No rounding, no units, no markers: for
/// sets whose answers are plain numbers.
public struct ExactNumber: AnswerReading {
    public static let name = "exact_number"
    public static let range = 0.0...1.0
    public static let isDeterministic = true
    private let column: String

    public init(reading settings: inout SettingsReader) {
        column = settings.read("column", default: "answer", "The column with the right number.")
    }

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        let answer = PlainMath.bytes(of: try prompt.text(column))
        guard let wanted = Self.number(in: answer, all: true) else {
            throw .wrongColumn(column, expected: "a number", in: prompt)
        }
        guard let found = Self.number(in: PlainMath.bytes(of: completion.text), all: false) else {
            return .value(0, note: "no number in the text")
        }
        return .value(found == wanted ? 1 : 0)
    }

    public func answer(in completion: Completion, for prompt: Prompt) throws(RewardError) -> String? {
        Self.number(in: PlainMath.bytes(of: completion.text), all: false)?.text
    }

    /// The last number in `plain`; with `all`, nothing but spaces may stand around it.
    private static func number(in plain: [UInt8], all: Bool) -> Rational? {
        guard let range = NumberScan.lastNumber(in: plain) else { return nil }
        if all, !(plain[..<range.lowerBound] + plain[range.upperBound...]).allSatisfy(\.isSpace) { return nil }
        var reader = ExpressionReader(Array(plain[range]))
        return reader.sum()?.exact
    }
}
