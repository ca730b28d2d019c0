package import Records
package import Tokenization

/// Turns prompts and demonstrations into the token ids the model reads.
///
/// A chat prompt goes through the model's chat template and is encoded as it comes out, without adding special tokens a
/// second time; a text prompt gets the tokenizer's own specials (a beginning-of-text token where the family has one).
package struct PromptEncoder: Sendable {
    package let tokenizer: Tokenizer
    let template: ChatTemplateRenderer
    /// Tokens that end a completion.
    let stopTokenIDs: Set<Int>
    /// The most tokens a prompt may have.
    package let maxPromptLength: Int

    /// - Parameter stopTokenIDs: Tokens that end a completion; by default the tokenizer's end of text.
    package init(
        tokenizer: Tokenizer, template: ChatTemplateRenderer, maxPromptLength: Int, stopTokenIDs: Set<Int>? = nil
    ) {
        self.tokenizer = tokenizer
        self.template = template
        self.maxPromptLength = maxPromptLength
        self.stopTokenIDs = stopTokenIDs ?? Set([tokenizer.endOfTextID].compactMap { $0 })
    }

    /// What the start of a run should say of the chat template; empty for prompts that are no chats.
    package func templateNotices(for prompt: Prompt) -> [String] {
        guard case .messages = prompt.content else { return [] }
        return ChatTemplateTrial(template: template, tokenizer: tokenizer, stopTokenIDs: stopTokenIDs).notices()
    }

    /// Token ids of a prompt in one of its forms.
    ///
    /// - Throws: ``JobError`` naming the row when it is empty, too long, or needs a chat template that is not there.
    package func encode(_ prompt: Prompt, as variant: PromptVariant = .plain) throws -> TokenizedPrompt {
        let tokenIDs = try tokens(of: prompt, as: variant)
        guard !tokenIDs.isEmpty else {
            throw JobError(place: prompt.id, message: "the prompt has no tokens; a model needs at least one to begin")
        }
        guard tokenIDs.count <= maxPromptLength else {
            throw JobError(
                place: prompt.id,
                message:
                    "the prompt has \(tokenIDs.count) tokens, and \(maxPromptLength) fit beside the completion; shorten "
                    + "it, or lower the completion's length")
        }
        return TokenizedPrompt(prompt: prompt, tokenIDs: tokenIDs)
    }

    /// Token ids of a prompt, whatever their number.
    package func tokens(of prompt: Prompt, as variant: PromptVariant = .plain) throws -> [Int] {
        switch prompt.content {
        case .text(let text):
            let tokenIDs = tokenizer.encode(text + variant.suffix, addSpecialTokens: true)
            if tokenIDs.count > 1, let begin = tokenizer.beginningOfTextID, tokenIDs[0] == begin, tokenIDs[1] == begin {
                throw JobError(
                    place: prompt.id,
                    message:
                        "the text begins with the beginning-of-text token and the tokenizer adds it again; take it "
                        + "out of the text, or give the prompt as messages")
            }
            return tokenIDs
        case .messages(let messages):
            do {
                return tokenizer.encode(try template.render(messages, with: variant.templateVariables) + variant.suffix)
            } catch {
                throw JobError(place: prompt.id, message: "\(error)")
            }
        }
    }

    /// A prompt with the completion to imitate, closed as a finished completion is: by the first token of the template's
    /// closing that ends one, else by the end-of-text token.
    package func encode(demonstration completion: String, of prompt: Prompt) throws -> UpdateGroup {
        var tokenIDs = tokenizer.encode(try closed(completion, of: prompt))
        if case .messages = prompt.content, let last = tokenIDs.lastIndex(where: stopTokenIDs.contains) {
            tokenIDs.removeSubrange((last + 1)...)  // no completion reaches what a template writes behind its end
        } else if let end = tokenizer.endOfTextID, tokenIDs.last != end {
            tokenIDs.append(end)
        }
        guard !tokenIDs.isEmpty else {
            throw JobError(
                place: prompt.id, message: "the completion is empty and the tokenizer has no end-of-text token")
        }
        return UpdateGroup(
            promptTokenIDs: try encode(prompt).tokenIDs, completions: [UpdateCompletion(tokenIDs: tokenIDs)])
    }

    /// A completion with what the chat template puts behind it.
    private func closed(_ completion: String, of prompt: Prompt) throws -> String {
        guard case .messages(let messages) = prompt.content else { return completion }
        do {
            return try template.continuation(of: messages, with: completion) ?? completion
        } catch {
            throw JobError(place: prompt.id, message: "\(error)")
        }
    }
}
