import Foundation
public import Records
public import RewardInterface

/// Right or wrong, scaled by length along a cosine (Yeo et al. 2025, arXiv:2502.03373, appendix C.1).
///
///     R = min + ½ (max − min) (1 + cos(π · min(tokens / max_len, 1)))
///
/// For a right completion min and max are `min_value_correct` (0.5) and `max_value_correct` (1): short is better. For a
/// wrong one they are `max_value_wrong` (−0.5) and `min_value_wrong` (−1): short is worse. Setting `max_len` is
/// required. What is right is ``AccuracyReward``'s matter.
public struct CosineScaledReward: AnswerReading {
    public static let name = "get_cosine_scaled_reward"
    public static let range = -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude
    public static let isDeterministic = true
    private let grader: AnswerGrader
    private let maxLength: Int
    /// Reward at length 0 and at `maxLength`.
    private let correct: (short: Double, long: Double)
    private let wrong: (short: Double, long: Double)

    public init(reading settings: inout SettingsReader) {
        maxLength = settings.read(
            "max_len", standIn: 1, .from(1, to: 100_000_000), meaning: "Tokens at which the cosine ends.")
        wrong = (
            short: settings.read("min_value_wrong", default: -1.0, "The score of a short wrong completion."),
            long: settings.read("max_value_wrong", default: -0.5, "The score of a long wrong completion.")
        )
        let long = settings.read("min_value_correct", default: 0.5, "The score of a long right completion.")
        correct = (
            short: settings.read("max_value_correct", default: 1.0, "The score of a short right completion."),
            long: long
        )
        let column = settings.read("column", default: "", "The column with the answer; found by its name unless set.")
        grader = AnswerGrader(column: column.isEmpty ? nil : column)
    }

    public var readsTokenIDs: Bool { true }

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        guard let verdict = try grader.verdict(on: completion.text, for: prompt) else {
            return .abstained(reason: "the row has no reference answer")
        }
        return .value(reward(isRight: verdict.isRight, tokens: completion.tokenIDs.count), note: verdict.note)
    }

    public func answer(in completion: Completion, for prompt: Prompt) throws(RewardError) -> String? {
        try grader.answer(in: completion.text, for: prompt)
    }

    func reward(isRight: Bool, tokens: Int) -> Double {
        let progress = min(Double(tokens) / Double(maxLength), 1)
        let bounds = isRight ? correct : wrong
        return bounds.long + 0.5 * (bounds.short - bounds.long) * (1 + cos(progress * .pi))
    }
}
