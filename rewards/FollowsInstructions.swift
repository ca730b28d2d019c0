public import Records
public import RewardInterface

/// The share of the row's instructions that the completion keeps, of instructions that a program can check.
///
/// Column `instructions` is a list of objects, each a `kind` and what it needs: `{"kind": "sentence_count", "count":
/// 2}`. rewards/README.md has the kinds, and what counts as a word, a sentence and a line. White space around the
/// completion does not count. A completion without a letter or digit keeps none: saying nothing is no answer. Neither
/// does one that the length limit cut off, as nobody knows how it would have ended; `judge_truncated: true` takes it as
/// it stands. `scoring: all` gives 1 when all are kept and else 0. The note says what was not kept.
public struct FollowsInstructions: RewardFunction {
    public static let name = "follows_instructions"
    public static let range = 0.0...1.0
    public static let isDeterministic = true
    private let needsAll: Bool
    private let judgesTruncated: Bool

    private enum Scoring: String, SettingsChoice { case share, all }

    public init(reading settings: inout SettingsReader) {
        needsAll =
            settings.read(
                "scoring", default: Scoring.share,
                "share: share of instructions kept. all: 1 only when all are kept.")
            == .all
        judgesTruncated = settings.read(
            "judge_truncated", default: false,
            "Whether a completion cut off by the length limit is judged as it stands; otherwise it keeps none.")
    }

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        let instructions = try Instruction.all(of: prompt)
        if completion.isTruncated, !judgesTruncated { return .value(0, note: "cut off by the length limit") }
        let text = WrittenText(completion.text)
        guard text.saysSomething else { return .value(0, note: "no letter or digit in the text") }
        let problems = instructions.compactMap { $0.problem(in: text) }
        let note = problems.isEmpty ? nil : problems.joined(separator: "; ")
        if needsAll { return .value(problems.isEmpty ? 1 : 0, note: note) }
        return .value(1 - Double(problems.count) / Double(instructions.count), note: note)
    }
}
