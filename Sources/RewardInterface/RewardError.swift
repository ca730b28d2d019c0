package import JSON
public import Records

/// Why a reward cannot work with what it was given. The description says what, where, what was found and what would do.
public enum RewardError: Error, Sendable, Equatable {
    /// The prompt's row has none of the columns the reward can read; of several rewards, which one.
    case missingColumn(wanted: [String], found: [String], prompt: String, reward: String? = nil)
    /// A column holds another kind of value than the reward reads.
    case wrongColumn(name: String, found: String, expected: String, prompt: String)
    /// A setting is missing, of another type or out of its bounds.
    case wrongSetting(reward: String, name: String, found: String, expected: String)
    /// Settings that cannot be used, all of them.
    case settings(SettingsError)
    /// No reward has this name.
    case unknownReward(name: String, known: [String])
    /// Several rewards have this name.
    case ambiguousReward(name: String, types: [String])
    /// The code behind a reward could not be started or understood: a file, a module, a program, an address.
    case unusable(reward: String, problem: String)
    /// More scores failed than the budget allows. Carries the first failure and the completion it happened on.
    case budgetExceeded(reward: String, failures: Int, of: Int, allowed: Double, first: String, sample: String)

    /// The row has no column `name`.
    public static func missingColumn(_ name: String, in prompt: Prompt) -> RewardError {
        .missingColumn(wanted: [name], found: prompt.columns.keys.sorted(), prompt: prompt.id)
    }

    /// The same with the reward that reads the column, where it is about one and names none.
    package func naming(_ reward: String) -> RewardError {
        guard case .missingColumn(let wanted, let found, let prompt, nil) = self else { return self }
        return .missingColumn(wanted: wanted, found: found, prompt: prompt, reward: reward)
    }

    /// Column `name` of the row holds something else than `expected`.
    public static func wrongColumn(_ name: String, expected: String, in prompt: Prompt) -> RewardError {
        let found = prompt.columns[name].map(\.shortDescription) ?? "nothing"
        return .wrongColumn(name: name, found: found, expected: expected, prompt: prompt.id)
    }
}

extension RewardError: CustomStringConvertible {
    /// Without control characters that what a reward or a model wrote may hold.
    public var description: String { text.visible }

    private var text: String {
        switch self {
        case .missingColumn(let wanted, let found, let prompt, let reward):
            let near = wanted.flatMap { nearestNames(to: $0, among: found) }
                .reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
            let columns = found.isEmpty ? "it has no columns besides the prompt" : "it has \(found.quotedList)"
            let owner = reward.map { "reward \($0): " } ?? ""
            return "\(owner)\(prompt): no column \(wanted.quotedList(joining: "or")); \(columns)" + hint(near)
        case .wrongColumn(let name, let found, let expected, let prompt):
            return "\(prompt): column '\(name)' is \(found), expected \(expected)"
        case .wrongSetting(let reward, let name, let found, let expected):
            return "reward \(reward): setting '\(name)' is \(found), expected \(expected)"
        case .settings(let error): return error.description
        case .unknownReward(let name, let known):
            // As TRL writes a reward model among functions.
            let model = name.contains("/") ? "; a reward model is {model: \(name)}" : ""
            return "no reward is named '\(name)'; known are \(known.quotedList)\(model)"
                + hint(nearestNames(to: name, among: known))
        case .ambiguousReward(let name, let types):
            return "several rewards are named '\(name)': \(types.joined(separator: ", ")); rename all but one"
        case .unusable(let reward, let problem):
            return "reward \(reward): \(problem)"
        case .budgetExceeded(let reward, let failures, let count, let allowed, let first, let sample):
            return """
                reward \(reward): \(failures) of the last \(count) scores failed or timed out, \
                the budget allows \(percent(allowed)) (reward_error_budget). First failure:
                \(first)
                on \(sample)
                """
        }
    }
}

/// `; did you mean 'a' or 'b'?`, or nothing.
private func hint(_ names: [String]) -> String {
    names.isEmpty ? "" : "; did you mean \(names.quotedList(joining: "or"))?"
}

private func percent(_ share: Double) -> String { "\((share * 1000).rounded() / 10) %" }

extension JSONValue {
    /// What a message shows of a value: its kind, and its beginning when it has one.
    package var shortDescription: String {
        switch self {
        case .null: "null"
        case .bool(let value): value ? "true" : "false"
        case .number: "the number \(text ?? "")"
        case .string(let value): "the text \"\(value.shortened(to: 60))\""
        case .array(let elements): "a list of \(elements.count)"
        case .object(let members): "an object with \(members.map(\.key).sorted().quotedList)"
        }
    }
}

extension String {
    /// The text with its control characters written out (`\x1b`), but for line ends and tabs: no terminal acts on it.
    package var visible: String {
        let isHarmless = unicodeScalars.allSatisfy {
            $0.properties.generalCategory != .control || $0 == "\n" || $0 == "\t"
        }
        if isHarmless { return self }
        return unicodeScalars.reduce(into: "") { text, scalar in
            let isControl = scalar.properties.generalCategory == .control && scalar != "\n" && scalar != "\t"
            let digits = String(scalar.value, radix: 16)
            text += isControl ? "\\x" + (digits.count < 2 ? "0" : "") + digits : String(scalar)
        }
    }

    /// The first `length` characters, with an ellipsis where something was cut.
    package func shortened(to length: Int) -> String {
        let start = prefix(length)
        return start.endIndex == endIndex ? self : start + "…"
    }
}

extension [String] {
    var quotedList: String { quotedList(joining: "and") }

    func quotedList(joining word: String) -> String {
        let quoted = map { "'\($0)'" }
        guard let last = quoted.last, count > 1 else { return quoted.first ?? "" }
        return quoted.dropLast().joined(separator: ", ") + " \(word) \(last)"
    }
}
