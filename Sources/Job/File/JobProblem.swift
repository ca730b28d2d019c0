/// Something in a job file, or in an override, that cannot be used.
package struct JobProblem: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file and line, or the override, it stands in: `grpo.yaml line 7`.
    package var place: String
    /// What was found and what would be right.
    package var message: String

    package init(place: String, message: String) {
        self.place = place
        self.message = message
    }

    package var description: String { "\(place): \(message)" }
}

/// Every problem of a job at once.
package struct JobError: Error, Sendable, Equatable, CustomStringConvertible {
    /// At least one, in the order of the file.
    package var problems: [JobProblem]

    package init(_ problems: [JobProblem]) { self.problems = problems }

    package init(place: String, message: String) { problems = [JobProblem(place: place, message: message)] }

    package var description: String { problems.map(\.description).joined(separator: "\n") }
}
