/// Numbers without which a run cannot go on are NaN or infinite: the policy has diverged, or was broken from the start.
package struct NotFinite: Error, Sendable, Equatable, Codable, CustomStringConvertible {
    /// The numbers, as the subject of a sentence in the plural: `the policy's weights`.
    package var subject: String
    /// The optimizer step whose weights are the first at fault; `nil` for the present weights.
    package var step: Int?

    package init(_ subject: String, since step: Int? = nil) {
        self.subject = subject
        self.step = step
    }

    package var description: String {
        "\(subject) are not finite (NaN or infinity); the model's weights, the temperature or the prompts are too large"
    }
}
