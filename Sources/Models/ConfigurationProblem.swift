/// One entry of a model's configuration that cannot be used.
package struct ConfigurationProblem: Sendable, Equatable, CustomStringConvertible {
    /// The entry's name in `config.json`.
    package var setting: String
    /// The value that was given, written out.
    package var found: String
    /// What would be right.
    package var expected: String

    package init(setting: String, found: String, expected: String) {
        self.setting = setting
        self.found = found
        self.expected = expected
    }

    package var description: String { "\(setting) is \(found); expected \(expected)" }
}
