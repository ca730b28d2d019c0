/// Something in a settings file, or in an override, that cannot be used.
public struct SettingsProblem: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file and line, or the override, it stands in: `grpo.yaml line 7`.
    public var place: String
    /// What was found and what would be right.
    public var message: String

    public init(place: String, message: String) {
        self.place = place
        self.message = message
    }

    public var description: String { "\(place): \(message)" }
}

/// Everything that is wrong with some settings, found in one pass.
public struct SettingsError: Error, Sendable, Equatable, CustomStringConvertible {
    /// At least one, in the order of the file.
    public var problems: [SettingsProblem]

    public init(_ problems: [SettingsProblem]) { self.problems = problems }

    public init(place: String, message: String) { problems = [SettingsProblem(place: place, message: message)] }

    public var description: String { problems.map(\.description).joined(separator: "\n") }
}
