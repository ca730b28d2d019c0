public import Records

/// What a job file sets for one reward, by name, and which names the reward asked for.
///
///     init(settings: inout RewardSettings) throws(RewardError) {
///         targetLength = try settings.integer("target_length", in: 1...1_000_000)
///         scale = try settings.number("scale", default: 1, in: 0...100)
///     }
///
/// A reading method without a default makes the setting required. Asking for a name makes it known.
public struct RewardSettings: Sendable {
    /// The reward whose settings these are, for messages.
    public let reward: String
    private let values: [String: JSONValue]
    private var asked: [String] = []
    /// Answers a required setting with one that its bounds allow, to find out what a reward asks for.
    private let standsIn: Bool
    /// The names that were required and not set, in order.
    private(set) var missing: [String] = []

    public init(reward: String, values: [String: JSONValue] = [:]) {
        self.init(reward: reward, values: values, standsIn: false)
    }

    init(reward: String, values: [String: JSONValue] = [:], standsIn: Bool) {
        self.reward = reward
        self.values = values
        self.standsIn = standsIn
    }

    /// The names asked for so far, in order: the settings a reward has.
    public var knownNames: [String] { asked }

    /// A required number in `bounds`.
    public mutating func number(
        _ name: String,
        in bounds: ClosedRange<Double> = -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude
    ) throws(RewardError) -> Double {
        guard let value = ask(name) else {
            try require(name, "a number")
            return min(max(1, bounds.lowerBound), bounds.upperBound)
        }
        guard let number = value.double, bounds.contains(number) else {
            throw wrong(name, expected: Self.words("a number", bounds))
        }
        return number
    }

    /// A number in `bounds`, or `fallback` when the job does not set it.
    public mutating func number(
        _ name: String, default fallback: Double,
        in bounds: ClosedRange<Double> = -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude
    ) throws(RewardError) -> Double {
        ask(name) == nil ? fallback : try number(name, in: bounds)
    }

    /// A required whole number in `bounds`.
    public mutating func integer(_ name: String, in bounds: ClosedRange<Int>) throws(RewardError) -> Int {
        guard let value = ask(name) else {
            try require(name, "a whole number")
            return bounds.lowerBound
        }
        guard value.double != nil, let whole = value.integer, bounds.contains(whole) else {
            throw wrong(name, expected: "a whole number in \(bounds.lowerBound)…\(bounds.upperBound)")
        }
        return whole
    }

    /// A whole number in `bounds`, or `fallback` when the job does not set it.
    public mutating func integer(
        _ name: String, default fallback: Int, in bounds: ClosedRange<Int>
    ) throws(RewardError) -> Int {
        ask(name) == nil ? fallback : try integer(name, in: bounds)
    }

    /// A required text.
    public mutating func text(_ name: String) throws(RewardError) -> String {
        guard let value = ask(name) else {
            try require(name, "a text")
            return name
        }
        guard case .string(let text) = value else { throw wrong(name, expected: "a text (the setting is required)") }
        return text
    }

    /// A text, or `fallback` when the job does not set it.
    public mutating func text(_ name: String, default fallback: String) throws(RewardError) -> String {
        ask(name) == nil ? fallback : try text(name)
    }

    /// One of `choices`, or `fallback` when the job does not set it.
    public mutating func choice(
        _ name: String, of choices: [String], default fallback: String
    ) throws(RewardError) -> String {
        guard let value = ask(name) else { return fallback }
        guard case .string(let text) = value, choices.contains(text) else {
            throw wrong(name, expected: choices.quotedList(joining: "or"))
        }
        return text
    }

    /// A list of texts, or `fallback` when the job does not set it.
    public mutating func texts(_ name: String, default fallback: [String]) throws(RewardError) -> [String] {
        guard let value = ask(name) else { return fallback }
        guard let elements = value.elements else { throw wrong(name, expected: "a list of texts") }
        var texts: [String] = []
        for element in elements {
            guard case .string(let text) = element else { throw wrong(name, expected: "a list of texts") }
            texts.append(text)
        }
        return texts
    }

    /// A truth value, or `fallback` when the job does not set it.
    public mutating func flag(_ name: String, default fallback: Bool) throws(RewardError) -> Bool {
        guard let value = ask(name) else { return fallback }
        guard case .bool(let flag) = value else { throw wrong(name, expected: "true or false") }
        return flag
    }

    /// A section of further settings, empty when the job does not set it.
    public mutating func section(_ name: String) throws(RewardError) -> [String: JSONValue] {
        guard let value = ask(name) else { return [:] }
        guard case .object(let members) = value else { throw wrong(name, expected: "a section of settings") }
        return members
    }

    /// The error of a setting that was read but is out of what the reward can do.
    public func wrong(_ name: String, expected: String) -> RewardError {
        let found = values[name].map(\.shortDescription) ?? "not set"
        return .wrongSetting(reward: reward, name: name, found: found, expected: expected)
    }

    /// Refuses settings that nobody asked for.
    package func refuseUnasked() throws(RewardError) {
        guard let unknown = values.keys.sorted().first(where: { !asked.contains($0) }) else { return }
        throw .unknownSetting(reward: reward, name: unknown, known: asked)
    }

    /// When a required setting is missing and the job has an unknown one of nearly that name: that one is the mistake.
    func misspelling(behind error: RewardError) -> RewardError? {
        guard case .wrongSetting(_, let missing, _, _) = error, values[missing] == nil else { return nil }
        let unknown = values.keys.filter { !asked.contains($0) }.sorted()
        guard let given = unknown.first(where: { nearestNames(to: $0, among: [missing]) == [missing] }) else {
            return nil
        }
        return .unknownSetting(reward: reward, name: given, known: asked)
    }

    /// Notes a required setting that is not set; throws unless something may stand in for it.
    private mutating func require(_ name: String, _ kind: String) throws(RewardError) {
        missing.append(name)
        guard standsIn else { throw wrong(name, expected: "\(kind) (the setting is required)") }
    }

    private mutating func ask(_ name: String) -> JSONValue? {
        if !asked.contains(name) { asked.append(name) }
        if case .null? = values[name] { return nil }
        return values[name]
    }

    private static func words(_ kind: String, _ bounds: ClosedRange<Double>) -> String {
        let limit = Double.greatestFiniteMagnitude
        return switch (bounds.lowerBound > -limit, bounds.upperBound < limit) {
        case (true, true): "\(kind) in \(bounds.lowerBound)…\(bounds.upperBound)"
        case (true, false): "\(kind), at least \(bounds.lowerBound)"
        case (false, true): "\(kind), at most \(bounds.upperBound)"
        case (false, false): kind
        }
    }
}
