public import Records
public import RewardInterface

/// 1 when the completion keeps the rule of form that the prompt's row names, 0 otherwise.
///
/// Column `rule` names the rule and column `argument` says more where it needs to:
/// `upper_case`, `lower_case`, `quoted` take none; `word_count`, `list_of` a number; `ends_with` a text;
/// `without_letter` a letter; `repeat` a number and a word. White space around the completion does not count, and a
/// completion without a letter keeps no rule: saying nothing is not an answer.
public struct FormatRules: RewardFunction {
    public static let name = "format_rules"
    public static let range = 0.0...1.0
    public static let isDeterministic = true

    private enum Rule: String, CaseIterable {
        case upperCase = "upper_case"
        case lowerCase = "lower_case"
        case wordCount = "word_count"
        case endsWith = "ends_with"
        case withoutLetter = "without_letter"
        case listOf = "list_of"
        case repeated = "repeat"
        case quoted
    }

    public init(reading settings: inout SettingsReader) throws(RewardError) {}

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        let name = try prompt.text("rule")
        guard let rule = Rule(rawValue: name) else {
            let known = Rule.allCases.map(\.rawValue).joined(separator: ", ")
            throw .wrongColumn("rule", expected: "one of \(known)", in: prompt)
        }
        let text = completion.text.trimmed
        let keeps = try keeps(rule, text, prompt)
        guard text.contains(where: \.isLetter) else { return .value(0, note: "no letter in the text") }
        return .value(keeps ? 1 : 0, note: keeps ? nil : "breaks \(name)")
    }

    private func keeps(_ rule: Rule, _ text: Substring, _ prompt: Prompt) throws(RewardError) -> Bool {
        switch rule {
        case .upperCase: text.contains(where: \.isUppercase) && text == text.uppercased()
        case .lowerCase: text.contains(where: \.isLowercase) && text == text.lowercased()
        case .wordCount: Self.words(text).count == (try count(prompt))
        case .endsWith: text.hasSuffix(try ending(prompt))
        case .withoutLetter: !text.holds(try letter(prompt))
        case .listOf: Self.items(text) == (try count(prompt))
        case .repeated: try repeats(text, prompt)
        case .quoted: text.count > 2 && text.first == "\"" && text.last == "\"" && text.count { $0 == "\"" } == 2
        }
    }

    // MARK: - Arguments

    private func count(_ prompt: Prompt) throws(RewardError) -> Int {
        guard let count = Int(try prompt.text("argument")), count > 0 else {
            throw .wrongColumn("argument", expected: "a whole number above 0", in: prompt)
        }
        return count
    }

    private func ending(_ prompt: Prompt) throws(RewardError) -> String {
        let ending = try prompt.text("argument")
        guard !ending.isEmpty else { throw .wrongColumn("argument", expected: "the text to end with", in: prompt) }
        return ending
    }

    private func letter(_ prompt: Prompt) throws(RewardError) -> Unicode.Scalar {
        let scalars = Array(try prompt.text("argument").unicodeScalars)
        guard scalars.count == 1, ("a"..."z").contains(scalars[0]) || ("A"..."Z").contains(scalars[0]) else {
            throw .wrongColumn("argument", expected: "one letter from a to z", in: prompt)
        }
        return scalars[0]
    }

    private func repeats(_ text: Substring, _ prompt: Prompt) throws(RewardError) -> Bool {
        let parts = Self.words(Substring(try prompt.text("argument")))
        guard parts.count == 2, let count = Int(parts[0]), count > 0 else {
            throw .wrongColumn("argument", expected: "a number and a word, such as '3 lamp'", in: prompt)
        }
        let words = Self.words(text)
        return words.count == count && words.allSatisfy { $0 == parts[1] }
    }

    // MARK: - Text

    private static func words(_ text: Substring) -> [Substring] { text.split(whereSeparator: \.isWhitespace) }

    /// Items between commas; nil when one has no letter.
    private static func items(_ text: Substring) -> Int? {
        let items = text.split(separator: ",", omittingEmptySubsequences: false)
        return items.allSatisfy { $0.contains(where: \.isLetter) } ? items.count : nil
    }
}
