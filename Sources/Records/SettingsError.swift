/// Everything that is wrong with the settings of one part, found in one pass.
public struct SettingsError: Error, Sendable, Equatable, CustomStringConvertible {
    /// One setting that cannot be used.
    public struct Problem: Sendable, Equatable, CustomStringConvertible {
        /// The setting's name as its type spells it.
        public var setting: String
        /// The value that was given, written out.
        public var found: String
        /// What would be right.
        public var expected: String

        public init(setting: String, found: String, expected: String) {
            self.setting = setting
            self.found = found
            self.expected = expected
        }

        public var description: String { "\(setting) is \(found); expected \(expected)" }
    }

    /// The part the settings belong to, such as `grpo`.
    public var section: String
    /// At least one, in the order of the settings.
    public var problems: [Problem]

    public init(section: String, problems: [Problem]) {
        self.section = section
        self.problems = problems
    }

    public var description: String { problems.map { "\(section): \($0)" }.joined(separator: "\n") }
}

/// Collects what is wrong with a part's settings, so that a reader learns of all of it at once.
///
///     var problems = Problems("grpo")
///     problems.require(epsilon > 0, "epsilon", epsilon, "above 0")
///     try problems.throwIfAny()
package struct Problems {
    private let section: String
    private var found: [SettingsError.Problem] = []

    package init(_ section: String) { self.section = section }

    /// Notes a problem unless `condition` holds.
    ///
    /// - Parameters:
    ///   - setting: The setting's name.
    ///   - value: What was given.
    ///   - expected: What would be right, so that it reads after "expected".
    package mutating func require(_ condition: Bool, _ setting: String, _ value: Any, _ expected: String) {
        guard !condition else { return }
        found.append(.init(setting: setting, found: "\(value)", expected: expected))
    }

    /// Ends the checks: returns when every requirement held.
    package func throwIfAny() throws(SettingsError) {
        guard found.isEmpty else { throw SettingsError(section: section, problems: found) }
    }
}
