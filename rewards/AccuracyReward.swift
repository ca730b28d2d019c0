public import Records
public import RewardInterface

/// 1 when the completion's final answer is the prompt's reference answer, 0 otherwise.
///
/// The final answer is the last `\boxed{…}` or `#### …`, else the last formula, else the last number. The reference is
/// column `solution`, `answer`, `ground_truth` or `reward_model.ground_truth` (setting `column` names another): an
/// answer, or a worked solution that ends with one, or a list of accepted answers. Fractions, decimals, percent,
/// thousands separators, units, factorials, LaTeX, lists, intervals, equations and expressions with variables are
/// compared by what they mean.
///
/// TRL's function of this name reads LaTeX only; this one also accepts a bare last number. As there, a row without a
/// reference (null or empty) abstains.
public struct AccuracyReward: AnswerReading {
    public static let name = "accuracy_reward"
    public static let range = 0.0...1.0
    public static let isDeterministic = true
    private let grader: AnswerGrader

    public init(reading settings: inout SettingsReader) {
        let column = settings.read("column", default: "", "The column with the answer; found by its name unless set.")
        grader = AnswerGrader(column: column.isEmpty ? nil : column)
    }

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        guard let verdict = try grader.verdict(on: completion.text, for: prompt) else {
            return .abstained(reason: "the row has no reference answer")
        }
        return .value(verdict.isRight ? 1 : 0, note: verdict.note)
    }

    public func answer(in completion: Completion, for prompt: Prompt) throws(RewardError) -> String? {
        try grader.answer(in: completion.text, for: prompt)
    }
}
