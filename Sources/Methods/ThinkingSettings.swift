package import JSON
package import Records

/// How a model thinks aloud before it answers, and how it is kept from it: `bvpo.think_start`, `think_end`,
/// `empty_block`, `empty_variables`.
package struct ThinkingSettings: Sendable, Equatable {
    package static let thinkingName = "thinking"
    package static let emptyName = "empty"

    /// What opens a block of thinking.
    package var start: String
    /// What closes it; the answer stands behind it.
    package var end: String
    /// What stands behind the rendered prompt of an answer without thinking.
    package var emptyBlock: String
    /// Variables of the chat template for answers without thinking.
    package var emptyVariables: [String: JSONValue]

    package init(
        start: String = "<think>", end: String = "</think>", emptyBlock: String = "<think>\n\n</think>\n\n",
        emptyVariables: [String: JSONValue] = [:]
    ) {
        self.start = start
        self.end = end
        self.emptyBlock = emptyBlock
        self.emptyVariables = emptyVariables
    }

    /// Texts that an answer without thinking does not have.
    package var markers: [String] { [start, end] }

    /// The two forms in which a prompt is asked, in this order everywhere.
    package var variants: [PromptVariant] {
        [
            PromptVariant(name: Self.thinkingName),
            PromptVariant(name: Self.emptyName, templateVariables: emptyVariables, suffix: emptyBlock),
        ]
    }

    package init(reading job: inout SettingsReader) {
        let usual = ThinkingSettings()
        start = job.read("bvpo.think_start", default: usual.start, "The text that opens a thinking block.")
        end = job.read(
            "bvpo.think_end", default: usual.end,
            "The text that closes a thinking block. A completion that should think but never closes its block is in no pair; rewards see what follows the block."
        )
        emptyBlock = job.read(
            "bvpo.empty_block", default: usual.emptyBlock,
            "What follows the rendered prompt of an answer without thinking; it is read, not trained. pairs/empty/marker, the share of such answers that think anyway, must be about 0."
        )
        let variables = job.read(
            "bvpo.empty_variables", default: NamedValues(),
            "Chat template variables for answers without thinking, such as enable_thinking: false; they override chat_template_kwargs. If the template then writes the empty block itself, set bvpo.empty_block to ''."
        )
        emptyVariables = Dictionary(variables.values.map { ($0.name, $0.value) }) { _, last in last }
        for (key, value) in [("bvpo.think_start", start), ("bvpo.think_end", end)] where value.isEmpty {
            job.refuse(key, "\(key) is empty; expected a text")
        }
    }
}
