public import Records
public import RewardInterface

/// ``AccuracyReward`` on what follows the reasoning; 0 when the reasoning never ends.
///
/// Setting `reasoning_delimiters` (default `["</think>"]`): the first of them that the text contains ends the
/// reasoning, at its last occurrence.
public struct ReasoningAccuracyReward: AnswerReading {
    public static let name = "reasoning_accuracy_reward"
    public static let range = 0.0...1.0
    public static let isDeterministic = true
    private let grader: AnswerGrader
    private let delimiters: [[UInt8]]

    public init(reading settings: inout SettingsReader) {
        let texts = settings.read(
            "reasoning_delimiters", default: ["</think>"],
            SettingsBound(", at least one and none of them empty") { !$0.isEmpty && !$0.contains("") },
            "The first of these found in the text ends the reasoning.")
        delimiters = texts.map { Array($0.utf8) }
        let column = settings.read("column", default: "", "The column with the answer; found by its name unless set.")
        grader = AnswerGrader(column: column.isEmpty ? nil : column)
    }

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        guard let answer = afterReasoning(completion.text) else {
            return .value(0, note: "the reasoning does not end")
        }
        guard let verdict = try grader.verdict(on: answer, for: prompt) else {
            return .abstained(reason: "the row has no reference answer")
        }
        return .value(verdict.isRight ? 1 : 0, note: verdict.note)
    }

    public func answer(in completion: Completion, for prompt: Prompt) throws(RewardError) -> String? {
        guard let answer = afterReasoning(completion.text) else { return nil }
        return try grader.answer(in: answer, for: prompt)
    }

    private func afterReasoning(_ text: String) -> String? {
        let bytes = Array(text.utf8)
        let ends = delimiters.compactMap { bytes.lastRange(of: $0, where: { _ in true })?.upperBound }
        return ends.first.map { String(decoding: bytes[$0...], as: UTF8.self) }
    }
}
