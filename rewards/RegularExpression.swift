import Foundation
public import Records
public import RewardInterface

/// 1 when the completion matches a regular expression, 0 otherwise.
///
/// Settings: `pattern` (required; ICU's syntax, which reads most of Python's), `match` (`search` anywhere, the default,
/// or `full` for the whole text), `case_insensitive` and `dot_matches_newline` as the flags `(?i)` and `(?s)` in the
/// pattern. A match that takes longer than `timeout_seconds` (1) is given up as timed out: some patterns take ages on
/// some texts.
public struct RegularExpression: RewardFunction {
    public static let name = "regular_expression"
    public static let range = 0.0...1.0
    public static let isDeterministic = true
    private let expression: NSRegularExpression
    private let matchesAll: Bool
    private let timeoutSeconds: Double

    private enum Extent: String, SettingsChoice { case search, full }

    public init(reading settings: inout SettingsReader) throws(RewardError) {
        let pattern = settings.read("pattern", standIn: "", meaning: "ICU's syntax, which reads most of Python's.")
        matchesAll =
            settings.read("match", default: Extent.search, "search: anywhere. full: the whole text.") == .full
        timeoutSeconds = settings.read(
            "timeout_seconds", default: 1.0, .from(0.001, to: 3600), "Seconds after which a match counts as failed.")
        do {
            expression = try NSRegularExpression(pattern: matchesAll ? "\\A(?:\(pattern))\\z" : pattern)
        } catch {
            throw .wrongSetting(
                reward: Self.name, name: "pattern", found: "'\(pattern)'",
                expected: "a regular expression in ICU's syntax")
        }
    }

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        let text = completion.text
        let limit = ContinuousClock.now + .seconds(timeoutSeconds)
        var matches = false
        var isLate = false
        let whole = NSRange(text.startIndex..., in: text)
        expression.enumerateMatches(in: text, options: .reportProgress, range: whole) { match, _, stop in
            matches = match != nil
            isLate = !matches && ContinuousClock.now > limit
            if matches || isLate { stop.pointee = true }
        }
        return isLate ? .timedOut(seconds: timeoutSeconds) : .value(matches ? 1 : 0)
    }
}
