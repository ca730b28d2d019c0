package import JSON

/// A form in which a prompt is asked: with thinking, without, with another closing.
///
/// A step may ask every prompt in several variants. A variant's index in that list addresses its draws: two variants of
/// one prompt never share one, and variant 0 draws what a step without variants draws.
package struct PromptVariant: Sendable, Equatable {
    /// For plans and messages.
    package var name: String
    /// Variables of the chat template beside the job's own, over which they win. Without effect on a prompt that is no
    /// chat.
    package var templateVariables: [String: JSONValue]
    /// What follows the rendered prompt, such as an empty block of thinking.
    package var suffix: String

    package init(name: String, templateVariables: [String: JSONValue] = [:], suffix: String = "") {
        self.name = name
        self.templateVariables = templateVariables
        self.suffix = suffix
    }

    /// The prompt as the job renders it.
    package static let plain = PromptVariant(name: "plain")
}
