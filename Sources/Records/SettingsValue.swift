public import JSON

/// A type a setting can have: how it is read from a file, written to one, and named in messages.
public protocol SettingsValue: Sendable, Equatable {
    /// What a right value is, in words: `a whole number`.
    static var expectation: String { get }
    /// The same with what it must be beyond its type: `a whole number of at least 1`.
    static func expectation(that requirement: String) -> String
    /// The value of a node, or `nil` when it is of another form.
    ///
    /// - Throws: ``SettingsProblem`` where a part of a larger value is wrong and can be named.
    static func read(_ node: SettingsNode) throws(SettingsProblem) -> Self?
    /// What stands in place of a right value, in words: `'gpro'`.
    static func found(in node: SettingsNode) -> String
    /// Whether its numbers are of a size that arithmetic goes on with: see ``Swift/Double``'s.
    var isInReach: Bool { get }
    /// The value as YAML on one line.
    var yaml: String { get }
}

extension SettingsValue {
    public static func found(in node: SettingsNode) -> String { node.found }

    public var isInReach: Bool { true }

    public static func expectation(that requirement: String) -> String { "\(expectation) \(requirement)" }
}

extension Int: SettingsValue {
    public static var expectation: String { "a whole number" }

    public static func read(_ node: SettingsNode) -> Int? {
        guard case .scalar(let text, _) = node.content else { return nil }
        if let whole = Int(text.replacing("_", with: "")) { return whole }
        return Double(text).flatMap(Int.init(exactly:))  // 1e3
    }

    public var yaml: String { String(self) }
}

extension Double: SettingsValue {
    public static var expectation: String { "a finite number" }

    public static func read(_ node: SettingsNode) -> Double? {
        guard case .scalar(let text, _) = node.content, let value = Double(text), value.isFinite else { return nil }
        return value
    }

    /// Products of several settings, and their values in single precision, neither overflow nor vanish within it.
    /// Nobody means more.
    public var isInReach: Bool { self == 0 || (1e-15...1e15).contains(abs(self)) }

    public var yaml: String { self == rounded() && abs(self) < 1e15 ? "\(Int64(self)).0" : String(self) }
}

extension Bool: SettingsValue {
    public static var expectation: String { "true or false" }

    public static func read(_ node: SettingsNode) -> Bool? {
        guard case .scalar(let text, _) = node.content else { return nil }
        return switch text.lowercased() {
        case "true", "yes", "on": true
        case "false", "no", "off": false
        default: nil
        }
    }

    public var yaml: String { self ? "true" : "false" }
}

extension String: SettingsValue {
    public static var expectation: String { "a text" }

    public static func read(_ node: SettingsNode) -> String? {
        if case .scalar(let text, _) = node.content { text } else { nil }
    }

    /// In double quotes unless it can only be read as this text.
    public var yaml: String {
        let isPlain =
            !isEmpty && first?.isLetter == true
            && allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "_-./".contains($0)) }
            && !["true", "false", "yes", "no", "on", "off", "null", "nan", "inf", "infinity"].contains(lowercased())
        return isPlain ? self : JSONValue.string(self).serialized
    }
}

/// An absent value is written `null`.
extension Optional: SettingsValue where Wrapped: SettingsValue {
    public static var expectation: String { "\(Wrapped.expectation), or nothing" }

    public static func expectation(that requirement: String) -> String {
        "\(Wrapped.expectation(that: requirement)), or nothing"
    }

    public static func read(_ node: SettingsNode) throws(SettingsProblem) -> Wrapped?? {
        if node.content == .null { return .some(nil) }
        return try Wrapped.read(node).map(Optional.some)
    }

    public static func found(in node: SettingsNode) -> String { Wrapped.found(in: node) }

    public var isInReach: Bool { self?.isInReach ?? true }

    public var yaml: String { self?.yaml ?? "null" }
}

/// A single value counts as a list of one; no value is none.
extension Array: SettingsValue where Element: SettingsValue {
    public static var expectation: String { "a list, each \(Element.expectation)" }

    public static func read(_ node: SettingsNode) throws(SettingsProblem) -> [Element]? {
        if node.content == .null { return nil }
        guard case .list(let items) = node.content else { return try Element.read(node).map { [$0] } }
        var values: [Element] = []
        for item in items {
            guard let value = try Element.read(item) else { return nil }
            values.append(value)
        }
        return values
    }

    /// Of a list also the first element that is wrong.
    public static func found(in node: SettingsNode) -> String {
        guard case .list(let items) = node.content,
            let wrong = items.first(where: { (try? Element.read($0)) == nil })
        else { return node.found }
        return "\(node.found) with \(Element.found(in: wrong))"
    }

    public var isInReach: Bool { allSatisfy(\.isInReach) }

    public var yaml: String { "[" + map(\.yaml).joined(separator: ", ") + "]" }
}

/// A choice between words; the raw value is the word.
public protocol SettingsChoice: SettingsValue, CaseIterable, RawRepresentable where RawValue == String {}

extension SettingsChoice {
    public static var expectation: String { "one of " + allCases.map(\.rawValue).joined(separator: ", ") }

    public static func read(_ node: SettingsNode) throws(SettingsProblem) -> Self? {
        guard case .scalar(let text, _) = node.content else { return nil }
        return Self(rawValue: text)
    }

    public var yaml: String { rawValue.yaml }
}

extension JSONValue {
    /// The value as YAML on one line.
    public var yaml: String {
        switch self {
        case .null: "null"
        case .bool(let value): value.yaml
        case .number(let value): value.isWrittenWhole ? value.text : value.int.map(\.yaml) ?? value.double.yaml
        case .string(let value): value.yaml
        case .array(let values): "[" + values.map(\.yaml).joined(separator: ", ") + "]"
        case .object(let members):
            "{" + members.map { "\($0.key.yaml): \($0.value.yaml)" }.joined(separator: ", ") + "}"
        }
    }
}

/// What a value must be beyond its type.
public struct SettingsBound<Value: SettingsValue>: Sendable {
    /// What a right value is, in words: `a whole number above 0`.
    let expectation: String
    let holds: @Sendable (Value) -> Bool

    /// - Parameters:
    ///   - text: In words that follow the type's: `above 0`.
    public init(_ text: String, holds: @escaping @Sendable (Value) -> Bool) {
        self.init(expectation: Value.expectation(that: text), holds: holds)
    }

    fileprivate init(expectation: String, holds: @escaping @Sendable (Value) -> Bool) {
        self.expectation = expectation
        self.holds = holds
    }

    /// Every value of the type.
    public static var any: Self { Self(expectation: Value.expectation) { _ in true } }

    /// The bound of a value that may be absent.
    var orNothing: SettingsBound<Value?> {
        let holds = holds
        return SettingsBound<Value?>(expectation: "\(expectation), or nothing") { $0.map(holds) ?? true }
    }
}

extension SettingsBound where Value == String {
    /// A choice between words that are known only when the program runs; ``SettingsChoice`` is for the others.
    public static func oneOf(_ names: [String]) -> Self {
        Self(expectation: "one of " + names.joined(separator: ", ")) { names.contains($0) }
    }
}

extension SettingsBound where Value: Comparable {
    public static func above(_ limit: Value) -> Self { Self("above \(words(limit))") { $0 > limit } }
    public static func atLeast(_ limit: Value) -> Self { Self("of at least \(words(limit))") { $0 >= limit } }
    public static func atMost(_ limit: Value) -> Self { Self("of at most \(words(limit))") { $0 <= limit } }

    public static func from(_ lowest: Value, to highest: Value) -> Self {
        Self("from \(words(lowest)) to \(words(highest))") { $0 >= lowest && $0 <= highest }
    }

    public static func from(_ lowest: Value, below limit: Value) -> Self {
        Self("from \(words(lowest)) to below \(words(limit))") { $0 >= lowest && $0 < limit }
    }

    public static func above(_ lowest: Value, atMost highest: Value) -> Self {
        Self("above \(words(lowest)) and at most \(words(highest))") { $0 > lowest && $0 <= highest }
    }

    /// `1.0` is `1` in a sentence.
    private static func words(_ value: Value) -> String {
        let text = value.yaml
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }
}
