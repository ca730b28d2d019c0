package import Records

/// How the model reads the prompts of a set: through its chat template or as they are, and what special tokens in them
/// mean.
package struct PromptReading: Sendable {
    /// Variables handed to the chat template.
    package var templateVariables: [NamedValue]
    /// Whether a prompt that is a plain text becomes a message of the user; `nil` for one that nobody decided on: it
    /// does not, and a model with a chat template is worth a warning.
    package var appliesChatTemplate: Bool?
    /// Whether a special token's spelling in a text of the user's is only text.
    package var splitsSpecialTokens: Bool

    package init(
        templateVariables: [NamedValue] = [], appliesChatTemplate: Bool? = nil, splitsSpecialTokens: Bool = false
    ) {
        self.templateVariables = templateVariables
        self.appliesChatTemplate = appliesChatTemplate
        self.splitsSpecialTokens = splitsSpecialTokens
    }

    init(reading job: inout SettingsReader) {
        templateVariables =
            job.read(
                "chat_template_kwargs", default: NamedValues(), "Variables passed to the chat template as they are."
            ).values
        appliesChatTemplate = job.read(
            "apply_chat_template", optional: nil,
            "Whether a plain-text prompt goes through the model's chat template as a single user message. Unless set, it is read as it is, with a warning if the model has a chat template."
        )
        splitsSpecialTokens = job.read(
            "split_special_tokens", default: false,
            "Whether a special token spelled out in prompts or demonstrations, such as <|im_end|>, is read as plain text; tokens that the chat template writes stay tokens. Off, as in transformers: it becomes the token."
        )
    }
}
