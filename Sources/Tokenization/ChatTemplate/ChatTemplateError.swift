/// A chat template that cannot be read or rendered.
package struct ChatTemplateError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The line of the template at fault, from 1.
    package let line: Int
    /// What is wrong there, and what would be right.
    package let message: String

    package var description: String { "chat template, line \(line): \(message)" }
}
