package import Records

/// Everything that is wrong with a job at once, or what a part of a run refuses.
package struct JobError: Error, Sendable, Equatable, CustomStringConvertible {
    /// At least one, in the order of the file.
    package var problems: [SettingsProblem]

    package init(_ problems: [SettingsProblem]) { self.problems = problems }

    package init(_ error: SettingsError) { problems = error.problems }

    package init(place: String, message: String) { problems = [SettingsProblem(place: place, message: message)] }

    package var description: String { problems.map(\.description).joined(separator: "\n") }
}
