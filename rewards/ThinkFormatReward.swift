public import Records
public import RewardInterface

/// 1 when the completion begins with `<think>`, closes it with `</think>` and opens no second one; 0 otherwise.
///
/// TRL's rule to the letter: what stands between and behind the tags is free.
public struct ThinkFormatReward: RewardFunction {
    public static let name = "think_format_reward"
    public static let range = 0.0...1.0
    public static let isDeterministic = true
    private static let opening = Array("<think>".utf8)
    private static let closing = Array("</think>".utf8)

    public init(reading settings: inout SettingsReader) {}

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        let bytes = Array(completion.text.utf8)
        guard bytes.starts(with: Self.opening) else { return .value(0, note: "does not begin with <think>") }
        let rest = bytes[Self.opening.count...]
        guard rest.lastRange(of: Self.opening, where: { _ in true }) == nil else {
            return .value(0, note: "a second <think>")
        }
        guard rest.lastRange(of: Self.closing, where: { _ in true }) != nil else {
            return .value(0, note: "no </think>")
        }
        return .value(1)
    }
}
